//! The persys packages are what `control.txt` and `agent.txt` say, no less and no more.

mod table;

use berth_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

const CONTROL: &str = "persys.control.v1";
const AGENT: &str = "persys.agent.v1";
const BERTH: &str = "berth.v1";
const TIMESTAMP: &str = "google/protobuf/timestamp.proto";

#[test]
fn control_is_as_its_table_says() {
    check(CONTROL, include_str!("control.txt"));
}

#[test]
fn agent_is_as_its_table_says() {
    check(AGENT, include_str!("agent.txt"));
}

/// Guards the tables themselves against lost lines.
#[test]
fn packages_have_the_known_sizes() {
    let count = |package| {
        let file = file(package);
        let methods: usize = file
            .service
            .iter()
            .map(|service| service.method.len())
            .sum();
        (methods, file.message_type.len(), file.enum_type.len())
    };
    assert_eq!(count(CONTROL), (12, 43, 2));
    assert_eq!(count(AGENT), (6, 27, 3));
}

/// The contract has neither field presence of its own nor reservations, nested types or services
/// beside the one.
#[test]
fn persys_uses_plain_proto3_only() {
    for package in [CONTROL, AGENT] {
        let file = file(package);
        assert_eq!(file.syntax(), "proto3");
        assert_eq!(file.service.len(), 1);
        assert!(file.extension.is_empty());
        for message in &file.message_type {
            let name = message.name();
            assert!(
                message.field.iter().all(|field| !field.proto3_optional()),
                "{name}"
            );
            assert!(message.reserved_range.is_empty(), "{name}");
            assert!(message.enum_type.is_empty(), "{name}");
            let only_maps = message.nested_type.iter().all(|nested| {
                nested
                    .options
                    .as_ref()
                    .is_some_and(|options| options.map_entry())
            });
            assert!(only_maps, "{name}");
        }
    }
}

/// No package depends on another of ours, so that each can be copied out alone.
#[test]
fn packages_stand_alone() {
    for package in [CONTROL, AGENT, BERTH] {
        for import in file(package).dependency {
            assert_eq!(import, TIMESTAMP, "imported by {package}");
        }
    }
}

/// Server reflection needs every file that another one imports.
#[test]
fn descriptor_set_is_closed() {
    let set = descriptors();
    let names: Vec<&str> = set.file.iter().map(FileDescriptorProto::name).collect();
    for file in &set.file {
        for import in &file.dependency {
            assert!(
                names.contains(&import.as_str()),
                "{} lacks {import}",
                file.name()
            );
        }
    }
}

/// The comparison sees a changed number, name, type, oneof, stream, and a lost or added line.
#[test]
fn every_kind_of_change_is_seen() {
    let table = include_str!("control.txt");
    let changes = [
        ("10 revision_id string", "9 revision_id string"),
        ("4 inline_yaml string", "4 inline_yml string"),
        ("8 total_cpu_cores double", "8 total_cpu_cores int64"),
        ("12 vm VMSpec @workload", "12 vm VMSpec"),
        ("3 env map", "3 env string"),
        ("rep StoragePool", "StoragePool"),
        (
            "*ControlMessage *ControlMessage",
            "ControlMessage *ControlMessage",
        ),
        ("2 IMAGE_NOT_FOUND", "3 IMAGE_NOT_FOUND"),
        ("service AgentControl", "service AgentControls"),
        ("rpc GetNode GetNodeRequest GetNodeResponse\n", ""),
        ("; 7 timestamp Ts", ""),
        ("message GetClusterSummaryRequest\n", ""),
        (
            "  1 accepted bool\n",
            "  1 accepted bool; 2 message string\n",
        ),
    ];
    let actual = table::from_descriptor(&file(CONTROL));
    for (from, to) in changes {
        assert!(table.contains(from), "the table has no {from:?}");
        let wrong = table::from_table(CONTROL, &table.replacen(from, to, 1));
        assert!(
            !table::differences(&wrong, &actual).is_empty(),
            "{from:?} as {to:?} goes unseen"
        );
    }
}

// ---- Helpers ----------------------------------------------------------------------------------

fn check(package: &str, table: &str) {
    let expected = table::from_table(package, table);
    let actual = table::from_descriptor(&file(package));
    let differences = table::differences(&expected, &actual);
    assert!(
        differences.is_empty(),
        "{package} is not what agents and clients speak (- missing, + too much):\n{}",
        differences.join("\n")
    );
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the build wrote it")
}

fn file(package: &str) -> FileDescriptorProto {
    let mut files = descriptors()
        .file
        .into_iter()
        .filter(|file| file.package() == package);
    let found = files
        .next()
        .unwrap_or_else(|| panic!("no file of package {package}"));
    assert!(
        files.next().is_none(),
        "package {package} has several files"
    );
    found
}
