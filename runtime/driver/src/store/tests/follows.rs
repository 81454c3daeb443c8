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

/// How a follower begins to lead.
#[derive(Debug, PartialEq)]
enum Begins {
    /// Over the image of this round.
    Over(u64),
    /// Over so many records that it loaded.
    Loads(usize),
}

/// The next that is told is that it leads. A core whose image is `exact` takes over what it followed.
async fn begins(subject: &mut Subject, exact: bool) -> (Begins, Term) {
    loop {
        match soon(subject.leadership.recv()).await {
            Leadership::TakeOver {
                term,
                round,
                records,
                taken,
            } if exact => {
                assert_eq!(records, 1, "the workload");
                let revision = StoreRevision(term.epoch.create_revision());
                taken.send(revision).unwrap();
                return (Begins::Over(round), term);
            }
            Leadership::TakeOver { taken, .. } => drop(taken),
            Leadership::Lead {
                term,
                snapshot,
                taken,
            } => {
                taken.send(()).unwrap();
                return (Begins::Loads(snapshot.records.len()), term);
            }
            Leadership::Follow { taken, .. } => drop(taken.send(())),
            Leadership::Deposed(_) => {}
        }
    }
}

/// A leader that wrote one record, and one that follows it.
async fn led(net: &Arc<Net>) -> (Subject, Term, Subject) {
    let mut leader = Subject::start(net, "a", config());
    let (term, _) = leader.leads().await;
    let mut follower = Subject::start(net, "b", config());
    follower.follows().await;
    order(&term, 1, &[], vec![put("w", "1")]);
    leader.fate().await;
    (leader, term, follower)
}

#[tokio::test(start_paused = true)]
async fn who_followed_leads_over_what_it_was_told_before_its_election() {
    let net = Net::new();
    let (leader, former, mut follower) = led(&net).await;
    leader.stop.cancel();
    let (begins, term) = begins(&mut follower, true).await;
    assert_eq!(begins, Begins::Over(0));
    assert!(term.epoch > former.epoch);
    // By now its own election has been told, and before it everything else.
    let mut told = Vec::new();
    while let Ok(change) = follower.changes.try_recv() {
        assert_eq!(change.source, Source::Round(0));
        let Input::Changed { revision, records } = change.input else {
            panic!("not a change");
        };
        told.push((
            revision.0,
            records.into_iter().map(|r| r.key).collect::<Vec<_>>(),
        ));
    }
    let written = told
        .iter()
        .position(|(_, keys)| keys.contains(&workload("w")));
    let elected = told
        .iter()
        .position(|(at, _)| *at == term.epoch.create_revision());
    assert!(written.is_some() && written < elected, "{told:?}");
    // What others write afterwards is told to the leader.
    let written = net
        .client()
        .await
        .put("/berth/workloads/x", "2", None)
        .await;
    written.unwrap();
    let (_, records) = news(&mut follower).await;
    assert_eq!(records[0].key, workload("x"));
}

#[tokio::test(start_paused = true)]
async fn a_core_that_does_not_have_the_image_is_given_the_store() {
    let net = Net::new();
    let (leader, _, mut follower) = led(&net).await;
    leader.stop.cancel();
    let (begins, _term) = begins(&mut follower, false).await;
    assert_eq!(begins, Begins::Loads(1), "the workload");
}

#[tokio::test(start_paused = true)]
async fn who_loses_an_election_follows_on_without_reading_anything_anew() {
    let net = Net::new();
    let (leader, _, mut second) = led(&net).await;
    let mut third = Subject::start(&net, "c", config());
    third.follows().await;
    leader.stop.cancel();
    let (next, other, _term) = tokio::select! {
        (_, term) = begins(&mut second, true) => (&mut second, &mut third, term),
        (_, term) = begins(&mut third, true) => (&mut third, &mut second, term),
    };
    // That it led is over: the other one takes over the image of its first round.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(other.leadership.is_empty(), "its round goes on");
    next.stop.cancel();
    let (begins, _term) = begins(other, true).await;
    assert_eq!(begins, Begins::Over(0));
}
