//! Looking at a world after an instant: what is different from what was seen last.

use std::collections::{BTreeMap, BTreeSet};

use berth_agent::fake::FakeState;

use crate::marks::{Coverage, Mark};
use crate::process::Process;
use crate::record::{Group, Kind, LaneId, Note, Tone};
use crate::world::World;
use crate::world::agent::AgentProcess;
use crate::world::replica::{Replica, Role};

use super::Camera;

/// Rows of the lanes of processes.
const PROCESS: u8 = 0;
const ROLE: u8 = 1;

/// What was seen last of a scheduler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ReplicaLook {
    up: bool,
    paused: bool,
    life: u64,
    role: Role,
}

/// What was seen last of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct AgentLook {
    up: bool,
    hung: bool,
    off: bool,
    dead: bool,
}

impl World {
    /// Looks at everything, at the end of an instant.
    pub(in crate::world) fn look(&mut self) {
        let Some(mut camera) = self.camera.take() else {
            return;
        };
        let now = camera.recorder.ms(self.now);
        for (at, replica) in self.replicas.iter().enumerate() {
            camera.look_at_replica(now, at, replica);
        }
        for (at, agent) in self.agents.iter().enumerate() {
            camera.look_at_agent(now, at, agent);
        }
        camera.look_at_links(now, self.network.cuts());
        camera.look_at_watches(now, &self.damage.hidden);
        camera.look_at_store(now, self.store.stalled);
        camera.look_at_marks(now, &self.coverage);
        if self.damage.healed && !camera.healed {
            camera.healed = true;
            let text = "Everything that can be mended is mended".to_owned();
            camera.recorder.tell(now, Tone::Phase, None, text);
        }
        self.camera = Some(camera);
    }
}

impl Camera {
    fn look_at_replica(&mut self, now: u64, at: usize, replica: &Replica) {
        let look = ReplicaLook {
            up: replica.up,
            paused: replica.paused,
            life: replica.life,
            // Whoever stands still for good does nothing with what it thinks that it is.
            role: match replica.paused && replica.dead {
                true => Role::Waits,
                false => replica.role(),
            },
        };
        let was = self.replicas.get(at).copied();
        if was == Some(look) {
            return;
        }
        let name = format!("scheduler-{at}");
        let lane = self.recorder.lane(Group::Schedulers, &name);
        let process = match (look.up, look.paused) {
            (false, _) => Some((Kind::ProcessDown, Note::new("down").bad(true))),
            (true, true) => Some((Kind::ProcessPaused, Note::new("stands still").bad(true))),
            (true, false) => None,
        };
        self.recorder.state(lane, PROCESS, now, process);
        let role = match look.role {
            Role::Waits => None,
            Role::Campaigns => Some((Kind::Campaigning, Note::new("asks to lead"))),
            Role::Loads(epoch) => {
                let note = Note::new(format!("reads the store for epoch {epoch}"));
                Some((Kind::Loading, note))
            }
            Role::Leads(epoch) => Some((Kind::Leading, Note::new(format!("leads, epoch {epoch}")))),
        };
        self.recorder.state(lane, ROLE, now, role);
        self.tell_replica(
            now,
            lane,
            &name,
            was.unwrap_or(ReplicaLook { up: true, ..look }),
            look,
        );
        let before = was.unwrap_or_default();
        let led = matches!(before.role, Role::Leads(_));
        if before.life != look.life {
            self.forget_calls(now, at, "never known: the scheduler died");
        } else if led && before.role != look.role {
            self.forget_calls(now, at, "never known: the scheduler leads no more");
        }
        keep(&mut self.replicas, at, look);
    }

    fn tell_replica(
        &mut self,
        now: u64,
        lane: LaneId,
        name: &str,
        was: ReplicaLook,
        is: ReplicaLook,
    ) {
        let mut tell = |tone, text: String| self.recorder.tell(now, tone, Some(lane), text);
        if was.role != is.role {
            if let Role::Leads(epoch) = is.role {
                tell(Tone::Leader, format!("{name} leads, epoch {epoch}"));
            } else if let (Role::Leads(epoch), true) = (was.role, is.up) {
                tell(
                    Tone::Leader,
                    format!("{name} leads no more, epoch {epoch} is over"),
                );
            }
        }
        match (was.up, is.up) {
            (true, false) => {
                let leading = matches!(was.role, Role::Leads(_));
                let what = if leading { "The leader " } else { "" };
                tell(Tone::Fault, format!("{what}{name} dies"));
            }
            (false, true) => tell(Tone::Mended, format!("{name} starts again")),
            _ => {}
        }
        match (was.paused, is.paused) {
            (false, true) => tell(Tone::Fault, format!("{name} stands still")),
            (true, false) if is.up => tell(Tone::Mended, format!("{name} goes on")),
            _ => {}
        }
    }

    fn look_at_agent(&mut self, now: u64, at: usize, agent: &AgentProcess) {
        let look = AgentLook {
            up: agent.up,
            hung: agent.hung,
            off: agent.off,
            dead: agent.lost,
        };
        let was = self.agents.get(at).copied();
        if was != Some(look) {
            let name = agent.id.to_string();
            let lane = self.recorder.lane(Group::Nodes, &name);
            let note = |text: &str| {
                let ever = if look.dead { " for good" } else { "" };
                Note::new(format!("{text}{ever}")).bad(true)
            };
            let what = match (look.off, look.up, look.hung) {
                (true, ..) if look.dead => Some((Kind::MachineDead, note("machine off"))),
                (true, ..) => Some((Kind::MachineOff, note("machine off"))),
                (false, false, _) => Some((Kind::AgentDown, note("agent down"))),
                (false, true, true) => Some((Kind::AgentHung, note("agent hangs"))),
                (false, true, false) => None,
            };
            let ever = if look.dead { ", for good" } else { "" };
            let told = match &what {
                Some((Kind::AgentDown, _)) => Some((Tone::Fault, "loses its agent")),
                Some((Kind::AgentHung, _)) => Some((Tone::Fault, "hangs: its agent does nothing")),
                Some(_) => Some((Tone::Fault, "goes off, with all that runs there")),
                None => was.map(|_| (Tone::Mended, "works again")),
            };
            if let Some((tone, text)) = told {
                self.recorder
                    .tell(now, tone, Some(lane), format!("{name} {text}{ever}"));
            }
            self.recorder.state(lane, PROCESS, now, what);
            keep(&mut self.agents, at, look);
            self.stepped.insert(at);
        }
        if self.stepped.remove(&at) {
            self.look_at_runtime(now, at, agent);
        }
    }

    /// What runs there in truth.
    fn look_at_runtime(&mut self, now: u64, at: usize, agent: &AgentProcess) {
        let live = agent.runtime.artifacts().filter(|a| a.state.is_live());
        let runs: BTreeMap<_, _> = live
            .filter(|_| !agent.off)
            .map(|artifact| {
                let starting = artifact.state == FakeState::Starting;
                let how = if starting { "starts" } else { "runs" };
                let text = format!("{how} on {} at {}", agent.id, artifact.revision);
                (artifact.launch.workload.clone(), text)
            })
            .collect();
        let before = self.runs.entry(at).or_default();
        if *before == runs {
            return;
        }
        let before = std::mem::replace(before, runs.clone());
        let track = Kind::Truth.info().track;
        for workload in before.keys().filter(|id| !runs.contains_key(id)) {
            let lane = self.recorder.lane(Group::Workloads, workload.as_str());
            self.recorder
                .state_of(lane, track, agent.id.as_str(), now, None);
        }
        for (workload, text) in runs {
            let lane = self.recorder.lane(Group::Workloads, workload.as_str());
            let what = Some((Kind::Truth, Note::new(text)));
            self.recorder
                .state_of(lane, track, agent.id.as_str(), now, what);
        }
    }

    fn look_at_links(&mut self, now: u64, cuts: &BTreeSet<(Process, Process)>) {
        if self.cuts == *cuts {
            return;
        }
        for link in self.cuts.symmetric_difference(cuts) {
            let (from, to) = link;
            let lane = self
                .recorder
                .lane(Group::Network, &format!("{from} → {to}"));
            let cut = cuts.contains(link);
            let what = cut.then(|| {
                let text = format!("nothing gets from {from} to {to}");
                (Kind::Cut, Note::new(text).bad(true))
            });
            self.recorder.state(lane, 0, now, what);
            let (tone, text) = if cut {
                (Tone::Fault, format!("The link from {from} to {to} is cut"))
            } else {
                (
                    Tone::Mended,
                    format!("The link from {from} to {to} works again"),
                )
            };
            self.recorder.tell(now, tone, Some(lane), text);
        }
        self.cuts.clone_from(cuts);
    }

    fn look_at_watches(&mut self, now: u64, hidden: &BTreeSet<usize>) {
        if self.hidden == *hidden {
            return;
        }
        for at in self.hidden.symmetric_difference(hidden) {
            let name = format!("watch of scheduler-{at}");
            let lane = self.recorder.lane(Group::Network, &name);
            let what = hidden.contains(at).then(|| {
                let note = Note::new("the watch falls behind").bad(true);
                (Kind::WatchHidden, note)
            });
            self.recorder.state(lane, 0, now, what);
        }
        self.hidden.clone_from(hidden);
    }

    fn look_at_store(&mut self, now: u64, stalled: bool) {
        if self.stalled == stalled {
            return;
        }
        self.stalled = stalled;
        let lane = self.recorder.lane(Group::Store, "store");
        let what = stalled.then(|| (Kind::StoreStalled, Note::new("answers nobody").bad(true)));
        self.recorder.state(lane, 0, now, what);
        let (tone, text) = if stalled {
            (Tone::Fault, "The store answers nobody")
        } else {
            (Tone::Mended, "The store answers again")
        };
        self.recorder.tell(now, tone, Some(lane), text.to_owned());
    }

    /// What was reached in this instant.
    fn look_at_marks(&mut self, now: u64, coverage: &Coverage) {
        if self.coverage == *coverage {
            return;
        }
        for (mark, count) in coverage.iter() {
            let new = count - self.coverage.count(mark);
            let Some((lane, kind)) = (new > 0).then(|| lane_of_mark(mark)).flatten() else {
                continue;
            };
            let group = match kind {
                Kind::StoreMark => Group::Store,
                _ => Group::Faults,
            };
            let lane = self.recorder.lane(group, lane);
            let name = mark.name();
            let text = name.split_once(' ').map_or(name, |(_, text)| text);
            let note = match new {
                1 => Note::new(text),
                _ => Note::new(format!("{text}, {new} times")),
            };
            self.recorder.point(lane, kind, now, &note);
        }
        self.coverage.clone_from(coverage);
    }
}

fn keep<T>(all: &mut Vec<T>, at: usize, look: T) {
    match all.get_mut(at) {
        Some(slot) => *slot = look,
        None => all.push(look),
    }
}

/// Where a mark stands; what is seen elsewhere stands nowhere.
fn lane_of_mark(mark: Mark) -> Option<(&'static str, Kind)> {
    match mark {
        Mark::MessageLost | Mark::MessageDoubled | Mark::MessageOvertaken => {
            Some(("messages", Kind::MessageFate))
        }
        Mark::StoreAnswerLost
        | Mark::StoreCompacted
        | Mark::LeaseExpired
        | Mark::WatchCompacted
        | Mark::CommitFenced
        | Mark::CommitUnknown
        | Mark::CommitConflict => Some(("store", Kind::StoreMark)),
        // Requests stand on the clients' lanes.
        Mark::ClientAnswered | Mark::ClientRefused => None,
        _ if mark.name().starts_with("seen ") => Some(("situations", Kind::Situation)),
        _ => None,
    }
}
