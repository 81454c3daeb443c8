//! A store that is not the one that was seen before, and one that takes no writes.

use super::*;

/// How it is closed, if it is.
async fn closed(net: &Net) -> Option<String> {
    value(&mut net.client().await, "/meta/hold").await
}

/// A store that was restored from an older snapshot: it has a record, and few revisions.
async fn older() -> Arc<Net> {
    let net = Net::new();
    let mut client = net.client().await;
    client.put("/berth/workloads/w", "old", None).await.unwrap();
    net
}

/// The driver's store goes on, for some revisions.
async fn goes_on(subject: &mut Subject, term: &Term) {
    for id in 0..9 {
        order(term, id, &[], vec![put("w", &format!("{id}"))]);
        assert!(matches!(subject.fate().await.1, Fate::Committed(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_restored_is_refused_until_the_operator_accepts_it() {
    let (net, restored) = (Net::new(), older().await);
    let mut subject = Subject::start(&net, "a", config());
    let (term, _) = subject.leads().await;
    goes_on(&mut subject, &term).await;
    net.point_at(&restored);
    assert_eq!(subject.deposed().await, Deposed::StoreRefused);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(subject.leadership.is_empty(), "it does not lead");
    let health = subject.health.borrow().store.clone();
    assert_eq!(health.state, StoreState::Refused);
    assert!(
        health.why.contains("accept-restore --generation 1"),
        "{health:?}"
    );
    // One that cannot know does not lead either.
    assert!(closed(&restored).await.is_some());
    let mut fresh = Subject::start(&restored, "b", config());
    assert_eq!(fresh.deposed().await, Deposed::StoreRefused);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(fresh.leadership.is_empty(), "it does not lead");
    let mut client = restored.client().await;
    assert_eq!(
        value(&mut client, "/workloads/w").await.as_deref(),
        Some("old")
    );

    let accepted = look::accept(&mut client, "/berth", &config(), None)
        .await
        .unwrap();
    assert_eq!(accepted.generation, 1);
    assert!(accepted.was_closed.is_some());
    let led = tokio::select! {
        (led, _) = subject.leads() => led,
        (led, _) = fresh.leads() => led,
    };
    assert!(led.epoch > term.epoch, "agents obey it");
    assert_eq!(led.epoch.generation(), 1);
    let again = look::accept(&mut client, "/berth", &config(), Some(1)).await;
    assert!(again.is_err(), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_restored_store_says_of_a_commit_is_not_believed() {
    let (net, restored) = (Net::new(), older().await);
    let mut subject = Subject::start(&net, "a", config());
    let (term, _) = subject.leads().await;
    goes_on(&mut subject, &term).await;
    // Its fate was unknown, and before it is read back the store is another one.
    net.point_at(&restored);
    let keys = vec![workload("w")];
    term.orders.send(Order::ReadBack(TxnId(9), keys)).unwrap();
    assert_eq!(subject.deposed().await, Deposed::StoreRefused);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let told = subject.answers.try_recv();
    assert!(told.is_err(), "told what the other store says: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_right_store_is_used_again_without_a_word() {
    let (net, restored) = (Net::new(), older().await);
    let mut subject = Subject::start(&net, "a", config());
    let (term, _) = subject.leads().await;
    goes_on(&mut subject, &term).await;
    net.point_at(&restored);
    assert_eq!(subject.deposed().await, Deposed::StoreRefused);
    net.point_at(&net);
    let (next, _) = subject.leads().await;
    assert!(next.epoch > term.epoch);
    assert_eq!(subject.health.borrow().store.state, StoreState::Fine);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_process_remembers_how_far_the_store_was() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        seen_file: Some(folder.path().join("seen.json")),
        ..config()
    };
    let (net, restored) = (Net::new(), older().await);
    let mut subject = Subject::start(&net, "a", config.clone());
    let (term, _) = subject.leads().await;
    goes_on(&mut subject, &term).await;
    subject.stop.cancel();
    subject.task.await.unwrap();
    let mut next = Subject::start(&restored, "a", config);
    assert_eq!(next.deposed().await, Deposed::StoreRefused);
}

#[tokio::test(start_paused = true)]
async fn a_follower_notices_too() {
    let (net, restored) = (Net::new(), older().await);
    let mut leader = Subject::start(&net, "a", config());
    let (term, _) = leader.leads().await;
    let mut follower = Subject::start(&net, "b", config());
    follower.follows().await;
    goes_on(&mut leader, &term).await;
    leader.task.abort();
    net.point_at(&restored);
    // It may have heard that the leader went before it heard of the restore.
    while follower.deposed().await != Deposed::StoreRefused {}
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_emptied_is_refused() {
    let net = Net::new();
    let mut subject = Subject::start(&net, "a", config());
    let (term, _) = subject.leads().await;
    goes_on(&mut subject, &term).await;
    let mut client = net.client().await;
    let all = etcd_client::DeleteOptions::new().with_range("/berth0");
    client.delete("/berth/", Some(all)).await.unwrap();
    while subject.deposed().await != Deposed::StoreRefused {}
    let why = subject.health.borrow().store.why.clone();
    assert!(why.contains("holds nothing"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_asked_by_probes_alone_until_one_is_written() {
    let net = Net::new();
    let mut subject = Subject::start(&net, "a", config());
    let (term, _) = subject.leads().await;
    alarm(&net, true).await;
    order(&term, 1, &[], vec![put("a", "1")]);
    assert!(matches!(subject.fate().await.1, Fate::Refused(_)));
    assert_eq!(subject.health.borrow().store.state, StoreState::ReadOnly);
    let sent = || subject.metrics.store_txns.load(Relaxed);
    let before = sent();
    order(&term, 2, &[], vec![put("a", "1")]);
    order(&term, 3, &[], vec![Op::Delete { key: workload("b") }]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sent(), before + 1, "only what needs no space");
    let fates = subject.fates(2).await;
    assert!(matches!(fates[0], Fate::Refused(_)), "{fates:?}");
    assert!(matches!(fates[1], Fate::Committed(_)), "{fates:?}");
    // Reads work all the time, and tell nothing.
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(subject.health.borrow().store.state, StoreState::ReadOnly);
    alarm(&net, false).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(subject.health.borrow().store.state, StoreState::Fine);
    order(&term, 4, &[], vec![put("a", "1")]);
    assert!(matches!(subject.fate().await.1, Fate::Committed(_)));
    assert!(subject.leadership.is_empty(), "it led all the time");
}

/// Raises the alarm about space, or lifts it.
async fn alarm(net: &Net, raised: bool) {
    use etcd_client::{AlarmAction, AlarmType};
    let action = match raised {
        true => AlarmAction::Activate,
        false => AlarmAction::Deactivate,
    };
    let mut client = net.client().await;
    client
        .alarm(action, AlarmType::Nospace, None)
        .await
        .unwrap();
}
