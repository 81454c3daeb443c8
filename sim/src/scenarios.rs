//! The named scenarios: readable files beside this crate's source.

use crate::script::Script;

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
/// There is none; the message lists what there is.
pub fn named(name: &str) -> Result<Script, String> {
    let text = ALL.iter().find(|(known, _)| *known == name);
    match text {
        Some((_, text)) => Script::from_yaml(text).map_err(|e| format!("{name}: {e}")),
        None => {
            let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
            Err(format!(
                "no scenario `{name}`; there are: {}",
                names.join(", ")
            ))
        }
    }
}

/// It is short enough for the systematic search.
#[must_use]
pub fn is_short(name: &str) -> bool {
    named(name).is_ok_and(|script| {
        script.world.nodes.count() <= 4 && script.acts.len() <= 16 && script.twist.is_none()
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

    #[test]
    fn every_scenario_holds_every_rule_and_what_it_expects() {
        for (name, _) in ALL {
            let script = named(name).unwrap_or_else(|e| panic!("{e}"));
            assert!(!script.about.is_empty(), "{name} says what it is about");
            let outcome = World::play(script, false).run();
            if let Some(violation) = outcome.violation {
                panic!("{name}: {violation}");
            }
        }
        let mut names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert!(
            names.iter().eq(ALL.iter().map(|(name, _)| name)),
            "in order, once each"
        );
        assert!(named("no-such-thing").is_err_and(|e| e.contains("agent-amnesia")));
    }
}
