//! One table: a good workload, spoilt in one place, and the path that the error must name.

use super::check_apply;
use super::limits::*;
use crate::io::RequestError;
use crate::io::request::{ApplyWorkload, NewSpec};
use crate::model::spec::*;
use crate::model::units::{Gibibytes, Mebibytes, Millicores, Resources};
use crate::model::workload::DesiredState;

/// The field that an error must name, and what spoils it.
type Spoil<T> = (&'static str, fn(&mut T));

fn apply(spec: Spec) -> ApplyWorkload {
    ApplyWorkload {
        workload: "w".parse().unwrap(),
        spec: Some(NewSpec {
            spec,
            resources: Resources::new(CPU_MILLICORES_MAX, MEMORY_MIB_MAX, DISK_GIB_MAX),
            constraints: Constraints {
                labels: [("zone".into(), "a b".into())].into(),
                spread_by: Some("topology.example.com/zone".into()),
                anti_affinity: Some("group".into()),
            },
            tenant: None,
            priority: -1_000_000,
            max_attempts: Some(100),
            labels: [("routing".into(), "Host(`a`) && Path(`/b`)\n".into())].into(),
        }),
        revision: Some("v1".parse().unwrap()),
        desired_state: Some(DesiredState::Running),
        if_match: None,
        dry_run: false,
    }
}

fn container() -> ContainerSpec {
    let port = |host_port, container_port, protocol| Port {
        host_port,
        container_port,
        protocol,
    };
    ContainerSpec {
        image: "registry.example.com:5000/team/app_1@sha256:0f".into(),
        command: vec!["sh".into(), "-c".into(), "echo\thi\n".into()],
        env: [("PATH".into(), "/bin:/usr/bin".into())].into(),
        volumes: vec![VolumeMount {
            host_path: "/srv/data".into(),
            container_path: "/data".into(),
            read_only: true,
        }],
        ports: vec![
            port(80, 8080, Protocol::Tcp),
            port(80, 8080, Protocol::Udp),
            port(0, 1, Protocol::Tcp),
            port(0, 65_535, Protocol::Tcp),
        ],
        managed_volumes: vec![volume()],
        ..Default::default()
    }
}

fn volume() -> ManagedVolume {
    ManagedVolume {
        name: "vol-1".into(),
        driver: "ceph-rbd".into(),
        size_gb: Gibibytes(DISK_GIB_MAX),
        mount_path: "/var/lib/x".into(),
        ..Default::default()
    }
}

fn compose() -> ComposeSpec {
    ComposeSpec {
        inline_yaml: "services: {}\n".into(),
        ..Default::default()
    }
}

fn vm() -> VmSpec {
    let network = |ip: &str| Network {
        bridge: "br0".into(),
        dhcp: false,
        static_ip: ip.into(),
    };
    VmSpec {
        vcpus: VCPUS_MAX,
        memory_mb: Mebibytes(MEMORY_MIB_MAX),
        disks: vec![Disk {
            size_gb: Gibibytes(20),
            ..Default::default()
        }],
        networks: vec![network("10.0.0.2/24"), network("fe80::1"), network("")],
        managed_volumes: vec![volume()],
        ..Default::default()
    }
}

fn spoilt_container(spoil: impl FnOnce(&mut ContainerSpec)) -> ApplyWorkload {
    let mut spec = container();
    spoil(&mut spec);
    apply(Spec::Container(spec))
}

fn spoilt_compose(spoil: impl FnOnce(&mut ComposeSpec)) -> ApplyWorkload {
    let mut spec = compose();
    spoil(&mut spec);
    apply(Spec::Compose(spec))
}

fn spoilt_vm(spoil: impl FnOnce(&mut VmSpec)) -> ApplyWorkload {
    let mut spec = vm();
    spoil(&mut spec);
    apply(Spec::Vm(spec))
}

fn spoilt(spoil: impl FnOnce(&mut NewSpec)) -> ApplyWorkload {
    let mut apply = apply(Spec::Container(container()));
    spoil(apply.spec.as_mut().unwrap());
    apply
}

fn refused(apply: &ApplyWorkload, expected: &str) {
    match check_apply(apply) {
        Err(RequestError::Invalid { field, problem }) => {
            assert_eq!(field, expected, "{problem}");
            assert!(!problem.is_empty());
        }
        other => panic!("{expected}: {other:?}"),
    }
}

#[test]
fn good_ones_pass_at_their_bounds() {
    for spec in [
        Spec::Container(container()),
        Spec::Compose(compose()),
        Spec::Vm(vm()),
    ] {
        check_apply(&apply(spec)).unwrap();
    }
    let mut stop = apply(Spec::Compose(compose()));
    stop.spec = None;
    check_apply(&stop).unwrap();
    stop.desired_state = None;
    refused(&stop, "spec");
    stop.desired_state = Some(DesiredState::Deleted);
    refused(&stop, "desired_state");
}

#[test]
fn amounts_beyond_the_bounds() {
    refused(
        &spoilt(|n| n.resources.cpu = Millicores(CPU_MILLICORES_MAX + 1)),
        "resources.cpu",
    );
    // 1,000 cores, 64 TiB, 1 PiB: in figures, so that the bounds are what their texts say.
    let largest = spoilt(|n| n.resources = Resources::new(1_000_000, 67_108_864, 1_048_576));
    assert_eq!(check_apply(&largest), Ok(()));
    refused(
        &spoilt(|n| n.resources.memory_mb = Mebibytes(67_108_865)),
        "resources.memory_mb",
    );
    refused(
        &spoilt(|n| n.resources.disk_gb = Gibibytes(1_048_577)),
        "resources.disk_gb",
    );
    refused(&spoilt(|n| n.priority = 1_000_001), "priority");
    refused(&spoilt(|n| n.max_attempts = Some(0)), "max_attempts");
    refused(&spoilt(|n| n.max_attempts = Some(101)), "max_attempts");
    let mut long = spoilt(|_| {});
    long.revision = Some("x".repeat(129).parse().unwrap());
    refused(&long, "revision_id");
}

#[test]
fn sizes_are_allowed_up_to_their_bounds() {
    let mut largest = spoilt(|n| {
        n.labels.insert(VM_SPEC_KEY.to_owned(), String::new());
    });
    let new = largest.spec.as_mut().unwrap();
    let left = SPEC_BYTES_MAX - serde_json::to_vec(&*new).unwrap().len();
    new.labels.insert(VM_SPEC_KEY.to_owned(), "x".repeat(left));
    assert_eq!(check_apply(&largest), Ok(()));
    let new = largest.spec.as_mut().unwrap();
    new.labels.get_mut(VM_SPEC_KEY).unwrap().push('x');
    refused(&largest, "spec");

    let disk = |size| spoilt_vm(|vm| vm.disks[0].size_gb = Gibibytes(size));
    assert_eq!(check_apply(&disk(DISK_GIB_MAX)), Ok(()));
    refused(&disk(DISK_GIB_MAX + 1), "spec.disks[0].size_gb");

    // 256 times a key of 16 bytes and a value of 240.
    let labels = (0..256).map(|n| (format!("key-{n:012}"), "x".repeat(240)));
    let mut labels: std::collections::BTreeMap<_, _> = labels.collect();
    assert_eq!(super::check::check_node_labels(&labels), Ok(()));
    labels.insert(format!("key-{:012}", 0), "x".repeat(241));
    let told = super::check::check_node_labels(&labels)
        .unwrap_err()
        .to_string();
    assert!(told.contains("bytes together"), "{told}");
}

#[test]
fn labels_and_constraints() {
    let put = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        spoilt(move |n| {
            n.labels.insert(key, value);
        })
    };
    refused(&put("", "x"), r#"labels[""]"#);
    refused(&put("a b", "x"), r#"labels["a b"]"#);
    refused(&put("berth/zone", "x"), r#"labels["berth/zone"]"#);
    refused(&put("k", "a\0b"), r#"labels["k"]"#);
    refused(&put("k", &"x".repeat(4097)), r#"labels["k"]"#);
    check_apply(&put(VM_SPEC_KEY, &"x".repeat(100_000))).unwrap();
    refused(
        &spoilt(|n| {
            n.labels
                .extend((0..256).map(|i| (i.to_string(), String::new())))
        }),
        "labels",
    );

    let matched = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        spoilt(move |n| {
            n.constraints.labels.insert(key, value);
        })
    };
    refused(&matched("a\n", "x"), r#"constraints.labels["a\n"]"#);
    refused(&matched("k", "a\n"), r#"constraints.labels["k"]"#);
    refused(
        &matched("k", &"x".repeat(257)),
        r#"constraints.labels["k"]"#,
    );
    refused(
        &spoilt(|n| n.constraints.spread_by = Some(String::new())),
        "constraints.spread_by",
    );
    let group = Some("a b".to_owned());
    refused(
        &spoilt(|n| n.constraints.anti_affinity = group),
        "constraints.anti_affinity",
    );
}

#[test]
fn containers() {
    let table: [Spoil<ContainerSpec>; 22] = [
        ("spec.image", |s| s.image = String::new()),
        ("spec.image", |s| s.image = "a b".into()),
        ("spec.image", |s| s.image = "-rm".into()),
        ("spec.image", |s| s.image = "x".repeat(513)),
        ("spec.command", |s| s.command = vec![String::new(); 1025]),
        ("spec.command[1]", |s| s.command[1] = "a\0".into()),
        ("spec.command[0]", |s| {
            s.command[0] = "x".repeat(WORD_BYTES_MAX + 1)
        }),
        (r#"spec.env[""]"#, |s| {
            drop(s.env.insert(String::new(), String::new()))
        }),
        (r#"spec.env["A=B"]"#, |s| {
            drop(s.env.insert("A=B".into(), String::new()))
        }),
        (r#"spec.env["A"]"#, |s| {
            drop(s.env.insert("A".into(), "\0".into()))
        }),
        ("spec.volumes[0].host_path", |s| {
            s.volumes[0].host_path = "data".into()
        }),
        ("spec.volumes[0].container_path", |s| {
            s.volumes[0].container_path = "/a/../b".into()
        }),
        ("spec.volumes[1].container_path", |s| {
            s.volumes.extend(s.volumes.clone())
        }),
        ("spec.ports[2].container_port", |s| {
            s.ports[2].container_port = 0
        }),
        ("spec.ports[1].host_port", |s| {
            s.ports[1].protocol = Protocol::Tcp
        }),
        ("spec.managed_volumes[0].name", |s| {
            s.managed_volumes[0].name = String::new()
        }),
        ("spec.managed_volumes[0].name", |s| {
            s.managed_volumes[0].name = "../x".into()
        }),
        ("spec.managed_volumes[1].name", |s| {
            s.managed_volumes.push(volume())
        }),
        ("spec.managed_volumes[0].driver", |s| {
            s.managed_volumes[0].driver = "iscsi".into()
        }),
        ("spec.managed_volumes[0].mount_path", |s| {
            s.managed_volumes[0].mount_path.clear()
        }),
        ("spec.managed_volumes[0].fs_type", |s| {
            s.managed_volumes[0].fs_type = "a b".into()
        }),
        ("spec", |s| s.command = vec!["x".repeat(60_000); 5]),
    ];
    for (field, spoil) in table {
        refused(&spoilt_container(spoil), field);
    }
}

#[test]
fn compose_projects() {
    let table: [Spoil<ComposeSpec>; 6] = [
        ("spec.inline_yaml", |s| s.inline_yaml = " \n".into()),
        ("spec.inline_yaml", |s| s.inline_yaml.push('\0')),
        ("spec.git_repo", |s| s.source_type = ComposeSource::Git),
        ("spec.git_repo", |s| s.git_repo = "--upload-pack=x".into()),
        ("spec.git_ref", |s| s.git_ref = "a\nb".into()),
        ("spec", |s| {
            s.inline_yaml = "a: b\n".repeat(SPEC_BYTES_MAX / 5)
        }),
    ];
    for (field, spoil) in table {
        refused(&spoilt_compose(spoil), field);
    }
}

#[test]
fn virtual_machines() {
    let table: [Spoil<VmSpec>; 9] = [
        ("spec.vcpus", |s| s.vcpus = 0),
        ("spec.vcpus", |s| s.vcpus = VCPUS_MAX + 1),
        ("spec.memory_mb", |s| s.memory_mb = Mebibytes(0)),
        ("spec.disks[0].size_gb", |s| {
            s.disks[0].size_gb = Gibibytes(u64::MAX)
        }),
        ("spec.disks[0].mount_point", |s| {
            s.disks[0].mount_point = "a b".into()
        }),
        ("spec.networks[2].static_ip", |s| {
            s.networks[2].static_ip = "10.0.0".into()
        }),
        ("spec.networks[0].bridge", |s| {
            s.networks[0].bridge = "x".repeat(129)
        }),
        ("spec.os_image", |s| s.os_image = "a\u{7}".into()),
        ("spec.managed_volumes[0].mount_path", |s| {
            s.managed_volumes[0].mount_path = "x".into()
        }),
    ];
    for (field, spoil) in table {
        refused(&spoilt_vm(spoil), field);
    }
}

#[test]
fn a_packed_machine_is_the_one_of_the_spec() {
    let packed = |json: &str| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(json);
        let mut apply = apply(Spec::Vm(VmSpec {
            vcpus: 2,
            memory_mb: Mebibytes(64),
            ..VmSpec::default()
        }));
        let labels = &mut apply.spec.as_mut().unwrap().labels;
        labels.insert(VM_SPEC_KEY.to_owned(), text);
        apply
    };
    check_apply(&packed(r#"{"vcpus": 2, "memory_mb": 64}"#)).unwrap();
    for other in [r#"{"vcpus": 4, "memory_mb": 64}"#, "[]", ""] {
        refused(&packed(other), r#"labels["persys.vm_spec_b64"]"#);
    }
}
