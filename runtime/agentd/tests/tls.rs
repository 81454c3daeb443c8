//! With certificates an agent talks to nobody whom its authority does not know.

mod scripted;

use std::path::Path;

use berth_agentd::{TlsPaths, start};
use berth_proto::agent::v1::agent_service_client::AgentServiceClient;
use berth_proto::agent::v1::{self as agent};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use scripted::Cluster;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// An authority and a certificate of it for this host, as files.
fn certificates(folder: &Path, name: &str) -> TlsPaths {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let params = CertificateParams::new(names).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let write = |what: &str, pem: String| {
        let path = folder.join(format!("{name}-{what}.pem"));
        std::fs::write(&path, pem).unwrap();
        path
    };
    TlsPaths {
        ca: write("ca", issuer.pem()),
        cert: write("cert", certificate.pem()),
        key: write("key", key.serialize_pem()),
    }
}

/// Asks for the agent's health with the authority of one and, perhaps, the identity of another.
async fn ask(port: u16, authority: &TlsPaths, identity: Option<&TlsPaths>) -> Result<(), String> {
    let pem = |path: &Path| std::fs::read(path).unwrap();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem(&authority.ca)));
    if let Some(paths) = identity {
        tls = tls.identity(Identity::from_pem(pem(&paths.cert), pem(&paths.key)));
    }
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}")).unwrap();
    let endpoint = endpoint
        .tls_config(tls)
        .map_err(|error| error.to_string())?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let mut client = AgentServiceClient::new(channel);
    let answer = client.health_check(agent::HealthCheckRequest {}).await;
    answer.map(drop).map_err(|status| status.to_string())
}

#[tokio::test]
async fn only_who_has_a_certificate_is_heard() {
    let mut cluster = Cluster::new().await;
    let ours = certificates(cluster.folder.path(), "ours");
    let theirs = certificates(cluster.folder.path(), "theirs");
    cluster.config.tls = Some(ours.clone());
    cluster.config.schedulers.clear();
    let handle = start(cluster.config.clone(), CancellationToken::new())
        .await
        .unwrap();
    let port = handle.local_addr().port();
    ask(port, &ours, Some(&ours)).await.unwrap();
    ask(port, &ours, None).await.unwrap_err();
    ask(port, &ours, Some(&theirs)).await.unwrap_err();
    ask(port, &theirs, Some(&theirs)).await.unwrap_err();
    handle.stop().await.unwrap();

    cluster.config.tls = Some(TlsPaths {
        key: cluster.folder.path().join("none"),
        ..ours
    });
    let error = start(cluster.config.clone(), CancellationToken::new())
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("cannot read"), "{error:#}");
}
