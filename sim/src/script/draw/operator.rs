//! What an operator does while things break: cordons, drains, fences and purges.

use crate::options::Options;
use crate::rng::{Stream, Streams};
use crate::script::{Act, Deed, Span};

use super::faults::CALM_MIN;
use super::index;

pub(super) fn draw(options: &Options, streams: &Streams, faults: &[Act]) -> Vec<Act> {
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
            85..=94 => Deed::Fence { node },
            _ => Deed::Purge { node },
        };
        acts.push(Act {
            at: Span::millis(now),
            lasting: None,
            deed,
        });
        now += stream.between(500, 20_000);
    }
    acts.extend(give_up(&mut stream, faults));
    if stream.chance(200_000) {
        back_and_forth(options, &mut stream, until, &mut acts);
    }
    acts.retain(|act| act.at.as_millis() < until);
    acts
}

/// In one run of five, when everything works again and has been put in order: a drain, which must end in time.
pub(super) fn in_the_calm(options: &Options, streams: &Streams) -> Option<Act> {
    let mut stream = streams.fork("drain of the calm");
    let judged = options.calm >= CALM_MIN && (2..super::LARGE_NODES).contains(&options.nodes);
    if !judged || !stream.chance(200_000) {
        return None;
    }
    let calm = Span::from(options.calm).as_millis();
    let at = Span::from(options.chaos).as_millis() + calm / 4 + stream.between(5_000, 60_000);
    let deed = Deed::Drain {
        node: index(&mut stream, options.nodes),
        deadline: Span::secs(stream.between(5, 60)),
        parallelism: u32::try_from(stream.between(1, 2)).unwrap_or(1),
    };
    Some(Act {
        at: Span::millis(at),
        lasting: None,
        deed,
    })
}

/// Now and then a person takes a machine that is off for lost, fences it and soon purges it; and
/// then it comes back.
fn give_up(stream: &mut Stream, faults: &[Act]) -> Vec<Act> {
    let off = faults.iter().filter_map(|act| match act.deed {
        Deed::RebootNode { node } => Some((act.at.as_millis(), node)),
        _ => None,
    });
    let mut acts = Vec::new();
    for (since, node) in off {
        if !stream.chance(300_000) {
            continue;
        }
        let fence = since + stream.between(500, 8_000);
        let purge = fence + stream.between(3_000, 12_000);
        for (at, deed) in [(fence, Deed::Fence { node }), (purge, Deed::Purge { node })] {
            acts.push(Act {
                at: Span::millis(at),
                lasting: None,
                deed,
            });
        }
    }
    acts
}

/// One node is cordoned and put back in a loop.
fn back_and_forth(options: &Options, stream: &mut Stream, until: u64, acts: &mut Vec<Act>) {
    let node = index(stream, options.nodes);
    let mut now = stream.between(20_000, until.max(20_001));
    let every = stream.between(20, 1_500);
    for turn in 0..20 {
        let deed = match turn % 2 {
            0 => Deed::Cordon { node },
            _ => Deed::Uncordon { node },
        };
        if now < until {
            acts.push(Act {
                at: Span::millis(now),
                lasting: None,
                deed,
            });
        }
        now += every;
    }
}
