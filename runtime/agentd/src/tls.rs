//! Certificates from files, for the agent's server and its client.

use std::path::Path;

use anyhow::Context as _;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::config::TlsPaths;

/// Reads the files.
///
/// # Errors
/// One of them cannot be read; the message names it.
pub(crate) fn load(paths: &TlsPaths) -> anyhow::Result<(ServerTlsConfig, ClientTlsConfig)> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let ca = Certificate::from_pem(read(&paths.ca)?);
    let identity = Identity::from_pem(read(&paths.cert)?, read(&paths.key)?);
    let server = ServerTlsConfig::new()
        .identity(identity.clone())
        .client_ca_root(ca.clone());
    let client = ClientTlsConfig::new().identity(identity).ca_certificate(ca);
    Ok((server, client))
}
