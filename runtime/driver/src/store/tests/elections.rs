//! Who leads, and for how long.

use super::*;

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over_at_once() {
    let net = Net::new();
    let mut first = Subject::start(&net, "a", config());
    let (term, snapshot) = first.leads().await;
    assert!(
        snapshot.revision.0 >= term.epoch.0,
        "loaded after the election"
    );
    let mut second = Subject::start(&net, "b", config());
    assert_eq!(second.deposed().await, Deposed::LostLeadership);
    let leader = second.health.borrow().leader.clone();
    assert_eq!(leader.map(|leader| leader.id).as_deref(), Some("a"));

    let stopped = Instant::now();
    first.stop.cancel();
    first.task.await.unwrap();
    let (next, _) = second.leads().await;
    assert!(next.epoch > term.epoch);
    assert!(
        stopped.elapsed() < Duration::from_secs(1),
        "did not wait for the lease"
    );
    let leader = second.health.borrow().leader.clone();
    assert_eq!(leader.map(|leader| leader.id).as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_vanishes_is_followed_when_its_lease_expires() {
    let net = Net::new();
    let mut first = Subject::start(&net, "a", config());
    let (term, _) = first.leads().await;
    let mut second = Subject::start(&net, "b", config());
    second.deposed().await;
    let died = Instant::now();
    first.task.abort();
    let (next, _) = second.leads().await;
    assert!(next.epoch > term.epoch);
    let took = died.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(
        took > Duration::from_secs(2),
        "not before the lease expired: {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_anybody_else_can_lead() {
    let net = Net::new();
    let mut first = Subject::start(&net, "a", config());
    let (term, _) = first.leads().await;
    net.silence(Silence::Everything);
    assert_eq!(first.deposed().await, Deposed::StoreUnavailable);
    assert!(!term.lease.is_valid(), "nobody acts on the lease any more");
    let mut client = net.client().await;
    let held = value(&mut client, "/leader/current").await;
    assert!(held.is_some(), "the lease has not expired yet");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_for_as_long_as_the_store_answers() {
    let net = Net::new();
    let mut first = Subject::start(&net, "a", config());
    let (term, _) = first.leads().await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(term.lease.is_valid());
        net.cut();
    }
    assert!(first.leadership.is_empty(), "it leads without a break");
}

#[tokio::test(start_paused = true)]
async fn whoever_deletes_the_leadership_key_deposes_the_leader() {
    let net = Net::new();
    let mut first = Subject::start(&net, "a", config());
    let (term, _) = first.leads().await;
    net.client()
        .await
        .delete("/berth/leader/current", None)
        .await
        .unwrap();
    assert_eq!(first.deposed().await, Deposed::LostLeadership);
    let (next, _) = first.leads().await;
    assert!(next.epoch > term.epoch);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_gone_ends_the_term() {
    let net = Net::new();
    let mut first = Subject::start(&net, "a", config());
    let (term, _) = first.leads().await;
    net.store.revoke_all_leases().await.unwrap();
    assert_eq!(first.deposed().await, Deposed::LostLeadership);
    let (next, _) = first.leads().await;
    assert!(next.epoch > term.epoch);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_out_of_reach_at_first_is_said_so_and_tried_again() {
    let net = Net::new();
    net.set_refusing(true);
    let mut first = Subject::start(&net, "a", config());
    assert_eq!(first.deposed().await, Deposed::StoreUnavailable);
    first
        .health
        .wait_for(|health| !health.store_error.is_empty())
        .await
        .unwrap();
    net.set_refusing(false);
    first.leads().await;
    assert_eq!(first.health.borrow().store_error, "");
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_is_too_old_for_the_store_refuses_it() {
    let net = Net::new();
    let mut client = net.client().await;
    let newer = r#"{"schema": 9, "oldest_reader": 9, "by": "9.0.0", "more": 1}"#;
    client.put("/berth/meta/schema", newer, None).await.unwrap();
    let mut subject = Subject::start(&net, "a", config());
    assert_eq!(subject.deposed().await, Deposed::StoreRefused);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(subject.leadership.is_empty(), "it does not lead");
    let why = subject.health.borrow().store.why.clone();
    assert!(why.contains("they need 9: berth 9.0.0"), "{why}");
    assert!(value(&mut client, "/leader/current").await.is_none());
    // One that is old, but not too old, leads, and takes nothing back.
    let newer = newer.replace(r#""oldest_reader": 9"#, r#""oldest_reader": 1"#);
    client
        .put("/berth/meta/schema", newer.as_str(), None)
        .await
        .unwrap();
    subject.leads().await;
    assert_eq!(
        value(&mut client, "/meta/schema").await.as_deref(),
        Some(newer.as_str())
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_elected_says_which_versions_may_use_the_store() {
    let net = Net::new();
    let mut client = net.client().await;
    let older = r#"{"schema": 0, "oldest_reader": 0, "by": "0.0.1", "more": 1}"#;
    client.put("/berth/meta/schema", older, None).await.unwrap();
    let mut subject = Subject::start(&net, "a", config());
    subject.leads().await;
    let found = value(&mut client, "/meta/schema").await.unwrap();
    let found: berth_core::schema::Schema = serde_json::from_str(&found).unwrap();
    assert_eq!((found.schema, found.oldest_reader), (1, 1));
    assert_eq!(found.extra["more"], 1);
}

#[tokio::test(start_paused = true)]
async fn who_leads_is_read_past_a_watch_that_hears_nothing() {
    let net = Net::new();
    let record = LeaderRecord {
        factory: Arc::new(net.factory()),
        config: Arc::new(config()),
    };
    assert_eq!(record.read().await, Ok(None));
    let mut leader = Subject::start(&net, "a", config());
    leader.leads().await;
    let read = record.read().await.unwrap();
    assert_eq!(read.map(|replica| replica.id).as_deref(), Some("a"));
    net.set_refusing(true);
    assert!(record.read().await.is_err());
}
