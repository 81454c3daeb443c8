//! What an operator does while things break: cordons, drains, fences and purges.

use crate::options::Options;
use crate::rng::Streams;
use crate::script::{Act, Deed, Span};

use super::index;

pub(super) fn draw(options: &Options, streams: &Streams) -> Vec<Act> {
    let mut stream = streams.fork("operator");
    let mut acts = Vec::new();
    if !stream.chance(600_000) {
        return acts;
    }
    let until = Span::from(options.chaos).as_millis();
    let mut now = 20_000;
    while now < until {
        let node = index(&mut stream, options.nodes);
        let deed = match stream.below(100) {
            0..=24 => Deed::Cordon { node },
            25..=49 => Deed::Uncordon { node },
            50..=69 => Deed::Drain {
                node,
                deadline: Span::secs(stream.between(5, 60)),
                parallelism: u32::try_from(stream.between(1, 2)).unwrap_or(1),
            },
            70..=84 => Deed::CancelDrain { node },
            85..=94 => {
                // Often it is taken off the list soon after.
                if stream.chance(500_000) {
                    acts.push(Act {
                        at: Span::millis(now + stream.between(3_000, 25_000)),
                        lasting: None,
                        deed: Deed::Purge { node },
                    });
                }
                Deed::Fence { node }
            }
            _ => Deed::Purge { node },
        };
        acts.push(Act {
            at: Span::millis(now),
            lasting: None,
            deed,
        });
        now += stream.between(500, 20_000);
    }
    acts.retain(|act| act.at.as_millis() < until);
    acts
}
