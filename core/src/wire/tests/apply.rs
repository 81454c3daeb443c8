//! Apply, delete, retry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_proto::control::v1 as control;
use control::workload_spec::Workload;

use super::told;
use crate::admission::limits::VM_SPEC_KEY;
use crate::io::request::{ApplyWorkload, Request};
use crate::model::spec::*;
use crate::model::units::{Gibibytes, Mebibytes, Resources};
use crate::model::workload::DesiredState;
use crate::wire::control_in::{apply_request, delete_request, retry_request};

/// The field that an error must name, and what spoils it.
type Spoil = (&'static str, fn(&mut control::ContainerSpec));

fn message() -> control::ApplyWorkloadRequest {
    control::ApplyWorkloadRequest {
        workload_id: "w-1".into(),
        spec: Some(control::WorkloadSpec {
            r#type: "Container".into(),
            resources: Some(control::ResourceRequirements {
                cpu_millicores: 250,
                memory_mb: 256,
                disk_gb: 2,
            }),
            workload: Some(Workload::Container(control::ContainerSpec {
                image: "alpine:latest".into(),
                command: vec!["sleep".into(), "60".into()],
                ports: vec![control::Port {
                    host_port: 0,
                    container_port: 80,
                    protocol: String::new(),
                }],
                restart_policy: "unless-stopped".into(),
                managed_volumes: vec![control::ManagedVolumeSpec {
                    name: "v".into(),
                    driver: "ceph_rbd".into(),
                    mount_path: "/v".into(),
                    retain_policy: "Retain".into(),
                    ..Default::default()
                }],
                ..Default::default()
            })),
            metadata: Default::default(),
        }),
        revision_id: "r1".into(),
        desired_state: "running".into(),
    }
}

fn applied(message: control::ApplyWorkloadRequest) -> ApplyWorkload {
    match apply_request(message).unwrap() {
        Request::Apply(apply) => apply,
        other => panic!("{other:?}"),
    }
}

fn spoilt(spoil: impl FnOnce(&mut control::WorkloadSpec)) -> control::ApplyWorkloadRequest {
    let mut message = message();
    spoil(message.spec.as_mut().unwrap());
    message
}

fn with_arm(kind: &str, arm: Workload) -> control::ApplyWorkloadRequest {
    spoilt(|spec| {
        spec.r#type = kind.into();
        spec.workload = Some(arm);
    })
}

fn refused(message: control::ApplyWorkloadRequest, kind: &str, field: &str) {
    let error = apply_request(message).unwrap_err();
    assert_eq!(told(&error), (kind, field), "{error}");
}

#[test]
fn the_smoke_clients_container() {
    let apply = applied(message());
    assert_eq!(apply.revision, Some("r1".parse().unwrap()));
    assert_eq!(apply.desired_state, Some(DesiredState::Running));
    let new = apply.spec.unwrap();
    assert_eq!(new.resources, Resources::new(250, 256, 2));
    let Spec::Container(spec) = new.spec else {
        panic!("a container")
    };
    assert_eq!(spec.restart_policy, RestartPolicy::UnlessStopped);
    assert_eq!(spec.ports[0].protocol, Protocol::Tcp);
    assert_eq!(spec.managed_volumes[0].driver, "ceph-rbd");
    assert_eq!(spec.managed_volumes[0].retain_policy, RetainPolicy::Retain);
}

#[test]
fn desired_states_are_strict() {
    let state = |text: &str| {
        let mut message = message();
        message.spec = None;
        message.revision_id.clear();
        message.desired_state = text.into();
        apply_request(message)
    };
    for text in ["", "  ", "Running", "RUN", "start", "Started"] {
        let Ok(Request::Apply(apply)) = state(text) else {
            panic!("{text}")
        };
        assert_eq!(
            (apply.desired_state, apply.spec),
            (Some(DesiredState::Running), None)
        );
    }
    for text in ["stop", "STOPPED"] {
        let Ok(Request::Apply(apply)) = state(text) else {
            panic!("{text}")
        };
        assert_eq!(apply.desired_state, Some(DesiredState::Stopped));
    }
    for text in ["delete", "Deleted"] {
        assert!(
            matches!(state(text), Ok(Request::Delete { if_match: None, .. })),
            "{text}"
        );
    }
    for text in ["stoped", "paused", "Running!"] {
        assert_eq!(told(&state(text).unwrap_err()), ("spec", "desired_state"));
    }
}

#[test]
fn ids_are_malformed_and_the_rest_is_refused_in_band() {
    for id in ["", " ", "A", "a/b", "..", "a/status", "ä"] {
        let mut bad = message();
        bad.workload_id = id.into();
        refused(bad, "malformed", "workload_id");
        let delete = control::DeleteWorkloadRequest {
            workload_id: id.into(),
        };
        assert_eq!(
            told(&delete_request(&delete).unwrap_err()),
            ("malformed", "workload_id")
        );
        let retry = control::RetryWorkloadRequest {
            workload_id: id.into(),
        };
        assert_eq!(
            told(&retry_request(&retry).unwrap_err()),
            ("malformed", "workload_id")
        );
    }
    let mut bad = message();
    bad.revision_id = "a b".into();
    refused(bad, "spec", "revision_id");
    refused(spoilt(|s| s.r#type = "pod".into()), "spec", "spec.type");
    refused(spoilt(|s| s.r#type.clear()), "spec", "spec.type");
    refused(spoilt(|s| s.r#type = "vm".into()), "spec", "spec.vm");
    refused(spoilt(|s| s.workload = None), "spec", "spec.container");
    let asked = |cpu, memory, disk| {
        let resources = control::ResourceRequirements {
            cpu_millicores: cpu,
            memory_mb: memory,
            disk_gb: disk,
        };
        spoilt(|s| s.resources = Some(resources))
    };
    refused(asked(-1, 0, 0), "spec", "spec.resources.cpu_millicores");
    refused(asked(0, i64::MIN, 0), "spec", "spec.resources.memory_mb");
    refused(asked(0, 0, -1), "spec", "spec.resources.disk_gb");
    refused(asked(i64::MAX, 0, 0), "spec", "resources.cpu");
}

#[test]
fn fields_of_containers() {
    let container = |spoil: fn(&mut control::ContainerSpec)| {
        spoilt(|spec| match spec.workload.as_mut() {
            Some(Workload::Container(spec)) => spoil(spec),
            other => panic!("{other:?}"),
        })
    };
    let table: [Spoil; 8] = [
        ("spec.image", |s| s.image.clear()),
        ("spec.restart_policy", |s| {
            s.restart_policy = "sometimes".into()
        }),
        ("spec.ports[0].container_port", |s| {
            s.ports[0].container_port = 0
        }),
        ("spec.ports[0].container_port", |s| {
            s.ports[0].container_port = 65_536
        }),
        ("spec.ports[0].host_port", |s| s.ports[0].host_port = -1),
        ("spec.ports[0].protocol", |s| {
            s.ports[0].protocol = "sctp".into()
        }),
        ("spec.managed_volumes[0].size_gb", |s| {
            s.managed_volumes[0].size_gb = -1
        }),
        ("spec.managed_volumes[0].retain_policy", |s| {
            s.managed_volumes[0].retain_policy = "Keep".into();
        }),
    ];
    for (field, spoil) in table {
        refused(container(spoil), "spec", field);
    }
}

#[test]
fn every_word_of_a_container_has_its_meaning() {
    let read = |spoil: &dyn Fn(&mut control::ContainerSpec)| {
        let mut container = control::ContainerSpec {
            image: "i".into(),
            ..Default::default()
        };
        spoil(&mut container);
        let message = with_arm("container", Workload::Container(container));
        match applied(message).spec.unwrap().spec {
            Spec::Container(spec) => spec,
            other => panic!("{other:?}"),
        }
    };
    for (word, meant) in [
        ("", RestartPolicy::No),
        ("no", RestartPolicy::No),
        (" Always", RestartPolicy::Always),
        ("on-failure", RestartPolicy::OnFailure),
        ("unless-stopped", RestartPolicy::UnlessStopped),
    ] {
        let spec = read(&|c| c.restart_policy = word.into());
        assert_eq!(spec.restart_policy, meant, "{word}");
    }
    for (word, meant) in [
        ("", Protocol::Tcp),
        ("TCP", Protocol::Tcp),
        ("udp", Protocol::Udp),
    ] {
        let port = control::Port {
            host_port: 1,
            container_port: 2,
            protocol: word.into(),
        };
        let spec = read(&|c| c.ports = vec![port.clone()]);
        let meant = Port {
            host_port: 1,
            container_port: 2,
            protocol: meant,
        };
        assert_eq!(spec.ports, [meant], "{word}");
    }
    for (word, meant) in [
        ("", RetainPolicy::Delete),
        ("delete", RetainPolicy::Delete),
        ("Retain", RetainPolicy::Retain),
    ] {
        let volume = control::ManagedVolumeSpec {
            name: "v".into(),
            mount_path: "/v".into(),
            retain_policy: word.into(),
            ..Default::default()
        };
        let spec = read(&|c| c.managed_volumes = vec![volume.clone()]);
        assert_eq!(spec.managed_volumes[0].retain_policy, meant, "{word}");
    }
    let mount = control::VolumeMount {
        host_path: "/a".into(),
        container_path: "/b".into(),
        read_only: true,
    };
    let meant = VolumeMount {
        host_path: "/a".into(),
        container_path: "/b".into(),
        read_only: true,
    };
    assert_eq!(read(&|c| c.volumes = vec![mount.clone()]).volumes, [meant]);
}

#[test]
fn policy_is_taken_out_of_the_metadata() {
    let metadata = [
        ("team", "x"),
        ("berth/label.zone", "a"),
        ("berth/label.example.com/rack", "7"),
        ("berth/tenant", "t"),
        ("berth/priority", "-5"),
        ("berth/spread-by", "zone"),
        ("berth/anti-affinity", "g"),
        ("berth/max-attempts", "3"),
    ];
    let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let new = applied(spoilt(|s| s.metadata = metadata.map(own).into()))
        .spec
        .unwrap();
    assert_eq!(new.labels, [own(("team", "x"))].into());
    assert_eq!(
        new.constraints.labels,
        [own(("zone", "a")), own(("example.com/rack", "7"))].into()
    );
    assert_eq!(new.constraints.spread_by.as_deref(), Some("zone"));
    assert_eq!(new.constraints.anti_affinity.as_deref(), Some("g"));
    assert_eq!((new.priority, new.max_attempts), (-5, Some(3)));
    assert_eq!(new.tenant, Some("t".parse().unwrap()));

    for (key, value, field) in [
        ("berth/zone", "a", r#"spec.metadata["berth/zone"]"#),
        ("berth/", "a", r#"spec.metadata["berth/"]"#),
        (
            "berth/priority",
            "high",
            r#"spec.metadata["berth/priority"]"#,
        ),
        (
            "berth/max-attempts",
            "-1",
            r#"spec.metadata["berth/max-attempts"]"#,
        ),
        ("berth/max-attempts", "0", "max_attempts"),
        ("berth/tenant", "T", r#"spec.metadata["berth/tenant"]"#),
        ("berth/label.", "a", r#"constraints.labels[""]"#),
    ] {
        refused(
            spoilt(|s| s.metadata = [own((key, value))].into()),
            "spec",
            field,
        );
    }
}

#[test]
fn compose_comes_plain_or_in_base64() {
    let yaml = "services:\n  a:\n    image: x\n";
    let compose = |source: &str, text: &str, repo: &str| {
        with_arm(
            "compose",
            Workload::Compose(control::ComposeSpec {
                source_type: source.into(),
                inline_yaml: text.into(),
                git_repo: repo.into(),
                ..Default::default()
            }),
        )
    };
    let read = |message| match applied(message).spec.unwrap().spec {
        Spec::Compose(spec) => spec,
        other => panic!("{other:?}"),
    };
    let packed = STANDARD.encode(yaml);
    let broken = format!("{}\n{}", &packed[..8], &packed[8..]);
    for text in [yaml, &packed, &broken] {
        assert_eq!(read(compose("inline", text, "")).inline_yaml, yaml);
    }
    // Base64 of something else is taken as it is.
    assert_eq!(read(compose("", "abcd", "")).inline_yaml, "abcd");
    assert_eq!(
        read(compose("", "", "https://x/y")).source_type,
        ComposeSource::Git
    );
    refused(compose("git", yaml, ""), "spec", "spec.git_repo");
    refused(
        compose("inline", "", "https://x/y"),
        "spec",
        "spec.inline_yaml",
    );
    refused(compose("svn", yaml, ""), "spec", "spec.source_type");
}

#[test]
fn machines_of_the_control_protocol() {
    let vm = control::VmSpec {
        vcpus: 2,
        memory_mb: 2048,
        disks: vec![control::DiskConfig {
            size_gb: 20,
            ..Default::default()
        }],
        networks: vec![control::NetworkConfig {
            bridge: "br0".into(),
            ..Default::default()
        }],
        cloud_init: Some(control::CloudInitConfig {
            user_data: "#cloud-config".into(),
            ..Default::default()
        }),
        os_image: "ubuntu-22.04".into(),
        ..Default::default()
    };
    let new = applied(with_arm("VM", Workload::Vm(vm.clone())))
        .spec
        .unwrap();
    let Spec::Vm(spec) = new.spec else {
        panic!("a machine")
    };
    assert_eq!((spec.vcpus, spec.memory_mb), (2, Mebibytes(2048)));
    assert_eq!(spec.disks[0].size_gb, Gibibytes(20));
    assert_eq!(spec.networks[0].bridge, "br0");
    assert_eq!(spec.cloud_init.unwrap().user_data, "#cloud-config");

    let bad = control::VmSpec {
        vcpus: -1,
        ..vm.clone()
    };
    refused(with_arm("vm", Workload::Vm(bad)), "spec", "spec.vcpus");
    let mut bad = vm;
    bad.disks[0].size_gb = -1;
    refused(
        with_arm("vm", Workload::Vm(bad)),
        "spec",
        "spec.disks[0].size_gb",
    );
}

#[test]
fn a_machine_in_the_metadata_takes_the_place_of_the_arm() {
    let packed = STANDARD.encode(
        r#"{"vcpus": 4, "memoryMb": "4096", "unknown": {},
            "disks": [{"device": "vdb", "size_gb": 30}], "networks": [{"network": "br1"}],
            "managed_volumes": [{"name": "m", "mount_path": "/m"}]}"#,
    );
    let lossy = Workload::Vm(control::VmSpec::default());
    for arm in [Some(lossy), None] {
        let new = applied(spoilt(|s| {
            s.r#type = "vm".into();
            s.workload = arm;
            s.metadata = [(VM_SPEC_KEY.to_owned(), packed.clone())].into();
        }));
        let new = new.spec.unwrap();
        assert_eq!(new.labels.get(VM_SPEC_KEY), Some(&packed));
        let Spec::Vm(spec) = new.spec else {
            panic!("a machine")
        };
        assert_eq!((spec.vcpus, spec.memory_mb), (4, Mebibytes(4096)));
        assert_eq!(spec.disks[0].mount_point, "vdb");
        assert_eq!(spec.managed_volumes[0].driver, "local");
    }
    let field = r#"spec.metadata["persys.vm_spec_b64"]"#;
    for bad in ["", "%%%", &STANDARD.encode("{"), &STANDARD.encode("[]")] {
        let bad = spoilt(|s| {
            s.r#type = "vm".into();
            s.workload = None;
            s.metadata = [(VM_SPEC_KEY.to_owned(), bad.to_owned())].into();
        });
        refused(bad, "spec", field);
    }
    // Another kind does not read it; another arm contradicts it.
    applied(spoilt(|s| {
        s.metadata = [(VM_SPEC_KEY.to_owned(), "%%".to_owned())].into()
    }));
    let contradiction = spoilt(|s| {
        s.r#type = "vm".into();
        s.metadata = [(VM_SPEC_KEY.to_owned(), packed.clone())].into();
    });
    refused(contradiction, "spec", "spec.vm");
}
