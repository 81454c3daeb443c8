//! How a running `berth dev` is asked for things that only it can do: a socket in its data folder,
//! one request and one answer a connection, each a line of JSON.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use berth_core::NodeId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::args::{AgentAction, AgentControlArgs};
use super::cluster::{AgentInfo, Cluster};
use super::data::DataDir;

/// The socket in the data folder.
const SOCKET: &str = "control.sock";
/// The longest request, bytes.
const REQUEST_MAX: u64 = 4096;
/// How long a request may take to arrive.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
enum Ask {
    /// All agents.
    Agents,
    /// Stop one.
    StopAgent { node: NodeId, keep_workloads: bool },
    /// Start one.
    StartAgent { node: NodeId },
    /// End the whole.
    ShutDown,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    /// It was done: what to say, and the agents as they are now.
    Done {
        said: String,
        agents: Vec<AgentInfo>,
    },
    /// It was not.
    Failed(String),
}

/// The socket while it is served; dropping this ends it.
#[derive(Debug)]
pub(crate) struct Control {
    _stop: DropGuard,
}

impl Control {
    /// Serves the socket. `end` is cancelled when somebody asks for the end.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(crate) fn serve(
        data: &DataDir,
        cluster: Arc<Cluster>,
        end: CancellationToken,
    ) -> anyhow::Result<Self> {
        let socket = data.path().join(SOCKET);
        // Left by a run that was killed; the lock says that nobody listens there.
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("cannot remove an old control socket");
            }
            Ok(()) | Err(_) => {}
        }
        let (_folder, short) = short_path(data.path())?;
        let listener = UnixListener::bind(short).context("cannot make the control socket")?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = accept(listener, cluster, end) => {}
            }
            // The next run removes what cannot be removed now.
            let _ = std::fs::remove_file(socket);
        });
        Ok(Self {
            _stop: stop.drop_guard(),
        })
    }
}

/// A path of the socket that is short enough for the system (108 bytes), however deep the folder
/// lies: by the number of the open folder. The folder must stay open while the path is used.
fn short_path(folder: &Path) -> anyhow::Result<(File, PathBuf)> {
    let open = File::open(folder)
        .with_context(|| format!("cannot open the data folder {}", folder.display()))?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", open.as_raw_fd()));
    Ok((open, short))
}

async fn accept(listener: UnixListener, cluster: Arc<Cluster>, end: CancellationToken) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (cluster, end) = (Arc::clone(&cluster), end.clone());
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &cluster, &end).await {
                        tracing::debug!(error = format!("{error:#}"), "a control request");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(
    stream: UnixStream,
    cluster: &Cluster,
    end: &CancellationToken,
) -> anyhow::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut line = String::new();
    let mut from = BufReader::new(from.take(REQUEST_MAX));
    tokio::time::timeout(REQUEST_TIME_MAX, from.read_line(&mut line)).await??;
    let done = match serde_json::from_str::<Ask>(&line) {
        Ok(ask) => carry_out(ask, cluster, end).await,
        Err(error) => Err(anyhow!("the request cannot be read: {error}")),
    };
    let answer = match done {
        Ok(said) => Answer::Done {
            said,
            agents: cluster.list().await,
        },
        Err(error) => Answer::Failed(format!("{error:#}")),
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    to.write_all(text.as_bytes()).await?;
    Ok(())
}

async fn carry_out(ask: Ask, cluster: &Cluster, end: &CancellationToken) -> anyhow::Result<String> {
    match ask {
        Ask::Agents => Ok(String::new()),
        Ask::StopAgent {
            node,
            keep_workloads,
        } => {
            let killed = cluster.stop(&node, keep_workloads).await?;
            Ok(match keep_workloads {
                true => format!("agent {node} stopped; its processes go on"),
                false => format!("agent {node} stopped, {killed} processes killed"),
            })
        }
        Ask::StartAgent { node } => {
            cluster.start(&node).await?;
            Ok(format!("agent {node} started"))
        }
        Ask::ShutDown => {
            end.cancel();
            Ok("ending".to_owned())
        }
    }
}

/// Asks the `berth dev` of a data folder.
async fn ask(folder: &Path, request: &Ask) -> anyhow::Result<(String, Vec<AgentInfo>)> {
    let nobody = || {
        let folder = folder.display();
        format!("no `berth dev` runs on {folder}; --data-dir names another folder")
    };
    let (_folder, short) = short_path(folder).with_context(nobody)?;
    let stream = UnixStream::connect(short).await.with_context(nobody)?;
    let (from, mut to) = stream.into_split();
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    to.write_all(text.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(from).read_line(&mut line).await?;
    if line.is_empty() {
        bail!("`berth dev` ended before it answered");
    }
    match serde_json::from_str(&line).context("the answer cannot be read")? {
        Answer::Done { said, agents } => Ok((said, agents)),
        Answer::Failed(error) => bail!(error),
    }
}

/// Runs `berth dev agent`.
///
/// # Errors
/// Nobody runs there, or it refuses.
pub(crate) async fn agent(command: AgentControlArgs) -> anyhow::Result<()> {
    let request = match command.action {
        AgentAction::List => Ask::Agents,
        AgentAction::Stop {
            node,
            keep_workloads,
        } => Ask::StopAgent {
            node,
            keep_workloads,
        },
        AgentAction::Start { node } => Ask::StartAgent { node },
    };
    let (said, agents) = ask(&command.data_dir, &request).await?;
    if said.is_empty() {
        for agent in agents {
            let state = agent
                .addr
                .map_or_else(|| "stopped".to_owned(), |addr| addr.to_string());
            println!("{}  {state}", agent.node);
        }
    } else {
        println!("{said}");
    }
    Ok(())
}

/// Asks the `berth dev` of a data folder to end.
///
/// # Errors
/// Nobody runs there.
pub(crate) async fn shut_down(folder: &Path) -> anyhow::Result<()> {
    ask(folder, &Ask::ShutDown).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_in_a_deep_folder_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let (_open, path) = short_path(&deep).unwrap();
        let listener = UnixListener::bind(path).unwrap();
        let (_open, path) = short_path(&deep).unwrap();
        let (connected, accepted) = tokio::join!(UnixStream::connect(path), listener.accept());
        assert!(connected.is_ok() && accepted.is_ok());
    }

    #[tokio::test]
    async fn nobody_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = ask(folder.path(), &Ask::Agents)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("no `berth dev` runs on"), "{error}");
    }

    #[test]
    fn requests_are_plain_json() {
        let ask = Ask::StopAgent {
            node: "node-1".parse().unwrap(),
            keep_workloads: false,
        };
        let text = r#"{"command":"stop-agent","node":"node-1","keep_workloads":false}"#;
        assert_eq!(serde_json::to_string(&ask).unwrap(), text);
        assert!(serde_json::from_str::<Ask>(r#"{"command":"reboot"}"#).is_err());
    }
}
