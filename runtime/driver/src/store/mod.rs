//! The store client: connects, campaigns, loads, and serves the core for one term of leadership
//! after the other.

mod commit;
mod compact;
mod condition;
mod connect;
mod election;
mod error;
mod following;
mod group;
mod health;
mod keys;
mod leader;
mod lease;
mod load;
mod look;
mod memory;
mod probe;
mod read_back;
mod txn;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use berth_core::io::{Deposed, Snapshot};
use berth_core::{Epoch, Input, StoreRevision};
use etcd_client::Client;
use tokio::sync::{mpsc, oneshot, watch as watched};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use commit::Order;
pub use condition::{StoreCondition, StoreState};
pub use connect::{CONNECT_TIMEOUT, Connecting, Endpoints, KEEP_ALIVE, StoreFactory};
pub(crate) use group::Pending;
pub(crate) use health::Reporter;
pub(crate) use leader::LeaderRecord;
pub use leader::{Leaders, ReadingLeader};
pub(crate) use lease::LeaseGuard;
pub use look::Accepted;
pub(crate) use memory::Memory;

use self::commit::{Committer, Work};
use self::election::{Campaign, Won, campaign, records_at, revoke, still_leads};
use self::error::{StoreError, Verdict, is_compacted, judge, within};
use self::following::{Following, Told};
use self::keys::Keys;
use self::lease::{LeaseEnd, keep, usable};
use self::watch::Watcher;
use crate::config::{Replica, StoreConfig};
use crate::metrics::DriverMetrics;

/// Pages and watch messages may be large; etcd itself bounds requests, not answers.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// What an input of the core belongs to. It is of no use in another term or round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A term of leadership.
    Term(Epoch),
    /// A round of following somebody else: one load, and what changed after it.
    Round(u64),
}

/// An input of the core.
#[derive(Debug)]
pub(crate) struct FromStore {
    pub(crate) source: Source,
    pub(crate) input: Input,
}

/// What the loop is told about leadership.
#[derive(Debug)]
pub(crate) enum Leadership {
    /// This replica leads.
    Lead {
        term: Term,
        snapshot: Snapshot,
        /// Told when the core knows: only then may its term's other inputs come.
        taken: oneshot::Sender<()>,
    },
    /// This replica leads, over the image of the round that it followed.
    TakeOver {
        term: Term,
        round: u64,
        /// How many records the store held then.
        records: usize,
        /// Told how far the image is, if it is far enough to lead over; dropped if it is not, and
        /// then the term has not begun.
        taken: oneshot::Sender<StoreRevision>,
    },
    /// Somebody else leads, and this is the store.
    Follow {
        round: u64,
        snapshot: Snapshot,
        /// Told when the core knows: only then may what changes afterwards come.
        taken: oneshot::Sender<()>,
    },
    /// It does not.
    Deposed(Deposed),
}

/// One term of leadership, as the loop uses it.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) epoch: Epoch,
    pub(crate) lease: LeaseGuard,
    pub(crate) orders: mpsc::UnboundedSender<Order>,
}

/// What a term begins with.
#[derive(Debug)]
enum Image {
    /// The core has it already, and the store held so many records.
    Followed(Following, usize),
    Loaded(Snapshot),
}

/// Why a term ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Somebody else leads, or the lease is gone.
    Lost,
    /// The lease could not be renewed in time.
    OutOfReach,
    /// Changes were missed: everything has to be loaded anew.
    Restart,
    /// The driver shuts down.
    Stopped,
    /// A task of ours panicked.
    Fault,
    /// The store is not the one that was seen before.
    Refused,
}

impl End {
    /// In words, for the log.
    const fn words(self) -> &'static str {
        match self {
            Self::Lost => "the lease is gone or somebody else leads",
            Self::OutOfReach => "the lease was not renewed in time",
            Self::Restart => "changes of the store were missed, everything is read anew",
            Self::Stopped => "shutting down",
            Self::Fault => "a task of this replica failed",
            Self::Refused => "the store is not the one that was seen before",
        }
    }

    const fn reason(self) -> Deposed {
        match self {
            Self::Lost | Self::Restart | Self::Fault => Deposed::LostLeadership,
            Self::OutOfReach => Deposed::StoreUnavailable,
            Self::Stopped => Deposed::ShuttingDown,
            Self::Refused => Deposed::StoreRefused,
        }
    }
}

/// Owns the store client. One task.
pub(crate) struct StoreTask {
    pub(crate) factory: Arc<dyn StoreFactory>,
    pub(crate) config: Arc<StoreConfig>,
    pub(crate) replica: Replica,
    pub(crate) metrics: Arc<DriverMetrics>,
    pub(crate) health: Reporter,
    pub(crate) leadership: mpsc::Sender<Leadership>,
    /// Fates and read-backs.
    pub(crate) answers: mpsc::Sender<FromStore>,
    pub(crate) changes: mpsc::Sender<FromStore>,
    pub(crate) stop: CancellationToken,
    /// Rounds of following so far.
    pub(crate) rounds: AtomicU64,
    /// How far the store was seen.
    pub(crate) memory: Memory,
}

/// How often it is written down how far the store was seen.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);

impl StoreTask {
    /// Runs until it is stopped; then leadership, if any, has been given up.
    pub(crate) async fn run(self) {
        let memory = self.memory.clone();
        let writing = async {
            let mut ticks = tokio::time::interval(SAVE_INTERVAL);
            loop {
                ticks.tick().await;
                memory.save();
            }
        };
        tokio::select! { biased;
            () = self.terms() => {}
            () = writing => {}
        }
        memory.save();
    }

    async fn terms(&self) {
        let mut told = Deposed::Starting;
        let mut pause = self.config.backoff_min;
        let mut complaint = String::new();
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            match self.term(&mut told).await {
                Ok(End::Stopped) => return,
                Ok(end) => {
                    tracing::warn!(why = end.words(), "this replica leads no more");
                    complaint.clear();
                }
                Err(error) => {
                    let text = error.to_string();
                    // The tries go on; what they say is said again only when it is something else.
                    if text == complaint {
                        tracing::debug!(%error, "cannot use the store still");
                    } else {
                        tracing::warn!(%error, "cannot use the store, trying again");
                    }
                    self.health.store_failed(&text);
                    self.tell_condition(&error, &text);
                    complaint = text;
                    let reason = match error {
                        StoreError::NotLeader => Deposed::LostLeadership,
                        StoreError::Refused(_) => Deposed::StoreRefused,
                        StoreError::Etcd(_) | StoreError::Timeout(..) | StoreError::Nonsense(_) => {
                            Deposed::StoreUnavailable
                        }
                    };
                    self.depose(&mut told, reason).await;
                }
            }
            if began.elapsed() > self.config.backoff_max {
                pause = self.config.backoff_min;
            }
            let _ = self.unless_stopped(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(self.config.backoff_max);
        }
    }

    /// What an error that ended a try says about the store.
    fn tell_condition(&self, error: &StoreError, text: &str) {
        match error {
            StoreError::NotLeader => {}
            StoreError::Refused(_) => self.health.not_believed(text),
            StoreError::Etcd(_) | StoreError::Timeout(..) | StoreError::Nonsense(_) => {
                match judge(error) {
                    Verdict::Refused {
                        store_wide: true, ..
                    } => self.health.refused_write(text),
                    Verdict::Refused { .. } | Verdict::Unknown(_) => self.health.no_answer(text),
                }
            }
        }
    }

    /// Tells the core why it does not lead, if that is news.
    async fn depose(&self, told: &mut Deposed, reason: Deposed) {
        if *told != reason {
            *told = reason;
            // Without a listener there is nobody to depose.
            let _ = self.leadership.send(Leadership::Deposed(reason)).await;
        }
    }

    /// `None`: the driver shuts down.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! { biased;
            () = self.stop.cancelled() => None,
            done = work => Some(done),
        }
    }

    /// Connects, campaigns until it leads, and leads until that ends. What is told to the core
    /// last is in `told`.
    async fn term(&self, told: &mut Deposed) -> Result<End, StoreError> {
        let connecting = within(
            self.config.connect_timeout,
            "connect",
            self.factory.connect(),
        );
        let Some(client) = self.unless_stopped(connecting).await else {
            return Ok(End::Stopped);
        };
        let mut client = client?;
        let keys = Keys::new(&self.config.prefix);
        let winning = self.win(&mut client, &keys, told);
        let Some(won) = self.unless_stopped(winning).await else {
            return Ok(End::Stopped);
        };
        let (won, following) = won?;
        let ended = self.lead(&client, &keys, won, following, told).await;
        // However it ended, nothing of it is left that could act on the lease.
        revoke(&mut client, &self.config, won.lease.id).await;
        ended
    }

    /// Campaigns until it wins; meanwhile it follows whoever leads.
    async fn win(
        &self,
        client: &mut Client,
        keys: &Keys,
        told: &mut Deposed,
    ) -> Result<(Won, Option<Following>), StoreError> {
        let mut following: Option<Following> = None;
        loop {
            let memory = &self.memory;
            let campaign = campaign(
                client,
                keys,
                &self.config,
                &self.replica,
                &self.health,
                memory,
            );
            match campaign.await? {
                Campaign::Won(won) => {
                    tracing::info!(epoch = won.epoch.0, "this replica won the election");
                    return Ok((won, following));
                }
                Campaign::Led { made, generation } => {
                    self.depose(told, Deposed::LostLeadership).await;
                    following = match following {
                        Some(mut following) if following.generation == generation => {
                            let follows = following.until_vacant(made).await?;
                            if follows {
                                tracing::info!("nobody leads any more");
                            }
                            follows.then_some(following)
                        }
                        // The next look tells whether somebody leads still.
                        _ => Some(self.follow(client, keys, generation).await?),
                    };
                }
            }
        }
    }

    /// Begins to follow: the core answers reads from what the store holds.
    async fn follow(
        &self,
        client: &Client,
        keys: &Keys,
        generation: u32,
    ) -> Result<Following, StoreError> {
        let snapshot = self.read_everything(client, keys).await?;
        let next = snapshot.revision.0 + 1;
        let round = self.rounds.fetch_add(1, Relaxed);
        tracing::info!(
            revision = snapshot.revision.0,
            records = snapshot.records.len(),
            "this replica follows"
        );
        let (taken, known) = oneshot::channel();
        let follow = Leadership::Follow {
            round,
            snapshot,
            taken,
        };
        let mut watching = JoinSet::new();
        let (tell, told) = watched::channel(Told::default());
        if self.leadership.send(follow).await.is_ok() && known.await.is_ok() {
            let watcher = self.watcher(client, keys, Source::Round(round), next);
            self.health.resync("");
            watching.spawn(watcher.follow(tell));
        }
        Ok(Following {
            round,
            generation,
            told,
            watching,
        })
    }

    /// Tells the core what changes from revision `next` on.
    fn watcher(&self, client: &Client, keys: &Keys, source: Source, next: i64) -> Watcher {
        Watcher {
            client: client
                .watch_client()
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
            keys: keys.clone(),
            source,
            config: Arc::clone(&self.config),
            metrics: Arc::clone(&self.metrics),
            changes: self.changes.clone(),
            next,
            memory: self.memory.clone(),
            health: self.health.clone(),
            replica: self.replica.clone(),
            asks: client.clone(),
        }
    }

    /// Leads: gets an image while the lease is renewed, then serves the core.
    async fn lead(
        &self,
        client: &Client,
        keys: &Keys,
        won: Won,
        mut following: Option<Following>,
        told: &mut Deposed,
    ) -> Result<End, StoreError> {
        let guard = LeaseGuard::until(won.lease.since + usable(won.lease.ttl));
        let mut tasks = JoinSet::new();
        let (lease_client, renewed) = (client.lease_client(), guard.clone());
        let health = self.health.clone();
        tasks.spawn(async move {
            match keep(lease_client, won.lease, renewed, health).await {
                LeaseEnd::Gone => End::Lost,
                LeaseEnd::Expired => End::OutOfReach,
            }
        });
        let (ordered, next) = loop {
            let image = tokio::select! { biased;
                () = self.stop.cancelled() => return Ok(End::Stopped),
                end = tasks.join_next() => return Ok(end_of(end)),
                image = self.image(client, keys, won.epoch, following.take()) => image?,
            };
            let (orders, ordered) = mpsc::unbounded_channel();
            let term = Term {
                epoch: won.epoch,
                lease: guard.clone(),
                orders,
            };
            match image {
                Image::Followed(followed, records) => {
                    if let Some(next) = self.take_over(term, records, followed).await {
                        break (ordered, next);
                    }
                }
                Image::Loaded(snapshot) => {
                    let next = snapshot.revision.0 + 1;
                    let (taken, known) = oneshot::channel();
                    let lead = Leadership::Lead {
                        term,
                        snapshot,
                        taken,
                    };
                    if self.leadership.send(lead).await.is_err() || known.await.is_err() {
                        return Ok(End::Stopped);
                    }
                    break (ordered, next);
                }
            }
        };
        DriverMetrics::count(&self.metrics.elections_won);
        self.health.leader_is(Some(self.replica.clone()));
        self.health.resync("");
        self.memory.save();
        self.serve(&mut tasks, client, keys, won.epoch, ordered, next);
        let end = tokio::select! { biased;
            () = self.stop.cancelled() => End::Stopped,
            end = tasks.join_next() => end_of(end),
        };
        if end == End::Restart {
            self.health.resync(end.words());
        }
        // The core hears of it at once; then nothing more is sent to the store.
        *told = end.reason();
        let _ = self.leadership.send(Leadership::Deposed(*told)).await;
        tasks.shutdown().await;
        Ok(end)
    }

    /// Starts what serves the core during a term.
    fn serve(
        &self,
        tasks: &mut JoinSet<End>,
        client: &Client,
        keys: &Keys,
        epoch: Epoch,
        orders: mpsc::UnboundedReceiver<Order>,
        next: i64,
    ) {
        let committer = Committer {
            client: client
                .kv_client()
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
            keys: keys.clone(),
            epoch,
            config: Arc::clone(&self.config),
            metrics: Arc::clone(&self.metrics),
            health: self.health.clone(),
            orders,
            answers: self.answers.clone(),
            memory: self.memory.clone(),
            work: Work::default(),
        };
        tasks.spawn(committer.run());
        let probing = probe::probe(
            client.clone(),
            keys.clone(),
            Arc::clone(&self.config),
            epoch,
            self.health.clone(),
        );
        tasks.spawn(probing);
        let watcher = self.watcher(client, keys, Source::Term(epoch), next);
        tasks.spawn(watcher.run());
        let compaction = compact::compact_on_schedule(
            client.clone(),
            keys.clone(),
            Arc::clone(&self.config),
            Arc::clone(&self.metrics),
        );
        tasks.spawn(async move {
            compaction.await;
            End::Fault
        });
    }

    /// What this replica leads over: the image that it followed once that has everything that was
    /// written before it won, or else the whole store, read anew.
    async fn image(
        &self,
        client: &Client,
        keys: &Keys,
        epoch: Epoch,
        following: Option<Following>,
    ) -> Result<Image, StoreError> {
        if let Some(mut following) = following {
            if following.generation == epoch.generation() {
                let reaching = following.reaches(epoch, self.config.lease_ttl);
                let mut asks = client.clone();
                let counting = records_at(&mut asks, keys, &self.config, epoch);
                let both = tokio::join!(reaching, counting);
                if let (true, Ok(records)) = both {
                    return Ok(Image::Followed(following, records));
                }
            }
            tracing::info!("the followed image is not far enough to lead over it");
            following.end().await;
        }
        let snapshot = self.load(client, keys, epoch).await?;
        tracing::info!(
            epoch = epoch.0,
            revision = snapshot.revision.0,
            records = snapshot.records.len(),
            strangers = snapshot.strangers.len(),
            "this replica leads"
        );
        Ok(Image::Loaded(snapshot))
    }

    /// Leads over the image that was followed: the revision from which on changes are to be told.
    /// `None`: the core does not have that image.
    async fn take_over(&self, term: Term, records: usize, following: Following) -> Option<i64> {
        let epoch = term.epoch;
        let (taken, known) = oneshot::channel();
        let lead = Leadership::TakeOver {
            term,
            round: following.round,
            records,
            taken,
        };
        let sent = self.leadership.send(lead).await.is_ok();
        let reached = if sent { known.await.ok() } else { None };
        following.end().await;
        let StoreRevision(revision) = reached?;
        tracing::info!(
            epoch = epoch.0,
            revision,
            "this replica leads over the image that it followed"
        );
        // Of a later revision a part may have been told.
        Some(revision.max(epoch.create_revision() + 1))
    }

    /// The whole store, read while this epoch certainly led.
    async fn load(
        &self,
        client: &Client,
        keys: &Keys,
        epoch: Epoch,
    ) -> Result<Snapshot, StoreError> {
        let snapshot = self.read_everything(client, keys).await?;
        still_leads(&mut client.clone(), keys, &self.config, epoch).await?;
        Ok(snapshot)
    }

    async fn read_everything(&self, client: &Client, keys: &Keys) -> Result<Snapshot, StoreError> {
        /// Compactions that may cut a load short before it is given up.
        const TRIES: u32 = 3;
        let began = Instant::now();
        let mut kv = client
            .kv_client()
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut tries = 1;
        let snapshot = loop {
            match load::load(&mut kv, keys, &self.config).await {
                Err(error) if is_compacted(&error) && tries < TRIES => tries += 1,
                loaded => break loaded?,
            }
        };
        let took: Duration = began.elapsed();
        self.metrics.load_time.record_duration(took);
        Ok(snapshot)
    }
}

/// Says for the operator that the store is to be believed although it is not the one that was seen
/// before: it was restored on purpose. Whoever leads loads it anew. `generation`: one that no store
/// had that was seen, as the refusal names it; without it the least that is known to be new.
///
/// # Errors
/// The store cannot be asked; the generation is not a new one; or somebody was faster.
pub async fn accept_restore(
    factory: &impl StoreFactory,
    prefix: &str,
    generation: Option<u32>,
) -> Result<Accepted, String> {
    let config = StoreConfig::default();
    let connecting = within(config.connect_timeout, "connect", factory.connect()).await;
    let mut client = connecting.map_err(|error| error.to_string())?;
    look::accept(&mut client, prefix, &config, generation).await
}

/// A task that panicked ends the term like any other fault.
fn end_of(ended: Option<Result<End, tokio::task::JoinError>>) -> End {
    match ended {
        Some(Ok(end)) => end,
        Some(Err(_)) | None => End::Fault,
    }
}

#[cfg(test)]
mod tests;
