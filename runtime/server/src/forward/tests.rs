//! Two replicas with scripted cores, and a real connection between them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use berth_core::StoreRevision;
use berth_core::io::request::Query;
use berth_driver::handle::DriverHealth;
use berth_driver::{DirectConnect, Secret};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::{Api, ApiLimits};
use crate::call::Caller;
use crate::listener::{Listener, Protocol};
use crate::testing::{Script, workload_answer};

/// Counts the connections that it makes lines for.
#[derive(Debug, Default)]
pub(super) struct Counting(AtomicUsize);

impl Counting {
    /// So many so far.
    pub(super) fn made(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Connect for Counting {
    fn channel(&self, endpoint: &str) -> Result<Channel, String> {
        self.0.fetch_add(1, Ordering::Relaxed);
        DirectConnect::default().channel(endpoint)
    }
}

/// A replica that another one may forward to.
pub(super) struct Served {
    pub(super) own: Replica,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

pub(super) fn replica(id: &str, address: &str) -> Replica {
    Replica {
        id: id.into(),
        grpc_address: address.into(),
        secret: Secret::new(format!("secret of {id}")),
        ..Replica::default()
    }
}

impl Served {
    pub(super) async fn start(id: &str, script: &Script) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let port = Listener::bind(any, Protocol::Grpc, None, 16).await.unwrap();
        let own = replica(id, &port.address().to_string());
        let peers = Peers {
            own: own.clone(),
            connect: Arc::new(DirectConnect::default()),
        };
        let (router, _health) = crate::grpc::router(&script.api().with_peers(peers)).unwrap();
        let shutdown = CancellationToken::new();
        let serving = port.serve(router, shutdown.clone(), Duration::ZERO);
        let task = tokio::spawn(serving);
        Self {
            own,
            shutdown,
            task,
        }
    }

    /// Its connections are cut; whatever it was about to answer is lost.
    pub(super) async fn die(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

pub(super) fn following(leader: Option<&Replica>) -> DriverHealth {
    DriverHealth {
        leader: leader.cloned(),
        ..DriverHealth::default()
    }
}

/// A replica that follows `leader`, and the lines that it made.
fn follower_with(
    script: &Script,
    leader: Option<&Replica>,
    limits: ApiLimits,
) -> (Api, Arc<Counting>) {
    script.set_health(following(leader));
    let lines = Arc::<Counting>::default();
    let peers = Peers {
        own: replica("follower", "127.0.0.1:1"),
        connect: lines.clone(),
    };
    (script.api_with(limits).with_peers(peers), lines)
}

fn follower(script: &Script, leader: Option<&Replica>) -> Api {
    follower_with(script, leader, ApiLimits::default()).0
}

pub(super) fn retry(id: &str) -> Request {
    Request::Retry {
        workload: id.parse().unwrap(),
    }
}

fn read(id: &str) -> Request {
    Request::Read(Query::Workload(id.parse().unwrap()))
}

pub(super) fn is_unavailable(answer: &Result<Response, AskError>) -> bool {
    matches!(answer, Err(AskError::Core(RequestError::Unavailable { retry_after, effect, .. }))
        if !retry_after.is_zero() && *effect == Effect::None)
}

#[tokio::test]
async fn the_leader_answers_what_another_replica_was_asked() {
    let leader = Script::new(|request| match request {
        Request::Retry { workload } if workload.as_str() == "stale" => Err(RequestError::Stale {
            expected: StoreRevision(3),
            current: StoreRevision(4),
        }),
        _ => workload_answer("web"),
    });
    let served = Served::start("leader", &leader).await;
    let script = Script::silent();
    let api = follower(&script, Some(&served.own));
    let answer = api.ask(retry("web")).await;
    assert_eq!(answer.unwrap(), workload_answer("web").unwrap());
    let refused = api.ask(retry("stale")).await.unwrap_err();
    assert_eq!(
        refused,
        AskError::Core(RequestError::Stale {
            expected: StoreRevision(3),
            current: StoreRevision(4),
        })
    );
    assert_eq!(leader.seen(), [retry("web"), retry("stale")]);
    assert_eq!(script.seen(), []);
    served.die().await;
}

#[tokio::test]
async fn a_read_stays_here_unless_it_must_be_new_or_only_the_leader_can_say_no() {
    let leader = Script::new(|_| Err(RequestError::NoSuchWorkload("gone".parse().unwrap())));
    let served = Served::start("leader", &leader).await;
    let script = Script::new(|request| match request {
        request if *request == read("here") => workload_answer("here"),
        _ => Err(RequestError::Unavailable {
            reason: "this replica does not know of that".into(),
            retry_after: Duration::from_secs(1),
            effect: Effect::None,
        }),
    });
    let api = follower(&script, Some(&served.own));
    assert!(api.ask(read("here")).await.is_ok());
    assert_eq!(leader.seen(), []);
    let missing = Err(AskError::Core(RequestError::NoSuchWorkload(
        "gone".parse().unwrap(),
    )));
    assert_eq!(api.ask(read("gone")).await, missing);
    assert_eq!(api.ask_strong(read("here")).await, missing);
    assert_eq!(leader.seen(), [read("gone"), read("here")]);
    // Nobody to ask: the replica's own word stands.
    script.set_health(following(None));
    assert!(is_unavailable(&api.ask(read("gone")).await));
    assert!(is_unavailable(&api.ask_strong(read("here")).await));
    served.die().await;
}

#[tokio::test]
async fn without_a_leader_a_write_is_refused_with_a_hint() {
    let script = Script::silent();
    let nobody_listens = replica("leader", "127.0.0.1:9");
    let myself = replica("follower", "127.0.0.1:1");
    for leader in [None, Some(&nobody_listens), Some(&myself)] {
        let (api, lines) = follower_with(&script, leader, ApiLimits::default());
        let answer = api.ask(retry("web")).await;
        assert!(is_unavailable(&answer), "{leader:?}: {answer:?}");
        let called = leader.is_some_and(|leader| leader.id != "follower");
        assert_eq!(lines.made(), usize::from(called));
    }
}

#[tokio::test]
async fn one_hop_and_only_from_those_who_know_the_secret() {
    let (leader, other) = (Script::silent(), Script::silent());
    let other_served = Served::start("other", &other).await;
    let served = Served::start("leader", &leader).await;
    // It leads no more, and knows who does: it must not send anything on.
    leader.set_health(following(Some(&other_served.own)));
    let script = Script::silent();
    let answer = follower(&script, Some(&served.own)).ask(retry("web")).await;
    assert!(is_unavailable(&answer), "{answer:?}");
    assert!(format!("{answer:?}").contains("leader does not lead"));
    let mut wrong = other_served.own.clone();
    for secret in ["", "secret of leader"] {
        wrong.secret = Secret::new(secret.to_owned());
        let answer = follower(&script, Some(&wrong)).ask(retry("web")).await;
        assert!(is_unavailable(&answer), "{answer:?}");
        assert!(format!("{answer:?}").contains("only replicas"));
    }
    served.die().await;
    other_served.die().await;
}

#[tokio::test]
async fn a_leader_that_dies_leaves_the_outcome_of_a_write_open() {
    for (request, is_read) in [(retry("web"), false), (read("web"), true)] {
        let (leader, mut asked) = Script::manual();
        let served = Served::start("leader", &leader).await;
        let script = Script::silent();
        let api = follower(&script, Some(&served.own));
        let asking = tokio::spawn(async move { api.ask_strong(request).await });
        let submission = asked.recv().await.unwrap();
        served.die().await;
        let answer = asking.await.unwrap();
        if is_read {
            assert!(is_unavailable(&answer), "{answer:?}");
        } else {
            assert!(matches!(answer, Err(AskError::NotKnown(_))), "{answer:?}");
        }
        drop(submission);
    }
}

#[tokio::test]
async fn a_leader_that_leads_no_more_is_not_waited_for() {
    let (leader, mut asked) = Script::manual();
    let served = Served::start("leader", &leader).await;
    let script = Script::silent();
    let api = follower(&script, Some(&served.own));
    let asking = tokio::spawn(async move { api.ask(retry("web")).await });
    let submission = asked.recv().await.unwrap();
    // It hangs, and its lease expires.
    script.set_health(following(None));
    let answer = asking.await.unwrap();
    assert!(matches!(answer, Err(AskError::NotKnown(_))), "{answer:?}");
    drop(submission);
    served.die().await;
}

#[tokio::test]
async fn the_callers_deadline_holds_on_both_sides() {
    let (leader, mut asked) = Script::manual();
    let served = Served::start("leader", &leader).await;
    let script = Script::silent();
    let api = follower(&script, Some(&served.own));
    let call = Call {
        until: Some(Instant::now() + Duration::from_millis(150)),
        ..Call::default()
    };
    let asking = tokio::spawn(call.scope(async move { api.ask(retry("web")).await }));
    let mut submission = asked.recv().await.unwrap();
    let answer = asking.await.unwrap();
    assert!(matches!(answer, Err(AskError::Timeout(_))), "{answer:?}");
    // Nobody waits for it at the leader either.
    submission.reply.closed().await;
    served.die().await;
}

#[tokio::test]
async fn what_is_on_its_way_is_bounded() {
    let (leader, mut asked) = Script::manual();
    let served = Served::start("leader", &leader).await;
    let limits = ApiLimits {
        forwards_max: 1,
        ..ApiLimits::default()
    };
    let script = Script::silent();
    let (api, _) = follower_with(&script, Some(&served.own), limits);
    let (one, two) = (api.clone(), api);
    let first = tokio::spawn(async move { one.ask(retry("web")).await });
    let submission = asked.recv().await.unwrap();
    let second = two.ask(retry("web")).await;
    assert_eq!(second, Err(AskError::TooManyForwarded));
    submission.reply.send(workload_answer("web")).unwrap();
    assert!(first.await.unwrap().is_ok());
    // A place is free again.
    let third = tokio::spawn(async move { two.ask(retry("web")).await });
    let submission = asked.recv().await.unwrap();
    submission.reply.send(workload_answer("web")).unwrap();
    assert!(third.await.unwrap().is_ok());
    served.die().await;
}

#[tokio::test]
async fn one_connection_to_each_leader() {
    let leader = || Script::new(|_| workload_answer("web"));
    let (first, second) = (leader(), leader());
    let one = Served::start("one", &first).await;
    let two = Served::start("two", &second).await;
    let script = Script::silent();
    let (api, lines) = follower_with(&script, Some(&one.own), ApiLimits::default());
    let many = futures::stream::iter(0..20).for_each_concurrent(None, async |_| {
        assert!(api.ask(retry("web")).await.is_ok());
    });
    many.await;
    assert_eq!(lines.made(), 1);
    script.set_health(following(Some(&two.own)));
    assert!(api.ask(retry("web")).await.is_ok());
    assert_eq!(lines.made(), 2);
    assert_eq!((first.seen().len(), second.seen().len()), (20, 1));
    one.die().await;
    two.die().await;
}

#[tokio::test]
async fn a_session_never_sees_the_past_again() {
    let leader = Script::new(|_| workload_answer("new"));
    let served = Served::start("leader", &leader).await;
    let script = Script::new(|_| workload_answer("old"));
    let api = follower(&script, Some(&served.own));
    let seen = |revision| Call {
        at_least: StoreRevision(revision),
        ..Call::default()
    };
    // Every scripted image is at revision 50.
    let answer = seen(50).scope(api.ask(read("web"))).await;
    assert_eq!(answer.unwrap(), workload_answer("old").unwrap());
    assert_eq!(leader.seen(), []);
    let answer = seen(51).scope(api.ask(read("web"))).await;
    assert!(is_unavailable(&answer), "{answer:?}");
    assert_eq!(leader.seen(), [read("web")], "the leader was asked");
    script.set_health(following(None));
    let answer = seen(51).scope(api.ask(read("web"))).await;
    assert!(is_unavailable(&answer), "{answer:?}");
    assert!(seen(50).scope(api.ask(read("web"))).await.is_ok());
    served.die().await;
}

#[tokio::test]
async fn a_strong_read_is_no_answer_once_the_term_is_over() {
    for epoch_after in [7, 8] {
        let (script, mut asked) = Script::manual();
        let api = script.api();
        let asking = tokio::spawn(async move { api.ask_strong(read("web")).await });
        let submission = asked.recv().await.unwrap();
        submission.reply.send(workload_answer("web")).unwrap();
        // Somebody else may have led between the two terms.
        script.set_health(DriverHealth {
            leading: true,
            epoch: epoch_after,
            ..DriverHealth::default()
        });
        let answer = asking.await.unwrap();
        assert_eq!(answer.is_ok(), epoch_after == 7, "{answer:?}");
    }
    let script = Script::new(|_| workload_answer("web"));
    script.set_health(following(None));
    assert!(is_unavailable(&script.api().ask_strong(read("web")).await));
    assert!(script.api().ask(read("web")).await.is_ok());
}

#[test]
fn what_replicas_say_to_each_other_is_read_as_it_was_written() {
    use crate::testing::{fresh, node};
    let answers = [
        workload_answer("web").unwrap(),
        Response::Node(Box::new(node("node-1"))),
        Response::Workloads {
            workloads: vec![crate::testing::workload("web")],
            more: true,
            freshness: fresh(9),
        },
        Response::Purged,
        Response::Registered {
            heartbeat_interval: Duration::from_millis(1500),
            lease_expires_at: berth_core::Timestamp::from_millis(1_234_567),
        },
    ];
    for answer in answers {
        let outcome = wire::outcome_out(Ok(answer.clone())).unwrap();
        let message = proto::ForwardResponse {
            outcome: Some(outcome),
        };
        assert_eq!(wire::outcome(message, false), Ok(answer));
    }
    let empty = proto::ForwardResponse { outcome: None };
    let answer = wire::outcome(empty, false);
    assert!(matches!(answer, Err(AskError::NotKnown(_))), "{answer:?}");
    let caller = Caller {
        address: "10.0.0.7:4242".into(),
        subject: "gateway".into(),
    };
    assert_eq!(wire::caller_in(Some(wire::caller_out(&caller))), caller);
    let long = Caller {
        subject: "x".repeat(10_000),
        ..caller
    };
    let read = wire::caller_in(Some(wire::caller_out(&long)));
    assert_eq!(read.subject, "");
}

#[tokio::test]
async fn ready_is_who_leads_or_knows_who_does_until_its_end_is_asked_for() {
    let script = Script::silent();
    let leader = replica("leader", "127.0.0.1:9");
    let api = follower(&script, Some(&leader));
    assert_eq!(api.not_ready(), None);
    assert!(
        script.api().not_ready().is_some(),
        "it has no way to the leader"
    );
    let sick = DriverHealth {
        store_error: "etcd does not answer".into(),
        ..following(Some(&leader))
    };
    for health in [following(None), sick] {
        script.set_health(health);
        assert!(api.not_ready().is_some());
    }
    script.set_health(DriverHealth {
        leading: true,
        ..DriverHealth::default()
    });
    let ending = CancellationToken::new();
    let api = api.ending_with(ending.clone());
    assert_eq!(api.not_ready(), None);
    ending.cancel();
    assert!(
        api.not_ready()
            .is_some_and(|why| why.contains("shutting down"))
    );
    assert!(!api.shutdown().is_cancelled(), "it serves on");
}
