//! The agents of `berth dev`: small machines with names, in this process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use berth_agentd::{AgentdConfig, AgentdHandle, CapacityOverride, RuntimeKind};
use berth_core::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::args::RunArgs;
use super::data::DataDir;

/// What each agent offers, whatever the machine has: demonstrations look the same everywhere.
pub(crate) const CPU_MILLICORES: u64 = 4_000;
/// See [`CPU_MILLICORES`].
pub(crate) const MEMORY_MB: u64 = 8 * 1024;
/// See [`CPU_MILLICORES`].
pub(crate) const DISK_GB: u64 = 50;
/// Zones, in turn.
const ZONES: [&str; 3] = ["a", "b", "c"];
/// How many agents there are, unless told.
const AGENTS: u16 = 3;
/// Between the polite and the impolite signal when everything is stopped.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// An agent as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgentInfo {
    /// Its node.
    pub(crate) node: NodeId,
    /// Where it listens; `None`: it is stopped.
    pub(crate) addr: Option<SocketAddr>,
}

/// The agents.
#[derive(Debug)]
pub(crate) struct Cluster {
    slots: Mutex<Vec<Slot>>,
}

#[derive(Debug)]
struct Slot {
    config: AgentdConfig,
    handle: Option<AgentdHandle>,
}

impl Cluster {
    /// Agents `node-1` to `node-N`, none started. Processes of a former run that no agent of this
    /// one would look after are stopped.
    ///
    /// # Errors
    /// Such processes that cannot be stopped.
    pub(crate) async fn new(
        args: &RunArgs,
        data: &DataDir,
        scheduler: SocketAddr,
    ) -> anyhow::Result<Arc<Self>> {
        let former = data.nodes()?;
        let count = match args.agents {
            Some(count) => usize::from(count),
            None if former.is_empty() => usize::from(AGENTS),
            None => former.len(),
        };
        let mut slots = Vec::new();
        for number in 0..count {
            let node: NodeId = format!("node-{}", number + 1).parse()?;
            let mut config = AgentdConfig::new(node.clone(), data.agent_dir(&node));
            config.schedulers = vec![scheduler.to_string()];
            config.runtime = args.runtime;
            let zone = ZONES[number % ZONES.len()];
            config.labels.insert("zone".to_owned(), zone.to_owned());
            config.capacity = CapacityOverride {
                cpu_millicores: Some(CPU_MILLICORES),
                memory_mb: Some(MEMORY_MB),
                disk_gb: Some(DISK_GB),
            };
            slots.push(Slot {
                config,
                handle: None,
            });
        }
        for node in former {
            let folder = data.agent_dir(&node);
            let left_out = !slots.iter().any(|slot| slot.config.node_id == node);
            let orphans = match args.runtime {
                RuntimeKind::Exec => false,
                RuntimeKind::Fake => !berth_agentd::leftovers(&folder).is_empty(),
            };
            if left_out || orphans {
                let stopped = stop_processes(&folder).await?;
                if stopped > 0 {
                    eprintln!(
                        "stopped {stopped} processes of {node}: no agent looks after them now"
                    );
                }
            }
        }
        Ok(Arc::new(Self {
            slots: Mutex::new(slots),
        }))
    }

    /// Starts all.
    ///
    /// # Errors
    /// The first that cannot start.
    pub(crate) async fn start_all(&self) -> anyhow::Result<()> {
        for slot in self.slots.lock().await.iter_mut() {
            slot.start().await?;
        }
        Ok(())
    }

    /// Starts one.
    ///
    /// # Errors
    /// There is none of this name, or it cannot start.
    pub(crate) async fn start(&self, node: &NodeId) -> anyhow::Result<()> {
        let mut slots = self.slots.lock().await;
        find(&mut slots, node)?.start().await
    }

    /// Stops one, and unless `keep_workloads` its processes too, at once: as if its machine had
    /// lost power. Returns how many processes were killed.
    ///
    /// # Errors
    /// There is none of this name, it is stopped already, or processes do not end.
    pub(crate) async fn stop(&self, node: &NodeId, keep_workloads: bool) -> anyhow::Result<usize> {
        let mut slots = self.slots.lock().await;
        let slot = find(&mut slots, node)?;
        match slot.handle.take() {
            Some(handle) => handle.stop().await?,
            None if keep_workloads => bail!("agent {node} is stopped already"),
            None => {}
        }
        if keep_workloads {
            return Ok(0);
        }
        let folder = slot.config.data_dir.clone();
        let killed = tokio::task::spawn_blocking(move || {
            berth_agentd::stop_leftovers(&folder, Duration::ZERO)
        });
        Ok(killed.await??)
    }

    /// Stops all. Their processes go on.
    pub(crate) async fn stop_all(&self) {
        let mut slots = self.slots.lock().await;
        let stops = slots.iter_mut().filter_map(|slot| slot.handle.take());
        let tasks: Vec<_> = stops.map(|handle| tokio::spawn(handle.stop())).collect();
        for task in tasks {
            if let Ok(Err(error)) = task.await {
                tracing::warn!(error = format!("{error:#}"), "an agent ended with an error");
            }
        }
    }

    /// All, in order.
    pub(crate) async fn list(&self) -> Vec<AgentInfo> {
        let slots = self.slots.lock().await;
        let info = |slot: &Slot| AgentInfo {
            node: slot.config.node_id.clone(),
            addr: slot.handle.as_ref().map(AgentdHandle::local_addr),
        };
        slots.iter().map(info).collect()
    }

    /// Where those that run told the scheduler to reach them.
    pub(crate) async fn endpoints(&self) -> Vec<(NodeId, String)> {
        let slots = self.slots.lock().await;
        let of = |slot: &Slot| {
            let handle = slot.handle.as_ref()?;
            Some((handle.node_id().clone(), handle.endpoint().to_owned()))
        };
        slots.iter().filter_map(of).collect()
    }
}

impl Slot {
    async fn start(&mut self) -> anyhow::Result<()> {
        let node = &self.config.node_id;
        if self.handle.is_some() {
            bail!("agent {node} runs already");
        }
        let started = berth_agentd::start(self.config.clone(), CancellationToken::new()).await;
        self.handle = Some(started.with_context(|| format!("agent {node} cannot start"))?);
        Ok(())
    }
}

fn find<'a>(slots: &'a mut [Slot], node: &NodeId) -> anyhow::Result<&'a mut Slot> {
    let names: Vec<String> = slots
        .iter()
        .map(|slot| slot.config.node_id.to_string())
        .collect();
    let found = slots.iter_mut().find(|slot| slot.config.node_id == *node);
    found.with_context(|| format!("there is no agent {node}; there are {}", names.join(", ")))
}

/// Stops the processes that an agent of this folder left behind, and has it forget them.
///
/// # Errors
/// An agent has the folder, or processes do not end.
pub(crate) async fn stop_processes(folder: &Path) -> anyhow::Result<usize> {
    let folder = folder.to_owned();
    let stopped = tokio::task::spawn_blocking(move || {
        let stopped = berth_agentd::stop_leftovers(&folder, STOP_GRACE)?;
        berth_agentd::forget_workloads(&folder)?;
        std::io::Result::Ok(stopped)
    });
    Ok(stopped.await??)
}
