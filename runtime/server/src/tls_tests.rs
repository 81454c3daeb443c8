//! Both ports with certificates: who has one of our authority is heard, nobody else.

use std::path::PathBuf;

use berth_proto::control::v1::{self as wire, agent_control_client::AgentControlClient};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::*;
use crate::config::ServerConfig;
use crate::serve::serve_apis;
use crate::testing::{Script, workload_answer};

/// An authority and what it issued, in a folder of its own.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(&self, name: &str) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let at = |ending: &str| self.folder.path().join(format!("{name}.{ending}"));
        std::fs::write(at("pem"), certificate.pem()).unwrap();
        std::fs::write(at("key"), key.serialize_pem()).unwrap();
        TlsFiles {
            ca: self.ca(),
            cert: at("pem"),
            key: at("key"),
        }
    }
}

async fn call(port: u16, config: ClientTlsConfig) -> Result<(), String> {
    let endpoint = Channel::from_shared(format!("https://localhost:{port}")).unwrap();
    let channel = endpoint.tls_config(config).unwrap().connect().await;
    let mut client = AgentControlClient::new(channel.map_err(|error| format!("{error:?}"))?);
    let request = wire::GetWorkloadRequest {
        workload_id: "web".into(),
    };
    client
        .get_workload(request)
        .await
        .map(drop)
        .map_err(|status| format!("{status:?}"))
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_ours_are_heard() {
    install_crypto_provider();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = ours.issue("server");
    let script = Script::new(|_| workload_answer("web"));
    let config = ServerConfig {
        tls: Some(server),
        ..ServerConfig::local()
    };
    let shutdown = CancellationToken::new();
    let bound = serve_apis(&config, script.core(), None, shutdown.clone())
        .await
        .unwrap();
    let with =
        |files: &TlsFiles, ca: &Path| client_config(ca, Some((&files.cert, &files.key))).unwrap();
    let (known, stranger) = (ours.issue("client"), theirs.issue("stranger"));
    let port = bound.grpc.port();
    call(port, with(&known, &ours.ca())).await.unwrap();
    assert!(
        call(port, with(&stranger, &ours.ca())).await.is_err(),
        "a stranger was heard"
    );
    let nobody = client_config(&ours.ca(), None).unwrap();
    assert!(call(port, nobody).await.is_err(), "nobody was heard");
    assert!(
        call(port, with(&known, &theirs.ca())).await.is_err(),
        "the server is not theirs"
    );
    assert_eq!(script.seen().len(), 1);
    // As the system's authorities, of which many are none of ours and some may be unreadable.
    let unreadable = CertificateDer::from(vec![1, 2, 3]);
    let mut system = vec![unreadable];
    assert!(trusting(&system).is_none());
    system.extend(certificates(&theirs.ca()).unwrap());
    let identity = Some((&known.cert, &known.key));
    let known_by = |system: &[_]| with_identity(trusting(system).unwrap(), identity).unwrap();
    assert!(
        call(port, known_by(&system)).await.is_err(),
        "the server is not theirs"
    );
    system.extend(certificates(&ours.ca()).unwrap());
    call(port, known_by(&system)).await.unwrap();
    assert_eq!(script.seen().len(), 2);
    shutdown.cancel();
    bound.finished().await;
}

#[test]
fn files_that_do_not_fit_are_named() {
    let authority = Authority::new();
    let good = authority.issue("server");
    let other = authority.issue("other");
    let missing = TlsFiles {
        key: authority.folder.path().join("none.key"),
        ..good.clone()
    };
    let no_key = TlsFiles {
        key: good.cert.clone(),
        ..good.clone()
    };
    let no_certificate = TlsFiles {
        cert: good.key.clone(),
        ..good.clone()
    };
    let mixed = TlsFiles {
        key: other.key.clone(),
        ..good.clone()
    };
    assert!(server_config(&good, Alpn::Http2).is_ok());
    for (files, named) in [
        (missing, "none.key"),
        (no_key, "server.pem"),
        (no_certificate, "server.key"),
        (mixed, "other.key"),
    ] {
        let error = server_config(&files, Alpn::Http2).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_certificate_says_whose_it_is() {
    let key = KeyPair::generate().unwrap();
    let named = |params: CertificateParams| subject_of(params.self_signed(&key).unwrap().der());
    let mut params = CertificateParams::new(vec!["node-7.example".into()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    assert_eq!(named(params.clone()), "node-7.example");
    let name = &mut params.distinguished_name;
    name.push(DnType::OrganizationName, "Example");
    name.push(DnType::CommonName, "gateway");
    assert_eq!(named(params.clone()), "gateway");
    params
        .distinguished_name
        .push(DnType::CommonName, "two\nlines");
    assert_eq!(named(params), "node-7.example", "not into a log");
    let nonsense = CertificateDer::from(vec![1, 2, 3]);
    assert_eq!(subject_of(&nonsense), "");
}
