//! Whatever is repeated, reordered, lost or interrupted: one artifact at most, nothing done before
//! it is durable, and in the end what was asked for last (S2, S6).

mod world;

use std::time::Duration;

use berth_agent::{AgentReply, AgentRequest, Caller, Refusal};
use berth_core::{Epoch, WorkloadId};
use berth_proto::agent::v1 as proto;
use proptest::prelude::*;
use world::{Labels, World, apply, delete};

const WORKLOADS: [&str; 2] = ["a", "b"];

/// What the revisions do in the runtime.
const SCRIPTS: [&Labels; 5] = [
    &[],
    &[
        ("fake/start-ms", "700"),
        ("fake/stop-ms", "300"),
        ("fake/remove-ms", "400"),
    ],
    &[("fake/fail-starts", "2")],
    &[
        ("fake/exit-after-ms", "900"),
        ("fake/exit-code", "3"),
        ("fake/remove-ms", "1500"),
    ],
    &[("fake/start-ms", "many")],
];

#[derive(Debug, Clone, Copy)]
enum Want {
    Running(usize),
    Stopped(usize),
    Gone,
}

#[derive(Debug, Clone, Copy)]
enum Op {
    /// A scheduler sends a call; it is on its way from now on.
    Send(usize, Want),
    /// A call arrives, perhaps not for the first time.
    Arrive(usize),
    /// Another leader takes over: its calls have a higher epoch.
    NextEpoch,
    /// The leader asks what runs.
    Ask,
    Write(bool),
    Command(usize),
    Hear,
    Pass(u64),
    Crash,
    Boot,
    Kill(usize),
}

fn want() -> impl Strategy<Value = Want> {
    let revision = 0..SCRIPTS.len();
    prop_oneof![
        4 => revision.clone().prop_map(Want::Running),
        1 => revision.prop_map(Want::Stopped),
        2 => Just(Want::Gone),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..WORKLOADS.len(), want()).prop_map(|(at, want)| Op::Send(at, want)),
        6 => any::<usize>().prop_map(Op::Arrive),
        1 => Just(Op::NextEpoch),
        1 => Just(Op::Ask),
        8 => prop::bool::weighted(0.9).prop_map(Op::Write),
        8 => any::<usize>().prop_map(Op::Command),
        8 => Just(Op::Hear),
        4 => (1..1_500_u64).prop_map(Op::Pass),
        1 => Just(Op::Crash),
        2 => Just(Op::Boot),
        1 => (0..WORKLOADS.len()).prop_map(Op::Kill),
    ]
}

#[derive(Debug, Clone)]
struct Message {
    caller: Caller,
    request: AgentRequest,
}

struct Run {
    world: World,
    sent: Vec<Message>,
    epoch: i64,
    calls: u64,
    stamped: bool,
}

impl Run {
    fn message(&mut self, at: usize, want: Want) -> Message {
        self.calls += 1;
        let caller = Caller {
            node: None,
            epoch: Some(Epoch(self.epoch)),
            call: self.stamped.then_some(self.calls),
        };
        let id = WORKLOADS[at];
        let of = |revision: usize, running| {
            apply(id, &format!("r{revision}"), running, SCRIPTS[revision])
        };
        let request = match want {
            Want::Running(revision) => of(revision, true),
            Want::Stopped(revision) => of(revision, false),
            Want::Gone => delete(id),
        };
        Message { caller, request }
    }

    fn step(&mut self, op: Op) {
        let world = &mut self.world;
        match op {
            Op::Send(at, want) => {
                let message = self.message(at, want);
                self.sent.push(message);
            }
            Op::Arrive(at) if !self.sent.is_empty() => {
                let message = self.sent[at % self.sent.len()].clone();
                world.call(message.caller, message.request);
            }
            Op::Arrive(_) => {}
            Op::NextEpoch => {
                self.epoch += 1;
                self.calls = 0;
            }
            Op::Ask => {
                let caller = Caller {
                    node: None,
                    epoch: Some(Epoch(self.epoch)),
                    call: None,
                };
                let request = proto::ListWorkloadsRequest::default();
                world.call(caller, AgentRequest::List(request));
            }
            Op::Write(works) => world.write(works),
            Op::Command(at) => world.command(at),
            Op::Hear => world.hear(),
            Op::Pass(ms) => world.pass(Duration::from_millis(ms)),
            Op::Crash => world.crash(),
            Op::Boot => world.boot(),
            Op::Kill(at) => world.kill(WORKLOADS[at]),
        }
        self.check();
    }

    fn check(&self) {
        for id in WORKLOADS {
            let id: WorkloadId = id.parse().unwrap();
            let live = self.world.live(&id);
            assert!(live <= 1, "{live} live artifacts of {id}");
        }
    }

    fn end(&mut self, wants: [Want; 2]) {
        self.world.boot();
        self.world.run_for(Duration::from_secs(30));
        for (at, want) in wants.into_iter().enumerate() {
            let message = self.message(at, want);
            self.sent.push(message.clone());
            self.world.call(message.caller, message.request);
            self.check();
        }
        self.world.run_for(Duration::from_secs(30));
        self.check_converged(wants);
        if self.stamped {
            self.check_old_calls_change_nothing(wants);
        }
    }

    fn check_converged(&mut self, wants: [Want; 2]) {
        for (id, want) in WORKLOADS.into_iter().zip(wants) {
            let status = self.world.status(id);
            let artifacts: Vec<_> = self
                .world
                .runtime
                .artifacts()
                .filter(|artifact| artifact.launch.workload.as_str() == id)
                .collect();
            assert!(artifacts.len() <= 1, "{id}: leftovers: {artifacts:?}");
            let state = status.as_ref().map(proto::WorkloadStatus::actual_state);
            let live = artifacts
                .first()
                .is_some_and(|artifact| artifact.state.is_live());
            match want {
                Want::Gone => assert!(status.is_none() && artifacts.is_empty(), "{id}: {status:?}"),
                Want::Stopped(_) => {
                    assert_eq!(state, Some(proto::ActualState::Stopped), "{id}");
                    assert!(!live, "{id}: {artifacts:?}");
                }
                Want::Running(revision) => {
                    assert_eq!(status.unwrap().revision_id, format!("r{revision}"));
                    assert_eq!(artifacts[0].revision.as_str(), format!("r{revision}"));
                    match state {
                        Some(proto::ActualState::Running) => assert!(live, "{id}"),
                        Some(proto::ActualState::Failed) => {
                            assert!(!live && revision >= 2, "{id}: r{revision} failed");
                        }
                        other => panic!("{id}: {other:?} is no end"),
                    }
                }
            }
        }
    }

    fn check_old_calls_change_nothing(&mut self, wants: [Want; 2]) {
        let newest = self.sent.len() - WORKLOADS.len();
        let starts = |world: &World| -> Vec<_> {
            world
                .runtime
                .artifacts()
                .map(|artifact| artifact.launch.clone())
                .collect()
        };
        let before = starts(&self.world);
        for message in self.sent[..newest].iter().cloned() {
            let id = self
                .world
                .call(message.caller.clone(), message.request.clone());
            let reply = self.world.replies.remove(&id);
            assert!(
                matches!(
                    reply,
                    Some(AgentReply::Refused(
                        Refusal::StaleEpoch { .. } | Refusal::StaleCall { .. }
                    ))
                ),
                "an old call was taken: {message:?} {reply:?}"
            );
        }
        // A copy of the newest call is answered and starts nothing.
        for message in self.sent[newest..].iter().cloned() {
            let id = self.world.call(message.caller, message.request);
            self.world.run_for(Duration::from_secs(5));
            assert!(self.world.replies.contains_key(&id));
        }
        assert_eq!(starts(&self.world), before);
        self.check_converged(wants);
    }
}

proptest! {
    // `PROPTEST_CASES` may ask for more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2_000)))]

    #[test]
    fn one_artifact_and_the_last_word_counts(
        stamped in any::<bool>(),
        ops in prop::collection::vec(op(), 1..120),
        wants in [want(), want()],
    ) {
        let mut run = Run { world: World::new(), sent: Vec::new(), epoch: 1, calls: 0, stamped };
        for op in ops {
            run.step(op);
        }
        run.end(wants);
    }
}
