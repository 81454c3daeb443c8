//! A script must speak of what there is.

use berth_core::WorkloadId;

use crate::marks::Mark;
use crate::nearest;
use crate::process::Process;

use super::act::{Deed, Lasting};
use super::ask::Ask;
use super::expect::{Expect, Leader, That};
use super::{Act, Pace, Script, Span};

/// Bounds of a world.
const SCHEDULERS_MAX: usize = 64;
const NODES_MAX: usize = 100_000;
const CLIENTS_MAX: usize = 10_000;
/// So many requests of one act at most.
const MANY_MAX: u32 = 100_000;
/// A twentieth. A leader stops 700 ms before its lease of 5 s is over by its own clock: with more
/// than a seventh its margin would not hold, and no clock of a machine is that wrong.
const DRIFT_PPM_MAX: i64 = 50_000;

impl Script {
    /// Whether everything that it names is there.
    ///
    /// # Errors
    /// What is not, and where it is said.
    pub fn check(&self) -> Result<(), String> {
        let count = |name: &str, count: usize, max: usize| {
            if (1..=max).contains(&count) {
                Ok(())
            } else {
                Err(format!("world.{name}: expected 1 to {max}, found {count}"))
            }
        };
        count("schedulers", self.world.schedulers, SCHEDULERS_MAX)?;
        count("nodes", self.world.nodes.count(), NODES_MAX)?;
        count("clients", self.world.clients, CLIENTS_MAX)?;
        if self.world.chaos.as_millis() == 0 || self.world.calm.as_millis() == 0 {
            return Err("world.chaos and world.calm: expected more than nothing".to_owned());
        }
        let knobs = self.world.knobs.check();
        knobs.map_err(|problem| format!("world.knobs.{problem}"))?;
        if self.world.pace == Pace::Production && !self.world.knobs.are_usual() {
            return Err("world.knobs: expected with a quick pace only".to_owned());
        }
        for (at, act) in self.acts.iter().enumerate() {
            self.check_act(act)
                .map_err(|problem| format!("acts[{at}], at {}: {problem}", act.at))?;
        }
        self.check_losses()?;
        for (at, expect) in self.expect.iter().enumerate() {
            self.check_expect(expect)
                .map_err(|problem| format!("expect[{at}]: {problem}"))?;
        }
        Ok(())
    }

    /// What is left when everything that is lost for good is lost must suffice: a scheduler that
    /// reaches the store. And who is cut off is cut off: what is half cut off is neither here nor there.
    fn check_losses(&self) -> Result<(), String> {
        let lost = || self.acts.iter().filter(|act| act.is_a_loss());
        let is_lost = |at: &usize| {
            lost().any(|act| match act.deed {
                Deed::CrashScheduler { scheduler } | Deed::PauseScheduler { scheduler } => {
                    scheduler == *at
                }
                Deed::Cut { from, to } => {
                    let ends = [from, to];
                    ends.contains(&Process::Replica(*at)) && ends.contains(&Process::Store)
                }
                _ => false,
            })
        };
        if (0..self.world.schedulers).all(|at| is_lost(&at)) {
            return Err("acts: expected one scheduler at least that is not lost for ever".into());
        }
        for act in lost() {
            let Deed::Cut { from, to } = act.deed else {
                continue;
            };
            let is_cut = |from, to| lost().any(|act| act.deed == Deed::Cut { from, to });
            let mut schedulers = (0..self.world.schedulers).map(Process::Replica);
            let whole = match (from, to) {
                (Process::Replica(_), Process::Store) | (Process::Store, Process::Replica(_)) => {
                    true
                }
                (Process::Agent(_), Process::Replica(_)) => schedulers.all(|to| is_cut(from, to)),
                (Process::Replica(_), Process::Agent(_)) => {
                    schedulers.all(|it| is_cut(it, to) && is_cut(to, it))
                }
                _ => false,
            };
            if !whole {
                return Err(format!(
                    "acts, at {}: expected to cut for ever a scheduler from the store, or what a node says \
                     (and what it is told, if anything) from all schedulers",
                    act.at
                ));
            }
        }
        Ok(())
    }

    fn check_expect(&self, expect: &Expect) -> Result<(), String> {
        let end = self.world.chaos.as_millis() + self.world.calm.as_millis();
        if expect.at.is_some_and(|at| at.as_millis() > end) {
            return Err(format!(
                "at: expected before the end, at {}",
                Span::millis(end)
            ));
        }
        let known = |name: &String| {
            let names: Vec<_> = Mark::ALL.iter().map(|mark| mark.name()).collect();
            if names.contains(&name.as_str()) {
                return Ok(());
            }
            let near = nearest::names(name, &names);
            Err(format!("no mark is called `{name}`; nearest: {near}"))
        };
        match &expect.that {
            That::Workload(expected) => {
                let id = &expected.workload;
                if !self.acts.iter().any(|act| act.deed.asks_for(id)) {
                    return Err(format!("workload: nobody asks for `{id}`"));
                }
                for (name, home) in [("on", expected.on), ("not_on", expected.not_on)] {
                    home.map_or(Ok(()), |home| self.check_node(name, home))?;
                }
                Ok(())
            }
            That::Node(node) => self.check_node("node", node.node),
            That::Reached { times: Some(0), .. } => {
                Err("times: expected at least 1; `never` is possible too".to_owned())
            }
            That::Reached { reached, .. } => known(reached),
            That::Never { never } => known(never),
            That::Leader {
                leader: Leader::Is(process),
            } => self.check_process("leader", *process),
            That::Count { .. } | That::Leader { .. } | That::Elections { .. } => Ok(()),
        }
    }

    fn check_act(&self, act: &Act) -> Result<(), String> {
        let heal = self.world.chaos;
        if act.at >= heal && act.deed.breaks() && !act.is_a_loss() {
            return Err(format!(
                "expected before everything heals, at {heal}; later only what is lost for ever, and drains"
            ));
        }
        let quiet = heal.as_millis() + self.world.calm.as_millis() / 2;
        if act.at.as_millis() >= quiet {
            return Err("expected before the second half of the calm, when nothing happens".into());
        }
        if act.lasting.is_some() && !act.deed.lasts() {
            return Err("for: this is done in an instant".to_owned());
        }
        if act.lasting == Some(Lasting::For(Span::millis(0))) {
            return Err("for: expected more than nothing".to_owned());
        }
        if act.lasting == Some(Lasting::Ever) && !act.deed.may_last_for_ever() {
            return Err("for: expected a time, this heals".to_owned());
        }
        let whose = [
            ("scheduler", act.deed.scheduler(), self.world.schedulers),
            ("node", act.deed.node(), self.world.nodes.count()),
            ("client", act.deed.client(), self.world.clients),
        ];
        for (name, which, count) in whose {
            if let Some(which) = which
                && which >= count
            {
                return Err(format!("{name}: expected less than {count}, found {which}"));
            }
        }
        self.check_links(&act.deed)?;
        self.check_amounts(&act.deed)?;
        if let Deed::Ask {
            ask, wish, dry_run, ..
        } = &act.deed
        {
            if *dry_run && matches!(ask, Ask::Retry | Ask::Delete | Ask::Read) {
                return Err("dry_run: expected with apply, start and stop".to_owned());
            }
            if wish.is_some() != (*ask == Ask::Apply) {
                return Err("wish: expected with `ask: apply`, and only there".to_owned());
            }
            let label = wish.as_ref().and_then(|wish| wish.revision.as_ref());
            if let Some(label) = label
                && label.parse::<berth_core::Revision>().is_err()
            {
                return Err(format!("wish.revision: expected a label, found `{label}`"));
            }
        }
        Ok(())
    }

    fn check_links(&self, deed: &Deed) -> Result<(), String> {
        match deed {
            Deed::Cut { from, to } | Deed::Flap { from, to, .. } => {
                self.check_process("from", *from)?;
                self.check_process("to", *to)?;
                if from == to {
                    return Err("from, to: expected two processes".to_owned());
                }
            }
            Deed::Split { these, those, .. } => {
                for (name, group) in [("these", these), ("those", those)] {
                    if group.is_empty() {
                        return Err(format!("{name}: expected processes"));
                    }
                    group
                        .iter()
                        .try_for_each(|process| self.check_process(name, *process))?;
                }
                if let Some(both) = these.iter().find(|process| those.contains(process)) {
                    return Err(format!("these, those: {both} is in both"));
                }
            }
            Deed::Clog { process } => self.check_process("process", *process)?,
            _ => {}
        }
        Ok(())
    }

    fn check_amounts(&self, deed: &Deed) -> Result<(), String> {
        for (name, amount) in amounts(deed) {
            if amount == 0 {
                return Err(format!("{name}: expected more than nothing"));
            }
        }
        match deed {
            Deed::DriftClock { ppm, .. } if ppm.abs() > DRIFT_PPM_MAX => {
                Err(format!("ppm: expected at most {DRIFT_PPM_MAX} either way"))
            }
            Deed::AskMany { count, .. } if *count > MANY_MAX => {
                Err(format!("count: expected at most {MANY_MAX}, found {count}"))
            }
            Deed::SwapAddresses { node, other }
                if node == other || *other >= self.world.nodes.count() =>
            {
                let count = self.world.nodes.count();
                Err(format!(
                    "other: expected another node, less than {count}, found {other}"
                ))
            }
            Deed::LoseNodes { nodes } => match nodes.iter().max() {
                None => Err("nodes: expected some".to_owned()),
                Some(most) if *most >= self.world.nodes.count() => {
                    Err(format!("nodes: there is no node-{most}"))
                }
                Some(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn check_node(&self, field: &str, process: Process) -> Result<(), String> {
        match process {
            Process::Agent(_) => self.check_process(field, process),
            Process::Store | Process::Replica(_) | Process::Client(_) => {
                Err(format!("{field}: expected `node-N`, found `{process}`"))
            }
        }
    }

    fn check_process(&self, field: &str, process: Process) -> Result<(), String> {
        let there = match process {
            Process::Store => true,
            Process::Replica(at) => at < self.world.schedulers,
            Process::Agent(at) => at < self.world.nodes.count(),
            // The operator is the client after the last.
            Process::Client(at) => at <= self.world.clients,
        };
        if there {
            Ok(())
        } else {
            Err(format!("{field}: there is no {process}"))
        }
    }
}

/// The amounts of which nothing at all means that nothing is done, each with its name.
fn amounts(deed: &Deed) -> Vec<(&'static str, u64)> {
    let count = |count: &u32| ("count", u64::from(*count));
    let span = |name: &'static str, span: &Span| (name, span.as_millis());
    match deed {
        Deed::ResizeNode { percent, .. } => vec![("percent", *percent)],
        Deed::Drain { parallelism, .. } => vec![("parallelism", u64::from(*parallelism))],
        Deed::Lie { answers, .. } => vec![("answers", u64::from(*answers))],
        Deed::FullAgent { calls, .. } | Deed::Reconfigure { calls, .. } => {
            vec![("calls", u64::from(*calls))]
        }
        Deed::LoseAgentAnswers { count: amount, .. }
        | Deed::FailRemovals { count: amount, .. }
        | Deed::LoseStoreAnswers { count: amount }
        | Deed::RefuseWrites { count: amount }
        | Deed::AskMany { count: amount, .. } => vec![count(amount)],
        Deed::ReadStale {
            count: amount,
            back,
        } => vec![count(amount), ("back", *back)],
        Deed::RepeatWatch { back, .. } => vec![("back", *back)],
        Deed::SlowAgent { by, .. }
        | Deed::SlowScheduler { by, .. }
        | Deed::LagWatch { by, .. }
        | Deed::SlowStore { by } => {
            vec![span("by", by)]
        }
        Deed::Flap { every, .. } => vec![span("every", every)],
        Deed::RestartSchedulers { down, every } => {
            vec![span("down", down), span("every", every)]
        }
        _ => Vec::new(),
    }
}

impl Deed {
    /// A client asks for this workload.
    fn asks_for(&self, id: &WorkloadId) -> bool {
        match self {
            Self::Ask { workload, .. } => workload == id,
            Self::AskMany {
                workloads, count, ..
            } => {
                let number = id.as_str().strip_prefix(&format!("{workloads}-"));
                let number = number.and_then(|number| number.parse::<u32>().ok());
                number.is_some_and(|number| number < *count)
            }
            _ => false,
        }
    }

    /// It has an end.
    #[must_use]
    pub const fn lasts(&self) -> bool {
        matches!(
            self,
            Self::CrashScheduler { .. }
                | Self::PauseScheduler { .. }
                | Self::CrashAgent { .. }
                | Self::RebootNode { .. }
                | Self::ReplaceNode { .. }
                | Self::ResizeNode { .. }
                | Self::SwapAddresses { .. }
                | Self::HangAgent { .. }
                | Self::SlowAgent { .. }
                | Self::ReplayReport { .. }
                | Self::SkewAgent { .. }
                | Self::RelabelNode { .. }
                | Self::SecondAgent { .. }
                | Self::RestartAgents
                | Self::LoseNodes { .. }
                | Self::BreakRuntime { .. }
                | Self::SlowScheduler { .. }
                | Self::DriftClock { .. }
                | Self::Cut { .. }
                | Self::Split { .. }
                | Self::Flap { .. }
                | Self::Clog { .. }
                | Self::StallStore
                | Self::ElectStore
                | Self::RestartStore
                | Self::SlowStore { .. }
                | Self::FillStore
                | Self::RestoreStore { .. }
                | Self::HideWatch { .. }
                | Self::LagWatch { .. }
        )
    }

    /// It breaks something, or is done while things break: not in the calm, in which clients ask, and
    /// drains must end in time.
    #[must_use]
    pub const fn breaks(&self) -> bool {
        !matches!(self, Self::Ask { .. } | Self::Drain { .. })
    }

    /// The rest of the cluster must cope without.
    #[must_use]
    pub const fn may_last_for_ever(&self) -> bool {
        matches!(
            self,
            Self::CrashScheduler { .. }
                | Self::PauseScheduler { .. }
                | Self::CrashAgent { .. }
                | Self::RebootNode { .. }
                | Self::HangAgent { .. }
                | Self::Cut { .. }
        )
    }

    /// The scheduler that it is done to.
    #[must_use]
    pub const fn scheduler(&self) -> Option<usize> {
        match self {
            Self::CrashScheduler { scheduler }
            | Self::PauseScheduler { scheduler }
            | Self::HideWatch { scheduler }
            | Self::LagWatch { scheduler, .. }
            | Self::SlowScheduler { scheduler, .. }
            | Self::DriftClock { scheduler, .. }
            | Self::Reconfigure { scheduler, .. }
            | Self::ResetConnections { scheduler }
            | Self::RepeatWatch { scheduler, .. } => Some(*scheduler),
            _ => None,
        }
    }

    /// The node that it is done to.
    #[must_use]
    pub const fn node(&self) -> Option<usize> {
        match self {
            Self::CrashAgent { node }
            | Self::RebootNode { node }
            | Self::ReplaceNode { node }
            | Self::ResizeNode { node, .. }
            | Self::SwapAddresses { node, .. }
            | Self::HangAgent { node }
            | Self::Lie { node, .. }
            | Self::SlowAgent { node, .. }
            | Self::LoseAgentAnswers { node, .. }
            | Self::FullAgent { node, .. }
            | Self::ReplayReport { node }
            | Self::SkewAgent { node, .. }
            | Self::RelabelNode { node, .. }
            | Self::SecondAgent { node }
            | Self::BreakRuntime { node, .. }
            | Self::FailRemovals { node, .. }
            | Self::Vanish { node, .. }
            | Self::KillWorkload { node, .. }
            | Self::Cordon { node }
            | Self::Uncordon { node }
            | Self::Drain { node, .. }
            | Self::CancelDrain { node }
            | Self::Fence { node }
            | Self::Purge { node } => Some(*node),
            _ => None,
        }
    }

    /// The client that does it.
    #[must_use]
    pub const fn client(&self) -> Option<usize> {
        match self {
            Self::Ask { client, .. } => Some(*client),
            _ => None,
        }
    }
}
