//! Starts an agent: state, runtime, server, scheduler, and the loop between them.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use berth_agent::{AgentConfig, AgentInput, AgentMachine, Restored, RuntimeNews};
use berth_core::NodeId;
use berth_core::model::units::Resources;
use berth_proto::agent::v1::agent_service_server::AgentServiceServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpIncoming};
use tonic::transport::{ClientTlsConfig, Server};
use tracing::info;

use crate::config::{AgentdConfig, RuntimeKind};
use crate::disk::{StateDir, WriterEnd, spawn_paced_writer, spawn_writer};
use crate::driver::Driver;
use crate::exec::ExecRuntime;
use crate::host::{self, CpuSampler};
use crate::runtime::Runtime;
use crate::scheduler::SchedulerClient;
use crate::service::Service;
use crate::surroundings::Surroundings;
use crate::tls;

/// How often the host's utilisation is sampled.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);

/// Calls that wait for the machine; more of them wait in their connections.
const CALLS_WAITING_MAX: usize = 256;

/// A running agent.
#[derive(Debug)]
pub struct AgentdHandle {
    node_id: NodeId,
    local_addr: SocketAddr,
    endpoint: String,
    ended: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl AgentdHandle {
    /// The node's id.
    #[must_use]
    pub fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// `host:port` at which it tells the scheduler to reach it.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Ends the agent and waits until its folder is free. Its workloads go on.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn stop(self) -> anyhow::Result<()> {
        self.ended.cancel();
        self.wait().await
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// Its server failed.
    pub async fn wait(self) -> anyhow::Result<()> {
        self.task.await.context("the agent's task panicked")?
    }
}

/// Runs an agent until `shutdown` is cancelled. Its workloads go on and are adopted by the next
/// agent with the same folder.
///
/// # Errors
/// It cannot start, or its server failed.
pub async fn run(config: AgentdConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
    start(config, shutdown).await?.wait().await
}

/// Starts an agent. It ends when `shutdown` is cancelled or [`AgentdHandle::stop`] is called.
///
/// # Errors
/// Its folder is in use or cannot be read, its address is taken, a certificate cannot be read, a
/// scheduler's address is not one.
pub async fn start(
    config: AgentdConfig,
    shutdown: CancellationToken,
) -> anyhow::Result<AgentdHandle> {
    let listener = TcpListener::bind(config.grpc_addr)
        .await
        .with_context(|| format!("cannot listen on {}", config.grpc_addr))?;
    let local_addr = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    start_in(config, Surroundings::real(), local_addr, incoming, shutdown).await
}

/// Starts an agent that stands on `surroundings`, and is called over `incoming`, whose connections
/// were made to `local_addr`.
///
/// # Errors
/// As [`start`].
pub async fn start_in<I, IO, E>(
    config: AgentdConfig,
    surroundings: Surroundings,
    local_addr: SocketAddr,
    incoming: I,
    shutdown: CancellationToken,
) -> anyhow::Result<AgentdHandle>
where
    I: Stream<Item = Result<IO, E>> + Send + 'static,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let ended = shutdown.child_token();
    let clock = surroundings.clock;
    let state = StateDir::open(&config.data_dir)
        .with_context(|| format!("the data folder {}", config.data_dir.display()))?;
    let data_dir = state.root().to_owned();
    let found = state
        .load()
        .with_context(|| format!("the state in {}", data_dir.display()))?;
    let tls = config.tls.as_ref().map(tls::load).transpose()?;
    let endpoint = config
        .advertise
        .clone()
        .unwrap_or_else(|| advertise(local_addr, &config.schedulers));

    let machine_config = machine_config(&config, &endpoint, &data_dir);
    let capacity = machine_config.capacity;
    let runtimes = machine_config
        .supported_types
        .iter()
        .map(ToString::to_string)
        .collect();
    info!(
        node = %config.node_id, %local_addr, endpoint, incarnation = found.incarnation,
        workloads = found.records.len(), "agent starts"
    );
    let client_tls = tls.as_ref().map(|(_, client)| client);
    let scheduler = scheduler_client(&config, client_tls, &surroundings, found.incarnation)?;
    let restored = Restored {
        epoch: found.epoch,
        records: found.records,
        now: clock.now(),
        life: found.incarnation,
    };
    let machine = AgentMachine::new(machine_config, restored);

    let (news_sender, news) = mpsc::unbounded_channel();
    let (inputs_sender, inputs) = mpsc::unbounded_channel();
    let (calls_sender, calls) = mpsc::channel(CALLS_WAITING_MAX);
    let runtime = runtime(
        &config,
        &surroundings,
        &data_dir,
        news_sender,
        ended.clone(),
    );
    let to_driver = inputs_sender.clone();
    let written = move |input| drop(to_driver.send(input));
    let (writer, writer_end) = match surroundings.write_pace {
        None => spawn_writer(state, written)?,
        Some(pace) => spawn_paced_writer(state, pace, written),
    };
    match surroundings.usage {
        // The channel was made just now.
        Some(usage) => drop(inputs_sender.send(AgentInput::Usage(usage))),
        None => drop(tokio::spawn(sample(
            inputs_sender.clone(),
            capacity,
            data_dir.clone(),
            ended.clone(),
        ))),
    }
    let service = Service {
        calls: calls_sender,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runtimes,
        data_dir,
        cpu: Mutex::default(),
    };
    let driver = Driver {
        clock,
        machine,
        runtime,
        writer,
        scheduler,
        calls,
        news,
        inputs,
        inputs_sender,
        ended: ended.clone(),
    };
    let server = serve(
        incoming,
        service,
        tls.map(|(server, _)| server),
        ended.clone(),
    )?;
    let task = tokio::spawn(supervise(driver, server, writer_end, ended.clone()));
    Ok(AgentdHandle {
        node_id: config.node_id,
        local_addr,
        endpoint,
        ended,
        task,
    })
}

fn scheduler_client(
    config: &AgentdConfig,
    tls: Option<&ClientTlsConfig>,
    surroundings: &Surroundings,
    incarnation: u64,
) -> anyhow::Result<Option<Arc<SchedulerClient>>> {
    if config.schedulers.is_empty() {
        return Ok(None);
    }
    let (dial, boot_id) = (surroundings.dial.clone(), &surroundings.boot_id);
    let client = SchedulerClient::new(&config.schedulers, tls, dial, boot_id, incarnation)?;
    Ok(Some(Arc::new(client)))
}

fn runtime(
    config: &AgentdConfig,
    surroundings: &Surroundings,
    data_dir: &Path,
    news: mpsc::UnboundedSender<RuntimeNews>,
    ended: CancellationToken,
) -> Runtime {
    match config.runtime {
        RuntimeKind::Fake => {
            Runtime::fake(surroundings.fake.clone(), surroundings.clock, news, ended)
        }
        RuntimeKind::Exec => Runtime::Exec(ExecRuntime::new(
            config.node_id.to_string(),
            data_dir.to_owned(),
            config.stop_grace,
            news,
            ended,
        )),
    }
}

/// Runs loop and server until one ends; then the other ends, and all that was to be written is.
async fn supervise(
    driver: Driver,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    writer: WriterEnd,
    ended: CancellationToken,
) -> anyhow::Result<()> {
    let guard = ended.clone().drop_guard();
    let driver = tokio::spawn(driver.run());
    let served = server.await.context("the agent's server panicked");
    drop(guard);
    let driven = driver.await.context("the agent's loop panicked");
    // The loop held the writer's only sender: it ends when what was sent is written.
    let written = writer.join().await;
    served?.context("the agent's server")?;
    driven?;
    written
}

fn serve<I, IO, E>(
    incoming: I,
    service: Service,
    tls: Option<tonic::transport::ServerTlsConfig>,
    ended: CancellationToken,
) -> anyhow::Result<JoinHandle<Result<(), tonic::transport::Error>>>
where
    I: Stream<Item = Result<IO, E>> + Send + 'static,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let mut server = Server::builder().http2_keepalive_interval(Some(Duration::from_secs(20)));
    if let Some(tls) = tls {
        server = server.tls_config(tls)?;
    }
    let router = server.add_service(AgentServiceServer::new(service));
    let served = router.serve_with_incoming_shutdown(incoming, ended.clone().cancelled_owned());
    Ok(tokio::spawn(async move {
        // Connections of clients that never hang up must not keep the agent from ending.
        tokio::select! {
            biased;
            served = served => served,
            () = async { ended.cancelled().await; tokio::time::sleep(Duration::from_millis(200)).await } => Ok(()),
        }
    }))
}

async fn sample(
    inputs: mpsc::UnboundedSender<AgentInput>,
    capacity: Resources,
    data_dir: PathBuf,
    ended: CancellationToken,
) {
    let mut cpu = CpuSampler::default();
    loop {
        let usage = host::usage(&mut cpu, capacity, &data_dir);
        if inputs.send(AgentInput::Usage(usage)).is_err() {
            return;
        }
        tokio::select! {
            biased;
            () = ended.cancelled() => return,
            () = tokio::time::sleep(SAMPLE_EVERY) => {}
        }
    }
}

fn machine_config(config: &AgentdConfig, endpoint: &str, data_dir: &Path) -> AgentConfig {
    let mut machine = AgentConfig::new(config.node_id.clone(), endpoint);
    machine
        .labels
        .insert("os".to_owned(), std::env::consts::OS.to_owned());
    machine
        .labels
        .insert("arch".to_owned(), std::env::consts::ARCH.to_owned());
    machine.labels.extend(config.labels.clone());
    machine.capacity = host::capacity(config.capacity, data_dir);
    let able = config.runtime.supported_types();
    machine.supported_types = match &config.supported_types {
        Some(wanted) => able
            .into_iter()
            .filter(|kind| wanted.contains(kind))
            .collect(),
        None => able,
    };
    machine.has_scheduler = !config.schedulers.is_empty();
    machine.heartbeat_interval = config.heartbeat;
    machine
}

/// Where the scheduler reaches an agent that listens here: the address itself, or in place of a
/// wildcard the one from which this host reaches the scheduler.
fn advertise(local: SocketAddr, schedulers: &[String]) -> String {
    if !local.ip().is_unspecified() {
        return local.to_string();
    }
    let reached = schedulers
        .iter()
        .find_map(|address| source_towards(address));
    let ip = reached.unwrap_or(IpAddr::from([127, 0, 0, 1]));
    SocketAddr::new(ip, local.port()).to_string()
}

/// The source address of the route to a host; nothing is sent.
fn source_towards(address: &str) -> Option<IpAddr> {
    let host = address.rsplit("://").next()?.trim_end_matches('/');
    let to = host.to_socket_addrs().ok()?.next()?;
    let any: SocketAddr = if to.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_not_advertised() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(advertise(addr("10.1.2.3:50"), &[]), "10.1.2.3:50");
        assert_eq!(advertise(addr("0.0.0.0:50"), &[]), "127.0.0.1:50");
        let loopback = ["http://127.0.0.1:8085".to_owned()];
        assert_eq!(advertise(addr("0.0.0.0:50"), &loopback), "127.0.0.1:50");
    }
}
