//! Leaders that come and go.

use super::play;

#[test]
fn another_one_takes_over_when_the_leader_crashes() {
    play(1, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.runs("web", "r-1").await;
        let (first, epoch) = hands.leader().await;
        hands.cut_power(&first).await;
        let (_, later) = hands.successor(&first, 15).await;
        assert!(later > epoch);
        hands.api.apply("db", "r-1").await;
        hands.start(&first).await;
        hands
            .all_is_well(&[("web", Some("r-1")), ("db", Some("r-1"))])
            .await;
        assert_eq!(hands.artifacts("web"), 1);
    });
}

#[test]
fn a_leader_that_is_shut_down_answers_what_is_in_flight_and_hands_over() {
    play(2, async |mut hands| {
        let (first, _) = hands.leader().await;
        hands.api.apply("web", "r-1").await;
        hands.runs("web", "r-1").await;
        // The commit is on its way to a slow store when the end is asked for.
        hands.slow(&first, "store", 300).await;
        let (answer, ()) = tokio::join!(hands.api.apply_once(&first, "db", "r-1", 5), async {
            hands.sleep(0.3).await;
            hands.shut_down(&first);
        });
        assert_eq!(answer, Ok(()));
        // Nobody waits for the lease to expire: it is given back.
        hands.successor(&first, 3).await;
        hands.heal(&first, "store").await;
        hands
            .until("it has ended", 10, |hands| !hands.is_running(&first))
            .await;
        hands.start(&first).await;
        hands
            .all_is_well(&[("web", Some("r-1")), ("db", Some("r-1"))])
            .await;
        assert_eq!(hands.artifacts("web"), 1);
    });
}

#[test]
fn a_leader_that_is_cut_off_stops_before_another_one_leads() {
    play(3, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        let (first, _) = hands.leader().await;
        hands.cut(&first, "store").await;
        // That both never lead at once is looked at in every step.
        hands
            .until("it leads no more", 6, |hands| hands.leaders().is_empty())
            .await;
        hands.successor(&first, 10).await;
        hands.api.apply("web", "r-2").await;
        hands.heal(&first, "store").await;
        hands.all_is_well(&[("web", Some("r-2"))]).await;
    });
}

#[test]
fn a_commit_of_a_deposed_leader_that_arrives_late_is_fenced_off() {
    play(4, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.runs("web", "r-1").await;
        let (first, _) = hands.leader().await;
        // What it writes from now on arrives, but after its lease has expired.
        hands.slow(&first, "store", 7_000).await;
        let answer = hands.api.apply_once(&first, "ghost", "r-1", 10).await;
        assert!(answer.is_err(), "it was acknowledged");
        hands.successor(&first, 15).await;
        hands.sleep(10.0).await;
        hands.heal(&first, "store").await;
        hands.all_is_well(&[("web", Some("r-1"))]).await;
        assert_eq!(hands.artifacts("ghost"), 0);
    });
}
