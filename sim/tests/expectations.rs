//! Every expectation of every scenario can fail: what contradicts it, judged where it is judged, breaks
//! the run.

use berth_sim::{Rule, World, scenarios};

#[test]
fn what_contradicts_an_expectation_fails() {
    for (name, _) in scenarios::ALL {
        let script = scenarios::named(name).unwrap_or_else(|e| panic!("{e}"));
        assert!(!script.expect.is_empty(), "{name} expects nothing");
        let mut world = World::play(script.clone(), false).doubted();
        if let Some(violation) = world.live() {
            panic!("{name}: {violation}");
        }
        let doubts = world.take_doubts();
        for (number, expect) in script.expect.iter().enumerate() {
            let mut others = doubts
                .iter()
                .filter(|doubt| doubt.number == number)
                .peekable();
            assert!(
                others.peek().is_some(),
                "{name}: {expect:?} contradicts nothing"
            );
            for other in others {
                let rule = other.violation.as_ref().map(|violation| violation.rule);
                let that = &other.that;
                assert_eq!(
                    rule,
                    Some(Rule::Scene),
                    "{name}, {expect:?}: {that:?} holds too"
                );
            }
        }
    }
}
