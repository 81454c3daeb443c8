//! The end of a recording: what the run came to, and what was counted.

use std::time::Duration;

use crate::marks::Coverage;
use crate::oracle::Violation;
use crate::record::{Broken, Header, Recording, Table, Tone, clock, deed_words};
use crate::script::{Lasting, Links, Script};
use crate::trace::BEGINNING;
use crate::world::World;

use super::{Camera, millis};

impl World {
    /// What was recorded of the run, if it was wanted; `command` runs it again. A panic's message
    /// may be what it came to.
    #[must_use]
    pub fn take_recording(
        &mut self,
        command: String,
        violation: Option<&Violation>,
        crash: Option<String>,
    ) -> Option<Recording> {
        self.look();
        let camera = self.camera.take()?;
        let begun = BEGINNING;
        let heal_ms = self.script.world.chaos.as_millis();
        let calm_ms = self.script.world.calm.as_millis();
        let broken = violation.map(|v| Broken::new(v, millis(v.at.since(begun))));
        let verdict = match (&crash, violation) {
            (Some(_), _) => "crash",
            (None, Some(violation)) if violation.rule.is_liveness() => "liveness",
            (None, Some(_)) => "safety",
            (None, None) => "clean",
        };
        let header = Header {
            title: format!("seed {}", self.script.world.seed),
            about: self.script.about.clone(),
            command,
            verdict: verdict.to_owned(),
            crash,
            violation: broken,
            trace_hash: self.trace.hash(),
            steps: self.trace.steps(),
            elapsed_ms: millis(self.now.since(begun)),
            phases: vec![
                (0, "anything may break".to_owned()),
                (heal_ms, "everything works".to_owned()),
                (
                    heal_ms + calm_ms / 2,
                    "nothing may happen any more".to_owned(),
                ),
            ],
            facts: facts(&self.script),
        };
        Some(camera.finish(header, script_table(&self.script), &self.coverage))
    }
}

impl Camera {
    fn finish(mut self, header: Header, script: Option<Table>, coverage: &Coverage) -> Recording {
        let at = header.elapsed_ms;
        for replica in 0..self.replicas.len() {
            self.forget_calls(at, replica, "none yet at the end");
        }
        let open: Vec<_> = self.requests.keys().copied().collect();
        let end = BEGINNING + Duration::from_millis(at);
        for key in open {
            self.request_ends(end, key, "nobody", ("none".to_owned(), true));
        }
        let text = match (&header.violation, &header.crash) {
            (Some(v), _) => format!(
                "{} ({}) does not hold: expected {}; seen: {}",
                v.rule, v.title, v.expected, v.seen
            ),
            (None, Some(message)) => format!("Something panicked: {message}"),
            (None, None) => format!("The end, at {}: every rule held", clock(at)),
        };
        let tone = match header.verdict.as_str() {
            "clean" => Tone::Phase,
            _ => Tone::Violation,
        };
        self.recorder.tell(at, tone, None, text);
        let mut tables = vec![self.calls_table()];
        tables.extend(self.changes.tables());
        tables.extend(script);
        tables.push(coverage_table(coverage));
        tables.retain(|table| !table.rows.is_empty());
        self.recorder.finish(at, header, tables)
    }

    fn calls_table(&self) -> Table {
        let rows = self.outcomes.iter();
        let rows = rows.map(|((op, outcome), count)| {
            let op = op.trim_start_matches("call_").to_owned();
            vec![op, outcome.clone(), count.to_string()]
        });
        Table {
            title: "Calls to agents".to_owned(),
            columns: ["call", "came to", "times"].map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }
    }
}

fn coverage_table(coverage: &Coverage) -> Table {
    let reached = coverage.iter().filter(|(_, count)| *count > 0);
    let rows = reached.map(|(mark, count)| {
        let name = mark.name();
        let (kind, what) = name.split_once(' ').unwrap_or(("", name));
        vec![kind.to_owned(), what.to_owned(), count.to_string()]
    });
    Table {
        title: "Reached in this run".to_owned(),
        columns: ["kind", "what", "times"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

fn facts(script: &Script) -> Vec<(String, String)> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let (world, links) = (&script.world, script.links);
    let lasts = |text: &str, ms: u64| format!("{text} {} s", ms / 1_000);
    let mut facts = vec![
        fact("schedulers", world.schedulers.to_string()),
        fact("nodes", world.nodes.count().to_string()),
        fact("clients", world.clients.to_string()),
        fact("acts of the script", script.acts.len().to_string()),
        fact(
            "virtual time",
            lasts("trouble for", world.chaos.as_millis())
                + &lasts(", then calm for", world.calm.as_millis()),
        ),
        fact("network", network(links)),
    ];
    if !world.knobs.are_usual() {
        let knobs = serde_json::to_string(&world.knobs).unwrap_or_default();
        facts.push(fact("configured otherwise", knobs));
    }
    if let Some(twist) = &script.twist {
        facts.push(fact("twist", twist.to_string()));
    }
    facts
}

fn network(links: Links) -> String {
    let share =
        |of_a_million: u64| format!("{}.{} %", of_a_million / 10_000, of_a_million / 1_000 % 10);
    if links == Links::default() {
        return "loses and doubles nothing".to_owned();
    }
    format!(
        "loses {}, doubles {}, delays up to {}; of the store's transactions {} are late, of what \
         its watches tell {} comes in parts",
        share(links.lost),
        share(links.doubled),
        links.delay,
        share(links.wandering),
        share(links.parted)
    )
}

/// What the script breaks, and when.
fn script_table(script: &Script) -> Option<Table> {
    let rows = script.acts.iter().filter_map(|act| {
        let words = deed_words(&act.deed)?;
        let lasting = match act.lasting {
            Some(Lasting::For(span)) => span.to_string(),
            Some(Lasting::Ever) => "ever".to_owned(),
            None => String::new(),
        };
        Some(vec![clock(act.at.as_millis()), lasting, words.text])
    });
    let rows: Vec<_> = rows.collect();
    (!rows.is_empty()).then(|| Table {
        title: "What the script breaks".to_owned(),
        columns: ["at", "for", "what"].map(str::to_owned).to_vec(),
        rows,
    })
}
