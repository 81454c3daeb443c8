//! The gRPC port: the wire contract of agents and clients, what Berth adds, health, reflection.

mod berth;
mod control;
mod layer;
mod lifecycle;
mod placement;
mod reply;

use axum::Router;
use berth_proto::berth::v1::berth_server::BerthServer;
use berth_proto::control::v1::agent_control_server::AgentControlServer;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::api::Api;
use crate::forward::ReplicaService;

pub use berth::BerthService;
pub(crate) use berth::uncordon;
pub use control::ControlService;
pub(crate) use reply::RETRY_AFTER_MS;

/// Bytes of a message that is accepted: a full heartbeat of a crowded node.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The names under which health is reported; the empty one is the server as a whole.
const SERVICES: [&str; 3] = ["", "persys.control.v1.AgentControl", "berth.v1.Berth"];

/// All services of the port, behind limits and metrics. The second is to be driven by
/// [`report_health`].
///
/// # Errors
/// When the descriptors that are compiled in cannot be read.
pub fn router(api: &Api) -> anyhow::Result<(Router, HealthReporter)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(berth_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let control = AgentControlServer::new(ControlService::new(api.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(usize::MAX);
    let berth =
        BerthServer::new(BerthService::new(api.clone())).max_encoding_message_size(usize::MAX);
    let peers = api
        .peer()
        .map(|own| ReplicaService::server(api.clone(), own.clone()));
    let mut routes = Routes::new(control);
    if let Some(peers) = peers {
        routes = routes.add_service(peers);
    }
    let routes = routes
        .add_service(berth)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let router = routes
        .prepare()
        .into_axum_router()
        .layer(axum::middleware::from_fn_with_state(
            layer::Guard::new(api.clone()),
            layer::guard,
        ));
    Ok((router, reporter))
}

/// Tells the health service whether clients are served, by this replica or by the leader that it
/// knows.
pub async fn report_health(reporter: &HealthReporter, ready: bool) {
    let status = match ready {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}
