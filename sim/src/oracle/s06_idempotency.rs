//! S6: an agent never makes a second artifact of the same workload and revision beside the first,
//! whatever is repeated, reordered or duplicated.

use berth_agent::FakeRuntime;

use super::rule::{Check, Finding};

pub(crate) fn node_stepped(node: usize, runtime: &FakeRuntime) -> Check {
    // They come in the order of workloads, and there is hardly ever more than one of each.
    let mut before = None;
    for artifact in runtime.artifacts() {
        let workload = &artifact.launch.workload;
        if before == Some(workload) {
            let others = runtime.artifacts_of(workload);
            let earlier = others.take_while(|other| other.launch != artifact.launch);
            for other in earlier {
                let again = other.revision == artifact.revision;
                let beside = other.state.is_live() && artifact.state.is_live();
                if again || beside {
                    let expected = "one artifact of a workload";
                    let seen = format!("{artifact:?} beside artifact {}", other.launch.artifact);
                    return Err(Finding::new(expected, seen)
                        .of(workload)
                        .of(&format!("node-{node}")));
                }
            }
        }
        before = Some(workload);
    }
    Ok(())
}
