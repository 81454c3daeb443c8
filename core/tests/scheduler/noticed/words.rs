//! Of words: labels, figures, and what is on the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_core::admission::limits::VM_SPEC_KEY;
use berth_core::lineage::{Lineage, Look};
use berth_core::model::spec::{ComposeSource, Spec};
use berth_core::model::workload::{FailureClass, RetryState};
use berth_core::wire::bound::STATUSES_MAX;
use berth_core::wire::control_in::apply_request;
use berth_core::wire::{agent_in, control_out};
use berth_core::{Config, StoreRevision, Timestamp};
use berth_proto::agent::v1 as agent;
use berth_proto::control::v1 as control;
use control::workload_spec::Workload;

use super::changes::{message, read};
use crate::cluster::{Cluster, apply};

fn project(yaml: &str, repo: &str) -> Workload {
    Workload::Compose(control::ComposeSpec {
        inline_yaml: yaml.into(),
        git_repo: repo.into(),
        ..Default::default()
    })
}

/// Of the labels that named other specs before, the last 32 are remembered.
#[test]
fn the_last_labels_are_remembered() {
    let mut cluster = Cluster::new();
    for at in 0..40 {
        let mut wanted = apply("w", 100 + at);
        wanted.revision = Some(format!("v-{at}").parse().unwrap());
        cluster.apply_with(wanted).unwrap();
    }
    let record = cluster.get_workload("w").unwrap().record;
    let used = record.metadata.labels_used;
    assert_eq!(used.len(), 32);
    assert_eq!(used[31].0.as_str(), "v-38");
}

/// S7: a failure of the infrastructure ends no tries.
#[test]
fn a_failure_of_the_infrastructure_leaves_tries() {
    let spent = RetryState {
        attempts: 2,
        exhausted: true,
        ..RetryState::fresh(5)
    };
    let (now, config) = (Timestamp::from_millis(1_000), Config::default());
    let next = spent.after_failure(FailureClass::Infrastructure, now, &config);
    assert_eq!((next.attempts, next.exhausted), (2, false));
    assert_eq!(next.next_retry_at, Some(now + config.retry_backoff_min));
}

/// A break says what was known when it was asked for, and more only of the same generation and cluster.
#[test]
fn a_break_tells_of_the_store_that_was_asked() {
    let look = |cluster, generation, revision| Look {
        cluster,
        generation,
        revision: StoreRevision(revision),
        held: None,
    };
    for (meanwhile, revision) in [(look(8, 0, 60), 60), (look(7, 1, 60), 50)] {
        let mut lineage = Lineage::default();
        lineage.judge(None, look(7, 0, 50)).unwrap();
        let asked = lineage.seen();
        lineage.judge(None, meanwhile).unwrap();
        let broken = lineage.judge(asked, look(7, 0, 40)).unwrap_err();
        let seen = broken.seen();
        assert_eq!((seen.cluster, seen.generation), (7, 0));
        assert_eq!(seen.revision, StoreRevision(revision));
    }
}

/// A compose project comes from git only where nothing comes with it; what only looks packed is plain.
#[test]
fn a_project_is_what_came() {
    let odd = STANDARD.encode("a: \u{1}");
    let bare = STANDARD.encode("no project at all");
    for (yaml, repo, from) in [
        ("a: 1", "git@x", ComposeSource::Inline),
        ("", "git@x", ComposeSource::Git),
        (odd.as_str(), "", ComposeSource::Inline),
        (bare.as_str(), "", ComposeSource::Inline),
    ] {
        let Spec::Compose(spec) = read(message("compose", Some(project(yaml, repo)))) else {
            panic!("a project")
        };
        assert_eq!((spec.source_type, &*spec.inline_yaml), (from, yaml));
    }
}

/// Whoever sends another spec than it says is told which.
#[test]
fn another_spec_than_is_said_is_named() {
    let refused = apply_request(message("container", Some(project("a: 1", ""))));
    let told = format!("{:?}", refused.unwrap_err());
    assert!(told.contains("the spec holds compose"), "{told}");
}

/// A packed virtual machine keeps its flags and its first configuration.
#[test]
fn a_packed_machine_is_read_whole() {
    let json = r#"{"vcpus": 1, "memory_mb": 64, "cloud_init_config": {"user_data": "u"},
        "managed_volumes": [{"name": "a", "mount_path": "/a", "read_only": true},
                            {"name": "b", "mount_path": "/b"}]}"#;
    let mut packed = message("vm", None);
    let spec = packed.spec.as_mut().unwrap();
    spec.metadata = [(VM_SPEC_KEY.to_owned(), STANDARD.encode(json))].into();
    let Spec::Vm(vm) = read(packed) else {
        panic!("a machine")
    };
    let volumes = vm.managed_volumes.iter();
    let flags: Vec<bool> = volumes.map(|volume| volume.read_only).collect();
    assert_eq!(flags, [true, false]);
    assert_eq!(vm.cloud_init.unwrap().user_data, "u");
}

/// S21: why something is pending is told, although it has not failed.
#[test]
fn a_reason_without_a_failure_is_told() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 5_000).unwrap();
    let view = cluster.get_workload("w").unwrap();
    assert_eq!(view.record.status.failure, None);
    let reason = control_out::workload_view(&view).reason.unwrap();
    assert_eq!(reason.message, view.record.status.failure_reason);
    assert!(!reason.message.is_empty());
}

/// As many workloads as are read at most are read.
#[test]
fn a_full_listing_is_taken() {
    let listing = |count| {
        let answer = agent::ListWorkloadsResponse {
            workloads: vec![agent::WorkloadStatus::default(); count],
        };
        agent_in::listing(&answer).is_ok()
    };
    assert!(listing(STATUSES_MAX));
    assert!(!listing(STATUSES_MAX + 1));
}
