//! The agent's behaviour, told in scenes.

mod world;

use std::time::Duration;

use berth_agent::{
    AgentInput, AgentReply, AgentRequest, Caller, ControlAnswer, ControlCall, Refusal,
};
use berth_core::Epoch;
use berth_proto::agent::v1::{self as proto, ActualState};
use berth_proto::control::v1 as control;
use world::{World, apply, delete};

fn applied(reply: AgentReply) -> proto::ApplyWorkloadResponse {
    match reply {
        AgentReply::Apply(reply) => *reply,
        other => panic!("{other:?}"),
    }
}

fn epoch(epoch: i64) -> Caller {
    Caller {
        node: None,
        epoch: Some(Epoch(epoch)),
        call: None,
    }
}

#[test]
fn an_apply_is_answered_when_it_is_durable_and_runs_after() {
    let mut world = World::new();
    let id = world.call(Caller::default(), apply("web", "r1", true, &[]));
    assert!(!world.replies.contains_key(&id), "nothing is durable yet");
    assert!(world.commands.is_empty());
    world.write(true);
    let reply = applied(world.replies.remove(&id).unwrap());
    assert!(reply.applied && !reply.skipped);
    let status = reply.status.unwrap();
    assert_eq!(status.actual_state(), ActualState::Pending);
    assert!(status.metadata["task_id"].starts_with("apply-web-"));
    assert_eq!(status.metadata["task_status"], "pending");
    world.run();
    let status = world.status("web").unwrap();
    assert_eq!(status.actual_state(), ActualState::Running);
    assert_eq!(status.revision_id, "r1");
    assert_eq!(status.metadata["task_status"], "completed");
}

#[test]
fn the_same_apply_again_makes_nothing() {
    let mut world = World::new();
    world.apply("web", "r1", &[]);
    let before: Vec<_> = world.runtime.artifacts().cloned().collect();
    let reply = applied(world.apply("web", "r1", &[]));
    assert!(reply.applied && reply.skipped);
    assert_eq!(reply.status.unwrap().actual_state(), ActualState::Running);
    assert_eq!(
        world.runtime.artifacts().cloned().collect::<Vec<_>>(),
        before
    );
}

#[test]
fn a_new_revision_removes_the_old_artifact_first() {
    let mut world = World::new();
    world.apply("web", "r1", &[("fake/stop-ms", "500")]);
    world.apply("web", "r2", &[]);
    let status = world.status("web").unwrap();
    assert_eq!(
        (status.actual_state(), &*status.revision_id),
        (ActualState::Pending, "r2")
    );
    assert!(status.message.contains("r1"), "{}", status.message);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.state("web"), Some(ActualState::Running));
    let artifacts: Vec<_> = world.runtime.artifacts().collect();
    assert_eq!(artifacts.len(), 1);
    assert_eq!(artifacts[0].revision.as_str(), "r2");
}

#[test]
fn a_failure_is_reported_and_the_same_revision_tries_again() {
    let mut world = World::new();
    let script = [
        ("fake/fail-starts", "1"),
        ("fake/fail-reason", "IMAGE_PULL_TIMEOUT"),
    ];
    world.apply("web", "r1", &script);
    let status = world.status("web").unwrap();
    assert_eq!(status.actual_state(), ActualState::Failed);
    assert_eq!(status.metadata["failure_reason"], "IMAGE_PULL_TIMEOUT");
    assert_eq!(status.metadata["task_status"], "failed");
    world.run_for(Duration::from_secs(3600));
    assert_eq!(
        world.state("web"),
        Some(ActualState::Failed),
        "the scheduler decides"
    );
    world.apply("web", "r1", &script);
    assert_eq!(world.state("web"), Some(ActualState::Running));
}

#[test]
fn an_exit_carries_its_code() {
    let mut world = World::new();
    world.apply(
        "bad",
        "r1",
        &[("fake/exit-after-ms", "10"), ("fake/exit-code", "3")],
    );
    world.apply("good", "r1", &[("fake/exit-after-ms", "10")]);
    world.run_for(Duration::from_secs(1));
    let bad = world.status("bad").unwrap();
    assert_eq!(bad.actual_state(), ActualState::Failed);
    assert_eq!(bad.metadata["exit_code"], "3");
    assert_eq!(bad.metadata["failure_reason"], "RUNTIME_ERROR");
    let good = world.status("good").unwrap();
    assert_eq!(good.actual_state(), ActualState::Stopped);
    assert_eq!(good.metadata["exit_code"], "0");
}

#[test]
fn stop_and_start_keep_the_artifact() {
    let mut world = World::new();
    world.apply("web", "r1", &[]);
    let number = world.runtime.artifacts().next().unwrap().launch.artifact;
    world.call(Caller::default(), apply("web", "r1", false, &[]));
    world.run();
    assert_eq!(world.state("web"), Some(ActualState::Stopped));
    world.apply("web", "r1", &[]);
    assert_eq!(world.state("web"), Some(ActualState::Running));
    let launch = &world.runtime.artifacts().next().unwrap().launch;
    assert_eq!((launch.artifact, launch.launch), (number, 2));
}

#[test]
fn a_delete_leaves_nothing_and_may_be_repeated() {
    let mut world = World::new();
    world.apply("web", "r1", &[]);
    for _ in 0..2 {
        let AgentReply::Delete(reply) = world.delete("web") else {
            panic!()
        };
        assert!(reply.success);
        assert_eq!(world.state("web"), None);
    }
    assert_eq!(world.runtime.artifacts().count(), 0);
    assert!(world.disk.is_empty());
}

#[test]
fn an_apply_after_a_delete_starts_anew_even_while_the_old_one_goes() {
    let mut world = World::new();
    world.apply("web", "r1", &[("fake/stop-ms", "500")]);
    let old = world.runtime.artifacts().next().unwrap().launch.clone();
    world.delete("web");
    world.apply("web", "r1", &[]);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.state("web"), Some(ActualState::Running));
    let new = &world.runtime.artifacts().next().unwrap().launch;
    assert!(
        new.artifact > old.artifact,
        "a delete is final for what it saw"
    );
}

#[test]
fn an_older_epoch_is_refused_also_after_a_restart() {
    let mut world = World::new();
    world.call(epoch(7), apply("web", "r1", true, &[]));
    world.run();
    for restart in [false, true] {
        if restart {
            world.crash();
            world.boot();
            world.run();
        }
        for request in [apply("web", "r0", true, &[]), delete("web")] {
            let id = world.call(epoch(6), request);
            let Some(AgentReply::Refused(refusal)) = world.replies.remove(&id) else {
                panic!()
            };
            assert_eq!(
                refusal,
                Refusal::StaleEpoch {
                    got: Epoch(6),
                    highest: Epoch(7)
                }
            );
            assert!(refusal.to_string().starts_with("stale epoch"));
        }
        assert_eq!(world.status("web").unwrap().revision_id, "r1");
    }
    let id = world.call(Caller::default(), apply("web", "r2", true, &[]));
    world.run();
    assert!(
        world.replies.contains_key(&id),
        "who knows no epochs is heard"
    );
}

#[test]
fn nothing_is_answered_under_an_epoch_that_a_restart_forgets() {
    let list = || AgentRequest::List(proto::ListWorkloadsRequest::default());
    let mut world = World::new();
    world.call(epoch(6), apply("web", "r1", true, &[]));
    world.run();
    // Asked by a new leader, it says nothing before that epoch is on its disk ...
    let early = world.call(epoch(7), list());
    let refused = world.call(epoch(6), list());
    let stranger = world.call(Caller::default(), list());
    assert!(!world.replies.contains_key(&early));
    assert!(matches!(
        world.replies.remove(&refused),
        Some(AgentReply::Refused(Refusal::StaleEpoch { .. }))
    ));
    let unasked = world.replies.remove(&stranger);
    assert!(matches!(unasked, Some(AgentReply::List(_))), "{unasked:?}");
    // ... nor does it keep what it was told then, which would be done after a restart ...
    let told = world.call(epoch(7), apply("web", "r2", true, &[]));
    assert_eq!(world.writes.len(), 1, "the epoch's: {:?}", world.writes);
    // ... and says so where it cannot be written.
    world.write(false);
    for id in [early, told] {
        let reply = world.replies.remove(&id);
        assert!(
            matches!(reply, Some(AgentReply::Refused(Refusal::NotDurable(_)))),
            "{reply:?}"
        );
    }
    // It tries again, and does what it was told: whether that would have an effect was open.
    let waits = world.call(epoch(7), list());
    assert!(!world.replies.contains_key(&waits));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.disk_epoch, Some(Epoch(7)));
    let listing = world.replies.remove(&waits);
    assert!(matches!(listing, Some(AgentReply::List(_))), "{listing:?}");
    assert_eq!(world.status("web").unwrap().revision_id, "r2");
}

#[test]
fn an_epoch_that_came_while_another_was_written_is_waited_for() {
    let list = || AgentRequest::List(proto::ListWorkloadsRequest::default());
    let mut world = World::new();
    let former = world.call(epoch(6), list());
    let later = world.call(epoch(7), list());
    world.write(true);
    assert_eq!(world.disk_epoch, Some(Epoch(6)));
    assert!(world.replies.contains_key(&former));
    assert!(!world.replies.contains_key(&later));
    world.write(true);
    assert_eq!(world.disk_epoch, Some(Epoch(7)));
    assert!(world.replies.contains_key(&later));
}

#[test]
fn a_lost_file_of_the_epoch_is_no_reason_to_obey_an_earlier_leader() {
    let mut world = World::new();
    let stamped = |epoch, call| Caller {
        node: None,
        epoch: Some(Epoch(epoch)),
        call: Some(call),
    };
    world.call(stamped(7, 1), apply("web", "r1", true, &[]));
    world.run();
    world.crash();
    world.disk_epoch = None;
    world.boot();
    world.run();
    let id = world.call(stamped(6, 9), apply("other", "r1", true, &[]));
    let reply = world.replies.remove(&id);
    assert!(
        matches!(reply, Some(AgentReply::Refused(Refusal::StaleEpoch { .. }))),
        "{reply:?}"
    );
}

#[test]
fn calls_that_wait_for_the_disk_are_bounded() {
    let mut world = World::new();
    let list = || AgentRequest::List(proto::ListWorkloadsRequest::default());
    let ids: Vec<_> = (0..300).map(|_| world.call(epoch(7), list())).collect();
    let refused = |reply: &AgentReply| matches!(reply, AgentReply::Refused(Refusal::NotDurable(why)) if why.contains("too many"));
    assert_eq!(world.replies.len(), 44);
    assert!(world.replies.values().all(refused));
    world.run();
    assert!(ids.iter().all(|id| world.replies.contains_key(id)));
}

#[test]
fn a_call_that_was_overtaken_is_refused() {
    let mut world = World::new();
    let call = |call| Caller {
        node: None,
        epoch: Some(Epoch(1)),
        call: Some(call),
    };
    world.call(call(2), delete("web"));
    world.run();
    let id = world.call(call(1), apply("web", "r1", true, &[]));
    let reply = world.replies.remove(&id);
    assert!(matches!(
        reply,
        Some(AgentReply::Refused(Refusal::StaleCall {
            got: 1,
            latest: 2
        }))
    ));
    assert_eq!(world.state("web"), None);
    assert_eq!(world.disk.len(), 1, "the delete is remembered");
    world.run_for(Duration::from_secs(601));
    assert!(world.disk.is_empty(), "but not for ever");
}

#[test]
fn a_call_that_is_meant_for_another_node_is_refused() {
    let mut world = World::new();
    world.apply("web", "r1", &[]);
    world.run();
    let meant = |node: &str| Caller {
        node: Some(node.parse().unwrap()),
        epoch: Some(Epoch(9)),
        call: Some(1),
    };
    let id = world.call(meant("another"), delete("web"));
    let refused = |reply: &AgentReply| matches!(reply, AgentReply::Refused(Refusal::AnotherNode { meant, .. }) if meant.as_str() == "another");
    assert!(
        world.replies.remove(&id).is_some_and(|it| refused(&it)),
        "at once"
    );
    world.run();
    assert_eq!(world.state("web"), Some(ActualState::Running));
    // It was not listened to, not even for who leads.
    world.call(epoch(8), delete("web"));
    world.run();
    assert_eq!(world.state("web"), None);
}

#[test]
fn a_restart_adopts_what_runs_and_finishes_what_was_decided() {
    let mut world = World::new();
    world.apply("runs", "r1", &[]);
    world.call(Caller::default(), apply("decided", "r1", true, &[]));
    world.write(true);
    world.crash();
    world.boot();
    assert_eq!(world.state("runs"), Some(ActualState::Unknown));
    world.run();
    assert_eq!(world.state("runs"), Some(ActualState::Running));
    assert_eq!(world.state("decided"), Some(ActualState::Running));
    assert_eq!(world.runtime.artifacts().count(), 2);
}

#[test]
fn a_stop_of_a_former_life_that_ends_late_is_no_answer() {
    let mut world = World::new();
    let slow = [("fake/stop-ms", "300")];
    world.apply("web", "r1", &slow);
    world.call(Caller::default(), apply("web", "r1", false, &slow));
    world.run();
    world.crash();
    world.boot();
    world.call(Caller::default(), apply("web", "r1", true, &slow));
    world.run();
    assert_eq!(world.state("web"), Some(ActualState::Running));
    world.pass(Duration::from_millis(300));
    assert_eq!(world.live(&"web".parse().unwrap()), 0, "stopped only now");
    world.run();
    assert_eq!(world.state("web"), Some(ActualState::Running));
    assert_eq!(world.live(&"web".parse().unwrap()), 1, "it looked again");
}

#[test]
fn what_vanished_meanwhile_has_failed() {
    let mut world = World::new();
    world.apply("web", "r1", &[]);
    world.crash();
    world.runtime.reboot();
    world.boot();
    world.run();
    let status = world.status("web").unwrap();
    assert_eq!(status.actual_state(), ActualState::Failed);
    assert_eq!(
        status.metadata["failure_reason"],
        "RUNTIME_RESOURCE_MISSING"
    );
}

#[test]
fn a_disk_that_does_not_write_refuses_and_acts_on_nothing() {
    let mut world = World::new();
    let id = world.call(Caller::default(), apply("web", "r1", true, &[]));
    world.write(false);
    let reply = world.replies.remove(&id);
    assert!(
        matches!(reply, Some(AgentReply::Refused(Refusal::NotDurable(_)))),
        "{reply:?}"
    );
    assert!(world.commands.is_empty());
    world.run_for(Duration::from_secs(2));
    assert_eq!(
        world.state("web"),
        Some(ActualState::Running),
        "it tries again by itself"
    );
}

#[test]
fn malformed_applies_are_refused_in_band() {
    let mut world = World::new();
    let good = || match apply("web", "r1", true, &[]) {
        AgentRequest::Apply(apply) => apply,
        _ => unreachable!(),
    };
    let vm = proto::WorkloadType::Vm.into();
    let cases = [
        (
            proto::ApplyWorkloadRequest {
                id: "../x".to_owned(),
                ..good()
            },
            "invalid request: id",
        ),
        (
            proto::ApplyWorkloadRequest {
                spec: None,
                ..good()
            },
            "invalid request: spec",
        ),
        (
            proto::ApplyWorkloadRequest {
                revision_id: String::new(),
                ..good()
            },
            "invalid request: revision_id",
        ),
        (
            proto::ApplyWorkloadRequest {
                r#type: vm,
                ..good()
            },
            "invalid request: type",
        ),
    ];
    for (request, begins) in cases {
        let id = world.call(Caller::default(), AgentRequest::Apply(request));
        let reply = applied(world.replies.remove(&id).unwrap());
        assert!(
            !reply.applied && reply.message.starts_with(begins),
            "{}",
            reply.message
        );
    }
    assert_eq!(world.writes.len(), 0);
}

/// What ends soon after each start, with an error.
const ENDS: [(&str, &str); 2] = [("fake/exit-after-ms", "10"), ("fake/exit-code", "1")];

/// `web`, which ends at once and is to be started again, has ended for the first time.
fn ended_and_to_be_restarted() -> World {
    let mut world = World::new();
    let AgentRequest::Apply(mut request) = apply("web", "r1", true, &ENDS) else {
        panic!()
    };
    let Some(proto::workload_spec::Spec::Container(spec)) =
        request.spec.as_mut().and_then(|spec| spec.spec.as_mut())
    else {
        panic!()
    };
    let policy = proto::RestartPolicy {
        policy: "on-failure".to_owned(),
        max_retry_count: 3,
    };
    spec.restart_policy = Some(policy);
    world.call(Caller::default(), AgentRequest::Apply(request));
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.state("web"), Some(ActualState::Pending));
    world
}

#[test]
fn a_restart_policy_is_honoured_with_a_bound() {
    let mut world = ended_and_to_be_restarted();
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.state("web"), Some(ActualState::Failed));
    assert_eq!(world.runtime.artifacts().next().unwrap().launch.launch, 4);
}

/// An instant at which it was to be started again is none at which there is something to do.
#[test]
fn what_is_stopped_before_its_restart_rests() {
    let mut world = ended_and_to_be_restarted();
    world.call(Caller::default(), apply("web", "r1", false, &ENDS));
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.state("web"), Some(ActualState::Stopped));
}

#[test]
fn the_scheduler_hears_of_a_change_at_once() {
    let mut world = World::new();
    world.crash();
    world.config.has_scheduler = true;
    world.boot();
    world.pass(Duration::ZERO);
    let (id, call) = world.control.pop_front().unwrap();
    let ControlCall::Register(registration) = call else {
        panic!("{call:?}")
    };
    assert_eq!(registration.node_id, "node-1");
    let answer = control::RegisterNodeResponse {
        accepted: true,
        heartbeat_interval_seconds: 10,
        ..Default::default()
    };
    world.input(AgentInput::Control {
        id,
        result: Ok(ControlAnswer::Registered(answer)),
    });
    let mut beats = Vec::new();
    let mut answer = |world: &mut World| {
        while let Some((id, call)) = world.control.pop_front() {
            let ControlCall::Heartbeat(beat) = call else {
                panic!("{call:?}")
            };
            beats.push((world.now, beat.into_message()));
            let answer = control::HeartbeatResponse {
                acknowledged: true,
                ..Default::default()
            };
            world.input(AgentInput::Control {
                id,
                result: Ok(ControlAnswer::Heartbeat(answer)),
            });
        }
    };
    answer(&mut world);
    world.pass(Duration::from_secs(1));
    world.apply("web", "r1", &[]);
    let changed = world.now;
    answer(&mut world);
    world.run_for(Duration::from_millis(100));
    answer(&mut world);
    let (at, last) = beats.last().unwrap();
    assert!(at.since(changed) <= Duration::from_millis(100));
    assert_eq!(last.workload_statuses[0].state, "Running");
    assert!(beats.len() <= 3, "{} heartbeats", beats.len());
}

const HANGS: &world::Labels = &[("fake/start-ms", "3600000")];

#[test]
fn a_start_that_hangs_ends_with_its_delete() {
    let mut world = World::new();
    world.apply("web", "r1", HANGS);
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.state("web"), Some(ActualState::Pending));
    let before = world.now;
    world.delete("web");
    assert_eq!((world.state("web"), world.now), (None, before));
    assert_eq!(world.live(&"web".parse().unwrap()), 0);
}

#[test]
fn a_start_that_hangs_ends_with_an_update_or_a_stop() {
    let mut world = World::new();
    world.apply("web", "r1", HANGS);
    world.apply("web", "r2", &[]);
    let status = world.status("web").unwrap();
    assert_eq!(status.actual_state(), ActualState::Running);
    assert_eq!(status.revision_id, "r2");
    world.apply("web", "r3", HANGS);
    world.call(Caller::default(), apply("web", "r3", false, HANGS));
    world.run();
    assert_eq!(world.state("web"), Some(ActualState::Stopped));
    assert_eq!(world.live(&"web".parse().unwrap()), 0);
    world.apply("web", "r3", HANGS);
    world.run_for(Duration::from_secs(3_601));
    assert_eq!(
        world.state("web"),
        Some(ActualState::Running),
        "what is wanted again is left alone"
    );
}

#[test]
fn a_start_of_a_former_life_that_hangs_ends_with_its_delete_too() {
    for deleted_before in [true, false] {
        let mut world = World::new();
        world.apply("web", "r1", HANGS);
        if deleted_before {
            world.call(Caller::default(), delete("web"));
            while !world.writes.is_empty() {
                world.write(true);
            }
        }
        world.crash();
        world.boot();
        world.run_for(Duration::from_secs(5));
        if !deleted_before {
            assert_eq!(world.state("web"), Some(ActualState::Pending));
            world.call(Caller::default(), delete("web"));
        }
        world.run_for(Duration::from_secs(3));
        assert_eq!(world.state("web"), None, "deleted before: {deleted_before}");
        assert_eq!(world.live(&"web".parse().unwrap()), 0);
    }
}
