//! What goes wrong: how it begins, and how it ends.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cluster::{Cluster, SERVERS};
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
    /// All schedulers, one after the other from this one on: `SIGTERM`, start, wait until it is ready.
    /// It is over when it has begun.
    RollingRestart(usize),
    /// `SIGSTOP` of a scheduler for longer than the lease.
    Pause(Who),
    /// A scheduler and all members of etcd.
    StoreCut(Who, Direction),
    /// A scheduler and one member.
    MemberCut(Who, usize, Direction),
    /// A scheduler and all agents.
    AgentsCut(Who, Direction),
    /// A scheduler and one of the two others, the next one or the one after it: what the one that does
    /// not lead sends on to the one that does gets lost, or its answer.
    PeerCut(Who, usize, Direction),
    /// A scheduler and both others.
    PeersCut(Who, Direction),
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
    /// The disk of a member is full: it ends by itself, and starts again when there is room. Where no
    /// disk can be full, it is out of space as in [`Self::EtcdFull`].
    EtcdDiskFull(usize),
    /// `kill -9` of an agent's process; its workloads run on, and it starts again.
    AgentKill(usize),
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
    /// A member whose disk is full.
    DiskFull(usize),
    /// An agent that is down.
    AgentDown(usize),
    /// Over already.
    Done,
}

impl Begun {
    /// The process that it holds, which no other fault may touch as a process meanwhile.
    fn holds(&self) -> Option<(&'static str, usize)> {
        match self {
            Self::Down(n) | Self::Asleep(n) => Some(("server", *n)),
            Self::MemberDown(n) | Self::MemberAsleep(n) | Self::Full(n) | Self::DiskFull(n) => {
                Some(("etcd", *n))
            }
            Self::AgentDown(n) => Some(("agent", *n)),
            Self::Stopped(_) | Self::Slow(_) | Self::Done => None,
        }
    }
}

/// Begins a fault. `None`: its process is held by another one.
pub async fn begin(cluster: &mut Cluster, fault: Fault, others: &[Begun]) -> Option<Begun> {
    let leader = match fault.at_whom() {
        Some(Who::Leader) => cluster.leader().await.map_or(0, |(n, _)| n),
        Some(Who::Number(number)) => number,
        None => 0,
    };
    let begun = fault.at(leader, cluster.members.have_disks());
    let held = |held: &Begun| held.holds().is_some() && held.holds() == begun.holds();
    if others.iter().any(held) {
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
        (Begun::DiskFull(n), _) => cluster.members.fill_disk(*n),
        (Begun::AgentDown(n), _) => cluster.kill_agent(*n),
        (Begun::Done, Fault::RollingRestart(first)) => {
            for step in 0..SERVERS {
                cluster.restart_server((first + step) % SERVERS).await;
            }
        }
        (Begun::Done, _) => {}
    }
    Some(begun)
}

impl Fault {
    /// The name of its kind.
    #[must_use]
    pub fn kind(self) -> String {
        let all = format!("{self:?}");
        all.split('(').next().unwrap_or_default().to_owned()
    }

    /// The scheduler that it is about.
    const fn at_whom(self) -> Option<Who> {
        match self {
            Self::Kill(who)
            | Self::Restart(who)
            | Self::Pause(who)
            | Self::StoreCut(who, _)
            | Self::MemberCut(who, ..)
            | Self::AgentsCut(who, _)
            | Self::PeerCut(who, ..)
            | Self::PeersCut(who, _) => Some(who),
            Self::RollingRestart(_)
            | Self::Isolated(..)
            | Self::EtcdKill(_)
            | Self::EtcdPause(_)
            | Self::EtcdSlow(..)
            | Self::EtcdFull(_)
            | Self::EtcdDiskFull(_)
            | Self::AgentKill(_) => None,
        }
    }

    /// What it is, if it is about this scheduler.
    fn at(self, number: usize, have_disks: bool) -> Begun {
        let server = Place::Server(number);
        let other = |nth: usize| Place::Server((number + 1 + nth % (SERVERS - 1)) % SERVERS);
        match self {
            Self::Kill(_) | Self::Restart(_) => Begun::Down(number),
            Self::Pause(_) => Begun::Asleep(number),
            Self::RollingRestart(_) => Begun::Done,
            Self::StoreCut(_, direction) => {
                let members = (0..MEMBERS).map(Place::Etcd);
                Begun::Stopped(members.flat_map(|m| ways(server, m, direction)).collect())
            }
            Self::MemberCut(_, member, direction) => {
                Begun::Stopped(ways(server, Place::Etcd(member), direction))
            }
            Self::AgentsCut(_, direction) => Begun::Stopped(ways(server, Place::Agents, direction)),
            Self::PeerCut(_, nth, direction) => Begun::Stopped(ways(server, other(nth), direction)),
            Self::PeersCut(_, direction) => {
                let others = (0..SERVERS - 1).map(other);
                Begun::Stopped(others.flat_map(|o| ways(server, o, direction)).collect())
            }
            Self::Isolated(member, direction) => Begun::Stopped(around(member, direction)),
            Self::EtcdKill(member) => Begun::MemberDown(member),
            Self::EtcdPause(member) => Begun::MemberAsleep(member),
            Self::EtcdSlow(member, _) => Begun::Slow(around(member, Direction::Both)),
            Self::EtcdDiskFull(member) if have_disks => Begun::DiskFull(member),
            Self::EtcdFull(member) | Self::EtcdDiskFull(member) => Begun::Full(member),
            Self::AgentKill(number) => Begun::AgentDown(number),
        }
    }
}

/// Ends a fault. Answers what is worth a line.
pub fn end(cluster: &mut Cluster, begun: Begun) -> Option<String> {
    match begun {
        Begun::Down(n) => cluster.launch_server(n),
        Begun::Asleep(n) => cluster.signal_server(n, Signal::SIGCONT),
        Begun::Stopped(ways) => ways.iter().for_each(|way| cluster.net.open(*way)),
        Begun::MemberDown(n) => cluster.members.launch(&cluster.lab, n),
        Begun::MemberAsleep(n) => cluster.members.signal(n, Signal::SIGCONT),
        Begun::Slow(ways) => ways.iter().for_each(|way| cluster.net.delay(*way, None)),
        // The alarm outlives the member that raised it: the run takes it back.
        Begun::Full(n) => cluster.members.launch(&cluster.lab, n),
        Begun::DiskFull(n) => {
            return Some(match cluster.members.clear_disk(&cluster.lab, n) {
                Some(status) => format!("etcd-{n} had ended by itself: {status}"),
                None => format!("etcd-{n} needed no more of its disk meanwhile"),
            });
        }
        Begun::AgentDown(n) => cluster.launch_agent(n),
        Begun::Done => {}
    }
    None
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
