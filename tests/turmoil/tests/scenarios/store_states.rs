//! The store: restored from a backup, and full.

use berth_driver::StoreState;
use berth_turmoil::{Hands, Shape};

use super::{play, play_in};

#[test]
fn a_restored_store_is_refused_by_all_until_the_operator_believes_it() {
    play(17, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.api.apply("db", "r-1").await;
        hands.runs("db", "r-1").await;
        let backup = hands.back_up();
        hands.api.apply("web", "r-2").await;
        hands.runs("web", "r-2").await;
        hands.api.delete("db").await;
        let gone = |hands: &Hands| hands.live("db").is_empty();
        hands.until("db is gone", 60, gone).await;
        let (leader, epoch) = hands.leader().await;

        hands.restore(&backup).await;
        let refused = |hands: &Hands| hands.store_states() == [StoreState::Refused; 3];
        hands.until("all refuse it", 30, refused).await;
        for _ in 0..20 {
            hands.sleep(1.0).await;
            assert!(refused(&hands), "{:?}", hands.store_states());
            assert_eq!(hands.leaders(), []);
            assert_eq!(hands.live("web")[0].1, "r-2", "nobody was told anything");
        }
        // Who starts now knows nothing of before, and is told by the store.
        hands.crash(&leader).await;
        hands.start(&leader).await;
        hands.until("it refuses too", 30, refused).await;
        assert!(
            hands
                .api
                .apply_once(&leader, "web", "r-3", 5)
                .await
                .is_err()
        );

        hands.accept_restore().await;
        let (_, later) = hands.leader().await;
        assert!(later > epoch, "{later} after {epoch}");
        hands
            .all_is_well(&[("web", Some("r-1")), ("db", Some("r-1"))])
            .await;
    });
}

#[test]
fn a_full_store_is_read_only_under_one_leader_and_heals_with_room() {
    const QUOTA: u64 = 1 << 20;
    let small = Shape {
        store_quota: Some(QUOTA),
        ..Shape::default()
    };
    play_in(small, 18, async |mut hands| {
        hands.api.apply("web", "r-1").await;
        hands.runs("web", "r-1").await;
        let (leader, epoch) = hands.leader().await;
        let mut etcd = hands.etcd().await;
        let much = vec![b'x'; 300_000];
        let mut junk = 0;
        while etcd.put(format!("junk/{junk}"), &*much, None).await.is_ok() {
            junk += 1;
            assert!(junk < 10, "the quota is far away");
        }

        let answer = hands.api.apply_once(&leader, "db", "r-1", 5).await;
        assert!(answer.is_err(), "{answer:?}");
        let full = |hands: &Hands| hands.store_states().contains(&StoreState::ReadOnly);
        for _ in 0..20 {
            assert!(full(&hands), "{:?}", hands.store_states());
            hands.sleep(1.0).await;
            assert_eq!(hands.leaders(), [(leader.clone(), epoch)]);
        }

        for number in 0..junk {
            etcd.delete(format!("junk/{number}"), None).await.unwrap();
        }
        let head = etcd.get("junk/", None).await.unwrap();
        let revision = head.header().unwrap().revision();
        etcd.compact(revision, None).await.unwrap();
        disarm(&mut etcd).await;
        hands.api.apply("db", "r-1").await;
        let fine = |hands: &Hands| hands.store_states() == [StoreState::Fine; 3];
        hands.until("it is fine", 30, fine).await;
        hands
            .all_is_well(&[("web", Some("r-1")), ("db", Some("r-1"))])
            .await;
        assert_eq!(hands.leader().await, (leader, epoch), "nobody was elected");
    });
}

async fn disarm(etcd: &mut etcd_client::Client) {
    use etcd_client::{AlarmAction, AlarmType};
    let off = etcd.alarm(AlarmAction::Deactivate, AlarmType::Nospace, None);
    off.await.unwrap();
}
