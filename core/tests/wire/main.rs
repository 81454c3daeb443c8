//! Whatever a peer sends: no conversion panics, every refusal names a field and is short, and what
//! is taken is what admission accepts, fits the journal, and can be said to an agent.

mod make;

use berth_core::admission::{check_apply, check_node_labels, parse_manifest};
use berth_core::io::agent::{AgentOp, AgentReply, AgentStatus};
use berth_core::io::request::{ApplyWorkload, Request, RequestError};
use berth_core::wire::agent_out::{AgentRequest, agent_request};
use berth_core::wire::bound::FIELD_BYTES_MAX;
use berth_core::wire::{WireError, agent_in, control_in};
use berth_proto::{agent::v1 as agent, control::v1 as control};
use proptest::prelude::*;
use prost::Message as _;

/// Longer than this no error may be, however long the text that it speaks of.
const ERROR_BYTES_MAX: usize = 16 * 1024;

fn names_a_field(error: &RequestError) {
    let RequestError::Invalid { field, problem } = error else {
        panic!("a field is wrong, not the state: {error:?}");
    };
    assert!(!field.is_empty() && !problem.is_empty(), "{error:?}");
    assert!(error.to_string().len() <= ERROR_BYTES_MAX);
}

fn refused(error: &WireError) {
    names_a_field(error.request_error());
}

/// The journal holds requests as JSON and must give them back.
fn survives_the_journal(request: &Request) {
    let text = serde_json::to_string(request).unwrap();
    assert_eq!(&serde_json::from_str::<Request>(&text).unwrap(), request);
}

/// What is accepted can be said to an agent, and nothing of the scheduler's own goes with it.
fn can_be_said(apply: &ApplyWorkload) {
    let Some(new) = &apply.spec else { return };
    let op = AgentOp::Apply {
        workload: apply.workload.clone(),
        revision: "r".parse().unwrap(),
        running: true,
        spec: std::sync::Arc::new(new.spec.clone()),
        resources: new.resources,
        labels: new.labels.clone(),
    };
    let AgentRequest::Apply(request) = agent_request(&op) else {
        panic!("an apply stays an apply");
    };
    assert!(request.encoded_len() < 1024 * 1024);
    assert!(new.labels.keys().all(|key| !key.starts_with("berth/")));
}

fn check_applied(message: control::ApplyWorkloadRequest) {
    match control_in::apply_request(message) {
        Err(error) => refused(&error),
        Ok(request) => {
            survives_the_journal(&request);
            if let Request::Apply(apply) = &request {
                assert_eq!(check_apply(apply), Ok(()));
                can_be_said(apply);
            }
        }
    }
}

fn bounded(status: &AgentStatus) {
    assert!(status.message.len() <= FIELD_BYTES_MAX && status.raw_id.len() <= FIELD_BYTES_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn applies(message in make::apply()) {
        check_applied(message);
    }

    /// As it comes from the network: a good message with some bytes changed.
    #[test]
    fn damaged_applies(
        message in make::apply(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = message.encode_to_vec();
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if let Ok(message) = control::ApplyWorkloadRequest::decode(&*bytes) {
            check_applied(message);
        }
    }

    #[test]
    fn registrations(message in make::register(), boot in make::text(), life in make::text()) {
        match control_in::register_request(message, &boot, &life) {
            Err(error) => refused(&error),
            Ok(node) => {
                prop_assert_eq!(check_node_labels(&node.labels), Ok(()));
                prop_assert!(node.cpu_total.0 > 0 && node.memory_total.0 > 0);
                survives_the_journal(&Request::Register(node));
            }
        }
    }

    #[test]
    fn heartbeats(message in make::heartbeat()) {
        match control_in::heartbeat_request(message) {
            Err(error) => refused(&error),
            Ok(heartbeat) => {
                heartbeat.statuses.iter().for_each(bounded);
                survives_the_journal(&Request::Heartbeat(heartbeat));
            }
        }
    }

    #[test]
    fn suggestions(message in make::suggestion()) {
        match control_in::suggestion(message) {
            Err(error) => refused(&error),
            Ok(suggestion) => survives_the_journal(&Request::Suggest(suggestion)),
        }
    }

    #[test]
    fn words_of_agents(told in make::agent_status(), code in any::<i32>(), text in make::text()) {
        bounded(&agent_in::status(&told));
        let asked = "w".parse().unwrap();
        let answer = agent::GetWorkloadStatusResponse { status: Some(told.clone()) };
        if let Ok(AgentReply::Status(status)) = agent_in::status_reply(&asked, answer) {
            prop_assert_eq!(status.workload, Some(asked));
        }
        let all = agent::ListWorkloadsResponse { workloads: vec![told.clone(), told.clone()] };
        prop_assert!(agent_in::listing(&all).is_ok());
        let apply = agent::ApplyWorkloadResponse {
            applied: false,
            skipped: false,
            message: text.clone(),
            status: Some(told),
        };
        let told_why = matches!(agent_in::apply_reply(&apply), AgentReply::ApplyRefused { .. });
        prop_assert!(told_why);
        let _ = agent_in::call_error(&AgentOp::List, code % 17, &text, code % 2 == 0);
    }

    #[test]
    fn manifests(json in make::manifest()) {
        match parse_manifest(json.as_bytes()).and_then(|manifest| manifest.into_apply()) {
            Err(error) => names_a_field(&error),
            Ok(apply) => {
                prop_assert_eq!(check_apply(&apply), Ok(()));
                can_be_said(&apply);
            }
        }
    }

    #[test]
    fn manifests_of_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Err(error) = parse_manifest(&bytes) {
            names_a_field(&error);
        }
    }
}

/// The properties above say something only if messages of both fates are made.
#[test]
fn the_makers_make_good_and_bad_ones() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut good, mut bad) = (0, 0);
    for _ in 0..400 {
        let message = make::apply().new_tree(&mut runner).unwrap().current();
        match control_in::apply_request(message) {
            Ok(Request::Apply(ApplyWorkload { spec: Some(_), .. })) => good += 1,
            Ok(_) => {}
            Err(_) => bad += 1,
        }
    }
    assert!(good > 40 && bad > 40, "{good} good, {bad} bad");
}
