//! Each kind of request and of answer, sent and read.

use std::time::Duration;

use berth_core::io::request::{
    ApplyWorkload, Effect, Freshness, NewSpec, Query, Request, RequestError, Response,
};
use berth_core::io::view::{DisplayStatus, WorkloadView};
use berth_core::model::spec::{
    ComposeSpec, Constraints, ContainerSpec, ManagedVolume, Port, Protocol, RestartPolicy,
    RetainPolicy, Spec, VolumeMount,
};
use berth_core::model::units::{Gibibytes, Resources};
use berth_core::model::workload::{DesiredState, WorkloadRecord};
use berth_core::{StoreRevision, WorkloadId};

use super::{ClientAnswer, ClientMessage, Form, Reply};

fn workload() -> WorkloadId {
    "web-1".parse().unwrap()
}

fn container() -> NewSpec {
    let text = |of: &str| of.to_owned();
    NewSpec {
        spec: Spec::Container(ContainerSpec {
            image: text("example:3"),
            command: vec![text("run"), text("--fast")],
            env: [(text("A"), text("b"))].into(),
            volumes: vec![VolumeMount {
                host_path: text("/srv"),
                container_path: text("/data"),
                read_only: true,
            }],
            ports: vec![Port {
                host_port: 80,
                container_port: 8080,
                protocol: Protocol::Udp,
            }],
            restart_policy: RestartPolicy::OnFailure,
            privileged: true,
            managed_volumes: vec![ManagedVolume {
                name: text("v"),
                driver: text("ceph-rbd"),
                size_gb: Gibibytes(7),
                mount_path: text("/v"),
                retain_policy: RetainPolicy::Retain,
                ..ManagedVolume::default()
            }],
        }),
        resources: Resources::new(250, 96, 3),
        constraints: Constraints {
            labels: [(text("zone"), text("a"))].into(),
            spread_by: Some(text("zone")),
            anti_affinity: Some(text("group")),
        },
        tenant: Some("t".parse().unwrap()),
        priority: -5,
        max_attempts: Some(3),
        labels: [(text("fake/start-ms"), text("20"))].into(),
    }
}

fn apply(spec: Option<NewSpec>, desired_state: Option<DesiredState>) -> ApplyWorkload {
    ApplyWorkload {
        workload: workload(),
        spec,
        revision: None,
        desired_state,
        if_match: None,
        dry_run: false,
    }
}

/// What a scheduler reads of it.
fn read(message: &ClientMessage) -> Request {
    message.read().unwrap().1
}

#[test]
fn the_contract_says_what_a_client_means() {
    let labelled = ApplyWorkload {
        revision: Some("r7".parse().unwrap()),
        ..apply(Some(container()), Some(DesiredState::Stopped))
    };
    let of = |request: &Request| ClientMessage::of(request, true);
    for request in [
        Request::Apply(apply(Some(container()), Some(DesiredState::Running))),
        Request::Apply(labelled),
        Request::Apply(apply(None, Some(DesiredState::Running))),
        Request::Apply(apply(None, Some(DesiredState::Stopped))),
    ] {
        let message = of(&request);
        assert!(matches!(message, ClientMessage::Apply(_)), "{message:?}");
        assert_eq!(read(&message), request);
    }
    let (workload, if_match) = (workload(), None);
    let delete = Request::Delete { workload, if_match };
    assert!(matches!(of(&delete), ClientMessage::Delete(_)));
    assert_eq!(read(&of(&delete)), delete);
    let workload = self::workload();
    let retry = Request::Retry { workload };
    assert!(matches!(of(&retry), ClientMessage::Retry(_)));
    assert_eq!(read(&of(&retry)), retry);
    let get = Request::Read(Query::Workload(self::workload()));
    assert!(matches!(of(&get), ClientMessage::Get(_)));
    assert_eq!(read(&of(&get)), get);
}

#[test]
fn rest_says_what_a_client_means() {
    let node = || "node-1".parse().unwrap();
    let seen = Some(StoreRevision(42));
    let compose = NewSpec {
        spec: Spec::Compose(ComposeSpec {
            inline_yaml: "services: {}".to_owned(),
            ..ComposeSpec::default()
        }),
        ..container()
    };
    let careful = ApplyWorkload {
        if_match: seen,
        dry_run: true,
        revision: Some("r7".parse().unwrap()),
        ..apply(Some(container()), None)
    };
    let stop = ApplyWorkload {
        if_match: seen,
        dry_run: true,
        ..apply(None, Some(DesiredState::Stopped))
    };
    for request in [
        Request::Apply(apply(Some(container()), None)),
        Request::Apply(apply(Some(compose), Some(DesiredState::Running))),
        Request::Apply(careful),
        Request::Apply(apply(None, Some(DesiredState::Running))),
        Request::Apply(stop),
        Request::Delete {
            workload: workload(),
            if_match: seen,
        },
        Request::Retry {
            workload: workload(),
        },
        Request::Read(Query::Workload(workload())),
        Request::SetSchedulable {
            node: node(),
            schedulable: false,
        },
        Request::Drain {
            node: node(),
            deadline: Duration::from_secs(90),
            parallelism: 3,
        },
        Request::Fence { node: node() },
        Request::Purge { node: node() },
    ] {
        let message = ClientMessage::of(&request, false);
        assert!(matches!(message, ClientMessage::Rest(_)), "{message:?}");
        assert_eq!(read(&message), request);
    }
}

#[test]
fn what_neither_can_say_goes_as_it_is() {
    let node = || "node-1".parse().unwrap();
    for request in [
        Request::CancelDrain { node: node() },
        Request::SetSchedulable {
            node: node(),
            schedulable: true,
        },
        Request::Read(Query::Summary),
    ] {
        let message = ClientMessage::of(&request, true);
        assert!(matches!(message, ClientMessage::Plain(_)), "{message:?}");
        assert_eq!(read(&message), request);
    }
    // A precondition and a dry run are beyond the contract.
    let careful = Request::Delete {
        workload: workload(),
        if_match: Some(StoreRevision(1)),
    };
    let message = ClientMessage::of(&careful, true);
    assert!(matches!(message, ClientMessage::Rest(_)), "{message:?}");
}

/// How it is refused, as a client reads it.
fn refusal(message: &ClientMessage) -> (Reply, RequestError) {
    let answer = message.read().unwrap_err();
    let reply = answer.reply.clone();
    let (value, agrees) = answer.heard();
    assert_eq!(agrees, Ok(()));
    (reply, value.unwrap_err())
}

#[test]
fn what_is_wrong_is_answered() {
    let mut wrong = container();
    wrong.resources.cpu.0 = u64::MAX / 2;
    let asked = Request::Apply(apply(Some(wrong), Some(DesiredState::Running)));
    let (reply, error) = refusal(&ClientMessage::of(&asked, true));
    assert!(matches!(reply, Reply::Applied(_)), "{reply:?}");
    assert!(error.to_string().contains("resources.cpu"), "{error}");

    let mut large = container();
    large.labels.insert("pad".to_owned(), "x".repeat(3 << 20));
    let asked = Request::Apply(apply(Some(large), Some(DesiredState::Running)));
    let (reply, error) = refusal(&ClientMessage::of(&asked, true));
    assert!(matches!(reply, Reply::Applied(_)), "{reply:?}");
    assert!(error.to_string().starts_with("spec: is "), "{error}");
    let (reply, _) = refusal(&ClientMessage::of(&asked, false));
    assert!(matches!(reply, Reply::Http(413, ..)), "{reply:?}");

    let mut huge = container();
    huge.labels.insert("pad".to_owned(), "x".repeat(5 << 20));
    let asked = Request::Apply(apply(Some(huge), Some(DesiredState::Running)));
    let (reply, _) = refusal(&ClientMessage::of(&asked, true));
    assert!(matches!(reply, Reply::Status { code: 3, .. }), "{reply:?}");

    let noise = vec![0xff; 9];
    for message in [
        ClientMessage::Apply(noise.clone()),
        ClientMessage::Delete(noise.clone()),
        ClientMessage::Retry(noise.clone()),
        ClientMessage::Get(noise),
    ] {
        let (reply, _) = refusal(&message);
        assert!(matches!(reply, Reply::Status { code: 13, .. }), "{reply:?}");
    }
    // An id that is none.
    for message in [
        ClientMessage::Apply(Vec::new()),
        ClientMessage::Delete(Vec::new()),
        ClientMessage::Retry(Vec::new()),
        ClientMessage::Get(Vec::new()),
    ] {
        let (reply, _) = refusal(&message);
        assert!(matches!(reply, Reply::Status { code: 3, .. }), "{reply:?}");
    }
}

fn view() -> WorkloadView {
    let record: WorkloadRecord = serde_json::from_value(serde_json::json!({
        "id": "web-1", "revision_id": "r7", "desired_state": "Running",
        "assigned_node": "node-1", "type": "container", "spec": {"image": "example:3"},
        "resources": {"cpu": 0.25, "memory_mb": 96, "disk_gb": 3},
        "retry": {"attempts": 2, "max_attempts": 5, "next_retry_at": "2026-02-17T00:00:00.123Z"},
        "status": {"actual_state": "Failed", "last_updated": "2026-02-17T00:00:00.123Z",
                   "failure_reason": "no image"},
        "metadata": {"created_at": "2026-02-17T00:00:00.123Z", "generation": 3, "spec_hash": "x"},
        "of_a_later_version": {"kept": true}
    }))
    .unwrap();
    WorkloadView {
        record,
        display_status: DisplayStatus::RetryPending,
        resource_version: StoreRevision(42),
        freshness: Freshness {
            revision: StoreRevision(50),
            stale: true,
            age_ms: 20,
        },
    }
}

const FORMS: [Form; 5] = [
    Form::Apply,
    Form::Delete,
    Form::Retry,
    Form::Get,
    Form::Rest(200),
];

#[test]
fn every_answer_is_read_as_it_was_said() {
    let unavailable = |effect| RequestError::Unavailable {
        reason: "no leader".to_owned(),
        retry_after: Duration::from_secs(1),
        effect,
    };
    let errors = [
        RequestError::invalid("spec.image", "is empty"),
        RequestError::NoSuchWorkload(workload()),
        RequestError::Stale {
            expected: StoreRevision(1),
            current: StoreRevision(2),
        },
        RequestError::Refused("it is going".to_owned()),
        unavailable(Effect::None),
        unavailable(Effect::Unknown),
        RequestError::Busy("web-1".to_owned()),
        RequestError::StoreRefused("too large".to_owned()),
    ];
    for form in FORMS {
        let granted = Ok(Response::Workload(Box::new(view())));
        for value in errors.iter().cloned().map(Err).chain([granted]) {
            let (heard, agrees) = ClientAnswer::say(form, value.clone()).heard();
            assert_eq!(agrees, Ok(()), "{form:?}: {value:?}");
            assert_eq!(heard, value);
        }
    }
}

#[test]
fn an_answer_that_says_something_else_is_noticed() {
    let granted = || Ok(Response::Workload(Box::new(view())));
    let refused = || Err(RequestError::Refused("it is going".to_owned()));
    for form in FORMS {
        let mut answer = ClientAnswer::say(form, granted());
        answer.value = refused();
        assert!(answer.heard().1.is_err(), "{form:?}");
        let mut answer = ClientAnswer::say(form, refused());
        answer.value = granted();
        assert!(answer.heard().1.is_err(), "{form:?}");
    }
    // What may have happened is no answer to be tried again by itself.
    let lost = |effect| {
        Err(RequestError::Unavailable {
            reason: "no leader".to_owned(),
            retry_after: Duration::from_secs(1),
            effect,
        })
    };
    for form in FORMS {
        let mut answer = ClientAnswer::say(form, lost(Effect::None));
        answer.value = lost(Effect::Unknown);
        assert!(answer.heard().1.is_err(), "{form:?}");
    }
    let spoils: [fn(&mut WorkloadView); 6] = [
        |view| view.record.desired_state = DesiredState::Stopped,
        |view| view.record.assigned_node = None,
        |view| view.record.retry.attempts += 1,
        |view| view.display_status = DisplayStatus::Running,
        |view| view.freshness.revision = StoreRevision(51),
        |view| view.freshness.stale = false,
    ];
    for (at, spoil) in spoils.iter().enumerate() {
        for form in [Form::Get, Form::Rest(200)] {
            let mut answer = ClientAnswer::say(form, granted());
            let mut other = view();
            spoil(&mut other);
            answer.value = Ok(Response::Workload(Box::new(other)));
            assert!(answer.heard().1.is_err(), "{form:?}, {at}");
        }
    }
}
