//! The store: out of reach, started anew, silent about a commit.

use std::time::Duration;

use berth_turmoil::{Hands, Shape, names};

use super::{play, play_in};

/// Makes a world whose leader keeps its lease while the store is silent for a while.
fn patient() -> Shape {
    Shape {
        lease_ttl: Duration::from_secs(15),
        ..Shape::default()
    }
}

#[test]
fn schedulers_find_the_store_again_after_a_partition() {
    play(11, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.runs("web", "r-1").await;
        let schedulers: Vec<String> = (1..=3).map(names::scheduler).collect();
        for scheduler in &schedulers {
            hands.cut(scheduler, names::STORE).await;
        }
        hands.sleep(20.0).await;
        assert_eq!(hands.leaders(), []);
        let (at, answer) = (&schedulers[0], "r-2");
        assert!(hands.api.apply_once(at, "web", answer, 5).await.is_err());
        for scheduler in &schedulers {
            hands.heal(scheduler, names::STORE).await;
        }
        hands.leader().await;
        hands.api.apply("web", "r-3").await;
        hands.all_is_well(&[("web", Some("r-3"))]).await;
    });
}

#[test]
fn a_store_that_loses_power_has_everything_that_was_acknowledged() {
    play(12, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.api.apply("db", "r-1").await;
        hands.api.delete("db").await;
        hands.cut_power(names::STORE).await;
        hands.sleep(8.0).await;
        hands.start(names::STORE).await;
        hands.api.apply("cache", "r-1").await;
        let expected = [("web", Some("r-1")), ("db", None), ("cache", Some("r-1"))];
        hands.all_is_well(&expected).await;
        assert_eq!(hands.artifacts("web"), 1);
    });
}

#[test]
fn the_watch_goes_on_where_it_broke_and_misses_nothing() {
    play(13, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.runs("web", "r-1").await;
        let before = hands.leader().await;
        break_the_watch(&hands, &before.0, false).await;
        hands
            .all_is_well(&[("web", Some("r-1")), ("copy", Some("r-1"))])
            .await;
        assert_eq!(hands.leader().await, before, "nobody had to be elected");
    });
}

#[test]
fn what_the_watch_missed_and_was_compacted_away_is_loaded_anew() {
    play(14, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.runs("web", "r-1").await;
        let before = hands.leader().await;
        break_the_watch(&hands, &before.0, true).await;
        hands
            .all_is_well(&[("web", Some("r-1")), ("copy", Some("r-1"))])
            .await;
        assert!(hands.leader().await.1 > before.1, "a new term loaded it");
    });
}

/// Closes every connection to the store, and keeps the leader from making a new one while somebody
/// else writes a workload; whose history may be gone when the leader is back.
async fn break_the_watch(hands: &Hands, leader: &str, compacts: bool) {
    hands.crash(names::STORE).await;
    hands.hold(leader, names::STORE).await;
    hands.start(names::STORE).await;
    let mut etcd = hands.etcd().await;
    let web = etcd.get("/berth/workloads/web", None).await.unwrap();
    let web = web.kvs()[0].value_str().unwrap();
    let copy = web.replace(r#""web""#, r#""copy""#);
    assert_ne!(copy, web);
    let put = etcd.put("/berth/workloads/copy", copy, None).await.unwrap();
    if compacts {
        let revision = put.header().unwrap().revision();
        etcd.put("/berth/elsewhere", "1", None).await.unwrap();
        etcd.delete("/berth/elsewhere", None).await.unwrap();
        etcd.compact(revision + 1, None).await.unwrap();
    }
    hands.sleep(1.5).await;
    hands.heal(leader, names::STORE).await;
}

#[test]
fn a_commit_whose_answer_is_lost_is_read_back_and_done_once() {
    play_in(patient(), 15, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.runs("web", "r-1").await;
        let before = hands.leader().await;
        let (answer, ()) = tokio::join!(hands.api.apply_once(&before.0, "db", "r-1", 25), async {
            // The request arrives, the answer does not.
            hands.cut_one_way(names::STORE, &before.0).await;
            hands.sleep(5.5).await;
            hands.heal(names::STORE, &before.0).await;
        });
        assert_eq!(answer, Ok(()));
        hands
            .all_is_well(&[("web", Some("r-1")), ("db", Some("r-1"))])
            .await;
        assert_eq!(hands.leader().await, before, "the lease stood");
        assert_eq!(hands.artifacts("db"), 1);
    });
}

#[test]
fn a_commit_that_is_answered_too_late_is_read_back_and_done_once() {
    play_in(patient(), 16, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.runs("web", "r-1").await;
        let before = hands.leader().await;
        let (answer, ()) = tokio::join!(hands.api.apply_once(&before.0, "db", "r-1", 25), async {
            hands.hold(&before.0, names::STORE).await;
            hands.sleep(5.8).await;
            hands.heal(&before.0, names::STORE).await;
        });
        assert_eq!(answer, Ok(()));
        hands
            .all_is_well(&[("web", Some("r-1")), ("db", Some("r-1"))])
            .await;
        assert_eq!(hands.leader().await, before, "the lease stood");
        assert_eq!(hands.artifacts("db"), 1);
    });
}
