//! A replica that does not lead: it is told the store, and what changes in it.

use super::*;

/// The next change that says something.
async fn news(subject: &mut Subject) -> (StoreRevision, Vec<Stored>) {
    for _ in 0..1_000 {
        let (revision, records) = subject.change().await;
        if !records.is_empty() {
            return (revision, records);
        }
    }
    panic!("nothing changes");
}

#[tokio::test(start_paused = true)]
async fn a_follower_is_told_the_store_and_what_changes() {
    let net = Net::new();
    let mut leader = Subject::start(&net, "a", config());
    let (term, _) = leader.leads().await;
    order(&term, 1, &[], vec![put("w", "1")]);
    leader.fate().await;
    let mut follower = Subject::start(&net, "b", config());
    let (round, snapshot) = follower.follows().await;
    let keys: Vec<_> = snapshot.records.iter().map(|stored| &stored.key).collect();
    assert_eq!((round, keys), (0, vec![&workload("w")]));

    order(&term, 2, &[], vec![put("x", "2")]);
    let (revision, records) = news(&mut follower).await;
    assert!(revision > snapshot.revision);
    assert_eq!(records[0].key, workload("x"));
    // The stream breaks and goes on where it was.
    net.cut();
    let mut stranger = net.client().await;
    let written = stranger.put("/berth/workloads/y", "3", None).await;
    written.unwrap();
    // What was told last may be told again.
    for _ in 0..10 {
        let (_, records) = news(&mut follower).await;
        if records.iter().any(|stored| stored.key == workload("y")) {
            return;
        }
    }
    panic!("it was not told what changed after the stream broke");
}

#[tokio::test(start_paused = true)]
async fn that_nothing_changes_is_told_too() {
    let net = Net::new();
    let mut leader = Subject::start(&net, "a", config());
    let (_term, _) = leader.leads().await;
    let mut follower = Subject::start(&net, "b", config());
    follower.follows().await;
    for _ in 0..3 {
        let began = Instant::now();
        let (_, records) = follower.change().await;
        assert!(records.is_empty());
        assert!(began.elapsed() <= config().lease_ttl, "within a lease");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_leads_as_soon_as_nobody_does() {
    let net = Net::new();
    let mut leader = Subject::start(&net, "a", config());
    let (term, _) = leader.leads().await;
    let mut follower = Subject::start(&net, "b", config());
    follower.follows().await;
    let began = Instant::now();
    leader.stop.cancel();
    let (next, _) = follower.leads().await;
    assert!(next.epoch > term.epoch);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_follower_without_a_store_says_so_and_follows_again() {
    let net = Net::new();
    let mut leader = Subject::start(&net, "a", config());
    let (_term, _) = leader.leads().await;
    let mut follower = Subject::start(&net, "b", config());
    let (first, _) = follower.follows().await;
    net.silence(Silence::Everything);
    assert_eq!(follower.deposed().await, Deposed::StoreUnavailable);
    net.silence(Silence::Nothing);
    // Who leads by now does not matter: it is told the store anew.
    loop {
        match soon(follower.leadership.recv()).await {
            Leadership::Follow { round, taken, .. } => {
                taken.send(()).unwrap();
                assert!(round > first);
                break;
            }
            Leadership::Lead { taken, .. } => {
                taken.send(()).unwrap();
                break;
            }
            Leadership::TakeOver { .. } => panic!("there is no image to lead over"),
            Leadership::Deposed(_) => {}
        }
    }
}
