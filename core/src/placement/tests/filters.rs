//! Each filter at its boundary.

use proptest::prelude::*;

use super::reference;
use super::world::{Ask, Node, ask, capacity, node};
use crate::model::node::NodeStatus;
use crate::model::spec::WorkloadType;
use crate::placement::{Filter, Refusal, first_refusing, fits, refusals};

fn answer(node: &Node, ask: &Ask) -> Result<(), Refusal> {
    fits(&node.candidate(), &ask.demand())
}

#[test]
fn only_a_ready_node_takes_work() {
    let mut node = Node::new("node-1");
    for (status, expected) in [
        (NodeStatus::Ready, Ok(())),
        (NodeStatus::NotReady, Err(Refusal::Ready)),
        (NodeStatus::Draining, Err(Refusal::NotDraining)),
    ] {
        node.status = status;
        assert_eq!(answer(&node, &Ask::new(1, 1, 1)), expected, "{status:?}");
    }
}

#[test]
fn a_cordoned_node_takes_no_work() {
    let mut node = Node::new("node-1");
    node.schedulable = false;
    assert_eq!(answer(&node, &Ask::new(0, 0, 0)), Err(Refusal::Schedulable));
}

#[test]
fn a_node_that_reports_no_types_supports_none() {
    let mut node = Node::new("node-1");
    node.types.clear();
    for wanted in WorkloadType::ALL {
        let ask = Ask {
            kind: wanted,
            ..Ask::new(0, 0, 0)
        };
        assert_eq!(answer(&node, &ask), Err(Refusal::WorkloadType { wanted }));
    }
}

#[test]
fn a_type_is_asked_for_alone() {
    let mut node = Node::new("node-1");
    node.types = [WorkloadType::Vm].into();
    node.avoided = [WorkloadType::Container].into();
    let vm = Ask {
        kind: WorkloadType::Vm,
        ..Ask::new(0, 0, 0)
    };
    assert_eq!(answer(&node, &vm), Ok(()));
    node.avoided = [WorkloadType::Vm].into();
    let wanted = WorkloadType::Vm;
    assert_eq!(
        answer(&node, &vm),
        Err(Refusal::RuntimeAvailable { wanted })
    );
}

#[test]
fn every_storage_driver_must_be_there() {
    let mut node = Node::new("node-1");
    node.drivers = ["local".to_owned()].into();
    let mut ask = Ask::new(0, 0, 0);
    assert_eq!(answer(&node, &ask), Ok(()));
    ask.drivers = ["local".to_owned()].into();
    assert_eq!(answer(&node, &ask), Ok(()));
    ask.drivers = ["ceph-rbd", "local", "nfs"].map(str::to_owned).into();
    let missing = vec!["ceph-rbd".to_owned(), "nfs".to_owned()];
    assert_eq!(
        answer(&node, &ask),
        Err(Refusal::StorageDrivers { missing })
    );
}

#[test]
fn labels_must_be_there_with_their_values() {
    let node = Node::new("node-1")
        .labelled("disktype", "ssd")
        .labelled("zone", "a");
    let ssd = Ask::new(0, 0, 0).labelled("disktype", "ssd");
    assert_eq!(answer(&node, &ssd), Ok(()));
    let more = ssd.labelled("zone", "b").labelled("gpu", "");
    let missing = vec!["gpu=".to_owned(), "zone=b".to_owned()];
    assert_eq!(answer(&node, &more), Err(Refusal::Labels { missing }));
}

#[test]
fn anti_affinity_refuses_others_of_the_group_and_never_the_workload_itself() {
    let mut node = Node::new("node-1");
    let mut ask = Ask::new(0, 0, 0);
    ask.constraints.anti_affinity = Some("db".to_owned());
    let holders = |ids: &[&str]| ids.iter().map(|id| id.parse().unwrap()).collect();
    node.groups.insert("web".to_owned(), holders(&["w-1"]));
    assert_eq!(answer(&node, &ask), Ok(()), "another group");
    node.groups.insert("db".to_owned(), holders(&[]));
    assert_eq!(answer(&node, &ask), Ok(()), "nobody");
    node.groups.insert("db".to_owned(), holders(&["w-0"]));
    assert_eq!(answer(&node, &ask), Ok(()), "itself");
    node.groups
        .insert("db".to_owned(), holders(&["w-0", "w-1"]));
    let group = "db".to_owned();
    let holder = "w-1".parse().unwrap();
    assert_eq!(
        answer(&node, &ask),
        Err(Refusal::AntiAffinity { group, holder })
    );
}

#[test]
fn amounts_fit_to_the_last_unit() {
    let node = Node::new("node-1").reserving(3000, 8000, 90);
    assert_eq!(answer(&node, &Ask::new(1000, 192, 10)), Ok(()));
    let (requested, available, total) = (1001, 1000, 4000);
    let cpu = Refusal::Cpu {
        requested,
        available,
        total,
    };
    assert_eq!(answer(&node, &Ask::new(1001, 192, 10)), Err(cpu));
    let (requested, available, total) = (193, 192, 8192);
    let memory = Refusal::Memory {
        requested,
        available,
        total,
    };
    assert_eq!(answer(&node, &Ask::new(1000, 193, 10)), Err(memory));
    let (requested, available, total) = (11, 10, 100);
    let disk = Refusal::Disk {
        requested,
        available,
        total,
    };
    assert_eq!(answer(&node, &Ask::new(1000, 192, 11)), Err(disk));
}

#[test]
fn who_asks_for_nothing_fits_an_overcommitted_node() {
    let node = Node::new("node-1").reserving(5000, 9000, 200);
    assert_eq!(answer(&node, &Ask::new(0, 0, 0)), Ok(()));
    let expected = [Filter::Cpu, Filter::Memory, Filter::Disk];
    let got = refusals(&node.candidate(), &Ask::new(1, 1, 1).demand());
    assert_eq!(
        got.iter().map(Refusal::filter).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn an_unknown_disk_is_not_filtered_and_one_of_zero_is() {
    let mut node = Node::new("node-1").reserving(0, 0, 7);
    node.capacity = capacity(4000, 8192, None);
    assert_eq!(answer(&node, &Ask::new(0, 0, u64::MAX)), Ok(()));
    node.capacity = capacity(4000, 8192, Some(0));
    let (requested, available, total) = (1, 0, 0);
    let disk = Refusal::Disk {
        requested,
        available,
        total,
    };
    assert_eq!(answer(&node, &Ask::new(0, 0, 1)), Err(disk));
}

#[test]
fn amounts_beyond_everything_do_not_wrap() {
    let node = Node::new("node-1").reserving(u64::MAX, 0, 0);
    let got = refusals(&node.candidate(), &Ask::new(u64::MAX, u64::MAX, 1).demand());
    let filters: Vec<_> = got.iter().map(Refusal::filter).collect();
    assert_eq!(filters, [Filter::Cpu, Filter::Memory]);
}

#[test]
fn all_filters_are_listed_once_and_in_order() {
    assert!(Filter::ALL.is_sorted_by(|a, b| a < b));
}

proptest! {
    #[test]
    fn refusals_are_what_the_reference_finds_wrong(node in node(), ask in ask()) {
        let got = refusals(&node.candidate(), &ask.demand());
        let filters: Vec<_> = got.iter().map(Refusal::filter).collect();
        prop_assert_eq!(filters, reference::wrong(&node, &ask));
    }

    #[test]
    fn a_node_fits_exactly_if_nothing_refuses(node in node(), ask in ask()) {
        let (candidate, demand) = (node.candidate(), ask.demand());
        let first = refusals(&candidate, &demand).into_iter().next();
        let filter = first.as_ref().map(Refusal::filter);
        prop_assert_eq!(first_refusing(&candidate, &demand), filter);
        prop_assert_eq!(fits(&candidate, &demand).err(), first);
    }

    #[test]
    fn a_node_made_to_measure_fits(ask in ask()) {
        let mut node = Node::new("node-1");
        let asked = ask.resources;
        node.capacity = capacity(asked.cpu.0, asked.memory_mb.0, Some(asked.disk_gb.0));
        node.types = [ask.kind].into();
        node.labels = ask.constraints.labels.clone();
        node.drivers = ask.drivers.clone();
        prop_assert_eq!(answer(&node, &ask), Ok(()));
    }
}
