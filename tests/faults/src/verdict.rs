//! What must hold after a run: judged from the store's own history, from the agents' books and from
//! the processes that run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use berth_tests::history::Change;
use berth_tests::process::workload_processes;
use berth_tests::{secs, wait_for};
use serde_json::Value;

use crate::client::Ledger;
use crate::cluster::{Cluster, SERVERS, stamp};

/// What was seen on the way.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Elections that were won.
    pub leaders: usize,
    /// Revisions that were checked.
    pub revisions: usize,
    /// When everything had converged.
    pub converged_at: Instant,
}

/// Judges a cluster whose faults are over.
///
/// # Panics
/// When a rule is broken.
pub async fn judge(cluster: &mut Cluster, ledger: &Ledger, agents: (usize, usize)) -> Seen {
    assert!(ledger.complaints.is_empty(), "{:#?}", ledger.complaints);
    for number in 0..SERVERS {
        let ended = cluster.server_ended(number);
        assert!(
            ended.is_none(),
            "server-{number} ended by itself: {ended:?}"
        );
    }
    cluster.nodes_ready(agents.0 + agents.1).await;
    converged(cluster, ledger).await;
    let converged_at = Instant::now();
    made_once(cluster);
    let histories = cluster.members.histories().await;
    let changes = agreed(&histories);
    acknowledged_stands(changes, ledger);
    Seen {
        leaders: leaders(changes),
        revisions: check_every_revision(changes),
        converged_at,
    }
}

/// Exactly what was acknowledged exists, runs, and is where it is assigned: no more, no less.
async fn converged(cluster: &Cluster, ledger: &Ledger) {
    wait_for("everything to converge", secs(120), async || {
        let rest = cluster.wait_leader().await;
        let all = rest.workloads().await?;
        let mut assigned: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for workload in &all {
            let id = text(&workload["id"]);
            let Some(wanted) = ledger.wanted.get(&id) else {
                return Err(format!(
                    "{id} was deleted or never acknowledged: {workload}"
                ));
            };
            if !workload["spec"]
                .to_string()
                .contains(&stamp(wanted.generation))
            {
                return Err(format!("{id} is not at {wanted:?}: {workload}"));
            }
            if workload["display_status"] != "Running" {
                return Err(format!("{id} does not run: {workload}"));
            }
            let node = text(&workload["assigned_node"]);
            assigned.entry(node).or_default().insert(id);
        }
        if all.len() != ledger.wanted.len() {
            let ids: BTreeSet<_> = all.iter().map(|w| text(&w["id"])).collect();
            let lost: Vec<_> = ledger
                .wanted
                .keys()
                .filter(|id| !ids.contains(*id))
                .collect();
            return Err(format!("lost: {lost:?}"));
        }
        no_orphans(cluster, &assigned)
    })
    .await;
}

/// Every agent holds what is assigned to its node, and nothing else (L3).
fn no_orphans(
    cluster: &Cluster,
    assigned: &BTreeMap<String, BTreeSet<String>>,
) -> Result<(), String> {
    let none = BTreeSet::new();
    for (number, agent) in cluster.recorded.iter().enumerate() {
        let node = format!("recorded-{number}");
        let held: BTreeSet<String> = agent.book().held().into_iter().collect();
        let wanted = assigned.get(&node).unwrap_or(&none);
        if held != *wanted {
            let differ: Vec<_> = held.symmetric_difference(wanted).collect();
            return Err(format!(
                "{node} holds other workloads than it should: {differ:?}"
            ));
        }
    }
    let processes = workload_processes(cluster.lab.mark());
    let mut running: Vec<_> = processes.into_iter().map(|(id, _)| id).collect();
    let mut wanted: Vec<_> = assigned
        .iter()
        .filter(|(node, _)| node.starts_with("process-"))
        .flat_map(|(_, ids)| ids.iter().cloned())
        .collect();
    running.sort();
    wanted.sort();
    if running == wanted {
        Ok(())
    } else {
        Err(format!(
            "these processes run: {running:?}; these should: {wanted:?}"
        ))
    }
}

/// Each revision of a workload is unique to it, nobody was evicted: it was made once, anywhere
/// (S6).
fn made_once(cluster: &Cluster) {
    let mut made: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (number, agent) in cluster.recorded.iter().enumerate() {
        for (artifact, times) in agent.book().revisions_made() {
            let nodes = made.entry(artifact).or_default();
            (0..times).for_each(|_| nodes.push(format!("recorded-{number}")));
        }
    }
    let starts = std::fs::read_to_string(cluster.starts()).unwrap_or_default();
    for line in starts.lines() {
        let words: Vec<_> = line.split(' ').map(ToOwned::to_owned).collect();
        if let [node, workload, revision] = &words[..] {
            let artifact = (workload.clone(), revision.clone());
            made.entry(artifact).or_default().push(node.clone());
        }
    }
    nothing_twice(&made);
}

fn nothing_twice(made: &BTreeMap<(String, String), Vec<String>>) {
    assert!(!made.is_empty(), "the agents made nothing");
    let twice: Vec<_> = made.iter().filter(|(_, nodes)| nodes.len() > 1).collect();
    assert!(twice.is_empty(), "made more than once: {twice:#?}");
}

/// The members tell one history, and it has no holes.
fn agreed(histories: &[Vec<Change>]) -> &[Change] {
    let first = &histories[0];
    for (number, other) in histories.iter().enumerate() {
        let same = |a: &Change, b: &Change| {
            a.revision == b.revision && a.key == b.key && a.value == b.value
        };
        let differs = first.iter().zip(other).find(|(a, b)| !same(a, b));
        assert!(
            differs.is_none() && first.len() == other.len(),
            "etcd-0 and etcd-{number} differ: {} and {} changes, {differs:?}",
            first.len(),
            other.len()
        );
    }
    let mut at = 1;
    for change in first {
        assert!(
            change.revision <= at + 1,
            "revisions are missing between {at} and {}",
            change.revision
        );
        at = change.revision;
    }
    first
}

/// How many epochs there were: each begins with the leadership key made anew.
fn leaders(changes: &[Change]) -> usize {
    let mut absent = true;
    let mut epochs = 0;
    for change in changes.iter().filter(|c| c.key == "/leader/current") {
        epochs += usize::from(absent && change.value.is_some());
        absent = change.value.is_none();
    }
    epochs
}

/// Sums what is assigned to each node at every revision of etcd (S3). Answers how many revisions.
fn check_every_revision(changes: &[Change]) -> usize {
    let mut capacity: BTreeMap<String, f64> = BTreeMap::new();
    let mut assigned: BTreeMap<String, (String, f64)> = BTreeMap::new();
    let mut fullest: f64 = 0.0;
    let mut revisions = 0;
    for group in changes.chunk_by(|a, b| a.revision == b.revision) {
        for change in group {
            let key: Vec<_> = change.key.splitn(3, '/').collect();
            match (key.get(1), key.get(2), &change.value) {
                (Some(&"nodes"), Some(node), Some(value)) => {
                    let cpu = value["resources"]["cpu_total"].as_f64();
                    let cpu = cpu.unwrap_or_else(|| panic!("no cpu_total in {value}"));
                    capacity.insert((*node).to_owned(), cpu);
                }
                (Some(&"assignments"), Some(workload), Some(value)) => {
                    let cpu = value["resources"]["cpu"].as_f64();
                    let cpu = cpu.unwrap_or_else(|| panic!("no cpu in {value}"));
                    assigned.insert((*workload).to_owned(), (text(&value["node_id"]), cpu));
                }
                (Some(&"assignments"), Some(workload), None) => {
                    assigned.remove(*workload);
                }
                _ => {}
            }
        }
        revisions += 1;
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for (node, cpu) in assigned.values() {
            *sums.entry(node).or_default() += cpu;
        }
        for (node, cpu) in sums {
            let total = capacity.get(node).copied().unwrap_or_default();
            let revision = group[0].revision;
            assert!(
                cpu <= total + 1e-9,
                "{node} has {cpu} of {total} cores assigned at revision {revision}"
            );
            fullest = fullest.max(cpu / total);
        }
    }
    println!(
        "{revisions} revisions; the fullest node ever had {:.0} %",
        fullest * 100.0
    );
    assert!(
        fullest > 0.0,
        "nothing was ever assigned: the check looks at the wrong records"
    );
    revisions
}

/// Every spec that was acknowledged once stood in the store (S8).
fn acknowledged_stands(changes: &[Change], ledger: &Ledger) {
    let mut stood: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for change in changes {
        if let (Some(id), Some(value)) = (change.key.strip_prefix("/workloads/"), &change.value) {
            let spec = value["spec"].to_string();
            let specs = stood.entry(id).or_default();
            if specs.last() != Some(&spec) {
                specs.push(spec);
            }
        }
    }
    for (id, generation) in &ledger.specs {
        let stamp = stamp(*generation);
        let found = stood.get(id.as_str());
        assert!(
            found.is_some_and(|specs| specs.iter().any(|spec| spec.contains(&stamp))),
            "{id} was acknowledged with {stamp} and never stood in the store"
        );
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(revision: i64, key: &str, value: Value) -> Change {
        Change {
            revision,
            key: key.to_owned(),
            value: Some(value),
        }
    }

    fn assignment(revision: i64, workload: &str, cpu: f64) -> Change {
        let value = json!({"node_id": "n", "resources": {"cpu": cpu}});
        change(revision, &format!("/assignments/{workload}"), value)
    }

    /// A node of one core, and two workloads that share it.
    fn history(second: f64) -> Vec<Change> {
        let node = json!({"resources": {"cpu_total": 1}});
        vec![
            change(2, "/nodes/n", node),
            assignment(3, "a", 0.6),
            assignment(4, "b", second),
        ]
    }

    #[test]
    fn a_full_node_is_allowed() {
        assert_eq!(check_every_revision(&history(0.4)), 3);
    }

    #[test]
    #[should_panic(expected = "n has 1.1 of 1 cores assigned at revision 4")]
    fn an_overcommitted_node_is_noticed() {
        let _ = check_every_revision(&history(0.5));
    }

    #[test]
    #[should_panic(expected = "nothing was ever assigned")]
    fn a_history_without_assignments_is_noticed() {
        let _ = check_every_revision(&history(0.4)[..1]);
    }

    #[test]
    #[should_panic(expected = "made more than once")]
    fn an_artifact_that_was_made_twice_is_noticed() {
        let artifact = |revision: &str| ("w".to_owned(), revision.to_owned());
        let mut made = BTreeMap::from([
            (artifact("r-1"), vec!["a".to_owned()]),
            (artifact("r-2"), vec!["b".to_owned()]),
        ]);
        nothing_twice(&made);
        made.insert(artifact("r-3"), vec!["a".to_owned(), "b".to_owned()]);
        nothing_twice(&made);
    }

    #[test]
    #[should_panic(expected = "revisions are missing between 2 and 4")]
    fn a_hole_is_noticed() {
        let mut holed = history(0.1);
        holed.remove(1);
        let _ = agreed(&[holed]);
    }

    #[test]
    #[should_panic(expected = "etcd-0 and etcd-1 differ")]
    fn members_that_differ_are_noticed() {
        let _ = agreed(&[history(0.1), history(0.2)]);
    }

    #[test]
    #[should_panic(expected = "never stood in the store")]
    fn an_acknowledged_spec_that_is_nowhere_is_noticed() {
        let spec = |generation| json!({"spec": {"command": [stamp(generation)]}});
        let changes = [
            change(2, "/workloads/w", spec(0)),
            change(3, "/workloads/w", spec(11)),
        ];
        let ledger = |generation| Ledger {
            specs: vec![("w".to_owned(), generation)],
            ..Ledger::default()
        };
        acknowledged_stands(&changes, &ledger(0));
        acknowledged_stands(&changes, &ledger(11));
        acknowledged_stands(&changes, &ledger(1));
    }

    #[test]
    fn epochs_are_counted_by_the_key_that_is_made_anew() {
        let gone = |revision| Change {
            value: None,
            ..change(revision, "/leader/current", Value::Null)
        };
        let led = |revision| change(revision, "/leader/current", json!({}));
        assert_eq!(leaders(&[led(2), led(3), gone(4), led(5)]), 2);
    }
}
