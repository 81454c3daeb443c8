//! The agent as one machine: requests, writes, the runtime and the scheduler come together here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use berth_core::planted::{Bug, planted};
use berth_core::{Epoch, Timestamp, WorkloadId};
use berth_proto::agent::v1 as proto;
use berth_proto::control::v1 as control;
use berth_proto::time::timestamp_from_unix_ms_u64;

use crate::control::{Control, Say};
use crate::epoch::EpochMemory;
use crate::failure::bounded;
use crate::io::{
    AgentConfig, AgentInput, AgentOutput, CommandId, ControlCall, Heartbeat, Restored, Write,
    WriteId,
};
use crate::lane::{Lane, RETRY_AFTER, Waiter};
use crate::lanes::Lanes;
use crate::status::{agent_status, control_status};
use crate::tasks::TaskLog;

/// After a restart the scheduler hears nothing before the runtime was asked what runs, but no
/// longer than this.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// The reference node agent. See the crate's front page for how to drive it.
#[derive(Debug)]
pub struct AgentMachine {
    pub(crate) config: AgentConfig,
    pub(crate) lanes: Lanes,
    pub(crate) tasks: TaskLog,
    said: Said,
    pub(crate) epoch: EpochMemory,
    control: Control,
    usage: control::NodeUsage,
    timers: BTreeSet<(Timestamp, WorkloadId)>,
    writes: BTreeMap<WriteId, WriteOf>,
    writes_made: u64,
    /// No artifact of this number or below is made any more.
    artifact_floor: u64,
    /// Names the next command to the runtime.
    next_command: CommandId,
    silent_until: Option<Timestamp>,
    outputs: VecDeque<AgentOutput>,
}

/// What was said of all workloads last.
#[derive(Debug, Default)]
struct Said {
    /// The changes of lanes and of tasks until then.
    changes: (u64, u64),
    statuses: Option<Arc<Vec<control::WorkloadStatus>>>,
    listing: Option<Arc<proto::ListWorkloadsResponse>>,
}

impl Said {
    /// What still holds if there were so many changes of lanes and of tasks.
    fn since(&mut self, lanes: u64, tasks: u64) -> &mut Self {
        if self.changes != (lanes, tasks) {
            *self = Self {
                changes: (lanes, tasks),
                ..Self::default()
            };
        }
        self
    }
}

/// What a write is of.
#[derive(Debug, Clone)]
pub(crate) enum WriteOf {
    Epoch(Epoch),
    Lane(WorkloadId),
}

impl AgentMachine {
    /// An agent that starts with what it finds on its disk.
    #[must_use]
    pub fn new(config: AgentConfig, restored: Restored) -> Self {
        let now = restored.now;
        // Nothing is kept that was told under an epoch that is not: a file of it that was lost is no
        // reason to obey an earlier leader.
        let stamps = restored.records.iter().filter_map(|record| record.stamp);
        let epoch = restored.epoch.max(stamps.map(|stamp| stamp.epoch).max());
        let lanes = restored.records.into_iter();
        let lanes = lanes.filter(|_| !planted(Bug::AgentForgetsRecords));
        let epoch = epoch.filter(|_| !planted(Bug::AgentForgetsEpoch));
        let lanes = lanes
            .map(|record| (record.id.clone(), Lane::restored(record)))
            .collect();
        let mut machine = Self {
            config,
            lanes,
            tasks: TaskLog::default(),
            said: Said::default(),
            epoch: EpochMemory::restored(epoch, restored.epoch),
            control: Control::new(now),
            usage: control::NodeUsage::default(),
            timers: BTreeSet::new(),
            writes: BTreeMap::new(),
            writes_made: 0,
            artifact_floor: 0,
            next_command: CommandId {
                life: restored.life,
                number: 0,
            },
            silent_until: Some(now + SILENCE_MAX),
            outputs: VecDeque::new(),
        };
        let ids: Vec<_> = machine.lanes.iter().map(|(id, _)| id.clone()).collect();
        for id in ids {
            machine.settle(now, &id);
        }
        machine.talk(now);
        machine
    }

    /// Takes in what happened. `now` never goes back. Drain [`Self::poll_output`] afterwards.
    pub fn handle(&mut self, now: Timestamp, input: AgentInput) {
        match input {
            AgentInput::Request {
                id,
                caller,
                request,
            } => {
                self.request(now, id, caller, request);
            }
            AgentInput::Written { id, result } => self.written(now, id, result),
            AgentInput::Runtime(news) => {
                let workload = news.event.launch().workload.clone();
                if let Some(lane) = self.lanes.get_mut(&workload) {
                    lane.take_news(now, news);
                    self.settle(now, &workload);
                }
            }
            AgentInput::Control { id, result } => {
                self.control.answered(now, &self.config, id, result);
            }
            AgentInput::Usage(usage) => self.usage = usage,
            AgentInput::Tick => {}
        }
        self.run_timers(now);
        self.write_epoch(now);
        self.talk(now);
    }

    /// The next thing to do, in the order in which they are to be done.
    pub fn poll_output(&mut self) -> Option<AgentOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle`] with a tick if nothing else happens before.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Timestamp> {
        let lane = self.timers.first().map(|(at, _)| *at);
        let control = self.config.has_scheduler.then(|| {
            let due = self.control.deadline(&self.config);
            self.silent_until.map_or(due, |until| due.max(until))
        });
        [lane, control, self.epoch.retry_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// The highest epoch that was seen.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch.highest
    }

    /// Answers that wait until the epoch under which they were asked for is durable.
    #[must_use]
    pub fn answers_held(&self) -> usize {
        self.epoch.held_count()
    }

    /// Whether the scheduler knows the node, as far as the agent can tell.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.control.is_registered()
    }

    /// Whether the scheduler said that the node is being drained.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.control.draining
    }

    /// The records, durable or not, in the order of their ids.
    pub fn records(&self) -> impl Iterator<Item = &crate::record::Record> {
        self.lanes.values().filter_map(|lane| lane.record.as_ref())
    }

    /// What must hold between any two calls of [`Self::handle`], once outputs are drained.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn check_invariants(&self) -> Result<(), String> {
        for (id, lane) in self.lanes.iter() {
            if lane.durable > lane.version {
                return Err(format!(
                    "{id}: version {} durable before it was",
                    lane.durable
                ));
            }
            if let Some(record) = &lane.record {
                let number = record
                    .artifact
                    .as_ref()
                    .map_or(0, |artifact| artifact.number);
                if number > record.last_artifact {
                    return Err(format!("{id}: artifact {number} is not counted"));
                }
                if record.id != *id {
                    return Err(format!("{id}: holds the record of {}", record.id));
                }
            }
            if lane
                .timer
                .is_some_and(|at| !self.timers.contains(&(at, id.clone())))
            {
                return Err(format!("{id}: its timer is lost"));
            }
        }
        if self.timers.len() > self.lanes.len() {
            return Err("a timer without a lane".to_owned());
        }
        Ok(())
    }

    pub(crate) fn output(&mut self, output: AgentOutput) {
        self.outputs.push_back(output);
    }

    pub(crate) fn begin_write(&mut self, of: WriteOf, write: Write) -> WriteId {
        let id = WriteId(self.writes_made);
        self.writes_made += 1;
        self.writes.insert(id, of);
        self.output(AgentOutput::Write { id, write });
        id
    }

    /// Lets a lane go on: its record is written, commands and replies go out, its timer is set,
    /// the scheduler hears of what changed.
    pub(crate) fn settle(&mut self, now: Timestamp, id: &WorkloadId) {
        // An epoch is durable before anything that was decided under it.
        self.write_epoch(now);
        let may_write = self.epoch.is_durable();
        let Some(lane) = self.lanes.get_mut(id) else {
            return;
        };
        lane.retry_at = lane.retry_at.filter(|at| now < *at);
        lane.drop_what_is_gone(now, self.config.tombstone_ttl);
        let cut = lane.cut_short();
        if let Some(command) = cut {
            let id = self.next_command;
            self.next_command.number += 1;
            self.outputs.push_back(AgentOutput::Runtime { id, command });
        }
        let command_id = self.next_command;
        let command = lane.advance(now, command_id, &mut self.artifact_floor);
        if may_write && let Some(write) = lane.write_due(id) {
            let write_id = WriteId(self.writes_made);
            self.writes_made += 1;
            lane.writing = Some((write_id, lane.version));
            self.writes.insert(write_id, WriteOf::Lane(id.clone()));
            self.outputs.push_back(AgentOutput::Write {
                id: write_id,
                write,
            });
        }
        if let Some(command) = command {
            self.next_command.number += 1;
            self.outputs.push_back(AgentOutput::Runtime {
                id: command_id,
                command,
            });
        }
        let replies = lane.replies_due();
        lane.update_task(now, &mut self.tasks);
        if lane.has_news() {
            self.control.note_change();
        }
        let timer = lane.deadline(self.config.tombstone_ttl);
        if timer != lane.timer {
            if let Some(old) = lane.timer {
                self.timers.remove(&(old, id.clone()));
            }
            self.timers.extend(timer.map(|at| (at, id.clone())));
            lane.timer = timer;
        }
        if lane.is_over() && lane.waiters.is_empty() {
            self.lanes.remove(id);
        }
        for Waiter { id, reply, .. } in replies {
            self.reply(id, reply);
        }
    }

    fn written(&mut self, now: Timestamp, id: WriteId, result: Result<(), String>) {
        match self.writes.remove(&id) {
            None => {}
            Some(WriteOf::Epoch(epoch)) => match result {
                Ok(()) => self.epoch_written(now, epoch),
                Err(reason) => self.epoch_not_written(now, &bounded(reason)),
            },
            Some(WriteOf::Lane(workload)) => {
                let Some(lane) = self.lanes.get_mut(&workload) else {
                    return;
                };
                let Some((_, version)) = lane.writing.take() else {
                    return;
                };
                match result {
                    Ok(()) => lane.durable = version,
                    Err(reason) => {
                        lane.retry_at = Some(now + RETRY_AFTER);
                        for waiter in lane.refuse_waiters(version, &bounded(reason)) {
                            self.refuse(waiter.id, waiter.reply);
                        }
                    }
                }
                self.settle(now, &workload);
            }
        }
    }

    fn run_timers(&mut self, now: Timestamp) {
        // What is due now, and nothing that this itself makes due: no loop without an end.
        let due: Vec<_> = self
            .timers
            .iter()
            .take_while(|(at, _)| *at <= now)
            .cloned()
            .collect();
        for (_, id) in due {
            self.settle(now, &id);
        }
    }

    /// Says to the scheduler what is due.
    fn talk(&mut self, now: Timestamp) {
        if !self.config.has_scheduler {
            return;
        }
        if let Some(until) = self.silent_until {
            if now < until && self.lanes.values().any(|lane| lane.must_probe) {
                return;
            }
            self.silent_until = None;
        }
        let Some((id, say)) = self.control.poll(now, &self.config) else {
            return;
        };
        let call = match say {
            Say::Register => ControlCall::Register(Box::new(self.registration(now))),
            Say::Heartbeat => ControlCall::Heartbeat(self.heartbeat(now)),
        };
        self.output(AgentOutput::Control { id, call });
    }

    fn registration(&self, now: Timestamp) -> control::RegisterNodeRequest {
        let config = &self.config;
        let whole = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        let capabilities = control::NodeCapabilities {
            cpu_total_millicores: whole(config.capacity.cpu.0),
            memory_total_mb: whole(config.capacity.memory_mb.0),
            storage_pools: vec![control::StoragePool {
                name: "root".to_owned(),
                r#type: "local".to_owned(),
                total_gb: whole(config.capacity.disk_gb.0),
            }],
            supported_workload_types: config
                .supported_types
                .iter()
                .map(ToString::to_string)
                .collect(),
            supported_storage_drivers: config.storage_drivers.clone(),
        };
        control::RegisterNodeRequest {
            node_id: config.node_id.to_string(),
            capabilities: Some(capabilities),
            labels: config.labels.clone(),
            agent_version: config.version.clone(),
            grpc_endpoint: config.grpc_endpoint.clone(),
            cluster_id: String::new(),
            timestamp: Some(timestamp_from_unix_ms_u64(now.as_millis())),
        }
    }

    fn heartbeat(&mut self, now: Timestamp) -> Heartbeat {
        let head = control::HeartbeatRequest {
            node_id: self.config.node_id.to_string(),
            usage: Some(self.usage),
            workload_statuses: Vec::new(),
            timestamp: Some(timestamp_from_unix_ms_u64(now.as_millis())),
            workload_usage: Vec::new(),
        };
        let lanes = &self.lanes;
        let say = || Arc::new(lanes.values().filter_map(control_status).collect());
        let said = self.said.since(lanes.changes(), self.tasks.changes());
        Heartbeat {
            head: Box::new(head),
            statuses: Arc::clone(said.statuses.get_or_insert_with(say)),
        }
    }

    /// The state of every workload.
    pub(crate) fn listing(&mut self) -> Arc<proto::ListWorkloadsResponse> {
        let (lanes, tasks) = (&self.lanes, &self.tasks);
        let say = || {
            let statuses = lanes.values().filter_map(|lane| agent_status(lane, tasks));
            let workloads = statuses.collect();
            Arc::new(proto::ListWorkloadsResponse { workloads })
        };
        let said = self.said.since(lanes.changes(), tasks.changes());
        Arc::clone(said.listing.get_or_insert_with(say))
    }
}
