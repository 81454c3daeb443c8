//! The network between the processes. Every link leads through a proxy that knows which process
//! called, so that each direction of each pair can be stopped or slowed down by itself.
//!
//! What is stopped is held, as a network that drops packets does to TCP: nobody hears of an end,
//! new connections get no answer, and what was sent arrives once the link is whole again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Where a process stands. All agents stand in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A member of etcd.
    Etcd(usize),
    /// A scheduler.
    Server(usize),
    /// The agents.
    Agents,
}

/// From one place to another.
pub type Way = (Place, Place);

#[derive(Debug, Clone, Default)]
struct Rules {
    /// How many faults stop a way.
    stopped: BTreeMap<Way, u32>,
    delays: BTreeMap<Way, Duration>,
    processes: BTreeMap<u32, Place>,
}

/// All links. They end when this is dropped.
#[derive(Debug)]
pub struct Net {
    rules: watch::Sender<Rules>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Net {
    /// A network without links. The agents inside this process stand in [`Place::Agents`].
    #[must_use]
    pub fn new() -> Arc<Self> {
        let net = Self {
            rules: watch::Sender::new(Rules::default()),
            tasks: Mutex::default(),
        };
        net.stands(std::process::id(), Place::Agents);
        Arc::new(net)
    }

    /// Opens a way to `target`, which stands at `place`: the address to call instead.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn proxy(&self, place: Place, target: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (rules, target) = (self.rules.subscribe(), target.to_owned());
        let task = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(carry(rules.clone(), place, target.clone(), caller));
            }
        });
        self.tasks.lock().expect("no holder panics").push(task);
        address
    }

    /// A process stands at a place; another one that stood there is gone, unless agents stand there.
    pub fn stands(&self, process: u32, place: Place) {
        self.rules.send_modify(|rules| {
            if place != Place::Agents {
                rules.processes.retain(|_, at| *at != place);
            }
            rules.processes.insert(process, place);
        });
    }

    /// Nothing passes this way until [`Self::open`] is called as often.
    pub fn stop(&self, way: Way) {
        self.rules
            .send_modify(|rules| *rules.stopped.entry(way).or_default() += 1);
    }

    /// Takes one [`Self::stop`] back.
    pub fn open(&self, way: Way) {
        self.rules.send_modify(|rules| {
            if let Some(faults) = rules.stopped.get_mut(&way) {
                *faults -= 1;
                if *faults == 0 {
                    rules.stopped.remove(&way);
                }
            }
        });
    }

    /// Everything that passes this way takes so long; nothing: as fast as it can.
    pub fn delay(&self, way: Way, by: Option<Duration>) {
        self.rules.send_modify(|rules| {
            match by {
                Some(by) => rules.delays.insert(way, by),
                None => rules.delays.remove(&way),
            };
        });
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for task in self.tasks.lock().expect("no holder panics").iter() {
            task.abort();
        }
    }
}

/// One connection.
async fn carry(mut rules: watch::Receiver<Rules>, at: Place, target: String, caller: TcpStream) {
    let Some(from) = owner(&rules, &caller).await else {
        return;
    };
    if passes(&mut rules, (from, at)).await.is_none() {
        return;
    }
    // Nobody there: the caller hears of it, as of a refused connection.
    let Ok(callee) = TcpStream::connect(&target).await else {
        return;
    };
    let _ = (caller.set_nodelay(true), callee.set_nodelay(true));
    let ((read, write), (back, forth)) = (caller.into_split(), callee.into_split());
    let there = pump(rules.clone(), (from, at), read, forth);
    let back = pump(rules, (at, from), back, write);
    // What breaks on one side breaks on the other.
    let _ = tokio::try_join!(there, back);
}

/// Carries bytes, and the end, in one direction.
async fn pump(
    mut rules: watch::Receiver<Rules>,
    way: Way,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await;
        match passes(&mut rules, way).await {
            Some(delay) if delay > Duration::ZERO => tokio::time::sleep(delay).await,
            Some(_) => {}
            None => return Ok(()),
        }
        match read? {
            0 => return to.shutdown().await,
            bytes => to.write_all(&buffer[..bytes]).await?,
        }
    }
}

/// Waits until a way is open: how long it takes. `None`: the network is gone.
async fn passes(rules: &mut watch::Receiver<Rules>, way: Way) -> Option<Duration> {
    let open = rules.wait_for(|r| !r.stopped.contains_key(&way)).await;
    let rules = open.ok()?;
    Some(rules.delays.get(&way).copied().unwrap_or_default())
}

/// Where the process stands that made a connection. A process that has only just been started may
/// not be known yet; one that is gone has no place.
async fn owner(rules: &watch::Receiver<Rules>, caller: &TcpStream) -> Option<Place> {
    const LOOKS: u32 = 20;
    let (peer, local) = (caller.peer_addr().ok()?, caller.local_addr().ok()?);
    for _ in 0..LOOKS {
        let processes = rules.borrow().processes.clone();
        if let Some(socket) = socket(peer, local) {
            let mut all = processes.into_iter();
            if let Some((_, place)) = all.find(|(process, _)| holds(*process, &socket)) {
                return Some(place);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    None
}

/// The caller's end of a connection, as `/proc/PID/fd` names it.
fn socket(peer: SocketAddr, local: SocketAddr) -> Option<String> {
    let port = |field: &str| u16::from_str_radix(field.rsplit_once(':')?.1, 16).ok();
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    for line in table.lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        if fields.len() > 9
            && port(fields[1]) == Some(peer.port())
            && port(fields[2]) == Some(local.port())
        {
            return Some(format!("socket:[{}]", fields[9]));
        }
    }
    None
}

fn holds(process: u32, socket: &str) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .any(|file| file.to_str() == Some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: Way = (Place::Agents, Place::Server(0));

    /// A server that answers every byte with the same one, behind a proxy.
    async fn echo(net: &Net) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = socket.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let address = net.proxy(Place::Server(0), &target).await;
        TcpStream::connect(address).await.unwrap()
    }

    async fn answer(to: &mut TcpStream, byte: u8, within: u64) -> Option<u8> {
        to.write_u8(byte).await.unwrap();
        let read = tokio::time::timeout(Duration::from_millis(within), to.read_u8()).await;
        read.ok().map(Result::unwrap)
    }

    #[tokio::test]
    async fn each_direction_can_be_stopped_and_nothing_is_lost() {
        let net = Net::new();
        let mut client = echo(&net).await;
        assert_eq!(answer(&mut client, 1, 5_000).await, Some(1));
        for way in [THERE, (THERE.1, THERE.0)] {
            net.stop(way);
            assert_eq!(answer(&mut client, 2, 100).await, None, "{way:?}");
            net.open(way);
            assert_eq!(client.read_u8().await.unwrap(), 2);
        }
        // Another pair is another way.
        net.stop((Place::Server(1), Place::Server(0)));
        assert_eq!(answer(&mut client, 3, 5_000).await, Some(3));
    }

    #[tokio::test]
    async fn two_faults_on_one_way_heal_one_after_the_other() {
        let net = Net::new();
        let mut client = echo(&net).await;
        net.stop(THERE);
        net.stop(THERE);
        net.open(THERE);
        assert_eq!(answer(&mut client, 1, 100).await, None);
        net.open(THERE);
        assert_eq!(client.read_u8().await.unwrap(), 1);
    }
}
