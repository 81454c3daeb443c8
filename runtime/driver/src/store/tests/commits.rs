//! What becomes of transactions.

use berth_core::EventId;

use super::*;

/// Long leases, so that a test may take the store away for a while.
fn patient() -> StoreConfig {
    StoreConfig {
        lease_ttl: Duration::from_secs(600),
        commit_timeout: Duration::from_secs(1),
        ..config()
    }
}

#[tokio::test(start_paused = true)]
async fn one_conflict_never_fails_another() {
    let net = Net::new();
    let mut client = net.client().await;
    client
        .put("/berth/workloads/b", "theirs", None)
        .await
        .unwrap();
    let mut subject = Subject::start(&net, "a", config());
    let (term, _) = subject.leads().await;
    order(&term, 1, &[("a", 0)], vec![put("a", "1")]);
    order(&term, 2, &[("b", 0), ("x", 0)], vec![put("b", "2")]);
    order(&term, 3, &[("c", 0)], vec![put("c", "3")]);
    let fates = subject.fates(3).await;
    assert!(matches!(fates[0], Fate::Committed(_)), "{:?}", fates[0]);
    assert!(matches!(fates[2], Fate::Committed(_)), "{:?}", fates[2]);
    let Fate::Conflict { current, .. } = &fates[1] else {
        panic!("{:?}", fates[1]);
    };
    let found: Vec<_> = current
        .iter()
        .map(|record| (record.key.to_string(), record.value.as_deref()))
        .collect();
    let expected = [
        ("/workloads/b".to_owned(), Some("theirs")),
        ("/workloads/x".to_owned(), None),
    ];
    assert_eq!(found, expected);
    assert_eq!(
        value(&mut client, "/workloads/a").await.as_deref(),
        Some("1")
    );
    assert_eq!(
        value(&mut client, "/workloads/b").await.as_deref(),
        Some("theirs")
    );
    assert_eq!(
        value(&mut client, "/workloads/c").await.as_deref(),
        Some("3")
    );
    let sent = subject
        .metrics
        .store_txns
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(sent, 2, "one group, then one without the conflict");
}

#[tokio::test(start_paused = true)]
async fn many_share_few_transactions() {
    let net = Net::new();
    let mut subject = Subject::start(&net, "a", config());
    let (term, _) = subject.leads().await;
    for id in 0..600 {
        let name = format!("w{id}");
        order(&term, id, &[(&name, 0)], vec![put(&name, "{}")]);
    }
    for fate in subject.fates(600).await {
        assert!(matches!(fate, Fate::Committed(_)), "{fate:?}");
    }
    let sent = subject
        .metrics
        .store_txns
        .load(std::sync::atomic::Ordering::Relaxed);
    assert!(sent <= 8, "{sent} transactions");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_of_one_only() {
    let net = Net::new();
    let mut subject = Subject::start(&net, "a", config());
    let (term, _) = subject.leads().await;
    order(&term, 1, &[], vec![put("a", "1")]);
    let many = (0..130).map(|n| put(&format!("m{n}"), "2")).collect();
    order(&term, 2, &[], many);
    order(&term, 3, &[], vec![put("c", &"3".repeat(2 << 20))]);
    order(&term, 4, &[], vec![put("d", "4")]);
    // etcd refuses one key twice; the group limits cannot know better than the core.
    order(&term, 5, &[], vec![put("e", "5"), put("e", "5")]);
    order(&term, 6, &[], vec![put("f", "6")]);
    let fates = subject.fates(6).await;
    for (id, fate) in (1..).zip(&fates) {
        let committed = matches!(fate, Fate::Committed(_));
        let refused = matches!(fate, Fate::Refused(_));
        let expected = matches!(id, 1 | 4 | 6);
        assert_eq!(
            (committed, refused),
            (expected, !expected),
            "{id}: {fate:?}"
        );
    }
    assert_eq!(subject.health.borrow().store_error, "", "the store works");
}

#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_and_health_says_so() {
    let mut options = StoreOptions::default();
    options.limits.quota_bytes = Some(64 << 10);
    let net = Net::with(options);
    let mut subject = Subject::start(&net, "a", config());
    let (term, _) = subject.leads().await;
    let mut committed = 0;
    let refusal = loop {
        order(&term, committed, &[], vec![put("a", &"x".repeat(40 << 10))]);
        match subject.fate().await.1 {
            Fate::Committed(_) => committed += 1,
            other => break other,
        }
        assert!(committed < 10, "the quota does not hold");
    };
    assert!(matches!(refusal, Fate::Refused(_)), "{refusal:?}");
    // Deleting works, and is no sign that writing does.
    let key = workload("b");
    order(&term, 100, &[], vec![Op::Delete { key }]);
    assert!(matches!(subject.fate().await.1, Fate::Committed(_)));
    assert!(
        subject
            .health
            .borrow()
            .store_error
            .contains("space exceeded")
    );
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_commits_nothing() {
    let net = Net::new();
    let mut client = net.client().await;
    let keys = Keys::new("/berth");
    client.put(keys.leader(), "first", None).await.unwrap();
    let record = client.get(keys.leader(), None).await.unwrap();
    let epoch = Epoch(record.kvs()[0].create_revision());
    client.delete(keys.leader(), None).await.unwrap();
    client.put(keys.leader(), "second", None).await.unwrap();

    // Only the committer: the watch and the lease would end the term before.
    let (orders, ordered) = mpsc::unbounded_channel();
    let (answered, mut answers) = mpsc::channel(8);
    let committer = Committer {
        client: client.kv_client(),
        keys,
        epoch,
        config: Arc::new(config()),
        metrics: Arc::default(),
        health: Reporter::new(watch::channel(DriverHealth::default()).0),
        orders: ordered,
        answers: answered,
        memory: Memory::open(None, "/berth"),
        work: Work::default(),
    };
    let lease = LeaseGuard::until(Instant::now());
    let term = Term {
        epoch,
        lease,
        orders,
    };
    order(&term, 1, &[("a", 0)], vec![put("a", "late")]);
    order(&term, 2, &[], vec![put("b", "late")]);
    assert_eq!(soon(async { Some(committer.run().await) }).await, End::Lost);
    for _ in 0..2 {
        let answer = soon(answers.recv()).await.input;
        let Input::Commit { fate, .. } = answer else {
            panic!("{answer:?}");
        };
        assert!(matches!(fate, Fate::Refused(_)), "{fate:?}");
    }
    assert_eq!(value(&mut client, "/workloads/a").await, None);
    assert_eq!(value(&mut client, "/workloads/b").await, None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_arrive_is_unknown_and_read_back_tells() {
    let net = Net::new();
    let mut subject = Subject::start(&net, "a", patient());
    let (term, _) = subject.leads().await;
    net.silence(Silence::Answers);
    order(&term, 1, &[("a", 0)], vec![put("a", "1")]);
    assert_eq!(subject.fate().await, (TxnId(1), Fate::Unknown));
    assert_ne!(subject.health.borrow().store_error, "");
    // It was applied: only the answer was lost.
    let keys = vec![workload("a"), workload("b")];
    term.orders.send(Order::ReadBack(TxnId(1), keys)).unwrap();
    net.silence(Silence::Nothing);
    let answer = soon(subject.answers.recv()).await.input;
    let Input::ReadBack {
        txn,
        revision,
        records,
    } = answer
    else {
        panic!("{answer:?}");
    };
    assert_eq!(txn, TxnId(1));
    assert_eq!(records[0].value.as_deref(), Some("1"));
    assert_eq!(records[0].mod_revision, revision);
    assert_eq!(
        (&records[1].value, records[1].mod_revision),
        (&None, StoreRevision(0))
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_leaves_the_fate_unknown() {
    let net = Net::new();
    let mut subject = Subject::start(&net, "a", patient());
    let (term, _) = subject.leads().await;
    net.silence(Silence::Answers);
    order(&term, 1, &[("a", 0)], vec![put("a", "1")]);
    // The store has it for sure, and is gone before it can say so.
    let mut client = net.client().await;
    while value(&mut client, "/workloads/a").await.is_none() {
        tokio::task::yield_now().await;
    }
    net.cut();
    assert_eq!(subject.fate().await, (TxnId(1), Fate::Unknown));
}

#[tokio::test(start_paused = true)]
async fn old_events_leave_as_a_range() {
    let net = Net::new();
    let mut client = net.client().await;
    for id in ["1", "2", "3"] {
        client
            .put(format!("/berth/events/{id}"), "{}", None)
            .await
            .unwrap();
    }
    let mut subject = Subject::start(&net, "a", config());
    let (term, snapshot) = subject.leads().await;
    assert_eq!(snapshot.records.len(), 3);
    let before = EventId::from_text("3");
    order(&term, 1, &[], vec![Op::DeleteEventsBefore { before }]);
    assert!(matches!(subject.fate().await.1, Fate::Committed(_)));
    assert_eq!(value(&mut client, "/events/2").await, None);
    assert!(value(&mut client, "/events/3").await.is_some());
}
