//! S6: an agent never makes a second artifact of the same workload and revision beside the first,
//! whatever is repeated, reordered or duplicated.

use std::collections::BTreeMap;

use berth_agent::FakeRuntime;

use super::rule::{Check, Finding};

pub(crate) fn node_stepped(node: usize, runtime: &FakeRuntime) -> Check {
    let (mut live, mut made) = (BTreeMap::new(), BTreeMap::new());
    for artifact in runtime.artifacts() {
        let workload = &artifact.launch.workload;
        let number = artifact.launch.artifact;
        let again = made.insert((workload, &artifact.revision), number);
        let beside = if artifact.state.is_live() {
            live.insert(workload, number)
        } else {
            None
        };
        if let Some(other) = again.or(beside) {
            let expected = "one artifact of a workload";
            let seen = format!("{artifact:?} beside artifact {other}");
            return Err(Finding::new(expected, seen)
                .of(workload)
                .of(&format!("node-{node}")));
        }
    }
    Ok(())
}
