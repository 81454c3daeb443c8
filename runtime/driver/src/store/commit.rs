//! Group commit: many transactions of the core in few transactions of the store, several in
//! flight. One record's conflict or refusal never fails another's transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use berth_core::io::{Fate, Op, Txn};
use berth_core::lineage::Sight;
use berth_core::{Epoch, Input, Key, TxnId};
use etcd_client::{KvClient, TxnResponse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::error::{StoreError, Verdict, judge, within};
use super::group::{Pending, take_group};
use super::health::Reporter;
use super::keys::Keys;
use super::memory::Memory;
use super::read_back::read_back;
use super::txn::{self, Answer};
use super::{End, FromStore, Source};
use crate::config::StoreConfig;
use crate::metrics::{DriverMetrics, FateKind};

/// What the core asks of the store.
#[derive(Debug)]
pub(crate) enum Order {
    /// Commit this, and answer with its fate.
    Commit(Pending),
    /// Read these keys, and answer with the records.
    ReadBack(TxnId, Vec<Key>),
}

/// Carries out the orders of one term of leadership.
pub(crate) struct Committer {
    pub(crate) client: KvClient,
    pub(crate) keys: Keys,
    pub(crate) epoch: Epoch,
    pub(crate) config: Arc<StoreConfig>,
    pub(crate) metrics: Arc<DriverMetrics>,
    pub(crate) health: Reporter,
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
    pub(crate) answers: mpsc::Sender<FromStore>,
    pub(crate) memory: Memory,
    pub(crate) work: Work,
}

/// What a committer has to do.
#[derive(Default)]
pub(crate) struct Work {
    queue: VecDeque<Pending>,
    in_flight: JoinSet<Attempt>,
    /// `None`: another store answered.
    reads: JoinSet<Option<FromStore>>,
    waiting_reads: VecDeque<(TxnId, Vec<Key>)>,
}

/// One transaction of the store and what came of it.
pub(crate) struct Attempt {
    group: Vec<Pending>,
    /// How far the store was seen before, and when it was asked.
    before: Option<Sight>,
    asked: Instant,
    result: Result<TxnResponse, StoreError>,
}

/// Read-backs in flight at once.
const READS_MAX: usize = 16;
/// Orders taken at once.
const ORDERS_MAX: usize = 1_024;

impl Committer {
    /// Runs until somebody else leads, or until nobody orders any more.
    pub(crate) async fn run(mut self) -> End {
        let mut orders = Vec::new();
        loop {
            if let Some(end) = self.refuse_what_the_store_would().await {
                return end;
            }
            self.send_groups();
            self.send_reads();
            tokio::select! { biased;
                Some(attempt) = self.work.in_flight.join_next() => {
                    // A task that panicked is a fault of ours; its fates are lost, and a new
                    // term of leadership finds out.
                    let Ok(attempt) = attempt else { return End::Fault };
                    if let Some(end) = self.settle(attempt).await {
                        return end;
                    }
                }
                Some(read) = self.work.reads.join_next() => {
                    let Ok(read) = read else { return End::Fault };
                    // The next look says what is wrong with it.
                    let Some(read) = read else { return End::Refused };
                    if self.answers.send(read).await.is_err() {
                        return End::Stopped;
                    }
                }
                taken = self.orders.recv_many(&mut orders, ORDERS_MAX) => {
                    if taken == 0 {
                        return End::Stopped;
                    }
                    for order in orders.drain(..) {
                        match order {
                            Order::Commit(pending) => self.work.queue.push_back(pending),
                            Order::ReadBack(txn, keys) => self.work.waiting_reads.push_back((txn, keys)),
                        }
                    }
                }
            }
        }
    }

    /// While the store takes no writes it is not asked for any, but by the probe: the core and
    /// clients hear at once what they would hear later, and the store is left in peace.
    async fn refuse_what_the_store_would(&mut self) -> Option<End> {
        let why = self.health.read_only()?;
        let queue = std::mem::take(&mut self.work.queue);
        let (writes, others): (Vec<_>, Vec<_>) = queue.into_iter().partition(|p| writes(&p.txn));
        self.work.queue = others.into();
        self.tell(writes, |_| Fate::Refused(why.clone())).await
    }

    /// Sends groups while there is room in flight.
    fn send_groups(&mut self) {
        while self.work.in_flight.len() < self.config.commits_in_flight_max.max(1) {
            let group = take_group(&mut self.work.queue, &self.config.group);
            if group.is_empty() {
                return;
            }
            let request = txn::build(&self.keys, self.epoch, &group);
            DriverMetrics::count(&self.metrics.store_txns);
            self.metrics.group_size.record(group.len() as u64);
            let (mut client, limit) = (self.client.clone(), self.config.commit_timeout);
            let (before, asked) = (self.memory.asks(), Instant::now());
            self.work.in_flight.spawn(async move {
                let result = within(limit, "commit", client.txn(request)).await;
                Attempt {
                    group,
                    before,
                    asked,
                    result,
                }
            });
        }
    }

    /// Starts read-backs while there is room.
    fn send_reads(&mut self) {
        while self.work.reads.len() < READS_MAX {
            let Some((txn, keys)) = self.work.waiting_reads.pop_front() else {
                return;
            };
            let (client, layout) = (self.client.clone(), self.keys.clone());
            let (config, epoch) = (Arc::clone(&self.config), self.epoch);
            let (metrics, memory) = (Arc::clone(&self.metrics), self.memory.clone());
            self.work.reads.spawn(async move {
                let input = read_back(client, &layout, &config, &memory, txn, keys).await?;
                DriverMetrics::count(&metrics.read_backs);
                Some(FromStore {
                    source: Source::Term(epoch),
                    input,
                })
            });
        }
    }

    /// Draws the conclusions of one attempt.
    async fn settle(&mut self, attempt: Attempt) -> Option<End> {
        let Attempt {
            group,
            before,
            asked,
            result,
        } = attempt;
        let answer = match &result {
            Ok(answer) => {
                self.health.answered(Some(asked.elapsed()));
                if let Some(end) = self.other_store(before, answer) {
                    return Some(end);
                }
                txn::read(&self.keys, self.epoch, &group, answer)
            }
            Err(error) => return self.failed(group, judge(error)).await,
        };
        match answer {
            Answer::Committed(revision) => {
                if group.iter().any(|pending| writes(&pending.txn)) {
                    self.memory.told(revision.0);
                    self.health.wrote();
                    self.health.store_works();
                }
                self.tell(group, |_| Fate::Committed(revision)).await
            }
            Answer::Fenced => {
                let refused = |_: &Txn| Fate::Refused("somebody else leads".to_owned());
                self.tell(group, refused).await.or(Some(End::Lost))
            }
            Answer::Differs(revision, current) => {
                let (members, mut fates, mut again) = (group.len(), Vec::new(), Vec::new());
                for pending in group {
                    match txn::conflict(&pending.txn, revision, &current) {
                        Some(fate) => fates.push((pending, fate)),
                        None => again.push(pending),
                    }
                }
                if fates.is_empty() {
                    // Cannot be: the transaction failed, so a compare of somebody did.
                    let unknown = |_: &Txn| Fate::Unknown;
                    return self.tell(again, unknown).await;
                }
                if members > 1 {
                    DriverMetrics::count(&self.metrics.groups_split);
                }
                self.requeue(again);
                for (pending, fate) in fates {
                    if let Some(end) = self.tell_one(pending, fate).await {
                        return Some(end);
                    }
                }
                None
            }
            Answer::Nonsense => {
                let what = StoreError::Nonsense("commit");
                self.failed(group, judge(&what)).await
            }
        }
    }

    /// Whether the answer is of another store than the one that was loaded: it was restored under
    /// our feet. The next look says what is wrong with it.
    fn other_store(&self, before: Option<Sight>, answer: &TxnResponse) -> Option<End> {
        let header = answer.header()?;
        let (cluster, revision) = (header.cluster_id(), header.revision());
        let broken = self.memory.judge_answer(before, cluster, revision).err()?;
        tracing::error!(why = %broken, "the store is another one than before");
        Some(End::Refused)
    }

    /// The store gave no answer, or refused.
    async fn failed(&mut self, group: Vec<Pending>, verdict: Verdict) -> Option<End> {
        match verdict {
            Verdict::Unknown(error) => {
                tracing::warn!(%error, members = group.len(), "the fate of a commit is unknown");
                self.health.store_failed(&error);
                self.health.no_answer(&error);
                self.tell(group, |_| Fate::Unknown).await
            }
            Verdict::Refused { text, store_wide } if group.len() == 1 => {
                tracing::warn!(error = text, "the store refused a commit");
                // One transaction that is too large says nothing about the others.
                if store_wide {
                    self.health.store_failed(&text);
                    self.health.refused_write(&text);
                }
                self.tell(group, |_| Fate::Refused(text.clone())).await
            }
            Verdict::Refused { text, .. } => {
                tracing::info!(
                    error = text,
                    members = group.len(),
                    "splitting a refused commit"
                );
                DriverMetrics::count(&self.metrics.groups_split);
                let alone = |pending| Pending {
                    alone: true,
                    ..pending
                };
                self.requeue(group.into_iter().map(alone).collect());
                None
            }
        }
    }

    /// Puts them back in front, in their order.
    fn requeue(&mut self, again: Vec<Pending>) {
        for pending in again.into_iter().rev() {
            self.work.queue.push_front(pending);
        }
    }

    async fn tell(&self, group: Vec<Pending>, fate: impl Fn(&Txn) -> Fate) -> Option<End> {
        for pending in group {
            let fate = fate(&pending.txn);
            if let Some(end) = self.tell_one(pending, fate).await {
                return Some(end);
            }
        }
        None
    }

    async fn tell_one(&self, pending: Pending, fate: Fate) -> Option<End> {
        self.metrics
            .commit_latency
            .record_duration(pending.since.elapsed());
        self.metrics.fate(match &fate {
            Fate::Committed(_) => {
                self.metrics.written(&pending.txn);
                FateKind::Committed
            }
            Fate::Conflict { .. } => FateKind::Conflict,
            Fate::Refused(_) => FateKind::Refused,
            Fate::Unknown => FateKind::Unknown,
        });
        let input = Input::Commit {
            txn: pending.txn.id,
            fate,
        };
        let answer = FromStore {
            source: Source::Term(self.epoch),
            input,
        };
        self.answers.send(answer).await.err().map(|_| End::Stopped)
    }
}

/// Whether a transaction needs space: a full store still takes what only deletes.
fn writes(txn: &Txn) -> bool {
    txn.ops.iter().any(|op| matches!(op, Op::Put { .. }))
}
