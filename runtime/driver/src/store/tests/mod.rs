//! The store client against the embedded store, over pipes that can be cut, and in paused time:
//! leases of seconds expire at once, and nothing waits on a clock.

mod commits;
mod elections;
mod follows;
mod loads;
mod restored;
mod watches;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_core::io::{Deposed, Fate, Op, Snapshot, Stored, Txn};
use berth_core::{Epoch, Input, Key, StoreRevision, TxnId};
use berth_store::{EmbeddedStore, StoreOptions};
use etcd_client::{Channel, Client};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Uri};

use super::*;
use crate::handle::DriverHealth;

/// What a network swallows. It is delivered when the silence ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    Nothing,
    Answers,
    Everything,
}

/// A store, and the network to it.
struct Net {
    store: EmbeddedStore,
    /// Where connections go: to this store, or to another one in its place.
    accepted: Mutex<mpsc::UnboundedSender<std::io::Result<DuplexStream>>>,
    own: mpsc::UnboundedSender<std::io::Result<DuplexStream>>,
    /// Cancelled, it breaks the connections made so far.
    cut: Mutex<CancellationToken>,
    /// What does not arrive at present.
    silence: watch::Sender<Silence>,
    /// While true, nobody connects.
    refusing: AtomicBool,
}

impl Net {
    fn new() -> Arc<Self> {
        Self::with(StoreOptions::default())
    }

    fn with(options: StoreOptions) -> Arc<Self> {
        let store = EmbeddedStore::open_with(None, options).unwrap();
        let (accepted, incoming) = mpsc::unbounded_channel();
        store.serve(UnboundedReceiverStream::new(incoming));
        Arc::new(Self {
            store,
            own: accepted.clone(),
            accepted: Mutex::new(accepted),
            cut: Mutex::default(),
            silence: watch::channel(Silence::Nothing).0,
            refusing: AtomicBool::new(false),
        })
    }

    /// A way to the store that the adversary has no hand on.
    async fn client(&self) -> Client {
        self.store.client().await.unwrap()
    }

    /// Breaks every connection; new ones work.
    fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    /// Puts another store in the place of this one.
    fn point_at(&self, other: &Self) {
        *self.accepted.lock().unwrap() = other.own.clone();
        self.cut();
    }

    fn silence(&self, silence: Silence) {
        self.silence.send_replace(silence);
    }

    fn set_refusing(&self, refusing: bool) {
        self.refusing.store(refusing, Ordering::SeqCst);
    }

    fn connect(&self) -> std::io::Result<DuplexStream> {
        if self.refusing.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, relayed) = tokio::io::duplex(1 << 16);
        let (theirs, accepted) = tokio::io::duplex(1 << 16);
        self.accepted.lock().unwrap().send(Ok(accepted)).unwrap();
        let cut = self.cut.lock().unwrap().clone();
        let silence = self.silence.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                () = relay(relayed, theirs, silence) => {}
            }
        });
        Ok(ours)
    }

    fn factory(self: &Arc<Self>) -> impl StoreFactory + use<> {
        let net = Arc::clone(self);
        move || {
            let net = Arc::clone(&net);
            let connector = tower::service_fn(move |_: Uri| {
                let connected = net.connect().map(TokioIo::new);
                std::future::ready(connected)
            });
            let channel =
                Endpoint::from_static("http://store").connect_with_connector_lazy(connector);
            async { Client::from_channel(Channel::Tonic(channel), None).await }
        }
    }
}

async fn relay(ours: DuplexStream, theirs: DuplexStream, silence: watch::Receiver<Silence>) {
    let (from_us, to_us) = tokio::io::split(ours);
    let (from_them, to_them) = tokio::io::split(theirs);
    let asks = [Silence::Everything].as_slice();
    let answers = [Silence::Answers, Silence::Everything].as_slice();
    tokio::select! {
        () = pass(from_us, to_them, silence.clone(), asks) => {}
        () = pass(from_them, to_us, silence, answers) => {}
    }
}

/// Passes bytes on, except while it is silent in this way.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut silence: watch::Receiver<Silence>,
    silent: &[Silence],
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let heard = silence.wait_for(|now| !silent.contains(now)).await.is_ok();
        if !heard || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A store client under test, and everything that it tells.
struct Subject {
    leadership: mpsc::Receiver<Leadership>,
    answers: mpsc::Receiver<FromStore>,
    changes: mpsc::Receiver<FromStore>,
    health: watch::Receiver<DriverHealth>,
    metrics: Arc<DriverMetrics>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn config() -> StoreConfig {
    StoreConfig {
        prefix: "/berth".into(),
        ..StoreConfig::default()
    }
}

impl Subject {
    fn start(net: &Arc<Net>, id: &str, config: StoreConfig) -> Self {
        let (led, leadership) = mpsc::channel(4);
        let (answered, answers) = mpsc::channel(64);
        let (changed, changes) = mpsc::channel(64);
        let (health, seen) = watch::channel(DriverHealth::default());
        let (metrics, stop) = (Arc::<DriverMetrics>::default(), CancellationToken::new());
        let memory = Memory::open(config.seen_file.clone(), &config.prefix);
        let task = StoreTask {
            factory: Arc::new(net.factory()),
            config: Arc::new(config),
            replica: Replica {
                id: id.into(),
                ..Replica::default()
            },
            metrics: Arc::clone(&metrics),
            health: Reporter::new(health),
            leadership: led,
            answers: answered,
            changes: changed,
            stop: stop.clone(),
            rounds: AtomicU64::new(0),
            memory,
        };
        Self {
            leadership,
            answers,
            changes,
            health: seen,
            metrics,
            stop,
            task: tokio::spawn(task.run()),
        }
    }

    /// Waits until it leads.
    async fn leads(&mut self) -> (Term, Snapshot) {
        loop {
            match soon(self.leadership.recv()).await {
                Leadership::Lead {
                    term,
                    snapshot,
                    taken,
                } => {
                    taken.send(()).unwrap();
                    return (term, snapshot);
                }
                Leadership::TakeOver { term, taken, .. } => {
                    // As a core that was told everything up to then, and nothing after it.
                    let revision = StoreRevision(term.epoch.create_revision());
                    taken.send(revision).unwrap();
                    let snapshot = Snapshot {
                        revision,
                        ..Snapshot::default()
                    };
                    return (term, snapshot);
                }
                Leadership::Follow { taken, .. } => drop(taken.send(())),
                Leadership::Deposed(_) => {}
            }
        }
    }

    /// The next that is told is that it does not lead.
    async fn deposed(&mut self) -> Deposed {
        loop {
            match soon(self.leadership.recv()).await {
                Leadership::Deposed(reason) => return reason,
                Leadership::Follow { taken, .. } => drop(taken.send(())),
                Leadership::Lead { term, .. } | Leadership::TakeOver { term, .. } => {
                    panic!("leads at {}", term.epoch)
                }
            }
        }
    }

    /// Waits until it follows.
    async fn follows(&mut self) -> (u64, Snapshot) {
        loop {
            match soon(self.leadership.recv()).await {
                Leadership::Follow {
                    round,
                    snapshot,
                    taken,
                } => {
                    taken.send(()).unwrap();
                    return (round, snapshot);
                }
                Leadership::Deposed(_) => {}
                Leadership::Lead { term, .. } | Leadership::TakeOver { term, .. } => {
                    panic!("leads at {}", term.epoch)
                }
            }
        }
    }

    /// The next fate.
    async fn fate(&mut self) -> (TxnId, Fate) {
        match soon(self.answers.recv()).await.input {
            Input::Commit { txn, fate } => (txn, fate),
            other => panic!("not a fate: {other:?}"),
        }
    }

    /// The fates of `count` transactions, in the order of their names.
    async fn fates(&mut self, count: usize) -> Vec<Fate> {
        let mut fates = Vec::new();
        for _ in 0..count {
            fates.push(self.fate().await);
        }
        fates.sort_by_key(|(txn, _)| *txn);
        fates.into_iter().map(|(_, fate)| fate).collect()
    }

    /// The next change.
    async fn change(&mut self) -> (StoreRevision, Vec<Stored>) {
        match soon(self.changes.recv()).await.input {
            Input::Changed { revision, records } => (revision, records),
            other => panic!("not a change: {other:?}"),
        }
    }
}

/// Waits for what is told, for ten minutes of virtual time: a fault fails instead of hanging.
async fn soon<T>(told: impl Future<Output = Option<T>>) -> T {
    let told = tokio::time::timeout(Duration::from_secs(600), told).await;
    told.expect("told in time").expect("the store task ended")
}

fn workload(name: &str) -> Key {
    Key::Workload(name.parse().unwrap())
}

fn put(name: &str, value: &str) -> Op {
    Op::Put {
        key: workload(name),
        value: value.into(),
    }
}

fn order(term: &Term, id: u64, compares: &[(&str, i64)], ops: Vec<Op>) {
    let txn = Txn {
        id: TxnId(id),
        epoch: term.epoch,
        compares: compares
            .iter()
            .map(|(name, revision)| (workload(name), StoreRevision(*revision)))
            .collect(),
        ops,
    };
    term.orders.send(Order::Commit(Pending::new(txn))).unwrap();
}

/// The value of a key of the store, by its text below the prefix.
async fn value(client: &mut Client, key: &str) -> Option<String> {
    let answer = client.get(format!("/berth{key}"), None).await.unwrap();
    let record = answer.kvs().first()?;
    Some(record.value_str().unwrap().to_owned())
}
