//! Shrinking: what is not needed for a failure is taken out of its script.

use std::collections::BTreeSet;

use crate::oracle::Rule;
use crate::script::{Act, Deed, Knobs, Lasting, Links, Script, Span};

/// How a run failed. A smaller script must fail in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symptom {
    /// This rule did not hold, first at this virtual time.
    Broken(Rule, Span),
    /// Something panicked.
    Crash,
}

impl Symptom {
    const fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Broken(a, _), Self::Broken(b, _)) => a as u8 == b as u8,
            (Self::Crash, Self::Crash) => true,
            _ => false,
        }
    }
}

/// A shrinking in progress.
#[derive(Debug)]
pub struct Shrinker<P> {
    play: P,
    best: Script,
    symptom: Symptom,
    /// Runs so far.
    pub runs: u64,
    runs_max: u64,
}

impl<P: FnMut(&Script) -> Option<Symptom>> Shrinker<P> {
    /// Begins with a script that fails; `None`: it does not.
    pub fn new(script: Script, runs_max: u64, mut play: P) -> Option<Self> {
        let symptom = play(&script)?;
        Some(Self {
            play,
            best: script,
            symptom,
            runs: 1,
            runs_max,
        })
    }

    /// Takes out what it can, until nothing more goes; answers what is left and how it fails.
    pub fn shrink(mut self) -> (Script, Symptom, u64) {
        loop {
            let before = weight(&self.best);
            self.cut_short();
            self.drop_acts();
            self.quiet_links();
            self.plainer_acts();
            self.fewer_processes();
            if weight(&self.best) >= before || self.runs >= self.runs_max {
                break;
            }
        }
        (self.best, self.symptom, self.runs)
    }

    /// Tries a script; keeps it if it fails in the same way.
    fn attempt(&mut self, script: Script) -> bool {
        if self.runs >= self.runs_max || script.check().is_err() {
            return false;
        }
        self.runs += 1;
        match (self.play)(&script) {
            Some(symptom) if symptom.is_like(self.symptom) => {
                self.best = script;
                self.symptom = symptom;
                true
            }
            _ => false,
        }
    }

    fn attempt_with(&mut self, change: impl FnOnce(&mut Script)) -> bool {
        let mut script = self.best.clone();
        change(&mut script);
        script != self.best && self.attempt(script)
    }

    /// A safety rule needs nothing after it was broken.
    fn cut_short(&mut self) {
        let Symptom::Broken(rule, at) = self.symptom else {
            return;
        };
        if rule.is_liveness() || at >= self.best.world.chaos {
            return;
        }
        let chaos = Span::millis(at.as_millis() + 1);
        self.attempt_with(|script| {
            script.world.chaos = chaos;
            script.world.calm = Span::secs(1);
            script.acts.retain(|act| act.at < chaos);
        });
    }

    /// Halves, quarters, and so on down to single acts.
    fn drop_acts(&mut self) {
        let mut size = self.best.acts.len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < self.best.acts.len() {
                let to = (from + size).min(self.best.acts.len());
                let dropped = self.attempt_with(|script| {
                    script.acts.drain(from..to);
                });
                if !dropped {
                    from = to;
                }
            }
            size /= 2;
        }
        // Those that only make sense together, such as the cuts of one partition, go together.
        let instants: BTreeSet<_> = self.best.acts.iter().map(|act| act.at).collect();
        for at in instants {
            self.attempt_with(|script| script.acts.retain(|act| act.at != at));
        }
    }

    fn quiet_links(&mut self) {
        self.attempt_with(|script| script.links = Links::default());
        self.attempt_with(|script| script.links.lost = 0);
        self.attempt_with(|script| script.links.doubled = 0);
        self.attempt_with(|script| script.links.delay = Span::default());
        self.attempt_with(|script| script.links.wandering = 0);
        self.attempt_with(|script| script.links.parted = 0);
        self.attempt_with(|script| script.world.clocks.clear());
        self.attempt_with(|script| script.world.knobs = Knobs::default());
        for reset in Knobs::RESETS {
            self.attempt_with(|script| reset(&mut script.world.knobs));
        }
    }

    fn plainer_acts(&mut self) {
        for at in 0..self.best.acts.len() {
            self.attempt_with(|script| plainer(&mut script.acts[at]));
            self.attempt_with(|script| {
                let act = &mut script.acts[at];
                if let Some(Lasting::For(span)) = act.lasting {
                    act.lasting = Some(Lasting::For(Span::millis(span.as_millis() / 2)));
                }
            });
            self.attempt_with(|script| script.acts[at].at = whole_second(script.acts[at].at));
            self.attempt_with(plain_wish(at));
        }
        let mut script = self.best.clone();
        script.acts.sort_by_key(|act| act.at);
        self.best = script;
    }

    /// Processes that nobody speaks of, after those that are spoken of have low numbers.
    fn fewer_processes(&mut self) {
        for at in 0..self.best.acts.len() {
            for role in ["node", "scheduler", "client"] {
                let number = number(&self.best.acts[at], role).unwrap_or(0);
                (0..number).any(|lower| {
                    let act = renumbered(&self.best.acts[at], role, lower);
                    act.is_some_and(|act| self.attempt_with(|script| script.acts[at] = act))
                });
            }
        }
        while self.best.world.schedulers > 1 {
            if !self.attempt_with(|script| script.world.schedulers -= 1) {
                break;
            }
        }
        while self.best.world.clients > 1 {
            if !self.attempt_with(|script| script.world.clients -= 1) {
                break;
            }
        }
        while self.best.world.nodes.count() > 1 {
            let fewer = self.attempt_with(|script| {
                let mut nodes = script.world.nodes.each();
                nodes.pop();
                script.world.nodes = crate::script::Nodes::Each(nodes);
            });
            if !fewer {
                break;
            }
        }
    }
}

/// Smaller is better: acts, then unusual things about them.
fn weight(script: &Script) -> (usize, usize, u64) {
    let text = script.to_yaml();
    (
        script.acts.len(),
        text.len(),
        script.world.chaos.as_millis(),
    )
}

/// The number of the process of this role that an act speaks of.
fn number(act: &Act, role: &str) -> Option<u64> {
    serde_json::to_value(act).ok()?.get(role)?.as_u64()
}

/// The act, of another process of this role. What an act says is what its text says: so each
/// kind of act that ever comes is covered.
fn renumbered(act: &Act, role: &str, number: u64) -> Option<Act> {
    let mut text = serde_json::to_value(act).ok()?;
    *text.get_mut(role)? = number.into();
    serde_json::from_value(text).ok()
}

fn whole_second(at: Span) -> Span {
    Span::secs(at.as_millis() / 1_000)
}

fn plainer(act: &mut Act) {
    if let Deed::Ask {
        twice, if_match, ..
    } = &mut act.deed
    {
        *twice = false;
        *if_match = false;
    }
}

fn plain_wish(at: usize) -> impl FnOnce(&mut Script) {
    move |script| {
        if let Deed::Ask {
            wish: Some(wish), ..
        } = &mut script.acts[at].deed
        {
            *wish = crate::script::Wish {
                image: wish.image,
                cpu: wish.cpu,
                memory: wish.memory,
                ..crate::script::Wish::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::script::draw;

    /// A failure that needs two acts, and nothing else.
    fn needs_a_drain_after_a_crash(script: &Script) -> Option<Symptom> {
        let crash = script
            .acts
            .iter()
            .position(|act| matches!(act.deed, Deed::CrashAgent { .. }))?;
        let drain = script
            .acts
            .iter()
            .position(|act| matches!(act.deed, Deed::Drain { .. }))?;
        (crash < drain).then_some(Symptom::Broken(Rule::S1, script.acts[drain].at))
    }

    #[test]
    fn only_what_matters_is_left() {
        let mut shrunk = 0;
        for seed in 0..400 {
            let script = draw(&Options::small(seed));
            let play = needs_a_drain_after_a_crash;
            let Some(shrinker) = Shrinker::new(script, 10_000, play) else {
                continue;
            };
            let (small, symptom, _) = shrinker.shrink();
            assert_eq!(small.acts.len(), 2, "{}", small.to_yaml());
            assert_eq!(small.links, Links::default());
            assert_eq!((small.world.nodes.count(), small.world.schedulers), (1, 1));
            assert!(matches!(symptom, Symptom::Broken(Rule::S1, _)));
            let text = small.to_yaml();
            assert_eq!(Script::from_yaml(&text).as_ref(), Ok(&small), "{text}");
            shrunk += 1;
        }
        assert!(shrunk > 5, "the seeds have such scripts");
    }

    /// A failure that needs longer tries than usual: that knob is left as it was, and no other.
    #[test]
    fn knobs_that_do_not_matter_are_as_usual() {
        let needs_more_tries = |script: &Script| {
            let more = script.world.knobs.tries > Knobs::default().tries;
            more.then_some(Symptom::Broken(Rule::L1, Span::default()))
        };
        let mut others = 0;
        for seed in 0..200 {
            let script = draw(&Options::small(seed));
            let drawn = script.world.knobs;
            let Some(shrinker) = Shrinker::new(script, 10_000, needs_more_tries) else {
                continue;
            };
            let (small, _, _) = shrinker.shrink();
            let expected = Knobs {
                tries: drawn.tries,
                ..Knobs::default()
            };
            assert_eq!(small.world.knobs, expected);
            others += usize::from(drawn != expected);
        }
        assert!(others > 5, "the seeds have such scripts");
    }
}
