//! Schedulers that do not lead, and what they are asked for.

use berth_turmoil::names;

use super::play;

/// The schedulers but this one.
fn others(leader: &str) -> [String; 2] {
    let mut others = (1..=3).map(names::scheduler).filter(|name| name != leader);
    [others.next().unwrap(), others.next().unwrap()]
}

#[test]
fn a_write_that_reaches_the_wrong_scheduler_reaches_the_leader() {
    play(21, async |mut hands| {
        let (leader, epoch) = hands.leader().await;
        for (follower, id) in others(&leader).iter().zip(["web", "db"]) {
            let answer = hands.api.apply_once(follower, id, "r-1", 5).await;
            assert_eq!(answer, Ok(()));
        }
        hands
            .all_is_well(&[("web", Some("r-1")), ("db", Some("r-1"))])
            .await;
        assert_eq!(hands.leader().await, (leader, epoch));
    });
}

#[test]
fn a_leader_that_dies_in_the_middle_of_a_forwarded_write_leaves_its_outcome_open() {
    // Its process ends, or its machine: then nobody hears that it is gone.
    for (seed, loses_power) in [(22, false), (23, true)] {
        play(seed, async move |mut hands| {
            hands.api.apply("web", "r-1").await;
            hands.runs("web", "r-1").await;
            let (leader, _) = hands.leader().await;
            let [follower, _] = others(&leader);
            // The commit is on its way to a slow store.
            hands.slow(&leader, names::STORE, 400).await;
            let (answer, ()) =
                tokio::join!(hands.api.apply_once(&follower, "web", "r-2", 60), async {
                    hands.sleep(0.3).await;
                    match loses_power {
                        true => hands.cut_power(&leader).await,
                        false => hands.crash(&leader).await,
                    }
                });
            let why = answer.unwrap_err();
            assert!(why.contains("is not known"), "{why}");
            hands.successor(&leader, 15).await;
            hands.heal(&leader, names::STORE).await;
            hands.start(&leader).await;
            // Who asked decides whether to ask again; it is the same write then.
            hands.api.apply("web", "r-2").await;
            hands.all_is_well(&[("web", Some("r-2"))]).await;
        });
    }
}

#[test]
fn without_a_leader_nobody_takes_a_write() {
    play(24, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.runs("web", "r-1").await;
        let (leader, _) = hands.leader().await;
        hands.crash(names::STORE).await;
        hands
            .until("it leads no more", 10, |hands| hands.leaders().is_empty())
            .await;
        for scheduler in (1..=3).map(names::scheduler) {
            let answer = hands.api.apply_once(&scheduler, "ghost", "r-1", 20).await;
            let why = answer.unwrap_err();
            assert!(
                why.contains("try again"),
                "{scheduler} after {leader}: {why}"
            );
        }
        hands.start(names::STORE).await;
        hands.all_is_well(&[("web", Some("r-1"))]).await;
    });
}

#[test]
fn a_forwarded_write_goes_no_further() {
    play(25, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.runs("web", "r-1").await;
        let (first, _) = hands.leader().await;
        let [blind, _] = others(&first);
        // It does not hear that another one leads now.
        hands.cut(&blind, names::STORE).await;
        hands.cut(&first, names::STORE).await;
        hands.successor(&first, 15).await;
        hands.heal(&first, names::STORE).await;
        // The former leader knows who leads, and takes writes of its own clients.
        hands.sleep(5.0).await;
        let answer = hands.api.apply_once(&first, "db", "r-1", 5).await;
        assert_eq!(answer, Ok(()));
        let why = hands.api.apply_once(&blind, "ghost", "r-1", 5).await;
        let why = why.unwrap_err();
        assert!(why.contains(&format!("{first} does not lead")), "{why}");
        hands.heal(&blind, names::STORE).await;
        hands
            .all_is_well(&[("web", Some("r-1")), ("db", Some("r-1"))])
            .await;
    });
}
