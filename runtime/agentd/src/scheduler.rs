//! The agent's way to the scheduler: registration and heartbeats over gRPC.

use std::sync::Arc;
use std::time::Duration;

use berth_agent::{ControlAnswer, ControlCall};
use berth_proto::control::v1::agent_control_client::AgentControlClient;
use berth_proto::metadata;
use tokio::sync::Mutex;
use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tracing::{info, warn};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A heartbeat of an agent that keeps very many workloads is larger than tonic's default.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Makes a channel that connects when it is first used. A simulated world has its own network.
pub type Dial = Arc<dyn Fn(&Endpoint) -> Channel + Send + Sync>;

/// Calls one scheduler after the other until one answers. Remembers the one that did.
pub(crate) struct SchedulerClient {
    endpoints: Vec<Endpoint>,
    dial: Dial,
    boot_id: AsciiMetadataValue,
    incarnation: AsciiMetadataValue,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    at: usize,
    client: Option<AgentControlClient<Channel>>,
    registered: bool,
}

impl SchedulerClient {
    /// # Errors
    /// An address is not one.
    pub(crate) fn new(
        schedulers: &[String],
        tls: Option<&ClientTlsConfig>,
        dial: Dial,
        boot_id: &str,
        incarnation: u64,
    ) -> anyhow::Result<Self> {
        let endpoints = schedulers.iter().map(|address| endpoint(address, tls));
        Ok(Self {
            endpoints: endpoints.collect::<anyhow::Result<_>>()?,
            dial,
            boot_id: MetadataValue::try_from(boot_id)
                .unwrap_or_else(|_| MetadataValue::from_static("unknown")),
            incarnation: MetadataValue::from(incarnation),
            state: Mutex::default(),
        })
    }

    /// Makes a call. The reason is for the log: whatever went wrong, the agent registers again.
    ///
    /// # Errors
    /// There is no answer. The next call goes to the next scheduler, over a new connection.
    pub(crate) async fn call(&self, call: ControlCall) -> Result<ControlAnswer, String> {
        let mut state = self.state.lock().await;
        let Some(endpoint) = self.endpoints.get(state.at) else {
            return Err("no scheduler is configured".to_owned());
        };
        let client = state.client.get_or_insert_with(|| {
            AgentControlClient::new((self.dial)(endpoint))
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        });
        let result = match call {
            ControlCall::Register(message) => client
                .register_node(self.request(*message))
                .await
                .map(|answer| ControlAnswer::Registered(answer.into_inner())),
            ControlCall::Heartbeat(message) => client
                .heartbeat(self.request(message.into_message()))
                .await
                .map(|answer| ControlAnswer::Heartbeat(answer.into_inner())),
        };
        let scheduler = endpoint.uri().to_string();
        let result = result.map_err(|status| format!("{:?}: {}", status.code(), status.message()));
        self.note(&mut state, &scheduler, &result);
        result
    }

    fn note(&self, state: &mut State, scheduler: &str, result: &Result<ControlAnswer, String>) {
        match result {
            Ok(ControlAnswer::Registered(answer)) if answer.accepted => {
                state.registered = true;
                info!(scheduler, "registered");
            }
            Ok(ControlAnswer::Registered(answer)) => {
                warn!(
                    scheduler,
                    reason = answer.reason,
                    "the registration was refused"
                );
            }
            Ok(ControlAnswer::Heartbeat(answer)) => {
                if !answer.acknowledged {
                    warn!(scheduler, "the heartbeat was not acknowledged");
                }
            }
            Err(reason) => {
                warn!(
                    scheduler,
                    reason,
                    registered = state.registered,
                    "no answer"
                );
                state.registered = false;
                state.client = None;
                state.at = (state.at + 1) % self.endpoints.len();
            }
        }
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request
            .metadata_mut()
            .insert(metadata::BOOT_ID, self.boot_id.clone());
        request
            .metadata_mut()
            .insert(metadata::INCARNATION, self.incarnation.clone());
        request
    }
}

fn endpoint(address: &str, tls: Option<&ClientTlsConfig>) -> anyhow::Result<Endpoint> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = if address.contains("://") {
        address.to_owned()
    } else {
        format!("{scheme}://{address}")
    };
    let endpoint = Endpoint::from_shared(url)?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    Ok(match tls {
        Some(tls) => endpoint.tls_config(tls.clone())?,
        None => endpoint,
    })
}
