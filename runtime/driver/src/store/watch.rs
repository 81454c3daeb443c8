//! Changes of the store after the snapshot, resumed where the stream broke.

use std::sync::Arc;

use berth_core::io::Stored;
use berth_core::{Input, Key, StoreRevision};
use etcd_client::{
    Client, Event, EventType, KeyValue, WatchClient, WatchOptions, WatchResponse, WatchStream,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::error::{StoreError, within};
use super::following::Told;
use super::health::Reporter;
use super::keys::{Keys, Place};
use super::look::look;
use super::memory::Memory;
use super::txn::text_of;
use super::{End, FromStore, Source};
use crate::config::{Replica, StoreConfig};
use crate::metrics::DriverMetrics;

/// Tells the core what changes while one term of leadership lasts, or one round of following.
pub(crate) struct Watcher {
    pub(crate) client: WatchClient,
    pub(crate) keys: Keys,
    pub(crate) source: Source,
    pub(crate) config: Arc<StoreConfig>,
    pub(crate) metrics: Arc<DriverMetrics>,
    pub(crate) changes: mpsc::Sender<FromStore>,
    /// The revision from which on changes have not been told.
    pub(crate) next: i64,
    pub(crate) memory: Memory,
    pub(crate) health: Reporter,
    pub(crate) replica: Replica,
    /// Asks whether the store is still the same, before a stream that broke is resumed.
    pub(crate) asks: Client,
}

/// How often in a row a follower's broken stream is resumed.
const RESUMES_MAX: u32 = 3;

/// Why a stream of changes ended.
enum Broken {
    /// It is to be resumed.
    Error(StoreError),
    /// There is nothing to resume.
    Over(End),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Error(error)
    }
}

impl Watcher {
    /// Runs until leadership is seen to be lost, or until changes were compacted away unseen.
    pub(crate) async fn run(mut self) -> End {
        let mut pause = self.config.backoff_min;
        loop {
            let seen = self.next;
            let broken = self.stream().await;
            match broken {
                Broken::Over(end) => return end,
                Broken::Error(error) => {
                    tracing::warn!(%error, from = self.next, "resuming the watch of the store");
                    DriverMetrics::count(&self.metrics.watch_resumes);
                }
            }
            if self.next > seen {
                pause = self.config.backoff_min;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.config.backoff_max);
            // A store that cannot be asked cannot be watched either.
            if let Err(StoreError::Refused(why)) = self.look().await {
                tracing::error!(%why, "the store is another one than before");
                return End::Refused;
            }
        }
    }

    /// Whether the store is still the one that it was: it was away.
    async fn look(&mut self) -> Result<(), StoreError> {
        let (keys, config) = (&self.keys, &self.config);
        look(&mut self.asks, keys, config, &self.replica, &self.memory).await?;
        Ok(())
    }

    /// Runs until everything has to be loaded anew. A stream that breaks is resumed a few times;
    /// then the store is out of reach. What becomes of the leadership key is told in `told`, after
    /// all that came before it.
    ///
    /// # Errors
    /// The store cannot be watched.
    pub(crate) async fn follow(mut self, told: watch::Sender<Told>) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            let seen = self.next;
            match self.stream_of_leader(&told).await {
                Broken::Over(_) => return Ok(()),
                Broken::Error(error) => {
                    tries = if self.next > seen { 1 } else { tries + 1 };
                    if tries > RESUMES_MAX {
                        return Err(error);
                    }
                    tracing::info!(%error, from = self.next, "resuming the watch of the store");
                    DriverMetrics::count(&self.metrics.watch_resumes);
                    tokio::time::sleep(self.config.backoff_min * tries).await;
                    if let Err(refused @ StoreError::Refused(_)) = self.look().await {
                        return Err(refused);
                    }
                }
            }
        }
    }

    /// One stream of a follower: asks now and then how far it is, and notices silence.
    async fn stream_of_leader(&mut self, told: &watch::Sender<Told>) -> Broken {
        let mut stream = match self.open().await {
            Ok(stream) => stream,
            Err(error) => return error.into(),
        };
        let interval = self.config.lease_ttl / 2;
        let mut heard = Instant::now();
        let mut unled = false;
        loop {
            match timeout(interval, stream.message()).await {
                Ok(Ok(Some(message))) => {
                    heard = Instant::now();
                    unled &= message.events().is_empty();
                    self.health.answered(None);
                    if let Err(broken) = self.take_of_leader(&message, told).await {
                        return broken;
                    }
                }
                Ok(Ok(None)) => return StoreError::Nonsense("watch").into(),
                Ok(Err(error)) => return StoreError::Etcd(error).into(),
                Err(_) if heard.elapsed() > self.config.lease_ttl * 2 => {
                    return StoreError::Timeout("watch", heard.elapsed()).into();
                }
                Err(_) => {
                    let asking = stream.request_progress();
                    if let Err(error) = within(interval, "watch", asking).await {
                        return error.into();
                    }
                    match self.is_led().await {
                        Ok(true) => unled = false,
                        // The watch may be about to tell.
                        Ok(false) if !unled => unled = true,
                        Ok(false) => return Broken::Over(End::Lost),
                        Err(error) => return error.into(),
                    }
                }
            }
        }
    }

    /// Whether anybody leads. The watch alone cannot be trusted with that: where a slow watch stands
    /// at the very revision that is compacted, some versions of etcd never tell what was removed in
    /// it (etcd-io/etcd#18089), and then nobody would ever campaign.
    async fn is_led(&mut self) -> Result<bool, StoreError> {
        let asking = self.asks.get(self.keys.leader(), None);
        let held = within(self.config.request_timeout, "election", asking).await?;
        Ok(!held.kvs().is_empty())
    }

    async fn take_of_leader(
        &mut self,
        message: &WatchResponse,
        told: &watch::Sender<Told>,
    ) -> Result<(), Broken> {
        self.take(message).await?;
        if message.events().is_empty() && !message.created() {
            // Nothing changed: the image is as old as this message. (Some versions of etcd send
            // it before changes that came earlier; their age is told as too small, no more.)
            self.send(StoreRevision(0), Vec::new()).await?;
        }
        for event in message.events() {
            let Some(record) = event.kv() else { continue };
            if record.key() == self.keys.leader().as_bytes() {
                match event.event_type() {
                    EventType::Put => {
                        let leader = serde_json::from_slice(record.value()).ok();
                        self.health.leader_is(leader);
                        told.send_modify(|told| told.made = record.create_revision());
                    }
                    EventType::Delete => told.send_modify(|told| told.gone = record.mod_revision()),
                }
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<WatchStream, StoreError> {
        let options = WatchOptions::new()
            .with_range(self.keys.root_end())
            .with_start_revision(self.next)
            .with_fragment()
            .with_progress_notify();
        let opening = self.client.watch(self.keys.root(), Some(options));
        within(self.config.request_timeout, "watch", opening).await
    }

    /// One stream, until it breaks.
    async fn stream(&mut self) -> Broken {
        let mut stream = match self.open().await {
            Ok(stream) => stream,
            Err(error) => return error.into(),
        };
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    if let Err(broken) = self.take(&message).await {
                        return broken;
                    }
                }
                Ok(None) => return StoreError::Nonsense("watch").into(),
                Err(error) => return StoreError::Etcd(error).into(),
            }
        }
    }

    async fn take(&mut self, message: &WatchResponse) -> Result<(), Broken> {
        if message.compact_revision() > 0 {
            tracing::warn!(
                from = self.next,
                compacted = message.compact_revision(),
                "changes were compacted away unseen: loading everything anew"
            );
            self.health.resync(End::Restart.words());
            return Err(Broken::Over(End::Restart));
        }
        if message.canceled() {
            return Err(StoreError::Nonsense("watch").into());
        }
        if message.events().is_empty() {
            // Progress: everything up to the header's revision was told.
            let told = message.header().map_or(0, |header| header.revision());
            if !message.created() && matches!(self.source, Source::Term(_)) {
                self.next = self.next.max(told + 1);
            }
            return Ok(());
        }
        // The election's keys alone are no content.
        let is_record = |event: &&Event| {
            event
                .kv()
                .is_some_and(|kv| matches!(self.keys.place(kv.key()), Place::Record(_)))
        };
        if let Some(last) = message.events().iter().rfind(is_record) {
            self.memory.told(revision(last));
        }
        for events in message
            .events()
            .chunk_by(|one, two| revision(one) == revision(two))
        {
            self.tell(events).await?;
        }
        Ok(())
    }

    /// Tells the changes of one revision, or a part of them: a large one comes in fragments.
    async fn tell(&mut self, events: &[Event]) -> Result<(), Broken> {
        let revision = events.first().map_or(0, revision);
        let mut records = Vec::with_capacity(events.len());
        let mut of_election = false;
        for event in events {
            let Some(record) = event.kv() else { continue };
            match self.keys.place(record.key()) {
                // A leader alone writes events, and they never change: it knows them.
                Place::Record(Key::Event(_)) if matches!(self.source, Source::Term(_)) => {}
                Place::Stranger(_) => {}
                Place::Record(key) => records.push(changed(key, event.event_type(), record)),
                Place::Election => {
                    of_election = true;
                    self.check_leader(event.event_type(), record)?;
                }
            }
        }
        // The same revision may go on in the next message, so it is asked for again after an
        // error: what the core knows already changes nothing.
        self.next = self.next.max(revision);
        // Who follows is told that nothing was written up to an election that it may win.
        let concerns = of_election && matches!(self.source, Source::Round(_));
        if records.is_empty() && !concerns {
            return Ok(());
        }
        self.send(StoreRevision(revision), records).await
    }

    async fn send(&self, revision: StoreRevision, records: Vec<Stored>) -> Result<(), Broken> {
        let change = FromStore {
            source: self.source,
            input: Input::Changed { revision, records },
        };
        let sent = self.changes.send(change).await;
        sent.map_err(|_| Broken::Over(End::Stopped))
    }

    /// The leadership key is ours as long as it was created at our epoch.
    fn check_leader(&self, what: EventType, record: &KeyValue) -> Result<(), Broken> {
        let Source::Term(epoch) = self.source else {
            return Ok(());
        };
        if record.key() != self.keys.leader().as_bytes() {
            return Ok(());
        }
        let ours = match what {
            EventType::Put => record.create_revision() == epoch.create_revision(),
            EventType::Delete => false,
        };
        if ours {
            Ok(())
        } else {
            Err(Broken::Over(End::Lost))
        }
    }
}

fn revision(event: &Event) -> i64 {
    event.kv().map_or(0, KeyValue::mod_revision)
}

/// A change as the core is told it. A removal has the revision that removed it: without it, the echo
/// of an own removal could not be told from one that came after a later write.
fn changed(key: Key, what: EventType, record: &KeyValue) -> Stored {
    match what {
        EventType::Put => Stored {
            key,
            value: Some(text_of(record.value().to_vec()).into()),
            mod_revision: StoreRevision(record.mod_revision()),
        },
        EventType::Delete => Stored {
            key,
            value: None,
            mod_revision: StoreRevision(record.mod_revision()),
        },
    }
}
