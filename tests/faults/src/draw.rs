//! A schedule of faults, drawn from a seed.

use std::fmt;
use std::time::Duration;

use berth_tests::Schedule;

use crate::cluster::{LEASE, SERVERS};
use crate::fault::{Direction, Fault, Who};
use crate::members::MEMBERS;

/// A fault with its time.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// After the fault before it began, or ended unless the two overlap.
    pub after: Duration,
    /// It begins while the one before it lasts.
    pub overlaps: bool,
    /// How long it lasts.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.overlaps { "meanwhile" } else { "then" };
        let (after, lasts) = (self.after.as_secs_f64(), self.lasts.as_secs_f64());
        write!(
            f,
            "{when} after {after:.2} s for {lasts:.2} s: {:?}",
            self.fault
        )
    }
}

/// Draws `count` faults. Whatever `count` is, each kind of the first dozen is another one.
#[must_use]
pub fn draw(schedule: &mut Schedule, count: usize, processes: usize) -> Vec<Planned> {
    let mut kinds: Vec<u64> = Vec::new();
    let mut all = Vec::new();
    while all.len() < count {
        if kinds.is_empty() {
            kinds = (0..KINDS).collect();
        }
        let at = usize::try_from(schedule.below(kinds.len() as u64)).unwrap_or(0);
        let fault = draw_one(schedule, kinds.swap_remove(at), processes);
        let millis = |schedule: &mut Schedule, low, high| {
            schedule.between(Duration::from_millis(low), Duration::from_millis(high))
        };
        all.push(Planned {
            after: millis(schedule, 200, 1_500),
            // A rolling restart waits for what only the end of another fault may bring.
            overlaps: !all.is_empty()
                && schedule.below(4) == 0
                && !matches!(fault, Fault::RollingRestart(_)),
            lasts: match fault {
                Fault::Pause(_) => LEASE + millis(schedule, 500, 3_000),
                Fault::Kill(_) | Fault::Restart(_) | Fault::AgentKill(_) => {
                    millis(schedule, 100, 3_000)
                }
                Fault::RollingRestart(_) => Duration::ZERO,
                Fault::EtcdDiskFull(_) => millis(schedule, 3_000, 6_000),
                _ => millis(schedule, 500, 5_000),
            },
            fault,
        });
    }
    all
}

/// Kinds of fault, those that matter most more than once.
const KINDS: u64 = 22;

fn draw_one(schedule: &mut Schedule, kind: u64, processes: usize) -> Fault {
    let mut below = |bound: usize| usize::try_from(schedule.below(bound as u64)).unwrap_or(0);
    let member = below(MEMBERS);
    let other = Who::Number(below(SERVERS));
    let direction = [Direction::Both, Direction::There, Direction::Back][below(3)];
    match kind {
        0 | 1 => Fault::Kill(Who::Leader),
        2 => Fault::Kill(other),
        3 => Fault::Restart(Who::Leader),
        4 => Fault::Pause(Who::Leader),
        5 => Fault::Pause(other),
        6 => Fault::StoreCut(Who::Leader, Direction::Both),
        7 => Fault::StoreCut(Who::Leader, direction),
        8 => Fault::MemberCut(Who::Leader, member, direction),
        9 => Fault::AgentsCut(Who::Leader, direction),
        10 => Fault::Isolated(member, Direction::Both),
        11 => Fault::Isolated(member, direction),
        12 => Fault::EtcdKill(member),
        13 => Fault::EtcdPause(member),
        14 => Fault::EtcdFull(member),
        15 => Fault::EtcdDiskFull(member),
        16 => Fault::PeerCut(Who::Leader, below(2), Direction::Both),
        17 => Fault::PeerCut(Who::Leader, below(2), direction),
        18 => Fault::PeersCut(Who::Leader, direction),
        19 => Fault::RollingRestart(below(SERVERS)),
        20 => Fault::EtcdSlow(member, Duration::from_millis(20 + below(200) as u64)),
        _ if processes > 0 => Fault::AgentKill(below(processes)),
        _ => Fault::Kill(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_schedule_and_every_kind_comes() {
        let text = |seed| {
            let drawn = draw(&mut Schedule::of(seed), 50, 4);
            drawn.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        let all = text(1).join("\n");
        for kind in [
            "Kill(Leader)",
            "Restart",
            "Pause(Leader)",
            "StoreCut(Leader, Both)",
            "MemberCut",
            "AgentsCut",
            "Isolated",
            "EtcdKill",
            "EtcdPause",
            "EtcdFull",
            "EtcdDiskFull",
            "EtcdSlow",
            "PeerCut",
            "PeersCut",
            "RollingRestart",
            "AgentKill",
            "meanwhile",
        ] {
            assert!(all.contains(kind), "{kind} is missing:\n{all}");
        }
    }
}
