//! One mutant against the tests that reach it: quick ones first, until one fails.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::process::{End, Job, Usual, run};
use crate::suite::{Suite, Test, What, environment, tests_args, traces};

/// The mutant that is on; `mutant_switch.rs` knows the name.
const ON: &str = "BERTH_MUTANT";
/// Tests of one binary up to each of these run together.
const QUICK: [Duration; 2] = [Duration::from_millis(30), Duration::from_millis(300)];
/// What takes longer than this comes last.
const LONG: Duration = Duration::from_secs(8);

impl Stage {
    /// In the order in which they are tried.
    pub(crate) const ALL: [Self; 3] = [Self::Quick, Self::Slow, Self::Long];
}

/// What came of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// A test failed.
    Noticed,
    /// A test had no end.
    Timeout,
    /// Every test passed.
    NotNoticed,
    /// No test comes there.
    NotReached,
    /// It does not compile.
    Unviable,
    /// This tool cannot try it.
    NotSwitched,
}

/// What a mutant is tried with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Tests that take a moment.
    Quick,
    /// Tests and searches of the simulator that take some seconds, the shortest first: a short search
    /// notices more than most tests that take as long.
    Slow,
    /// What takes longer: for what nothing else has noticed.
    Long,
}

/// What came of a mutant, and of which test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tried {
    pub(crate) outcome: Outcome,
    pub(crate) by: String,
}

/// Tests that run in one process.
struct Batch<'a> {
    binary: usize,
    tests: Vec<&'a Test>,
    usual: Usual,
}

/// Tries a mutant.
///
/// # Errors
/// A test cannot be started.
pub(crate) fn run_mutant(suite: &Suite, id: u32, stage: Stage) -> Result<Tried> {
    let batches = batches(suite, id, stage);
    if batches.is_empty() && !suite.tests.iter().any(|t| t.reached.contains(&id)) {
        return Ok(Tried {
            outcome: Outcome::NotReached,
            by: String::new(),
        });
    }
    let mut differs = "";
    for batch in batches {
        let binary = &suite.binaries[batch.binary];
        let mut env = environment();
        env.push((ON, id.to_string()));
        let ended = run(&Job {
            binary: &binary.path,
            folder: &binary.folder,
            args: batch.args(),
            env,
            usual: batch.usual,
        })?;
        let (outcome, test) = match ended.end {
            End::Passed => {
                if batch.tests.iter().any(|t| t.traces != traces(&ended.lines)) {
                    differs = "what the simulator does differs, and no rule is broken";
                }
                continue;
            }
            End::Failed(test) => (Outcome::Noticed, test),
            End::TooLong => (Outcome::Timeout, None),
        };
        let test = test.unwrap_or_else(|| batch.describe());
        let by = format!("{} {test}", binary.name);
        return Ok(Tried { outcome, by });
    }
    Ok(Tried {
        outcome: Outcome::NotNoticed,
        by: differs.to_owned(),
    })
}

fn stage_of(test: &Test) -> Stage {
    match test.what {
        What::Test(_) if test.usual.wall <= QUICK[QUICK.len() - 1] => Stage::Quick,
        What::Test(_) | What::Search(_) if test.usual.wall <= LONG => Stage::Slow,
        What::Test(_) | What::Search(_) => Stage::Long,
    }
}

fn batches(suite: &Suite, id: u32, stage: Stage) -> Vec<Batch<'_>> {
    let mut batches = BTreeMap::<(usize, usize, usize), Batch<'_>>::new();
    for (at, test) in suite.tests.iter().enumerate() {
        if stage_of(test) != stage || !test.reached.contains(&id) {
            continue;
        }
        let class = QUICK.iter().filter(|q| test.usual.wall > **q).count();
        let alone = if class < QUICK.len() { 0 } else { at };
        let batch = batches
            .entry((class, test.binary, alone))
            .or_insert_with(|| Batch {
                binary: test.binary,
                tests: Vec::new(),
                usual: Usual::default(),
            });
        batch.tests.push(test);
        batch.usual.processor += test.usual.processor;
        batch.usual.wall += test.usual.wall;
    }
    let mut ordered: Vec<_> = batches.into_iter().collect();
    ordered.sort_by_key(|((class, _, at), batch)| (*class, batch.usual.wall, *at));
    ordered.into_iter().map(|(_, batch)| batch).collect()
}

impl Batch<'_> {
    fn args(&self) -> Vec<String> {
        let mut names = Vec::new();
        for test in &self.tests {
            match &test.what {
                What::Test(name) => names.push(name.as_str()),
                What::Search(args) => return args.clone(),
            }
        }
        tests_args(&names)
    }

    /// What to say when nobody knows which test it was.
    fn describe(&self) -> String {
        match self.tests.as_slice() {
            [one] => match &one.what {
                What::Test(name) => name.clone(),
                What::Search(args) => args.join(" "),
            },
            several => format!("one of {} tests", several.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Binary;

    fn binary(path: &str) -> Binary {
        Binary {
            name: path.to_owned(),
            path: path.into(),
            folder: ".".into(),
        }
    }

    fn test(binary: usize, what: What, millis: u64) -> Test {
        let wall = Duration::from_millis(millis);
        Test {
            binary,
            what,
            usual: Usual {
                processor: wall,
                wall,
            },
            reached: [1].into(),
            traces: None,
        }
    }

    fn named(name: &str) -> What {
        What::Test(name.to_owned())
    }

    fn suite() -> Suite {
        Suite {
            // Whatever they are asked, the one passes and the other fails.
            binaries: vec![binary("true"), binary("false")],
            tests: vec![
                test(1, What::Search(vec!["search".to_owned()]), 4_000),
                test(0, named("slow"), 5_000),
                test(0, named("long"), 9_000),
                test(0, named("b"), 20),
                test(1, named("c"), 10),
                test(0, named("a"), 2),
            ],
        }
    }

    #[test]
    fn quick_tests_of_one_binary_run_together_and_the_others_alone() {
        let suite = suite();
        let batches = batches(&suite, 1, Stage::Quick);
        let args: Vec<_> = batches
            .iter()
            .map(|b| b.args().split_off(2).join(" "))
            .collect();
        assert_eq!(args, ["c", "b a"]);
        assert_eq!(batches[1].usual.wall, Duration::from_millis(22));
        for (stage, what) in [
            (Stage::Slow, vec!["search", "slow"]),
            (Stage::Long, vec!["long"]),
        ] {
            let alone = super::batches(&suite, 1, stage);
            let alone: Vec<_> = alone.iter().map(Batch::describe).collect();
            assert_eq!(alone, what);
        }
    }

    #[test]
    fn the_first_failure_says_who_noticed() {
        let mut suite = suite();
        let tried = run_mutant(&suite, 1, Stage::Quick).unwrap();
        assert_eq!(tried.outcome, Outcome::Noticed);
        assert_eq!(tried.by, "false c");
        assert_eq!(
            run_mutant(&suite, 2, Stage::Quick).unwrap().outcome,
            Outcome::NotReached
        );
        suite.tests.retain(|t| t.binary == 0);
        assert_eq!(
            run_mutant(&suite, 1, Stage::Quick).unwrap().outcome,
            Outcome::NotNoticed
        );
    }
}
