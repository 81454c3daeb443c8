//! Mutual TLS: who connects shows a certificate of our authority, and so do we.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Where certificates are, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority that peers' certificates are checked against.
    pub ca: PathBuf,
    /// Our own certificate, with its chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The protocols that a port speaks, by preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// gRPC.
    Http2,
    /// REST.
    Http1AndHttp2,
}

/// Makes the process' cryptography the one that is compiled in. Idempotent.
pub fn install_crypto_provider() {
    // An error means that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A server's side of mutual TLS.
///
/// # Errors
/// A file cannot be read or holds something else; the message names it.
pub fn server_config(files: &TlsFiles, alpn: Alpn) -> anyhow::Result<Arc<ServerConfig>> {
    install_crypto_provider();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        let path = files.ca.display();
        roots
            .add(certificate)
            .with_context(|| format!("{path} holds an unusable authority"))?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .context("the authority cannot verify clients")?;
    let key_path = files.key.display();
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("cannot read a private key from {key_path}"))?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&files.cert)?, key)
        .with_context(|| format!("{} and {key_path} do not fit", files.cert.display()))?;
    config.alpn_protocols = match alpn {
        Alpn::Http2 => vec![b"h2".to_vec()],
        Alpn::Http1AndHttp2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {}", path.display()))?;
    if read.is_empty() {
        bail!("{} holds no certificate in PEM", path.display());
    }
    Ok(read)
}

/// The common name in a certificate's subject, else its first name of a host, for people to read;
/// empty when there is neither.
#[must_use]
pub fn subject_of(certificate: &CertificateDer<'_>) -> String {
    /// How `commonName` begins in DER: the object identifier 2.5.4.3.
    const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else {
        return String::new();
    };
    let subject = parsed.subject();
    let at = subject
        .windows(COMMON_NAME.len())
        .position(|bytes| bytes == COMMON_NAME);
    // Then a tag, a length below 128, and the text.
    let value = at.and_then(|at| subject.get(at + COMMON_NAME.len() + 1..));
    let name = value.and_then(|value| {
        let (length, text) = value.split_first()?;
        let text = text.get(..usize::from(*length))?;
        let text = std::str::from_utf8(text).ok()?;
        (*length < 128 && !text.chars().any(char::is_control)).then(|| text.to_owned())
    });
    let host = || parsed.valid_dns_names().next().map(ToOwned::to_owned);
    name.or_else(host).unwrap_or_default()
}

/// A client's side of mutual TLS, with the authority of the other side.
///
/// # Errors
/// A file cannot be read; the message names it.
pub fn client_config(
    ca: &Path,
    identity: Option<(&PathBuf, &PathBuf)>,
) -> anyhow::Result<ClientTlsConfig> {
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    with_identity(config, identity)
}

/// The same, with the authorities of the system.
///
/// # Errors
/// A file cannot be read; the message names it. The system has no authorities, or none that can be
/// read.
pub fn system_client_config(
    identity: Option<(&PathBuf, &PathBuf)>,
) -> anyhow::Result<ClientTlsConfig> {
    let found = rustls_native_certs::load_native_certs();
    let why = found.errors.iter().map(ToString::to_string);
    let config = trusting(&found.certs).with_context(|| {
        let why: Vec<String> = std::iter::once("the system has no authorities".to_owned())
            .chain(why)
            .collect();
        why.join(": ")
    })?;
    with_identity(config, identity)
}

/// A client that takes each of these certificates for an authority's; `None` if none can be one.
fn trusting(authorities: &[CertificateDer<'static>]) -> Option<ClientTlsConfig> {
    let anchor = |authority| {
        let anchor = webpki::anchor_from_trusted_cert(authority).ok()?;
        Some(anchor.to_owned())
    };
    let anchors: Vec<_> = authorities.iter().filter_map(anchor).collect();
    (!anchors.is_empty()).then(|| ClientTlsConfig::new().trust_anchors(anchors))
}

fn with_identity(
    config: ClientTlsConfig,
    identity: Option<(&PathBuf, &PathBuf)>,
) -> anyhow::Result<ClientTlsConfig> {
    Ok(match identity {
        Some((cert, key)) => config.identity(Identity::from_pem(read(cert)?, read(key)?)),
        None => config,
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
