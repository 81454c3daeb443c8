//! What has to hold: always, and when all faults are over.

use std::collections::{BTreeMap, BTreeSet};

use berth_proto::control::v1::WorkloadView;
use etcd_client::{Client, GetOptions};

use crate::hosts::{PREFIX, names};
use crate::world::State;

/// Something that an agent's runtime has.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) agent: String,
    pub(crate) workload: String,
    pub(crate) revision: String,
    pub(crate) artifact: u64,
    pub(crate) is_live: bool,
}

/// Everything that the runtimes of all agents have.
pub(crate) fn artifacts(state: &State) -> impl Iterator<Item = Found> + '_ {
    state.agents.iter().enumerate().flat_map(|(at, slot)| {
        let fake = slot.fake.lock();
        let found = fake.artifacts().map(|artifact| Found {
            agent: names::agent(at + 1),
            workload: artifact.launch.workload.to_string(),
            revision: artifact.revision.to_string(),
            artifact: artifact.launch.artifact,
            is_live: artifact.state.is_live(),
        });
        found.collect::<Vec<_>>()
    })
}

/// Those who believe that they lead, and their epochs.
pub(crate) fn leaders(state: &State) -> Vec<(String, i64)> {
    let of = |(at, slot): (usize, &std::rc::Rc<std::cell::RefCell<_>>)| {
        let slot: &std::cell::RefCell<crate::hosts::SchedulerSlot> = slot;
        let health = slot.borrow().core.as_ref()?.health();
        health
            .leading
            .then(|| (names::scheduler(at + 1), health.epoch))
    };
    state.schedulers.iter().enumerate().filter_map(of).collect()
}

/// After every step: nobody leads beside another (S2), no agent has a workload twice (S3).
pub(crate) fn always(state: &State) -> Result<(), String> {
    let leaders = leaders(state);
    if leaders.len() > 1 {
        return Err(format!("two lead at once: {leaders:?}"));
    }
    let mut seen = BTreeMap::new();
    for found in artifacts(state).filter(|found| found.is_live) {
        let (workload, agent) = (found.workload.clone(), found.agent.clone());
        let artifact = (workload, agent, found.artifact);
        state.seen.borrow_mut().insert(artifact);
        let place = (found.agent.clone(), found.workload.clone());
        if let Some(other) = seen.insert(place, found.clone()) {
            return Err(format!("twice on one agent: {other:?} and {found:?}"));
        }
    }
    Ok(())
}

/// What is to be seen without asking anybody: one leads, and the agents have what was wished.
pub(crate) fn quiet(state: &State, expected: &[(&str, Option<&str>)]) -> Result<(), String> {
    let leaders = leaders(state);
    if leaders.len() != 1 {
        return Err(format!("{leaders:?} lead"));
    }
    let wished: BTreeMap<&str, Option<&str>> = expected.iter().copied().collect();
    let mut live = BTreeSet::new();
    for found in artifacts(state) {
        let Some(Some(revision)) = wished.get(found.workload.as_str()) else {
            return Err(format!("nobody wants {found:?}"));
        };
        if found.is_live && (found.revision != *revision || !live.insert(found.workload.clone())) {
            return Err(format!("an old copy or a second one: {found:?}"));
        }
    }
    for (id, revision) in &wished {
        if revision.is_some() && !live.contains(*id) {
            return Err(format!("{id} runs nowhere"));
        }
    }
    Ok(())
}

/// What the leader says of a workload is what was acknowledged, and what is.
pub(crate) fn as_told(
    state: &State,
    id: &str,
    revision: Option<&str>,
    view: Option<&WorkloadView>,
) -> Result<(), String> {
    let (Some(revision), Some(view)) = (revision, view) else {
        return match (revision, view) {
            (None, None) => Ok(()),
            _ => Err(format!("{id} is wanted at {revision:?}, told is {view:?}")),
        };
    };
    let here = |found: &Found| found.is_live && found.workload == id;
    let agents: Vec<String> = artifacts(state).filter(here).map(|f| f.agent).collect();
    let told = (view.revision_id.as_str(), view.status.as_str());
    if told == (revision, "Running") && agents == [view.assigned_node_id.as_str()] {
        Ok(())
    } else {
        Err(format!("{id} runs on {agents:?}, told is {view:?}"))
    }
}

/// The store has the workloads that were acknowledged and no others, and no tombstones.
pub(crate) async fn stored(
    etcd: &mut Client,
    expected: &[(&str, Option<&str>)],
) -> Result<(), String> {
    let options = GetOptions::new().with_prefix().with_keys_only();
    let answer = etcd.get(format!("{PREFIX}/"), Some(options)).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let keys = answer
        .kvs()
        .iter()
        .map(|kv| String::from_utf8_lossy(kv.key()));
    let mut workloads = BTreeSet::new();
    for key in keys {
        let key = key.strip_prefix(PREFIX).unwrap_or_default();
        if key.starts_with("/meta/tombstones/") {
            return Err(format!("{key} is left"));
        }
        if let Some(id) = key.strip_prefix("/workloads/") {
            workloads.insert(id.to_owned());
        }
    }
    let wished = expected.iter().filter(|(_, revision)| revision.is_some());
    let wished: BTreeSet<String> = wished.map(|(id, _)| (*id).to_owned()).collect();
    if workloads == wished {
        Ok(())
    } else {
        Err(format!(
            "the store has {workloads:?}, wished are {wished:?}"
        ))
    }
}
