//! What goes wrong: drawn from a seed, begun, ended.

use std::fmt;
use std::time::Duration;

use berth_tests::Schedule;
use nix::sys::signal::Signal;

use crate::cluster::{Cluster, LEASE, SERVERS};
use crate::members::MEMBERS;
use crate::net::{Place, Way};

/// A scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The one that leads when it happens; the first if none does.
    Leader,
    /// This one.
    Number(usize),
}

/// Which directions of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Neither hears the other.
    Both,
    /// What the first says is lost.
    There,
    /// What the second says is lost.
    Back,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of a scheduler; it starts again.
    Kill(Who),
    /// `SIGTERM` of a scheduler, as in a rolling restart; it starts again.
    Restart(Who),
    /// `SIGSTOP` of a scheduler for longer than the lease.
    Pause(Who),
    /// A scheduler and all members of etcd.
    StoreCut(Who, Direction),
    /// A scheduler and one member.
    MemberCut(Who, usize, Direction),
    /// A scheduler and all agents.
    AgentsCut(Who, Direction),
    /// One member and everybody else.
    Isolated(usize, Direction),
    /// `kill -9` of a member; it starts again on its data.
    EtcdKill(usize),
    /// `SIGSTOP` of a member.
    EtcdPause(usize),
    /// Everything from and to a member is slow.
    EtcdSlow(usize, Duration),
    /// A member is out of space: no member takes writes until the alarm is taken back.
    EtcdFull(usize),
    /// `kill -9` of an agent's process; its workloads run on, and it starts again.
    AgentKill(usize),
}

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
            overlaps: !all.is_empty() && schedule.below(4) == 0,
            lasts: match fault {
                Fault::Pause(_) => LEASE + millis(schedule, 500, 3_000),
                Fault::Kill(_) | Fault::Restart(_) | Fault::AgentKill(_) => {
                    millis(schedule, 100, 3_000)
                }
                _ => millis(schedule, 500, 5_000),
            },
            fault,
        });
    }
    all
}

/// Kinds of fault, those that matter most more than once.
const KINDS: u64 = 16;

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
        14 if below(2) == 0 => Fault::EtcdFull(member),
        14 => Fault::EtcdSlow(member, Duration::from_millis(20 + below(200) as u64)),
        _ if processes > 0 => Fault::AgentKill(below(processes)),
        _ => Fault::Kill(other),
    }
}

/// A fault that has begun, with what ends it.
#[derive(Debug, Clone)]
pub enum Begun {
    /// A scheduler that is down.
    Down(usize),
    /// A scheduler that sleeps.
    Asleep(usize),
    /// Ways that are stopped.
    Stopped(Vec<Way>),
    /// A member that is down.
    MemberDown(usize),
    /// A member that sleeps.
    MemberAsleep(usize),
    /// Ways that are slow.
    Slow(Vec<Way>),
    /// A member that is full.
    Full(usize),
    /// An agent that is down.
    AgentDown(usize),
}

impl Begun {
    /// The process that it holds, which no other fault may touch as a process meanwhile.
    fn holds(&self) -> Option<(&'static str, usize)> {
        match self {
            Self::Down(n) | Self::Asleep(n) => Some(("server", *n)),
            Self::MemberDown(n) | Self::MemberAsleep(n) | Self::Full(n) => Some(("etcd", *n)),
            Self::AgentDown(n) => Some(("agent", *n)),
            Self::Stopped(_) | Self::Slow(_) => None,
        }
    }
}

/// Begins a fault. `None`: its process is held by another one.
pub async fn begin(cluster: &mut Cluster, fault: Fault, others: &[Begun]) -> Option<Begun> {
    let leader = match fault {
        Fault::Kill(Who::Leader)
        | Fault::Restart(Who::Leader)
        | Fault::Pause(Who::Leader)
        | Fault::StoreCut(Who::Leader, _)
        | Fault::MemberCut(Who::Leader, ..)
        | Fault::AgentsCut(Who::Leader, _) => cluster.leader().await.map_or(0, |(n, _)| n),
        _ => 0,
    };
    let number = |who| match who {
        Who::Leader => leader,
        Who::Number(number) => number,
    };
    let held = |kind, number| others.iter().any(|o| o.holds() == Some((kind, number)));
    let begun = match fault {
        Fault::Kill(who) => Begun::Down(number(who)),
        Fault::Restart(who) => Begun::Down(number(who)),
        Fault::Pause(who) => Begun::Asleep(number(who)),
        Fault::StoreCut(who, direction) => {
            let server = Place::Server(number(who));
            let members = (0..MEMBERS).map(Place::Etcd);
            Begun::Stopped(members.flat_map(|m| ways(server, m, direction)).collect())
        }
        Fault::MemberCut(who, member, direction) => {
            let (server, member) = (Place::Server(number(who)), Place::Etcd(member));
            Begun::Stopped(ways(server, member, direction))
        }
        Fault::AgentsCut(who, direction) => {
            Begun::Stopped(ways(Place::Server(number(who)), Place::Agents, direction))
        }
        Fault::Isolated(member, direction) => Begun::Stopped(around(member, direction)),
        Fault::EtcdKill(member) => Begun::MemberDown(member),
        Fault::EtcdPause(member) => Begun::MemberAsleep(member),
        Fault::EtcdSlow(member, _) => Begun::Slow(around(member, Direction::Both)),
        Fault::EtcdFull(member) => Begun::Full(member),
        Fault::AgentKill(number) => Begun::AgentDown(number),
    };
    if let Some((kind, number)) = begun.holds()
        && held(kind, number)
    {
        return None;
    }
    match (&begun, fault) {
        (Begun::Down(n), Fault::Restart(_)) => cluster.signal_server(*n, Signal::SIGTERM),
        (Begun::Down(n), _) => cluster.kill_server(*n),
        (Begun::Asleep(n), _) => cluster.signal_server(*n, Signal::SIGSTOP),
        (Begun::Stopped(ways), _) => ways.iter().for_each(|way| cluster.net.stop(*way)),
        (Begun::MemberDown(n), _) => cluster.members.kill(*n),
        (Begun::MemberAsleep(n), _) => cluster.members.signal(*n, Signal::SIGSTOP),
        (Begun::Slow(ways), Fault::EtcdSlow(_, by)) => {
            ways.iter()
                .for_each(|way| cluster.net.delay(*way, Some(by)));
        }
        (Begun::Slow(_), _) => {}
        (Begun::Full(n), _) => cluster.members.launch_full(&cluster.lab, *n),
        (Begun::AgentDown(n), _) => cluster.kill_agent(*n),
    }
    Some(begun)
}

/// Ends a fault.
pub fn end(cluster: &mut Cluster, begun: Begun) {
    match begun {
        Begun::Down(n) => cluster.launch_server(n),
        Begun::Asleep(n) => cluster.signal_server(n, Signal::SIGCONT),
        Begun::Stopped(ways) => ways.iter().for_each(|way| cluster.net.open(*way)),
        Begun::MemberDown(n) => cluster.members.launch(&cluster.lab, n),
        Begun::MemberAsleep(n) => cluster.members.signal(n, Signal::SIGCONT),
        Begun::Slow(ways) => ways.iter().for_each(|way| cluster.net.delay(*way, None)),
        // The alarm outlives the member that raised it: the run takes it back.
        Begun::Full(n) => cluster.members.launch(&cluster.lab, n),
        Begun::AgentDown(n) => cluster.launch_agent(n),
    }
}

fn ways(one: Place, other: Place, direction: Direction) -> Vec<Way> {
    match direction {
        Direction::Both => vec![(one, other), (other, one)],
        Direction::There => vec![(one, other)],
        Direction::Back => vec![(other, one)],
    }
}

/// Between a member and all others.
fn around(member: usize, direction: Direction) -> Vec<Way> {
    let others = (0..MEMBERS).filter(|m| *m != member).map(Place::Etcd);
    let others = others.chain((0..SERVERS).map(Place::Server));
    let one = Place::Etcd(member);
    others
        .flat_map(|other| ways(one, other, direction))
        .collect()
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
            "AgentKill",
            "meanwhile",
        ] {
            assert!(all.contains(kind), "{kind} is missing:\n{all}");
        }
    }
}
