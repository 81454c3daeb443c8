//! A machine that holds no authority's certificate: who speaks in the clear needs none, and who needs
//! one is told so.

use std::net::TcpListener;
use std::process::{Command, Output};

/// Where nothing is.
const NOWHERE: &str = "/nonexistent/berth/authorities";

/// Runs a command there, and says how it ended and what it said.
fn berth(words: &[&str]) -> (Option<i32>, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(words)
        .env("SSL_CERT_FILE", NOWHERE)
        .env("SSL_CERT_DIR", NOWHERE)
        .env_remove("BERTH_TLS_CA")
        .output()
        .expect("berth starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// A port where nobody listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn plain_http_needs_none() {
    let server = format!("http://127.0.0.1:{}", closed_port());
    let (code, said) = berth(&["get", "nodes", "--server", &server]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("cannot reach http://127.0.0.1"), "{said}");
}

#[test]
fn https_says_that_there_are_none_and_what_to_do() {
    let (code, said) = berth(&["get", "nodes", "--server", "https://127.0.0.1:1"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("No CA certificates were loaded"), "{said}");
    assert!(said.contains("hint: --tls-ca FILE"), "{said}");
}

#[test]
fn of_an_etcd_over_https_it_is_said_too() {
    let (code, said) = berth(&["store", "accept-restore", "--etcd", "https://127.0.0.1:1"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--etcd-ca"), "{said}");
    assert!(said.contains(NOWHERE), "{said}");
}
