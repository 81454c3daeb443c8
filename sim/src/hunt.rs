//! Hunting planted bugs: what an oracle that finds nothing is worth is known only when there is
//! something to find.
//!
//! A bug is planted on the thread that runs the world, and seeds are tried until a rule does not
//! hold. What was found counts only if the same seed is clean without the bug. Threads, clocks and
//! panics belong to whoever hunts.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::oracle::{Finding, Rule, Violation};
use crate::{Script, World};

pub use berth_core::planted::{AVAILABLE, Bug, Planting, plant};

/// Plays a script with the bug in the product. `None`: nobody noticed.
///
/// What a scene expects is left out: it is the rules that are to notice.
///
/// `twice`: it is played again, and the two must be equal (S22).
#[must_use]
pub fn attempt(bug: Bug, script: &Script, twice: bool) -> Option<Violation> {
    let _planting = plant(bug);
    let script = &without_expectations(script);
    let outcome = World::play(script.clone(), false).run();
    if outcome.violation.is_some() || !twice {
        return outcome.violation;
    }
    let again = World::play(script.clone(), false).run();
    let (one, other) = (outcome.trace_hash, again.trace_hash);
    (one != other).then(|| {
        let Finding {
            expected,
            seen,
            entities,
        } = Finding::new("one trace of one seed", format!("{one} and {other}"));
        Violation {
            rule: Rule::S22,
            expected,
            seen,
            entities,
            at: crate::trace::BEGINNING,
            step: again.steps,
        }
    })
}

/// Whether the script is clean without any bug: what was found with one is due to it.
#[must_use]
pub fn is_clean(script: &Script) -> bool {
    let script = without_expectations(script);
    World::play(script, false).run().violation.is_none()
}

fn without_expectations(script: &Script) -> Script {
    let mut script = script.clone();
    script.expect.clear();
    script
}

/// Who noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// A rule of the oracle.
    Rule(Rule),
    /// An assertion in the product: it panicked.
    Crash,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(f),
            Self::Crash => f.pad("crash"),
        }
    }
}

impl Serialize for By {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The end of a hunt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Caught {
    /// Who noticed first.
    pub by: By,
    /// In this seed.
    pub seed: u64,
    /// What was seen, for people.
    pub message: String,
}

/// What became of the hunt of one bug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hunted {
    /// The bug's id.
    pub bug: &'static str,
    /// What is wrong.
    pub wrong: &'static str,
    /// The rule that should notice first.
    pub expected: &'static str,
    /// How it ended; `None`: nobody noticed.
    pub caught: Option<Caught>,
    /// Seeds that were tried.
    pub seeds: u64,
    /// Processor time.
    #[serde(rename = "cpu_s", serialize_with = "as_seconds")]
    pub cpu: Duration,
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl Hunted {
    /// A hunt that has not begun.
    #[must_use]
    pub const fn new(bug: Bug) -> Self {
        Self {
            bug: bug.id(),
            wrong: bug.wrong(),
            expected: bug.rule(),
            caught: None,
            seeds: 0,
            cpu: Duration::ZERO,
        }
    }
}

/// What became of all hunts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Bag {
    /// Each bug's, in the order of the list.
    pub hunts: Vec<Hunted>,
}

impl Bag {
    /// Bugs that nobody noticed.
    pub fn missed(&self) -> impl Iterator<Item = &Hunted> {
        self.hunts.iter().filter(|hunt| hunt.caught.is_none())
    }

    /// The median of the processor time of a hunt.
    #[must_use]
    pub fn median_cpu(&self) -> Duration {
        let mut times: Vec<_> = self.hunts.iter().map(|hunt| hunt.cpu).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// Who noticed how many bugs first.
    #[must_use]
    pub fn first(&self) -> BTreeMap<By, usize> {
        let mut first = BTreeMap::new();
        for caught in self.hunts.iter().filter_map(|hunt| hunt.caught.as_ref()) {
            *first.entry(caught.by).or_default() += 1;
        }
        first
    }

    /// Rules that noticed no bug first, although they can: of a rule that never does nobody knows
    /// what it is worth.
    pub fn idle_rules(&self) -> impl Iterator<Item = Rule> {
        let first = self.first();
        let idle = move |rule: &Rule| can_notice(*rule) && !first.contains_key(&By::Rule(*rule));
        Rule::ALL.iter().copied().filter(idle)
    }

    /// The table of `docs/planted-bugs.md`.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| bug | what is wrong | rule for it | noticed first by | seeds | CPU s |\n\
             |---|---|---|---|---|---|\n",
        );
        for hunt in &self.hunts {
            let by = hunt
                .caught
                .as_ref()
                .map_or("nobody".to_owned(), |caught| caught.by.to_string());
            let (cpu, seeds) = (hunt.cpu.as_secs_f64(), hunt.seeds);
            let (bug, wrong, rule) = (hunt.bug, hunt.wrong, hunt.expected);
            text.push_str(&format!(
                "| `{bug}` | {wrong} | {rule} | {by} | {seeds} | {cpu:.1} |\n"
            ));
        }
        text
    }
}

impl fmt::Display for Bag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.hunts.len() - self.missed().count();
        writeln!(
            f,
            "{found} of {} bugs found; median {:.1} CPU seconds",
            self.hunts.len(),
            self.median_cpu().as_secs_f64()
        )?;
        let first: Vec<_> = self
            .first()
            .iter()
            .map(|(by, n)| format!("{by} {n}"))
            .collect();
        writeln!(f, "noticed first by: {}", first.join(", "))?;
        let idle: Vec<_> = self.idle_rules().map(Rule::id).collect();
        let idle = match idle.as_slice() {
            [] => "none".to_owned(),
            idle => idle.join(", "),
        };
        write!(
            f,
            "rules that can notice a bug and were first for none: {idle}"
        )?;
        for hunt in self.missed() {
            write!(f, "\nNOT FOUND {} in {} seeds", hunt.bug, hunt.seeds)?;
        }
        Ok(())
    }
}

/// There are no automation rules yet, so none of them can fail to fire; and what a scenario
/// expects is no invariant.
const fn can_notice(rule: Rule) -> bool {
    !matches!(rule, Rule::L8 | Rule::Scene)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_names_a_rule() {
        for bug in Bug::ALL {
            assert!(Rule::from_id(bug.rule()).is_some(), "{bug}: {}", bug.rule());
        }
    }

    #[test]
    fn a_bag_says_who_noticed_and_who_did_not() {
        let mut hunt = Hunted::new(Bug::TieBreak);
        hunt.caught = Some(Caught {
            by: By::Rule(Rule::S5),
            seed: 0,
            message: String::new(),
        });
        let missed = Hunted::new(Bug::NoGrace);
        let bag = Bag {
            hunts: vec![hunt, missed],
        };
        assert_eq!(bag.missed().count(), 1);
        let idle: Vec<_> = bag.idle_rules().collect();
        assert!(!idle.contains(&Rule::S5), "it was first");
        assert!(
            !idle.contains(&Rule::L8) && !idle.contains(&Rule::Scene),
            "they cannot"
        );
        assert_eq!(idle.len(), Rule::ALL.len() - 3);
        assert!(bag.to_string().contains("NOT FOUND no-grace"));
        assert!(bag.markdown().contains("| `tie-break` | of nodes"));
    }
}
