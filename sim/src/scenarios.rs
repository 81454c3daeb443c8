//! The named scenarios: readable files beside this crate's source.

use crate::nearest;
use crate::script::{Act, Deed, Script};

macro_rules! scenarios {
    ($($name:literal,)+) => {
        /// Names and texts, in alphabetical order.
        pub const ALL: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../scenarios/", $name, ".yaml"))),)+
        ];
    };
}

include!("../scenarios/list.rs");

/// Scenes of bugs that are found and not cured: each breaks the rule that it is named after. When
/// one is cured, it moves to the scenarios.
pub const OPEN: &[(&str, &str)] = &[];

/// The scenario of this name.
///
/// # Errors
/// There is none; the message names those that are most like it.
pub fn named(name: &str) -> Result<Script, String> {
    let text = ALL.iter().find(|(known, _)| *known == name);
    match text {
        Some((_, text)) => Script::from_yaml(text).map_err(|e| format!("{name}: {e}")),
        // It was meant to be a file.
        None if name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml") => {
            Err(format!("no such file: {name}"))
        }
        None => {
            let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
            let near = nearest::names(name, &names);
            Err(format!(
                "no scenario `{name}`; nearest: {near}; `berth sim scenarios` lists all {}",
                names.len()
            ))
        }
    }
}

/// It is short enough for the systematic search.
#[must_use]
pub fn is_short(name: &str) -> bool {
    named(name).is_ok_and(|script| {
        let many = |act: &Act| matches!(act.deed, Deed::AskMany { .. });
        script.world.nodes.count() <= 4
            && script.acts.len() <= 16
            && !script.acts.iter().any(many)
            && script.twist.is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;

    #[test]
    fn open_bugs_are_open_still() {
        for (rule, text) in OPEN {
            let script = Script::from_yaml(text).unwrap_or_else(|e| panic!("{rule}: {e}"));
            let violation = World::play(script, false).run().violation;
            let broken = violation.map(|violation| violation.rule.id());
            assert_eq!(broken, Some(*rule), "cured? then it is a scenario now");
        }
    }

    /// `tests/expectations.rs` plays them.
    #[test]
    fn every_scenario_says_what_it_is_about_and_is_listed_once() {
        for (name, _) in ALL {
            let script = named(name).unwrap_or_else(|e| panic!("{e}"));
            assert!(!script.about.is_empty(), "{name} says what it is about");
        }
        let mut names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert!(
            names.iter().eq(ALL.iter().map(|(name, _)| name)),
            "in order, once each"
        );
    }

    #[test]
    fn what_is_no_scenario_is_told_as_what_it_was_meant_to_be() {
        let wrong = [
            ("drains", "no scenario `drains`; nearest: `drain`, "),
            ("restored", "nearest: `restored-store`, "),
            ("nonsense", "`berth sim scenarios` lists all"),
            ("scenes/drain", "no such file: scenes/drain"),
            ("drain.yaml", "no such file: drain.yaml"),
        ];
        for (name, told) in wrong {
            let error = named(name).expect_err(name);
            assert!(error.contains(told), "{name}: {error}");
        }
    }
}
