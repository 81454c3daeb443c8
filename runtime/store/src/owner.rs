//! The one task that owns the model: takes what was asked, applies it, makes it durable, answers.

use berth_kv::{KvError, Model, Request, Response, StreamId, WatchOutput, WatchRequest};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::disk::Disk;
use crate::error::StoreError;
use crate::record::Record;
use crate::streams::{STREAM_OUTPUT_MAX, Streams};

/// The most requests that share one transaction of the log.
const BATCH_MAX: usize = 1024;
/// Requests that wait for the owner; beyond it their callers wait.
const QUEUE_MAX: usize = 4096;
/// How often a watch that asked for it hears that it missed nothing, as in etcd.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);
/// How often a stream that did not keep up is looked at.
const LAG_INTERVAL: Duration = Duration::from_millis(10);

/// What the owner can be asked.
enum Command {
    Apply {
        request: Request,
        record: Option<Record>,
        reply: Reply,
    },
    /// Watch output of this stream goes here from now on.
    OpenStream {
        stream: StreamId,
        output: mpsc::Sender<WatchOutput>,
    },
    RevokeAllLeases {
        reply: oneshot::Sender<usize>,
    },
    Status {
        reply: oneshot::Sender<Status>,
    },
}

type Reply = oneshot::Sender<Result<Response, KvError>>;

/// Figures about the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub(crate) revision: i64,
    pub(crate) mutations: u64,
    pub(crate) size_bytes: u64,
    pub(crate) no_space: bool,
}

/// The way to the owner; clones share it.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    /// Has a request applied; the answer comes when its changes are durable. `record` is what
    /// replays the request, for every kind that can change something.
    pub(crate) async fn apply(
        &self,
        request: Request,
        record: Option<Record>,
    ) -> Result<Result<Response, KvError>, StoreError> {
        self.ask(|reply| Command::Apply {
            request,
            record,
            reply,
        })
        .await
    }

    /// A stream of watch output. Ends when the stream is closed or the store stops.
    pub(crate) async fn open_stream(
        &self,
        stream: StreamId,
    ) -> Result<mpsc::Receiver<WatchOutput>, StoreError> {
        let (output, receiver) = mpsc::channel(STREAM_OUTPUT_MAX);
        let command = Command::OpenStream { stream, output };
        self.commands
            .send(command)
            .await
            .map_err(|_| StoreError::Stopped)?;
        Ok(receiver)
    }

    pub(crate) async fn revoke_all_leases(&self) -> Result<usize, StoreError> {
        self.ask(|reply| Command::RevokeAllLeases { reply }).await
    }

    pub(crate) async fn status(&self) -> Result<Status, StoreError> {
        self.ask(|reply| Command::Status { reply }).await
    }

    /// Ends when the owner is gone.
    pub(crate) async fn stopped(&self) {
        self.commands.closed().await;
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)
    }
}

/// The owner's state.
pub(crate) struct Owner {
    model: Model,
    disk: Option<Disk>,
    streams: Streams,
    started: Instant,
    next_progress: Instant,
    commands: mpsc::Receiver<Command>,
    stop: CancellationToken,
}

/// What a batch of commands leaves to be done once its records are durable.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    answers: Vec<(Reply, Result<Response, KvError>)>,
    revoked: Vec<(oneshot::Sender<usize>, usize)>,
    statuses: Vec<(oneshot::Sender<Status>, Status)>,
}

impl Owner {
    /// An owner of this state; leases start anew. `disk` absent: nothing is durable.
    pub(crate) fn new(
        mut model: Model,
        disk: Option<Disk>,
        stop: CancellationToken,
    ) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel(QUEUE_MAX);
        let started = Instant::now();
        model.restart_leases(0);
        let owner = Owner {
            model,
            disk,
            streams: Streams::default(),
            started,
            next_progress: started + PROGRESS_INTERVAL,
            commands,
            stop,
        };
        (owner, Handle { commands: sender })
    }

    /// Serves until told to stop, or until the log fails: then nothing that is not durable is
    /// ever acknowledged, and every caller learns that the store has stopped.
    pub(crate) async fn run(mut self) {
        let mut queue = Vec::new();
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                received = self.commands.recv_many(&mut queue, BATCH_MAX) => {
                    if received == 0 {
                        return;
                    }
                }
                () = tokio::time::sleep_until(deadline) => {}
            }
            let mut batch = Batch::default();
            self.expire(&mut batch);
            for command in queue.drain(..) {
                self.handle(command, &mut batch);
            }
            if let Err(error) = self.commit(std::mem::take(&mut batch.records)).await {
                tracing::error!(%error, "the embedded store stops: its log failed");
                return;
            }
            self.answer(batch);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn deadline(&self) -> Instant {
        // A year stands for "never": the clock cannot represent every lease's end.
        const FAR_MS: u64 = 365 * 24 * 3600 * 1000;
        let lease = self.model.next_lease_expiry().unwrap_or(FAR_MS);
        let now = self.now_ms();
        let lease = Instant::now() + Duration::from_millis(lease.saturating_sub(now).min(FAR_MS));
        let lagging = self
            .streams
            .lagging()
            .then(|| Instant::now() + LAG_INTERVAL);
        lease.min(self.next_progress).min(lagging.unwrap_or(lease))
    }

    /// Revokes the leases whose time is over.
    fn expire(&mut self, batch: &mut Batch) {
        let now_ms = self.now_ms();
        for id in self.model.expired_leases(now_ms) {
            tracing::debug!(lease = %id, "lease expired");
            let request = Request::LeaseRevoke { id };
            let _ = self.apply(request, Some(Record::lease_revoke(id)), batch);
        }
        if Instant::now() >= self.next_progress {
            self.next_progress = Instant::now() + PROGRESS_INTERVAL;
            let _ = self.apply(Request::Watch(WatchRequest::NotifyProgress), None, batch);
        }
    }

    fn handle(&mut self, command: Command, batch: &mut Batch) {
        match command {
            Command::Apply {
                request,
                record,
                reply,
            } => {
                let closed = match &request {
                    Request::Watch(WatchRequest::Close { stream }) => Some(*stream),
                    _ => None,
                };
                let answer = self.apply(request, record, batch);
                if let Some(stream) = closed {
                    self.streams.close(stream);
                }
                batch.answers.push((reply, answer));
            }
            Command::OpenStream { stream, output } => {
                self.streams.open(stream, output);
            }
            Command::RevokeAllLeases { reply } => {
                let Ok(Response::LeaseList { leases, .. }) =
                    self.apply(Request::LeaseList, None, batch)
                else {
                    return;
                };
                for id in &leases {
                    let request = Request::LeaseRevoke { id: *id };
                    let _ = self.apply(request, Some(Record::lease_revoke(*id)), batch);
                }
                batch.revoked.push((reply, leases.len()));
            }
            Command::Status { reply } => {
                let status = Status {
                    revision: self.model.revision(),
                    mutations: self.model.mutations(),
                    size_bytes: self.model.size_bytes(),
                    no_space: self.model.no_space(),
                };
                batch.statuses.push((reply, status));
            }
        }
    }

    fn apply(
        &mut self,
        request: Request,
        record: Option<Record>,
        batch: &mut Batch,
    ) -> Result<Response, KvError> {
        let before = self.model.mutations();
        let answer = self.model.apply(self.now_ms(), request);
        if self.model.mutations() != before {
            batch
                .records
                .push(record.expect("every request that can change something has a record"));
        }
        answer
    }

    /// Makes the records durable, off this task, so that requests queue up meanwhile: they are
    /// the next batch.
    async fn commit(&mut self, records: Vec<Record>) -> Result<(), StoreError> {
        let Some(mut disk) = self.disk.take() else {
            return Ok(());
        };
        if records.is_empty() {
            self.disk = Some(disk);
            return Ok(());
        }
        let blocks = disk.blocks;
        let (mut disk, result) = off_task(blocks, move || {
            let result = disk.append(&records);
            (disk, result)
        })
        .await?;
        result?;
        if disk.wants_snapshot() {
            let state = self.model.snapshot();
            let (after, result) = off_task(blocks, move || {
                let result = disk.install(state);
                (disk, result)
            })
            .await?;
            result?;
            disk = after;
        }
        self.disk = Some(disk);
        Ok(())
    }

    /// Answers the batch. Who asked and went away is no concern of ours.
    fn answer(&mut self, batch: Batch) {
        for (reply, answer) in batch.answers {
            let _ = reply.send(answer);
        }
        for (reply, count) in batch.revoked {
            let _ = reply.send(count);
        }
        for (reply, status) in batch.statuses {
            let _ = reply.send(status);
        }
        self.deliver();
    }

    /// Hands watch output to its streams. A watch whose stream does not keep up is paused, and
    /// resumed when the stream has room again: what waits is the history, not a queue.
    fn deliver(&mut self) {
        for resume in self.streams.flush() {
            self.watch(resume);
        }
        while let Some(output) = self.model.poll_watch_output() {
            if let Some(pause) = self.streams.deliver(output) {
                self.watch(pause);
            }
        }
    }

    fn watch(&mut self, request: WatchRequest) {
        let done = self.model.apply(self.now_ms(), Request::Watch(request));
        debug_assert!(done.is_ok(), "requests about watches are never refused");
    }
}

/// Carries out what may block, off this task; what never does, at once.
async fn off_task<T: Send + 'static>(
    blocks: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    if !blocks {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::Stopped)
}
