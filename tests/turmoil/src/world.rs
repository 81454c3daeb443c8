//! The world: the hosts, the network between them, and what is done to them between two steps.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::api::Api;
use crate::disk::Disk;
use crate::hands::Hands;
use crate::hosts::{self, AgentSlot, SchedulerSlot, Shape, names};
use crate::oracle;
use crate::trace::{self, Recording, Summary};

/// One step of virtual time.
const TICK: Duration = Duration::from_millis(5);
/// When every world begins.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// A simulated cluster. Runs in one thread; the same seed and script are the same in every run.
pub struct World {
    sim: turmoil::Sim<'static>,
    state: Rc<State>,
    /// Every host, in the order in which they take their turns.
    hosts: Vec<String>,
    seed: u64,
    // Last: the hosts are traced until they are gone.
    _recording: Recording,
}

/// What is known of the world from outside of it.
pub(crate) struct State {
    pub(crate) shape: Shape,
    pub(crate) schedulers: Vec<Rc<RefCell<SchedulerSlot>>>,
    pub(crate) agents: Vec<AgentSlot>,
    pub(crate) running: RefCell<BTreeMap<String, bool>>,
    pub(crate) orders: RefCell<VecDeque<Order>>,
    /// Every workload, agent and artifact that ever lived.
    pub(crate) seen: RefCell<BTreeSet<(String, String, u64)>>,
    links: RefCell<BTreeMap<(String, String), Link>>,
    boots: Vec<Cell<u64>>,
    pub(crate) disk: Disk,
    done: Cell<bool>,
    _folder: TempDir,
}

/// What can be done to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// The process of a host ends, without a word of its own; its kernel closes the connections.
    Crash(String),
    /// The whole machine ends: its peers hear nothing, its disk forgets what was not synced.
    CutPower(String),
    /// It starts, again if it runs.
    Start(String),
    /// A link changes.
    Link(String, String, Link),
}

/// What a link between two hosts does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Healthy,
    /// Everything is lost.
    Cut,
    /// What the first sends to the second is lost.
    CutOneWay,
    /// Everything waits until the link is healthy.
    Held,
    /// Every segment takes as long as this, in milliseconds.
    Slow(u64),
}

impl World {
    /// A world in which nothing has happened yet.
    ///
    /// # Panics
    /// When there is no room for a scratch folder.
    #[must_use]
    pub fn new(seed: u64, shape: Shape) -> Self {
        align_task_ids();
        let recording = Recording::start();
        let sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(SystemTime::UNIX_EPOCH + EPOCH)
            .simulation_duration(Duration::from_secs(24 * 3_600))
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(shape.latency_max)
            .tcp_capacity(4_096)
            .build();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let agents = (1..=shape.agents).map(|n| AgentSlot {
            fake: berth_agentd::SharedFake::default(),
            data_dir: folder.path().join(names::agent(n)),
        });
        let state = State {
            schedulers: (0..shape.schedulers).map(|_| Rc::default()).collect(),
            agents: agents.collect(),
            boots: vec![Cell::new(1); shape.agents],
            shape,
            running: RefCell::default(),
            orders: RefCell::default(),
            seen: RefCell::default(),
            links: RefCell::default(),
            disk: Disk::default(),
            done: Cell::new(false),
            _folder: folder,
        };
        let mut world = Self {
            sim,
            state: Rc::new(state),
            hosts: Vec::new(),
            seed,
            _recording: recording,
        };
        world.make_hosts();
        world
    }

    fn make_hosts(&mut self) {
        let (disk, quota) = (self.state.disk.clone(), self.state.shape.store_quota);
        self.hosts.push(names::STORE.to_owned());
        self.sim.host(names::STORE, move || {
            hosts::run_store(disk.plug_in(), quota)
        });
        for (at, slot) in self.state.schedulers.iter().enumerate() {
            let (name, slot) = (names::scheduler(at + 1), Rc::clone(slot));
            let lease_ttl = self.state.shape.lease_ttl;
            self.hosts.push(name.clone());
            self.sim.host(name.clone(), move || {
                hosts::run_scheduler(name.clone(), lease_ttl, Rc::clone(&slot))
            });
        }
        for at in 0..self.state.agents.len() {
            let (name, state) = (names::agent(at + 1), Rc::clone(&self.state));
            self.hosts.push(name.clone());
            self.sim.host(name.clone(), move || {
                let boot_id = format!("boot-{}", state.boots[at].get());
                hosts::run_agent(
                    name.clone(),
                    state.shape.clone(),
                    state.agents[at].clone(),
                    boot_id,
                )
            });
        }
    }

    /// Adds a host that runs a part of the script, with a client of the schedulers.
    pub fn client(&mut self, name: &str, script: impl AsyncFnOnce(Api) + 'static) {
        let api = Api::new(self.state.shape.schedulers);
        self.hosts.push(name.to_owned());
        self.sim.client(name, async move {
            script(api).await;
            Ok(())
        });
    }

    /// Runs the world until the script is done, and answers with its trace.
    ///
    /// # Panics
    /// When the script or a host panics, a rule is broken, or the script takes longer than this
    /// many virtual seconds.
    pub fn play(mut self, seconds: u64, script: impl AsyncFnOnce(Hands) + 'static) -> Summary {
        let hands = Hands::new(Rc::clone(&self.state));
        let state = Rc::clone(&self.state);
        self.hosts.push(names::HANDS.to_owned());
        self.sim.client(names::HANDS, async move {
            script(hands).await;
            state.done.set(true);
            Ok(())
        });
        while !self.state.done.get() {
            if let Err(why) = self.step(Duration::from_secs(seconds)) {
                self.fail(&why);
            }
        }
        trace::summary()
    }

    fn step(&mut self, limit: Duration) -> Result<(), String> {
        trace::at(self.sim.elapsed());
        self.sim.step().map_err(|error| error.to_string())?;
        for order in self.state.orders.take() {
            trace::note(&format!("{order:?}"));
            self.carry_out(order);
        }
        let (sim, hosts) = (&mut self.sim, self.hosts.iter());
        let running = hosts.map(|name| (name.clone(), sim.is_host_running(name.as_str())));
        *self.state.running.borrow_mut() = running.collect();
        oracle::always(&self.state)?;
        if self.sim.elapsed() > limit && !self.state.done.get() {
            return Err(format!("the script is not done after {limit:?}"));
        }
        Ok(())
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Crash(name) => {
                self.sim.crash(name.as_str());
                self.forget(&name);
            }
            Order::CutPower(name) => {
                let others: Vec<String> = self.others(&name);
                for other in &others {
                    self.sim.partition(name.as_str(), other.as_str());
                }
                if name == names::STORE {
                    self.state.disk.lose_power();
                }
                self.sim.crash(name.as_str());
                self.forget(&name);
                for (at, slot) in self.state.agents.iter().enumerate() {
                    if name == names::agent(at + 1) {
                        slot.fake.lock().reboot();
                        self.state.boots[at].set(self.state.boots[at].get() + 1);
                    }
                }
                for other in &others {
                    self.sim.repair(name.as_str(), other.as_str());
                }
                let links = self.state.links.borrow().clone();
                for ((a, b), link) in links {
                    if a == name || b == name {
                        self.set(&a, &b, link);
                    }
                }
            }
            Order::Start(name) => self.sim.bounce(name.as_str()),
            Order::Link(a, b, link) => {
                self.set(&a, &b, link);
                self.state.links.borrow_mut().insert((a, b), link);
            }
        }
    }

    fn set(&self, a: &str, b: &str, link: Link) {
        match link {
            Link::Healthy => {
                self.sim.release(a, b);
                let usual = self.state.shape.latency_max;
                self.sim.set_link_latency(a, b, Duration::from_millis(1));
                self.sim.set_link_max_message_latency(a, b, usual);
            }
            Link::Cut => self.sim.partition(a, b),
            Link::CutOneWay => self.sim.partition_oneway(a, b),
            Link::Held => self.sim.hold(a, b),
            Link::Slow(millis) => self
                .sim
                .set_link_latency(a, b, Duration::from_millis(millis)),
        }
    }

    /// Nobody outside speaks to a scheduler that is gone.
    fn forget(&self, name: &str) {
        for (at, slot) in self.state.schedulers.iter().enumerate() {
            if name == names::scheduler(at + 1) {
                slot.take();
            }
        }
    }

    fn others(&self, name: &str) -> Vec<String> {
        let others = self.hosts.iter().filter(|other| *other != name);
        others.cloned().collect()
    }

    fn fail(&self, why: &str) -> ! {
        for line in trace::last_lines() {
            eprint!("{line}");
        }
        let summary = trace::summary();
        panic!(
            "seed {}: {why} (at {:?}; {} lines in the trace, {}=FILE keeps them)",
            self.seed,
            self.sim.elapsed(),
            summary.lines,
            trace::FILE
        );
    }
}

/// A runtime that ends drops its tasks in an order that follows from their numbers, which count
/// through the whole process: every world begins at the same remainder.
fn align_task_ids() {
    const MODULUS: u64 = 64;
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime without drivers");
    loop {
        let id = runtime.spawn(async {}).id().to_string();
        let id: u64 = id.parse().expect("a number");
        if id.is_multiple_of(MODULUS) {
            return;
        }
    }
}
