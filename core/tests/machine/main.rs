//! The core against a model of what its users see.
//!
//! `transition` draws what happens, `reference` says in a few dozen lines where that leads, `system`
//! is the core with a store and agents in memory (`agent`), `assertions` says what must hold after
//! every step and when everything has settled. A failure is printed as the shortest history that
//! shows it, one line for each thing that happens: keep it in `regressions`. That the checks can
//! fail is checked by bugs on purpose (`hunt`; `cargo test -p berth-core --features planted`).

mod agent;
mod assertions;
#[cfg(feature = "planted")]
mod hunt;
mod reference;
mod regressions;
mod system;
mod transition;

use std::time::Duration;

use proptest::prelude::*;

use crate::reference::Reference;
use crate::system::System;
use crate::transition::{Transition, histories};

/// After this long without another fault everything is where it should be: longer than the longest
/// deadlines of the core (a drain's, a pending workload's, all the backoffs of one that fails).
const SETTLED_AFTER: Duration = Duration::from_secs(15 * 60);

/// Lets a history happen.
pub(crate) fn play(history: &[Transition]) {
    let (mut system, mut reference) = (System::new(), Reference::default());
    for transition in history {
        if reference.allows(transition) {
            step(&mut system, &mut reference, transition);
        }
    }
    for n in 0..transition::NODES {
        let back = Transition::Return { n };
        if reference.allows(&back) {
            step(&mut system, &mut reference, &back);
        }
    }
    step(&mut system, &mut reference, &Transition::Settle);
}

fn step(system: &mut System, reference: &mut Reference, transition: &Transition) {
    reference.machine(transition);
    if let Some(id) = system.play(transition) {
        reference.asked(id, *transition);
    }
    hear(system, reference);
    if *transition == Transition::Settle {
        system.pass(SETTLED_AFTER);
        hear(system, reference);
        assertions::settled(system, reference);
        assertions::quiet(system);
        hear(system, reference);
    }
    assertions::always(system);
}

fn hear(system: &mut System, reference: &mut Reference) {
    for (id, error) in std::mem::take(&mut system.answers) {
        reference.answered(id, error.as_ref());
    }
}

proptest! {
    // `PROPTEST_CASES` may ask for more.
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 4_000,
        ..ProptestConfig::with_cases(ProptestConfig::default().cases.max(256))
    })]

    #[test]
    fn the_core_leads_where_its_reference_does(history in histories(40)) {
        play(&history.0);
    }
}
