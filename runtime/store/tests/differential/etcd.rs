//! A real etcd in a temporary directory, stopped when dropped.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::Client;
use tempfile::TempDir;

/// How long etcd may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// One member on loopback.
pub(crate) struct RealEtcd {
    child: Child,
    client_url: String,
    _dir: TempDir,
}

impl RealEtcd {
    /// Starts etcd from the path and waits until it answers.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let client_url = format!("http://127.0.0.1:{}", free_port());
        let peer_url = format!("http://127.0.0.1:{}", free_port());
        let spawned = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.path())
            .args([
                "--listen-client-urls",
                &client_url,
                "--advertise-client-urls",
                &client_url,
            ])
            .args([
                "--listen-peer-urls",
                &peer_url,
                "--initial-advertise-peer-urls",
                &peer_url,
            ])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .args([
                "--logger",
                "zap",
                "--log-level",
                "error",
                "--log-outputs",
                "stderr",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = spawned.unwrap_or_else(|error| {
            panic!(
                "the differential test needs a real etcd 3.4 on the PATH \
                 (Debian: apt-get install etcd-server), and `etcd` cannot be started: {error}"
            )
        });
        let etcd = RealEtcd {
            child,
            client_url,
            _dir: dir,
        };
        etcd.wait().await;
        etcd
    }

    async fn wait(&self) {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if let Ok(mut client) = Client::connect([&self.client_url], None).await
                && client.get("ready", None).await.is_ok()
            {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "etcd did not answer within {START_PATIENCE:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A new client.
    pub(crate) async fn client(&self) -> Client {
        Client::connect([&self.client_url], None)
            .await
            .expect("etcd has answered before")
    }
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound address").port()
}
