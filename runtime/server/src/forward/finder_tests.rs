//! The watch names somebody who does not lead, and the store somebody else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use berth_driver::store::{Leaders, ReadingLeader};
use futures::future::join_all;
use tokio::time::advance;

use super::finder::{Finder, Lead};
use super::tests::{Counting, Served, following, is_unavailable, replica, retry};
use super::*;
use crate::api::{Api, ApiLimits};
use crate::testing::{Script, workload_answer};

/// What the store says, and how often it was asked. `Err`: it does not answer.
#[derive(Debug)]
struct Store {
    says: Mutex<Result<Option<Replica>, ()>>,
    reads: AtomicUsize,
}

impl Store {
    fn saying(leader: Option<&Replica>) -> Arc<Self> {
        Arc::new(Self {
            says: Mutex::new(Ok(leader.cloned())),
            reads: AtomicUsize::new(0),
        })
    }

    fn says(&self, what: Result<Option<Replica>, ()>) {
        *self.says.lock().unwrap() = what;
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

impl Leaders for Store {
    fn read(&self) -> ReadingLeader<'_> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let said = self.says.lock().unwrap().clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            match said {
                Ok(leader) => Ok(leader),
                Err(()) => std::future::pending().await,
            }
        })
    }
}

/// A replica whose watch names `told`, and the lines that it made.
fn follower(script: &mut Script, told: &Replica, store: &Arc<Store>) -> (Api, Arc<Counting>) {
    script.set_health(following(Some(told)));
    script.read_leaders_from(store.clone());
    let lines = Arc::<Counting>::default();
    let peers = Peers {
        own: replica("follower", "127.0.0.1:1"),
        connect: lines.clone(),
    };
    let api = script.api_with(ApiLimits::default()).with_peers(peers);
    (api, lines)
}

#[tokio::test]
async fn who_leads_is_found_in_the_store_while_the_watch_names_another() {
    let leader = Script::new(|_| workload_answer("web"));
    let served = Served::start("leader", &leader).await;
    let idle = Script::silent();
    idle.set_health(following(None));
    let deposed = Served::start("deposed", &idle).await;
    // It was restarted on its address; it is gone; it serves on and leads no more.
    let mut former = served.own.clone();
    former.secret = berth_driver::Secret::new("of its former life".to_owned());
    let gone = replica("gone", "127.0.0.1:9");
    for told in [&former, &gone, &deposed.own] {
        let mut script = Script::silent();
        let store = Store::saying(Some(&served.own));
        let (api, lines) = follower(&mut script, told, &store);
        for _ in 0..3 {
            let answer = api.ask(retry("web")).await;
            assert_eq!(answer, workload_answer("web").map_err(AskError::from));
        }
        // What was found is kept, until the watch goes on.
        assert_eq!((store.reads(), lines.made()), (1, 2), "{told:?}");
        script.set_health(following(Some(&served.own)));
        assert!(api.ask(retry("web")).await.is_ok());
        script.set_health(following(Some(&gone)));
        let answer = api.ask(retry("web")).await;
        assert!(is_unavailable(&answer), "{answer:?}");
    }
    assert_eq!(idle.seen(), []);
    served.die().await;
    deposed.die().await;
}

#[tokio::test]
async fn who_is_not_found_is_not_called() {
    let served = Served::start("leader", &Script::silent()).await;
    let mut former = served.own.clone();
    former.secret = berth_driver::Secret::new("of its former life".to_owned());
    let myself = replica("follower", "127.0.0.1:1");
    let nameless = replica("nameless", "");
    for found in [None, Some(&former), Some(&myself), Some(&nameless)] {
        let mut script = Script::silent();
        let store = Store::saying(found);
        let (api, lines) = follower(&mut script, &former, &store);
        let answer = api.ask(retry("web")).await;
        assert!(is_unavailable(&answer), "{answer:?}");
        assert_eq!((store.reads(), lines.made()), (1, 1), "{found:?}");
    }
    served.die().await;
}

#[tokio::test]
async fn what_may_have_been_carried_out_is_not_sent_again() {
    let (leader, mut asked) = Script::manual();
    let served = Served::start("leader", &leader).await;
    let mut script = Script::silent();
    let store = Store::saying(Some(&replica("next", "127.0.0.1:9")));
    let (api, _) = follower(&mut script, &served.own, &store);
    let asking = tokio::spawn(async move { api.ask(retry("web")).await });
    let submission = asked.recv().await.unwrap();
    served.die().await;
    let answer = asking.await.unwrap();
    assert!(matches!(answer, Err(AskError::NotKnown(_))), "{answer:?}");
    assert_eq!(store.reads(), 0);
    drop(submission);
}

#[tokio::test]
async fn a_watch_that_lags_ends_no_call_to_who_was_found() {
    let (leader, mut asked) = Script::manual();
    let served = Served::start("leader", &leader).await;
    let mut script = Script::silent();
    let store = Store::saying(Some(&served.own));
    let (api, _) = follower(&mut script, &replica("gone", "127.0.0.1:9"), &store);
    let asking = tokio::spawn(async move { api.ask(retry("web")).await });
    let submission = asked.recv().await.unwrap();
    tokio::time::pause();
    advance(LAST_WORDS * 2).await;
    // The watch catches up, which is no news of it either.
    script.set_health(following(Some(&served.own)));
    advance(LAST_WORDS * 2).await;
    submission.reply.send(workload_answer("web")).unwrap();
    tokio::time::resume();
    assert!(asking.await.unwrap().is_ok());
    served.die().await;
}

/// A finder over a watch that names `told`.
fn finder(told: &Replica, store: &Arc<Store>) -> (Script, Finder) {
    let mut script = Script::silent();
    script.set_health(following(Some(told)));
    script.read_leaders_from(store.clone());
    let finder = Finder::new(script.core());
    (script, finder)
}

#[tokio::test(start_paused = true)]
async fn the_store_is_read_by_one_call_for_all_and_once_a_second() {
    let (told, next) = (replica("told", "a:1"), replica("next", "b:1"));
    let store = Store::saying(Some(&told));
    let (_script, finder) = finder(&told, &store);
    let until = Instant::now() + Duration::from_secs(30);
    let all = async || join_all((0..20).map(|_| finder.instead_of(&told, until))).await;
    assert_eq!(all().await, vec![None; 20]);
    assert_eq!(store.reads(), 1);
    store.says(Ok(Some(next.clone())));
    assert_eq!(all().await, vec![None; 20], "too soon");
    assert_eq!(store.reads(), 1);
    advance(Duration::from_secs(1)).await;
    let lead = Lead {
        leader: next,
        told: told.clone(),
    };
    assert_eq!(all().await, vec![Some(lead.clone()); 20]);
    assert_eq!((store.reads(), finder.lead()), (2, Some(lead)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_takes_half_of_the_time_at_most_and_a_second_at_most() {
    let told = replica("told", "a:1");
    let store = Store::saying(None);
    store.says(Err(()));
    let (_script, finder) = finder(&told, &store);
    for (left_ms, waited_ms) in [(400, 200), (30_000, 1_000)] {
        advance(Duration::from_secs(1)).await;
        let began = Instant::now();
        let until = began + Duration::from_millis(left_ms);
        assert_eq!(finder.instead_of(&told, until).await, None);
        assert_eq!(began.elapsed(), Duration::from_millis(waited_ms));
    }
    assert_eq!(store.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_was_found_is_forgotten_when_it_does_not_lead_either() {
    let (told, next) = (replica("told", "a:1"), replica("next", "b:1"));
    let store = Store::saying(Some(&next));
    let (_script, finder) = finder(&told, &store);
    let until = Instant::now() + Duration::from_secs(30);
    assert!(finder.instead_of(&told, until).await.is_some());
    // The one that the watch names leads again.
    store.says(Ok(Some(told.clone())));
    advance(Duration::from_secs(1)).await;
    let again = Some(Lead {
        leader: told.clone(),
        told,
    });
    assert_eq!(finder.instead_of(&next, until).await, again);
    assert_eq!(finder.lead(), again);
}
