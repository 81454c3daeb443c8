//! A real etcd server with its data in the scratch folder.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, GetOptions};
use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::process::Process;
use crate::rest::Rest;
use crate::wait::{secs, wait_for};

/// One member, serving on loopback.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    args: Vec<String>,
    address: String,
    peer: String,
}

impl Etcd {
    /// Starts a server with empty data and waits until it serves.
    pub async fn start(lab: &Lab) -> Self {
        Self::start_with(lab, &[]).await
    }

    /// The same with further flags.
    pub async fn start_with(lab: &Lab, flags: &[&str]) -> Self {
        let (client, peer) = (free_address(), free_address());
        let data = lab.path("etcd");
        let mut args: Vec<String> = [
            "--name=etcd",
            &format!("--data-dir={}", data.display()),
            &format!("--listen-client-urls=http://{client}"),
            &format!("--advertise-client-urls=http://{client}"),
            &format!("--listen-peer-urls=http://{peer}"),
            &format!("--initial-advertise-peer-urls=http://{peer}"),
            &format!("--initial-cluster=etcd=http://{peer}"),
            "--logger=zap",
            "--log-level=warn",
        ]
        .map(ToOwned::to_owned)
        .to_vec();
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let process = lab.start("etcd", Path::new("etcd"), &args);
        let etcd = Self {
            process,
            args,
            address: client,
            peer,
        };
        etcd.wait_ready().await;
        etcd
    }

    /// `http://host:port`, as `--etcd` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until it serves.
    pub async fn wait_ready(&self) {
        let rest = Rest::new(&self.address);
        wait_for("etcd to serve", secs(20), async || {
            let answer = rest.get("/health").await?;
            let healthy = answer.body["health"] == "true";
            if healthy { Ok(()) } else { Err(answer.text) }
        })
        .await;
    }

    /// It stops answering, connections stay open.
    pub fn pause(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// It ends at once; its data stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again on the same data and addresses.
    pub async fn restart(&mut self, lab: &Lab) {
        self.process.kill();
        self.process = lab.start("etcd", Path::new("etcd"), &self.args);
        self.wait_ready().await;
    }

    /// Starts again on the data of a snapshot, as after the loss of its own.
    ///
    /// # Panics
    /// When the snapshot cannot be restored.
    pub async fn restore(&mut self, lab: &Lab, snapshot: &Path) {
        self.process.kill();
        let data = lab.path("etcd");
        std::fs::remove_dir_all(&data).expect("the data of a member that ended");
        let _ = self.etcdctl(&[
            "snapshot",
            "restore",
            &snapshot.display().to_string(),
            "--name=etcd",
            &format!("--data-dir={}", data.display()),
            &format!("--initial-cluster=etcd=http://{}", self.peer),
            &format!("--initial-advertise-peer-urls=http://{}", self.peer),
        ]);
        self.restart(lab).await;
    }

    /// A client.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn client(&self) -> Client {
        Client::connect([self.url()], None)
            .await
            .expect("etcd serves")
    }

    /// The store's revision now.
    ///
    /// # Panics
    /// When etcd does not answer.
    pub async fn revision(&self) -> i64 {
        let answer = self
            .client()
            .await
            .get("/", None)
            .await
            .expect("etcd answers");
        answer
            .header()
            .expect("every answer has a header")
            .revision()
    }

    /// Every key below `prefix` with its value.
    ///
    /// # Panics
    /// When etcd does not answer.
    pub async fn all(&self, prefix: &str) -> Vec<(String, String)> {
        let options = GetOptions::new().with_prefix();
        let answer = self
            .client()
            .await
            .get(prefix, Some(options))
            .await
            .expect("etcd answers");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        answer
            .kvs()
            .iter()
            .map(|kv| (text(kv.key()), text(kv.value())))
            .collect()
    }

    /// What `etcdctl` prints.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn etcdctl(&self, args: &[&str]) -> String {
        let output = std::process::Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.address))
            .args(args)
            .output()
            .expect("etcdctl is installed");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// One of etcd's own counters: the sum over its labels.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn metric(&self, name: &str) -> Result<f64, String> {
        let text = Rest::new(&self.address).get("/metrics").await?.text;
        let of_metric = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        let values = text
            .lines()
            .filter(of_metric)
            .filter_map(|l| l.rsplit_once(' '));
        Ok(values
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum())
    }
}

/// An address on loopback that nobody listened on a moment ago. Connections go out from 127.0.0.1: on
/// another address the port stays free for whoever is killed and starts again. No address is given twice
/// by one process: what was given may not be listened on yet.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_address() -> String {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        let listener = TcpListener::bind("127.0.0.2:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        if given.insert(address) {
            return address.to_string();
        }
    }
    panic!("the system gives the same ports again and again");
}

/// How long a whole cluster may take to come up on a busy machine.
pub const START: Duration = secs(30);
