//! What happens to a world from outside, as data: drawn from a seed, written by hand, or what is
//! left of one after shrinking.
//!
//! A world does what its script says and nothing else. The seed beside it decides only what is no
//! deed of anybody: the delays and losses of single messages, clocks, jitter.

mod act;
mod ask;
mod check;
mod contradict;
mod draw;
mod expect;
mod knobs;
mod reading;
mod said;
mod setup;
mod span;
mod twist;

use serde::{Deserialize, Serialize};

pub use act::{Act, Breakage, Deed, Edit, Lasting};
pub use ask::{Ask, Wish};
pub(crate) use draw::add_faults;
pub use draw::draw;
pub use expect::{Expect, Leader, NodeIs, NodeState, State, That, WorkloadIs};
pub use knobs::Knobs;
pub use setup::{Links, NodeSetup, Nodes, Pace, Setup};
pub use span::Span;
pub use twist::{Counters, Twist};

/// A script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// What it is about, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What there is.
    pub world: Setup,
    /// How bad the network is, between processes other than the store.
    #[serde(default)]
    pub links: Links,
    /// What is done, by time.
    pub acts: Vec<Act>,
    /// What holds besides, if all rules do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expect>,
    /// One thing that goes wrong at a point that is counted, not timed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twist: Option<Twist>,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// It is not one; the message names the field and what was expected, or the line.
    pub fn from_yaml(text: &str) -> Result<Self, String> {
        // What is no YAML at all is told as such, whatever was being read.
        let document = serde_yaml_ng::from_str(text).map_err(|e| e.to_string())?;
        reading::check_acts(&document)?;
        let script = serde_yaml_ng::from_str(text);
        let mut script: Self = script.map_err(|e| reading::with_field(&document, e.to_string()))?;
        script.acts.sort_by_key(|act| act.at);
        script.check()?;
        Ok(script)
    }

    /// Writes a script, as [`from_yaml`](Self::from_yaml) reads it.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        serde_yaml_ng::to_string(self).unwrap_or_else(|e| format!("# cannot be written: {e}\n"))
    }
}

#[cfg(test)]
mod tests;
