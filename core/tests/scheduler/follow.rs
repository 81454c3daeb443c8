//! Replicas that do not lead: their image follows the store.

use berth_core::io::agent::{AgentOp, AgentReply, AgentState, AgentStatus};
use berth_core::io::request::{
    Heartbeat, NodeFilter, Query, Request, RequestError, Response, WorkloadFilter,
};
use berth_core::io::view::{ClusterSummary, NodeView, WorkloadView};
use berth_core::io::{AgentCall, Deposed, Op, Snapshot, Stored};
use berth_core::model::node::NodeUsage;
use berth_core::model::workload::DesiredState;
use berth_core::{
    Config, Epoch, EventId, EventRecord, Input, Key, NodeId, Output, RequestId, Revision,
    Scheduler, StoreRevision, Timestamp, WorkloadId,
};

use crate::cluster::{Cluster, apply, id, node, seconds};
use crate::review::edit;

/// A replica that follows, and how much of the store's history it was told.
struct Follower {
    core: Scheduler,
    told: usize,
    requests: u64,
}

impl Follower {
    fn new(now: Timestamp, snapshot: Snapshot, told: usize) -> Self {
        let mut core = Scheduler::new(Config::default());
        core.handle(now, Input::Follow { snapshot });
        assert_eq!(core.poll_output(), None);
        Self {
            core,
            told,
            requests: 0,
        }
    }

    fn of(cluster: &Cluster) -> Self {
        Self::new(cluster.now, cluster.snapshot(), cluster.changes.len())
    }

    /// Is told everything that happened since; it wants nothing done.
    fn catch_up(&mut self, cluster: &Cluster) {
        for (revision, records) in &cluster.changes[self.told..] {
            let revision = StoreRevision(*revision);
            let records = records.clone();
            self.core
                .handle(cluster.now, Input::Changed { revision, records });
            assert_eq!(self.core.poll_output(), None, "a follower decides nothing");
            assert_eq!(self.core.poll_deadline(), None, "nor waits for anything");
        }
        self.told = cluster.changes.len();
        let violation = self.core.check_invariants();
        assert!(violation.is_ok(), "{violation:?}");
    }

    fn ask(&mut self, now: Timestamp, request: Request) -> Result<Response, RequestError> {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.core.handle(now, Input::Request { id, request });
        match self.core.poll_output() {
            Some(Output::Reply { result, .. }) => *result,
            other => panic!("expected a reply: {other:?}"),
        }
    }
}

/// What readers see, without how fresh it is and what only a leader hears.
#[derive(Debug, PartialEq)]
struct Seen {
    workloads: Vec<WorkloadView>,
    nodes: Vec<NodeView>,
    summary: ClusterSummary,
    events: Vec<EventRecord>,
}

fn seen(mut ask: impl FnMut(Query) -> Result<Response, RequestError>) -> Seen {
    let Ok(Response::Workloads { mut workloads, .. }) =
        ask(Query::Workloads(WorkloadFilter::default()))
    else {
        panic!("workloads")
    };
    let Ok(Response::Nodes { mut nodes, .. }) = ask(Query::Nodes(NodeFilter::default())) else {
        panic!("nodes")
    };
    let Ok(Response::Summary(mut summary)) = ask(Query::Summary) else {
        panic!("a summary")
    };
    let events = Query::Events {
        after: None,
        workload: None,
        node: None,
        limit: 0,
    };
    let Ok(Response::Events(page)) = ask(events) else {
        panic!("events")
    };
    for view in &mut workloads {
        view.freshness = Default::default();
    }
    for view in &mut nodes {
        view.freshness = Default::default();
        view.usage = Default::default();
        view.strangers = None;
        view.record.last_heartbeat = Timestamp::ZERO;
    }
    summary.freshness = Default::default();
    summary.generated_at = Timestamp::ZERO;
    Seen {
        workloads,
        nodes,
        summary,
        events: page.events,
    }
}

/// Whether both a follower of old and a new one show what the leader shows.
fn agree(cluster: &mut Cluster, follower: &mut Follower) {
    follower.catch_up(cluster);
    let now = cluster.now;
    let mut fresh = Follower::of(cluster);
    let leader = seen(|query| cluster.ask(Request::Read(query)));
    assert_eq!(seen(|q| follower.ask(now, Request::Read(q))), leader);
    assert_eq!(seen(|q| fresh.ask(now, Request::Read(q))), leader);
}

#[test]
fn a_follower_shows_what_the_leader_shows() {
    let mut cluster = Cluster::new();
    let mut follower = Follower::of(&cluster);
    cluster.nodes(3);
    agree(&mut cluster, &mut follower);
    for n in 0..6 {
        cluster.apply(&format!("w-{n}"), 700).unwrap();
    }
    agree(&mut cluster, &mut follower);
    cluster.pass(seconds(5));
    agree(&mut cluster, &mut follower);
    cluster.set("w-1", DesiredState::Stopped).unwrap();
    cluster.delete("w-2").unwrap();
    cluster.pass(seconds(20));
    agree(&mut cluster, &mut follower);
    // A node is lost, its workloads move and leave tombstones.
    let lost = cluster.agents.get_mut(&node("n-0")).unwrap();
    (lost.heartbeats, lost.reachable) = (false, false);
    cluster.pass(seconds(180));
    agree(&mut cluster, &mut follower);
    let back = cluster.agents.get_mut(&node("n-0")).unwrap();
    (back.heartbeats, back.reachable) = (true, true);
    cluster.pass(seconds(180));
    agree(&mut cluster, &mut follower);
    assert!(cluster.changes.len() > 20, "it was told something");
}

#[test]
fn a_follower_says_how_old_its_image_is_and_refuses_to_decide() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    let mut follower = Follower::of(&cluster);
    let later = cluster.now + seconds(7);
    let read = Request::Read(Query::Workload(id("w")));
    let Ok(Response::Workload(view)) = follower.ask(later, read.clone()) else {
        panic!("a workload")
    };
    assert!(view.freshness.stale);
    assert_eq!(view.freshness.age_ms, 7_000);
    // That nothing changed is news too.
    let (revision, records) = (StoreRevision(cluster.revision), Vec::new());
    follower
        .core
        .handle(later, Input::Changed { revision, records });
    let Ok(Response::Workload(view)) = follower.ask(later, read) else {
        panic!("a workload")
    };
    assert_eq!(view.freshness.age_ms, 0);
    // What runs there besides, only the leader is told.
    let Ok(Response::Node(view)) = follower.ask(later, Request::Read(Query::Node(node("n-0"))))
    else {
        panic!("a node")
    };
    assert_eq!(view.strangers, None);
    assert_eq!(cluster.get_node("n-0").unwrap().strangers, Some(0));
    let unknown = follower.ask(later, Request::Read(Query::Workload(id("x"))));
    assert!(
        matches!(unknown, Err(RequestError::Unavailable { .. })),
        "{unknown:?}"
    );
    let write = Request::Retry { workload: id("w") };
    let refused = follower.ask(later, write);
    assert!(matches!(refused, Err(RequestError::Unavailable { .. })));
}

#[test]
fn who_loses_the_store_keeps_its_image_and_hears_nothing_more() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    let mut follower = Follower::of(&cluster);
    let reason = Deposed::StoreUnavailable;
    follower.core.handle(cluster.now, Input::Deposed { reason });
    let before = cluster.seen("w").0;
    cluster.delete("w").unwrap();
    cluster.pass(seconds(60));
    follower.catch_up(&cluster);
    let read = Request::Read(Query::Workload(id("w")));
    let Ok(Response::Workload(view)) = follower.ask(cluster.now, read) else {
        panic!("the workload as it was, before it was {before}")
    };
    assert!(view.freshness.age_ms >= 60_000);
    assert_eq!(cluster.seen("w").0, "Gone");
}

#[test]
fn a_leader_does_not_follow() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    let snapshot = Snapshot::default();
    cluster.feed(Input::Follow { snapshot });
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").0, "Running");
}

/// Everything that a core wants done.
fn outputs(core: &mut Scheduler) -> Vec<Output> {
    core.check_invariants().unwrap();
    std::iter::from_fn(|| core.poll_output()).collect()
}

/// Who followed from the beginning and takes over is the same, in everything that it holds and does
/// next, as who loads the store at that revision.
fn leads_alike(cluster: &Cluster) {
    let (now, epoch) = (cluster.now, Epoch(cluster.revision));
    let mut followed = Follower::new(now, Snapshot::default(), 0);
    followed.catch_up(cluster);
    let mut loaded = Scheduler::new(Config::default());
    loaded.handle(now, Input::TakeOver { epoch });
    assert!(!loaded.is_leading(), "it has no image");
    let snapshot = cluster.snapshot();
    let is_record = |key: &&Key| !matches!(key, Key::Event(_) | Key::Meta(_) | Key::Leader(_));
    let records = cluster.store.keys().filter(is_record).count();
    assert_eq!(followed.core.records_held(), records);
    loaded.handle(now, Input::Lead { epoch, snapshot });
    followed.core.handle(now, Input::TakeOver { epoch });
    assert!(followed.core.is_leading());
    assert_eq!(outputs(&mut followed.core), outputs(&mut loaded));
    let (one, other) = (format!("{:#?}", followed.core), format!("{loaded:#?}"));
    for (one, other) in one.lines().zip(other.lines()) {
        assert_eq!(one, other);
    }
    assert_eq!(one.len(), other.len());
}

#[test]
fn who_takes_over_what_it_followed_leads_as_one_that_loads() {
    let mut cluster = Cluster::new();
    cluster.nodes(3);
    for n in 0..6 {
        cluster.apply(&format!("w-{n}"), 700).unwrap();
    }
    leads_alike(&cluster);
    cluster.pass(seconds(5));
    leads_alike(&cluster);
    cluster.set("w-1", DesiredState::Stopped).unwrap();
    cluster.delete("w-2").unwrap();
    leads_alike(&cluster);
    cluster.pass(seconds(20));
    let lost = cluster.agents.get_mut(&node("n-0")).unwrap();
    (lost.heartbeats, lost.reachable) = (false, false);
    for _ in 0..18 {
        cluster.pass(seconds(10));
        leads_alike(&cluster);
    }
    let back = cluster.agents.get_mut(&node("n-0")).unwrap();
    (back.heartbeats, back.reachable) = (true, true);
    for _ in 0..9 {
        cluster.pass(seconds(20));
        leads_alike(&cluster);
    }
}

/// What a node that has all that it should answers to a listing.
fn listing(cluster: &Cluster, of: &NodeId) -> AgentReply {
    let has = cluster.agents[of].has.iter();
    let status = |(id, (revision, state)): (&WorkloadId, &(Revision, AgentState))| AgentStatus {
        workload: Some(id.clone()),
        raw_id: id.to_string(),
        workload_type: None,
        revision: Some(revision.clone()),
        state: *state,
        failure: None,
        message: String::new(),
    };
    AgentReply::Listing(has.map(status).collect())
}

#[test]
fn a_new_leader_lists_each_node_once_and_looks_at_nothing_before() {
    let mut cluster = Cluster::new();
    cluster.nodes(3);
    for n in 0..9 {
        cluster.apply(&format!("w-{n}"), 700).unwrap();
    }
    cluster.pass(seconds(20));
    let (now, epoch) = (cluster.now, Epoch(cluster.revision));
    let mut follower = Follower::of(&cluster);
    let core = &mut follower.core;
    core.handle(now, Input::TakeOver { epoch });
    assert_eq!(core.counters().looks, 0, "nothing is known of any workload");
    let calls: Vec<AgentCall> = outputs(core)
        .into_iter()
        .map(|output| match output {
            Output::Call(call) => call,
            other => panic!("nothing has changed: {other:?}"),
        })
        .collect();
    assert_eq!(calls.len(), 3);
    for call in calls {
        assert_eq!(call.op, AgentOp::List);
        let result = Ok(listing(&cluster, &call.node));
        let call = call.id;
        core.handle(now + seconds(1), Input::Agent { call, result });
    }
    assert_eq!(outputs(core), [], "all is as it should be");
    assert_eq!(core.counters().looks, 9, "one for each workload");
    let end = now + seconds(30);
    while let Some(at) = core.poll_deadline().filter(|at| *at < end) {
        core.handle(at, Input::Wake);
        for output in outputs(core) {
            assert!(!matches!(output, Output::Call(_)), "{output:?}");
        }
    }
}

/// A new leader, and its listing of the only node, which has not been answered.
fn listing_under_way() -> (Cluster, Scheduler, AgentCall) {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 700).unwrap();
    cluster.pass(seconds(20));
    let (now, epoch) = (cluster.now, Epoch(cluster.revision));
    let mut core = Follower::of(&cluster).core;
    core.handle(now, Input::TakeOver { epoch });
    let [Output::Call(call)] = &outputs(&mut core)[..] else {
        panic!("one listing")
    };
    let call = call.clone();
    (cluster, core, call)
}

/// A heartbeat that says that the workload is in this state.
fn hint(call: &AgentCall, state: AgentState) -> Input {
    let status = AgentStatus {
        workload: Some(id("w")),
        raw_id: "w".to_owned(),
        workload_type: None,
        revision: None,
        state,
        failure: None,
        message: String::new(),
    };
    let request = Request::Heartbeat(Heartbeat {
        node: call.node.clone(),
        usage: NodeUsage::default(),
        statuses: [status].into(),
    });
    let id = RequestId(1);
    Input::Request { id, request }
}

/// Whether the node is listed again soon after the listing was answered.
fn is_listed_again(cluster: &Cluster, mut core: Scheduler, call: &AgentCall) -> bool {
    let answered = cluster.now + seconds(7);
    let (call, result) = (call.id, Ok(listing(cluster, &call.node)));
    core.handle(answered, Input::Agent { call, result });
    core.handle(answered + seconds(2), Input::Wake);
    let outputs = outputs(&mut core);
    outputs.iter().any(|o| matches!(o, Output::Call(_)))
}

#[test]
fn a_look_in_the_middle_of_a_listing_asks_for_no_other() {
    let (cluster, mut core, call) = listing_under_way();
    // The periodic pass looks at what is not settled while the agent takes its time.
    core.handle(cluster.now + seconds(6), Input::Wake);
    assert_eq!(core.counters().looks, 1);
    assert!(!is_listed_again(&cluster, core, &call));
}

#[test]
fn a_heartbeat_in_the_middle_of_a_listing_asks_for_another_only_if_they_differ() {
    let (cluster, mut core, call) = listing_under_way();
    core.handle(cluster.now, hint(&call, AgentState::Running));
    assert!(!is_listed_again(&cluster, core, &call));
    let (cluster, mut core, call) = listing_under_way();
    core.handle(cluster.now, hint(&call, AgentState::Failed));
    assert!(is_listed_again(&cluster, core, &call));
}

#[test]
fn who_follows_too_little_does_not_take_over() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let mut follower = Follower::of(&cluster);
    cluster.apply("w", 100).unwrap();
    let epoch = Epoch(cluster.revision);
    follower.core.handle(cluster.now, Input::TakeOver { epoch });
    assert!(!follower.core.is_leading());
    let so_far = StoreRevision(cluster.revision);
    assert!(!follower.core.follows_as_far_as(so_far));
    follower.catch_up(&cluster);
    assert!(follower.core.follows_as_far_as(so_far));
    assert!(!cluster.core.follows_as_far_as(so_far), "it leads");
    let alone = Scheduler::new(Config::default());
    assert!(
        !alone.follows_as_far_as(StoreRevision(0)),
        "it follows nothing"
    );
    follower.core.handle(cluster.now, Input::TakeOver { epoch });
    assert!(follower.core.is_leading());
}

#[test]
fn a_node_that_somebody_removes_keeps_its_tombstones_for_who_follows() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 700).unwrap();
    cluster.pass(seconds(5));
    let home = node(&cluster.seen("w").1);
    let lost = cluster.agents.get_mut(&home).unwrap();
    (lost.heartbeats, lost.reachable) = (false, false);
    cluster.pass(seconds(180));
    let tombstone = Key::Tombstone(home.clone(), id("w"));
    assert!(cluster.store.contains_key(&tombstone), "it moved");
    let key = Key::Node(home);
    cluster.store.remove(&key);
    cluster.revision += 1;
    let gone = Stored {
        key,
        value: None,
        mod_revision: StoreRevision(cluster.revision),
    };
    cluster.changes.push((cluster.revision, vec![gone]));
    leads_alike(&cluster);
}

/// S11: what a new leader tells comes after everything that was told, also after what it cannot read and
/// what was told by a clock that was ahead.
#[test]
fn an_event_that_cannot_be_read_is_older_than_what_comes() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let ahead = cluster.now + seconds(600);
    let unread = EventId::new(ahead, Epoch(1), 1);
    edit(&mut cluster, &Key::Event(unread.clone()), Some("no event"));
    let (now, epoch) = (cluster.now, Epoch(cluster.revision));
    let mut follower = Follower::of(&cluster);
    follower.core.handle(now, Input::TakeOver { epoch });
    assert!(follower.core.is_leading());
    outputs(&mut follower.core);
    let request = Request::Apply(apply("w", 100));
    let id = RequestId(1);
    follower.core.handle(now, Input::Request { id, request });
    let told: Vec<EventId> = outputs(&mut follower.core)
        .into_iter()
        .flat_map(|output| match output {
            Output::Commit(txn) => txn.ops,
            _ => Vec::new(),
        })
        .filter_map(|op| match op {
            Op::Put {
                key: Key::Event(id),
                ..
            } => Some(id),
            _ => None,
        })
        .collect();
    assert!(!told.is_empty());
    for event in told {
        assert!(event > unread, "{event} after {unread}");
    }
}
