//! The exec runtime: the command of a container as a process of this host, in a group of its own.
//!
//! A start goes through these steps, so that a crash between any two of them starts no process
//! twice:
//!
//! 1. the intent is written: which start, and the mark that its processes will carry;
//! 2. the process is started with the mark in its environment;
//! 3. its number and start time are written;
//! 4. `Started` is reported.
//!
//! After a crash between 2 and 3 the process is found by its mark. Processes outlive the agent and
//! are adopted by the next one; of an adopted process only its disappearance is seen, not its
//! exit code.

mod ledger;
mod process;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_agent::{
    CommandId, Exit, Failure, FailureCode, Found, LaunchId, RuntimeCommand, RuntimeEvent,
    RuntimeNews, StartCommand,
};
use berth_core::WorkloadId;
use berth_proto::agent::v1::{ContainerSpec, workload_spec::Spec};
use nix::sys::signal::Signal;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use ledger::{EndSeen, Entry};
use process::{MARKER, Process, marked};

pub(crate) use ledger::Ledger;
pub(crate) use process::kill_marked;

/// A log that is larger than this when its workload starts is begun anew.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// How often an adopted process is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// After the impolite signal: a process that does not end now is stuck in the kernel.
const KILL_WAIT_MAX: Duration = Duration::from_secs(5);

/// What of the agent's own environment reaches the processes.
const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// The runtime. Clones are the same runtime.
#[derive(Debug, Clone)]
pub(crate) struct ExecRuntime(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node_id: String,
    data_dir: PathBuf,
    boot_id: String,
    stop_grace: Duration,
    ledger: Ledger,
    news: mpsc::UnboundedSender<RuntimeNews>,
    /// The agent ends: processes are left alone, watching ends.
    ended: CancellationToken,
    /// Starts that are under way, and how to cut them short.
    starting: Mutex<BTreeMap<LaunchId, CancellationToken>>,
}

impl ExecRuntime {
    pub(crate) fn new(
        node_id: String,
        data_dir: PathBuf,
        stop_grace: Duration,
        news: mpsc::UnboundedSender<RuntimeNews>,
        ended: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            node_id,
            boot_id: crate::host::boot_id(),
            stop_grace,
            ledger: Ledger::new(data_dir.join("run")),
            data_dir,
            news,
            ended,
            starting: Mutex::default(),
        }))
    }

    /// Carries a command out in the background. The agent gives no second one for the same
    /// workload before the first is answered.
    pub(crate) fn execute(&self, id: CommandId, command: RuntimeCommand) {
        let runtime = self.clone();
        // Before anything else can be asked of the same workload.
        let cut = CancellationToken::new();
        match &command {
            RuntimeCommand::Start(start) => {
                let launch = start.launch.clone();
                self.0.starting().insert(launch, cut.clone());
            }
            RuntimeCommand::CutShort(launch) => {
                if let Some(cut) = self.0.starting().get(launch) {
                    cut.cancel();
                }
                return;
            }
            RuntimeCommand::Stop(_) | RuntimeCommand::Remove(_) | RuntimeCommand::Probe(_) => {}
        }
        tokio::spawn(async move {
            let (event, watch) = match command {
                RuntimeCommand::CutShort(_) => return,
                RuntimeCommand::Start(start) => runtime.start(*start, cut).await,
                RuntimeCommand::Stop(launch) => (runtime.stop(launch).await, None),
                RuntimeCommand::Remove(launch) => (runtime.remove(launch).await, None),
                RuntimeCommand::Probe(launch) => runtime.probe(launch).await,
            };
            // In this order: the end of a process is told after its start.
            runtime.report(Some(id), event);
            match watch {
                Some(Watch::Child(entry, child)) => runtime.watch_child(entry, child).await,
                Some(Watch::Adopted(entry, process)) => runtime.watch_adopted(entry, process).await,
                None => {}
            }
        });
    }

    fn report(&self, answers: Option<CommandId>, event: RuntimeEvent) {
        // Nobody listens any more only when the agent ends.
        let _ = self.0.news.send(RuntimeNews { answers, event });
    }

    fn mark(&self, launch: &LaunchId) -> String {
        self.0.mark(launch)
    }

    /// Runs something that blocks on files or processes. `None`: the host is ending.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Option<T> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&inner)).await.ok()
    }

    async fn start(
        &self,
        command: StartCommand,
        cut: CancellationToken,
    ) -> (RuntimeEvent, Option<Watch>) {
        let launch = command.launch.clone();
        let started = tokio::select! {
            biased;
            () = cut.cancelled() => Err(cut_short()),
            started = self.try_start(command, &cut) => started,
        };
        self.0.starting().remove(&launch);
        if cut.is_cancelled() {
            // What it started meanwhile goes; what it still may start goes as soon as it is there.
            let mark = self.mark(&launch);
            let left = self.blocking(move |_| kill_marked(&mark, KILL_WAIT_MAX));
            if let Some(Err(left)) = left.await {
                tracing::warn!(%launch, left, "processes of a start that was cut short do not end");
            }
        }
        match started {
            Ok((process, image, watch)) => {
                let (message, details) = (message_of(&image), details_of(process, &image));
                (
                    RuntimeEvent::Started {
                        launch,
                        message,
                        details,
                    },
                    Some(watch),
                )
            }
            Err(failure) => (RuntimeEvent::StartFailed { launch, failure }, None),
        }
    }

    async fn try_start(
        &self,
        command: StartCommand,
        cut: &CancellationToken,
    ) -> Result<(Process, String, Watch), Failure> {
        let Spec::Container(spec) = command.spec.spec().clone() else {
            let text = "the exec runtime runs containers' commands only";
            return Err(Failure::new(FailureCode::InvalidSpecification, text));
        };
        let line: Vec<String> = spec.command.iter().chain(&spec.args).cloned().collect();
        if line.first().is_none_or(String::is_empty) {
            let text = "no command: the exec runtime runs a host process and knows no image, \
                        so the spec must name a command";
            return Err(Failure::new(FailureCode::InvalidSpecification, text));
        }
        let mut entry = Entry {
            launch: command.launch.clone(),
            mark: self.mark(&command.launch),
            boot_id: self.0.boot_id.clone(),
            image: spec.image.clone(),
            process: None,
            end: None,
        };
        if let Some(process) = self.prepare(entry.clone()).await? {
            // This very start happened before: it is adopted, not done again.
            return Ok((process, spec.image, Watch::Adopted(entry, process)));
        }
        // Folders, logs and programs may be on a disk that hangs.
        let (image, cut) = (spec.image.clone(), cut.clone());
        let child = self
            .blocking(move |inner| inner.spawn(&command, &spec, &line, &cut))
            .await
            .unwrap_or_else(|| {
                Err(Failure::new(
                    FailureCode::RuntimeError,
                    "the agent is ending",
                ))
            })?;
        let process = child
            .id()
            .and_then(|pid| Process::of_pid(i32::try_from(pid).ok()?));
        let lost = || Failure::new(FailureCode::RuntimeError, "the process cannot be looked at");
        let process = process.ok_or_else(lost)?;
        entry.process = Some(process);
        let to_write = entry.clone();
        let written = self
            .blocking(move |inner| inner.ledger.write(&to_write))
            .await;
        if let Some(Err(error)) = written {
            // Not durable, but marked: the next agent finds it all the same.
            tracing::warn!(launch = %entry.launch, %error, "the process record cannot be written");
        }
        Ok((process, image, Watch::Child(entry, child)))
    }

    /// Writes the intent, or finds that it was carried out before.
    async fn prepare(&self, intent: Entry) -> Result<Option<Process>, Failure> {
        let done = self.blocking(move |inner| {
            let former = inner.ledger.read(&intent.launch.workload);
            if let Some(former) = &former {
                if former.launch == intent.launch
                    && let Some(process) = former.find(&inner.boot_id)
                {
                    return Ok(Some(process));
                }
                // Whatever is left of an earlier start must not run beside the next one (S6).
                if kill_marked(&former.mark, KILL_WAIT_MAX).is_err() {
                    return Err("a process of an earlier start does not end".to_owned());
                }
            }
            inner
                .ledger
                .write(&intent)
                .map_err(|error| error.to_string())?;
            Ok(None)
        });
        let done = done
            .await
            .unwrap_or_else(|| Err("the agent is ending".to_owned()));
        done.map_err(|text| Failure::new(FailureCode::RuntimeError, text))
    }

    /// Watches a process that this agent started.
    async fn watch_child(&self, entry: Entry, mut child: Child) {
        let status = tokio::select! {
            status = child.wait() => status,
            () = self.0.ended.cancelled() => return,
        };
        let end = status.map_or_else(
            |error| EndSeen {
                code: None,
                message: format!("its end was not seen: {error}"),
            },
            end_of,
        );
        self.ended(entry, end).await;
    }

    /// Watches a process that an earlier agent started.
    async fn watch_adopted(&self, entry: Entry, process: Process) {
        while process.is_alive() {
            tokio::select! {
                () = tokio::time::sleep(WATCH_EVERY) => {}
                () = self.0.ended.cancelled() => return,
            }
        }
        let message = format!(
            "process {} vanished; an earlier agent started it, so its exit code is not known",
            process.pid
        );
        self.ended(
            entry,
            EndSeen {
                code: None,
                message,
            },
        )
        .await;
    }

    /// The process ended: what it left behind is killed, its end is written and reported.
    async fn ended(&self, mut entry: Entry, end: EndSeen) {
        let launch = entry.launch.clone();
        let exit = Exit {
            code: end.code,
            message: end.message.clone(),
        };
        entry.end = Some(end);
        self.blocking(move |inner| {
            if kill_marked(&entry.mark, KILL_WAIT_MAX).is_err() {
                tracing::warn!(launch = %entry.launch, "a process that it left does not end");
            }
            // A stop, a removal or the next start may have been quicker.
            let at = inner.ledger.read(&entry.launch.workload);
            if at.is_some_and(|at| at.launch == entry.launch)
                && let Err(error) = inner.ledger.write(&entry)
            {
                tracing::warn!(launch = %entry.launch, %error, "its end cannot be written");
            }
        })
        .await;
        self.report(None, RuntimeEvent::Exited { launch, exit });
    }

    async fn stop(&self, launch: LaunchId) -> RuntimeEvent {
        let mark = self.mark(&launch);
        let of = launch.clone();
        let stopped = self
            .blocking(move |inner| inner.stop_processes(&of, &mark))
            .await;
        match stopped.unwrap_or_else(|| Err("the agent is ending".to_owned())) {
            Ok(()) => RuntimeEvent::Stopped { launch },
            Err(message) => RuntimeEvent::CommandFailed { launch, message },
        }
    }

    async fn remove(&self, launch: LaunchId) -> RuntimeEvent {
        let mark = self.mark(&launch);
        let of = launch.clone();
        let removed = self.blocking(move |inner| {
            kill_marked(&mark, KILL_WAIT_MAX).map_err(|left| format!("{left} do not end"))?;
            inner
                .ledger
                .remove(&of.workload)
                .map_err(|error| error.to_string())?;
            match std::fs::remove_dir_all(inner.work_dir(&of.workload)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(format!("its working folder cannot be removed: {error}"))
                }
                Ok(()) | Err(_) => Ok(()),
            }
        });
        match removed
            .await
            .unwrap_or_else(|| Err("the agent is ending".to_owned()))
        {
            Ok(()) => RuntimeEvent::Removed { launch },
            Err(message) => RuntimeEvent::CommandFailed { launch, message },
        }
    }

    async fn probe(&self, launch: LaunchId) -> (RuntimeEvent, Option<Watch>) {
        let of = launch.clone();
        let seen = self.blocking(move |inner| inner.look(&of)).await;
        let mut watch = None;
        let found = match seen {
            None => Found::Unclear("the agent is ending".to_owned()),
            Some(Seen::Absent) => Found::Absent,
            Some(Seen::Ended(end)) => Found::Exited(Exit {
                code: end.code,
                message: end.message,
            }),
            Some(Seen::Alive(entry, process)) => {
                let image = entry.image.clone();
                watch = Some(Watch::Adopted(*entry, process));
                let details = details_of(process, &image);
                Found::Running {
                    message: message_of(&image),
                    details,
                }
            }
        };
        (RuntimeEvent::Probed { launch, found }, watch)
    }
}

/// A process to be watched until it ends.
enum Watch {
    /// Started by this agent.
    Child(Entry, Child),
    /// Started by an earlier one.
    Adopted(Entry, Process),
}

/// What is left of a start.
enum Seen {
    Absent,
    Ended(EndSeen),
    Alive(Box<Entry>, Process),
}

impl Inner {
    fn starting(&self) -> MutexGuard<'_, BTreeMap<LaunchId, CancellationToken>> {
        // Nothing panics while it holds the lock.
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, launch: &LaunchId) -> String {
        // Agents of several clusters on one machine may have the same node ids.
        format!("{}:{}/{launch}", self.data_dir.display(), self.node_id)
    }

    fn spawn(
        &self,
        command: &StartCommand,
        spec: &ContainerSpec,
        line: &[String],
        cut: &CancellationToken,
    ) -> Result<Child, Failure> {
        let launch = &command.launch;
        let failed = |what: &str, error: &std::io::Error| {
            let code = match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => {
                    FailureCode::InvalidSpecification
                }
                std::io::ErrorKind::StorageFull => FailureCode::StorageFull,
                std::io::ErrorKind::OutOfMemory | std::io::ErrorKind::WouldBlock => {
                    FailureCode::InsufficientResources
                }
                _ => FailureCode::RuntimeError,
            };
            Failure::new(code, format!("{what}: {error}"))
        };
        let folder_failed = |error| {
            let failure = failed("no working folder", &error);
            Failure {
                code: FailureCode::StorageProvisionFailed,
                ..failure
            }
        };
        let folder = self.work_dir(&launch.workload);
        std::fs::create_dir_all(&folder).map_err(folder_failed)?;
        let log = self.open_log(command).map_err(folder_failed)?;
        let errors = log.try_clone().map_err(folder_failed)?;
        let inherited = INHERITED
            .iter()
            .filter_map(|key| Some((key, std::env::var_os(key)?)));
        let mut process = Command::new(&line[0]);
        process
            .args(&line[1..])
            .env_clear()
            .envs(inherited)
            .envs(&spec.env)
            .env("BERTH_WORKLOAD_ID", launch.workload.as_str())
            .env("BERTH_REVISION", command.revision.as_str())
            .env("BERTH_NODE_ID", &self.node_id)
            .env(MARKER, self.mark(launch))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(false);
        if cut.is_cancelled() {
            return Err(cut_short());
        }
        let child = process
            .spawn()
            .map_err(|error| failed(&format!("cannot start {:?}", line[0]), &error))?;
        // Nobody may wait for this any more.
        if cut.is_cancelled() {
            let _ = kill_marked(&self.mark(launch), KILL_WAIT_MAX);
        }
        Ok(child)
    }

    fn work_dir(&self, workload: &WorkloadId) -> PathBuf {
        self.data_dir.join("work").join(workload.as_str())
    }

    fn open_log(&self, command: &StartCommand) -> std::io::Result<std::fs::File> {
        let path = self
            .data_dir
            .join("logs")
            .join(format!("{}.log", command.launch.workload));
        if std::fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            std::fs::remove_file(&path)?;
        }
        let mut log = OpenOptions::new().create(true).append(true).open(&path)?;
        writeln!(
            log,
            "--- start {} of revision {}",
            command.launch, command.revision
        )?;
        Ok(log)
    }

    /// Asks politely, then not; what has left the group is killed as well.
    fn stop_processes(&self, launch: &LaunchId, mark: &str) -> Result<(), String> {
        let entry = self
            .ledger
            .read(&launch.workload)
            .filter(|entry| entry.launch == *launch);
        let known = entry.and_then(|entry| entry.find(&self.boot_id));
        let process = known.or_else(|| {
            marked(mark)
                .into_iter()
                .find(|(_, leads)| *leads)
                .map(|(process, _)| process)
        });
        if let Some(process) = process {
            process.signal_group(Signal::SIGTERM);
            if !process.wait_end(self.stop_grace) {
                process.signal_group(Signal::SIGKILL);
                if !process.wait_end(KILL_WAIT_MAX) {
                    return Err(format!(
                        "process {} does not end after SIGKILL",
                        process.pid
                    ));
                }
            }
        }
        kill_marked(mark, KILL_WAIT_MAX).map_err(|left| format!("{left} processes do not end"))
    }

    /// Finds out what a start came to.
    fn look(&self, launch: &LaunchId) -> Seen {
        let entry = self
            .ledger
            .read(&launch.workload)
            .filter(|entry| entry.launch == *launch);
        let Some(mut entry) = entry else {
            return Seen::Absent;
        };
        if let Some(end) = entry.end.take() {
            return Seen::Ended(end);
        }
        if let Some(process) = entry.find(&self.boot_id) {
            if entry.process.is_none() {
                entry.process = Some(process);
                if let Err(error) = self.ledger.write(&entry) {
                    tracing::warn!(launch = %entry.launch, %error, "the process is not recorded");
                }
            }
            return Seen::Alive(Box::new(entry), process);
        }
        let gone = entry.process.map(|process| {
            let when = if entry.boot_id == self.boot_id {
                "vanished while no agent ran"
            } else {
                "ended with the machine, which was started anew"
            };
            format!("process {} {when}", process.pid)
        });
        gone.map_or(Seen::Absent, |message| {
            Seen::Ended(EndSeen {
                code: None,
                message,
            })
        })
    }
}

fn cut_short() -> Failure {
    Failure::new(
        FailureCode::RuntimeError,
        "it was cut short while it started",
    )
}

fn message_of(image: &str) -> String {
    if image.is_empty() {
        "running as a host process".to_owned()
    } else {
        format!("running as a host process; image {image} recorded only")
    }
}

fn details_of(process: Process, image: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("runtime".to_owned(), "exec".to_owned()),
        ("process.pid".to_owned(), process.pid.to_string()),
        ("container.image".to_owned(), image.to_owned()),
    ])
}

fn end_of(status: ExitStatus) -> EndSeen {
    let message = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    EndSeen {
        code: status.code(),
        message,
    }
}
