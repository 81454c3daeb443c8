//! What runs on the hosts: the store, the schedulers, the agents, as their binaries start them, but
//! on turmoil's network and time.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use berth_agentd::{AgentdConfig, CapacityOverride, RuntimeKind, SharedFake, Surroundings};
use berth_core::{Config, Timestamp};
use berth_driver::{Connect, CoreHandle, DirectConnect, Secret, store};
use berth_proto::control::v1::NodeUsage;
use berth_server::listener::{Connection, Listener, Protocol};
use berth_server::{Ports, ServerConfig};
use berth_store::{EmbeddedStore, StoreOptions};
use etcd_client::Client;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::disk::Disk;
use crate::net;

/// The names of hosts.
pub mod names {
    /// The store.
    pub const STORE: &str = "store";
    /// Who writes the script of a world.
    pub const HANDS: &str = "hands";

    /// The schedulers, from 1 on.
    #[must_use]
    pub fn scheduler(number: usize) -> String {
        format!("scheduler-{number}")
    }

    /// The agents, from 1 on.
    #[must_use]
    pub fn agent(number: usize) -> String {
        format!("agent-{number}")
    }
}

const STORE_PORT: u16 = 2379;
pub(crate) const GRPC_PORT: u16 = 8085;
pub(crate) const HTTP_PORT: u16 = 8080;
const AGENT_PORT: u16 = 7000;
/// In front of every key of the store.
pub(crate) const PREFIX: &str = "/berth";

/// Of what a world is made.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Schedulers.
    pub schedulers: usize,
    /// Agents.
    pub agents: usize,
    /// The leadership lease's time to live.
    pub lease_ttl: Duration,
    /// How long a write of an agent's state takes.
    pub write_pace: Duration,
    /// The longest way of a segment; the shortest is 1 ms.
    pub latency_max: Duration,
    /// Bytes that the store may hold; `None`: any number.
    pub store_quota: Option<u64>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            schedulers: 3,
            agents: 3,
            lease_ttl: Duration::from_secs(5),
            write_pace: Duration::from_millis(5),
            latency_max: Duration::from_millis(20),
            store_quota: None,
        }
    }
}

/// The core's durations, short, so that little virtual time is spent on waiting.
fn core_config() -> Config {
    let seconds = Duration::from_secs;
    Config {
        heartbeat_interval: seconds(2),
        eviction_grace: seconds(8),
        missing_grace: seconds(5),
        pending_deadline: seconds(60),
        retry_backoff_min: seconds(1),
        retry_backoff_max: seconds(4),
        retry_attempts_max: 1_000,
        agent_call_timeout: seconds(3),
        apply_timeout: seconds(6),
        delete_timeout: seconds(6),
        reconcile_interval: seconds(2),
        list_interval: seconds(10),
        confirm_interval_max: seconds(2),
        ..Config::default()
    }
}

/// The time of the present host.
fn now() -> Timestamp {
    Timestamp::ZERO + turmoil::since_epoch().unwrap_or_default()
}

/// The store's host.
pub(crate) async fn run_store(disk: Disk, quota: Option<u64>) -> turmoil::Result {
    let mut options = StoreOptions::default();
    options.limits.quota_bytes = quota;
    let store = EmbeddedStore::open_on(disk, options)?;
    let (_, incoming) = net::listen(names::STORE, STORE_PORT).await?;
    store.serve(incoming);
    store.stopped().await;
    Err("the store stopped by itself".into())
}

/// A client of the store over a connection of its own.
pub(crate) async fn etcd() -> Result<Client, etcd_client::Error> {
    let endpoint = Endpoint::from_static("http://store:2379")
        .connect_timeout(store::CONNECT_TIMEOUT)
        .http2_keep_alive_interval(store::KEEP_ALIVE.0)
        .keep_alive_timeout(store::KEEP_ALIVE.1)
        .keep_alive_while_idle(false);
    Client::from_channel(etcd_client::Channel::Tonic(net::dial(&endpoint)), None).await
}

/// A scheduler as the world sees it from outside.
#[derive(Debug, Default)]
pub(crate) struct SchedulerSlot {
    pub(crate) core: Option<CoreHandle>,
    pub(crate) shutdown: CancellationToken,
}

/// The way from schedulers to agents and to each other.
#[derive(Debug)]
struct Way(DirectConnect);

impl Connect for Way {
    fn channel(&self, endpoint: &str) -> Result<Channel, String> {
        Ok(net::dial(&self.0.endpoint(endpoint)?))
    }
}

/// A scheduler's host. Ends when it was shut down gracefully.
pub(crate) async fn run_scheduler(
    name: String,
    lease_ttl: Duration,
    slot: Rc<RefCell<SchedulerSlot>>,
) -> turmoil::Result {
    let mut config = ServerConfig::local();
    config.replica_id.clone_from(&name);
    config.prefix = PREFIX.to_owned();
    config.lease_ttl = lease_ttl;
    config.core = core_config();
    let ports = Ports {
        grpc: listener(&name, GRPC_PORT, Protocol::Grpc).await?,
        http: listener(&name, HTTP_PORT, Protocol::Http).await?,
    };
    let surroundings = berth_server::Surroundings {
        ports,
        agents: Arc::new(Way(DirectConnect::default())),
        peers: Arc::new(Way(DirectConnect::default())),
        secret: Secret::new(format!("secret of {name}")),
        clock: berth_driver::Clock::starting_at(now()),
    };
    let shutdown = CancellationToken::new();
    let running = berth_server::start_in(config, surroundings, etcd, shutdown.clone())?;
    *slot.borrow_mut() = SchedulerSlot {
        core: Some(running.core.clone()),
        shutdown,
    };
    running.finished().await?;
    Ok(())
}

async fn listener(name: &str, port: u16, protocol: Protocol) -> turmoil::Result<Listener> {
    let (address, incoming) = net::listen(name, port).await?;
    let boxed = |stream| (Box::new(stream) as Box<dyn Connection>, None);
    let incoming = incoming.map(move |accepted| accepted.map(boxed)).boxed();
    Ok(Listener::over(address, incoming, protocol, None, 1_000))
}

/// What of an agent's host outlives the agent.
#[derive(Debug, Clone)]
pub(crate) struct AgentSlot {
    pub(crate) fake: SharedFake,
    pub(crate) data_dir: PathBuf,
}

/// An agent's host.
pub(crate) async fn run_agent(
    name: String,
    shape: Shape,
    slot: AgentSlot,
    boot_id: String,
) -> turmoil::Result {
    let mut config = AgentdConfig::new(name.parse()?, slot.data_dir);
    let addresses = (1..=shape.schedulers).map(|n| format!("{}:{GRPC_PORT}", names::scheduler(n)));
    config.schedulers = addresses.collect();
    config.runtime = RuntimeKind::Fake;
    config.advertise = Some(format!("{name}:{AGENT_PORT}"));
    config.capacity = CapacityOverride {
        cpu_millicores: Some(8_000),
        memory_mb: Some(8_192),
        disk_gb: Some(100),
    };
    let surroundings = Surroundings {
        clock: berth_agentd::Clock::starting_at(now()),
        dial: Arc::new(net::dial),
        boot_id,
        usage: Some(NodeUsage::default()),
        fake: slot.fake,
        write_pace: Some(shape.write_pace),
    };
    let (address, incoming) = net::listen(&name, AGENT_PORT).await?;
    let shutdown = CancellationToken::new();
    let agent = berth_agentd::start_in(config, surroundings, address, incoming, shutdown).await?;
    agent.wait().await?;
    Ok(())
}
