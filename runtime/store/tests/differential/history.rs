//! Random histories: what to ask next, from a seed and from what was learned so far.

use std::collections::BTreeMap;

use berth_kv::{
    Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, LeaseId, PutRequest, RangeRequest,
    Request, RevisionFilter, SortOrder, SortTarget, TxnOp, TxnRequest, Value, WatchFilter, WatchId,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::answer::Answer;
use crate::watching::{STREAMS, WatchOp};

/// Keys in each of the families `a/`, `b/`, …; few enough that etcd's sort of one is stable.
const KEYS_PER_FAMILY: u32 = 8;
const FAMILIES: [&str; 4] = ["a/", "b/", "c/", "d"];
/// Client-chosen lease ids are 1 to this.
const LEASE_IDS: i64 = 12;
/// Long enough not to end while the test runs.
const LEASE_TTL_S: i64 = 100_000;

/// One step of a history.
#[derive(Debug)]
pub(crate) enum Op {
    Request(Request),
    Watch(WatchOp),
}

/// The generator.
pub(crate) struct History {
    rng: ChaCha8Rng,
    revision: i64,
    compacted: i64,
    /// Leases that the server named, as the sides call them.
    aliases: Vec<i64>,
    counts: BTreeMap<&'static str, (usize, usize)>,
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        History {
            rng,
            revision: 1,
            compacted: 0,
            aliases: vec![],
            counts: BTreeMap::new(),
        }
    }

    pub(crate) fn set_revision(&mut self, revision: i64) {
        self.revision = revision;
    }

    /// Takes note of what later steps refer to.
    pub(crate) fn learn(&mut self, request: &Request, answer: &Answer) {
        let refused = matches!(answer, Answer::Refused { .. } | Answer::Client(_));
        let count = self.counts.entry(kind(request)).or_default();
        count.0 += 1;
        count.1 += usize::from(refused);
        match (request, answer) {
            (Request::Compact { revision }, Answer::Compact(_)) => self.compacted = *revision,
            (
                Request::LeaseGrant {
                    id: LeaseId::NONE, ..
                },
                Answer::Grant(grant),
            ) => {
                self.aliases.push(grant.id);
            }
            _ => {}
        }
    }

    /// How often each kind was asked and refused.
    pub(crate) fn summary(&self) -> String {
        let parts = self
            .counts
            .iter()
            .map(|(kind, (all, refused))| format!("{kind} {all} ({refused} refused)"));
        parts.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn next_op(&mut self) -> Op {
        Op::Request(match self.below(100) {
            0..=27 => Request::Put(self.put()),
            28..=47 => Request::Range(self.range()),
            48..=55 => Request::DeleteRange(self.delete()),
            56..=77 => Request::Txn(self.txn(0)),
            78..=87 => self.lease(),
            88..=89 => Request::Compact {
                revision: self.compaction(),
            },
            90..=92 => self.invalid(),
            _ => return Op::Watch(self.watch()),
        })
    }

    fn below(&mut self, end: u32) -> u32 {
        self.rng.random_range(0..end)
    }

    fn one_in(&mut self, chances: u32) -> bool {
        self.below(chances) == 0
    }

    fn key(&mut self) -> String {
        let family = FAMILIES[self.below(FAMILIES.len() as u32) as usize];
        let number = self.below(KEYS_PER_FAMILY);
        format!("{family}{number}")
    }

    fn key_range(&mut self) -> KeyRange {
        match self.below(20) {
            0..=7 => KeyRange::Single(self.key().into()),
            8..=12 => {
                let family = FAMILIES[self.below(FAMILIES.len() as u32) as usize];
                KeyRange::prefix(family)
            }
            13..=16 => KeyRange::Span {
                start: self.key().into(),
                end: self.key().into(),
            },
            17..=18 => KeyRange::From(self.key().into()),
            _ => KeyRange::all(),
        }
    }

    /// A range that never covers more keys than etcd sorts stably.
    fn small_range(&mut self) -> KeyRange {
        let family = FAMILIES[self.below(FAMILIES.len() as u32) as usize];
        if self.one_in(2) {
            KeyRange::prefix(family)
        } else {
            KeyRange::Single(self.key().into())
        }
    }

    fn value(&mut self) -> Value {
        match self.below(20) {
            0 => Value::new(),
            1 => vec![b'x'; self.below(20_000) as usize].into(),
            _ => format!("v{}", self.below(6)).into(),
        }
    }

    /// Mostly revisions that can be read; some that were compacted, some to come.
    fn revision(&mut self) -> i64 {
        match self.below(12) {
            0 => self.revision + 1 + i64::from(self.below(5)),
            1 => self.rng.random_range(-1..=self.compacted.max(0)),
            2 => self.compacted.max(1),
            3 => self.revision,
            _ => self.rng.random_range(self.compacted.max(1)..=self.revision),
        }
    }

    fn bound(&mut self) -> Option<i64> {
        let recent = (self.revision - 60).max(1);
        self.one_in(3)
            .then(|| self.rng.random_range(recent..=self.revision + 2))
    }

    fn sort(&mut self) -> (SortOrder, SortTarget) {
        let order = [SortOrder::None, SortOrder::Ascend, SortOrder::Descend];
        let targets = [
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ];
        (
            order[self.below(3) as usize],
            targets[self.below(5) as usize],
        )
    }

    fn range(&mut self) -> RangeRequest {
        let mut range = RangeRequest::range(self.key_range());
        if self.one_in(2) {
            range.revision = self.revision();
        }
        self.range_options(&mut range);
        range
    }

    fn range_options(&mut self, range: &mut RangeRequest) {
        if self.one_in(3) {
            range.limit = i64::from(self.below(6)) - 1;
        }
        if self.one_in(3) {
            (range.sort_order, range.sort_target) = self.sort();
        }
        if self.one_in(5) {
            range.filter = RevisionFilter {
                min_mod: self.bound(),
                max_mod: self.bound(),
                min_create: self.bound(),
                max_create: self.bound(),
            };
        }
        range.keys_only = self.one_in(6);
        range.count_only = self.one_in(8);
    }

    fn put(&mut self) -> PutRequest {
        let mut put = PutRequest::new(self.key(), self.value());
        put.prev_kv = self.one_in(3);
        if self.one_in(12) {
            put.ignore_value = true;
            put.value = Value::new();
        }
        if self.one_in(12) {
            put.ignore_lease = true;
        } else if self.one_in(4) {
            put.lease = self.lease_id();
        }
        put
    }

    fn delete(&mut self) -> DeleteRequest {
        let range = if self.one_in(3) {
            self.key_range()
        } else {
            KeyRange::Single(self.key().into())
        };
        DeleteRequest {
            range,
            prev_kv: self.one_in(2),
        }
    }

    fn txn(&mut self, depth: u32) -> TxnRequest {
        let compares = self.below(3);
        let mut txn = TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.ops(depth),
            failure: self.ops(depth),
        };
        if deletes_to_the_end(&txn) {
            need_no_previous(&mut txn);
        }
        txn
    }

    fn ops(&mut self, depth: u32) -> Vec<TxnOp> {
        let count = self.below(4);
        (0..count).map(|_| self.op(depth)).collect()
    }

    fn op(&mut self, depth: u32) -> TxnOp {
        match self.below(12) {
            0..=4 => TxnOp::Put(self.put()),
            5..=6 => TxnOp::DeleteRange(self.delete()),
            7..=8 if depth < 3 => TxnOp::Txn(self.txn(depth + 1)),
            _ => {
                let mut range = RangeRequest::range(self.small_range());
                if self.one_in(4) {
                    range.revision = self.revision();
                }
                self.range_options(&mut range);
                TxnOp::Range(range)
            }
        }
    }

    fn compare(&mut self) -> Compare {
        let ops = [
            CompareOp::Equal,
            CompareOp::NotEqual,
            CompareOp::Greater,
            CompareOp::Less,
        ];
        let target = match self.below(5) {
            0 => CompareTarget::Version(i64::from(self.below(4))),
            1 => CompareTarget::Create(self.recent()),
            2 => CompareTarget::Mod(self.recent()),
            3 => CompareTarget::Value(self.value()),
            _ => CompareTarget::Lease(if self.one_in(2) {
                LeaseId::NONE
            } else {
                self.lease_id()
            }),
        };
        let range = if self.one_in(3) {
            self.key_range()
        } else {
            KeyRange::Single(self.key().into())
        };
        // The order of ids that the two servers chose says nothing.
        let ordered = !matches!(&target, CompareTarget::Lease(_));
        let op = ops[self.below(if ordered { 4 } else { 2 }) as usize];
        Compare { range, op, target }
    }

    fn recent(&mut self) -> i64 {
        if self.one_in(4) {
            0
        } else {
            self.rng
                .random_range((self.revision - 30).max(0)..=self.revision)
        }
    }

    fn lease_id(&mut self) -> LeaseId {
        if !self.aliases.is_empty() && self.one_in(4) {
            let index = self.below(self.aliases.len() as u32) as usize;
            return LeaseId(self.aliases[index]);
        }
        LeaseId(1 + i64::from(self.below(LEASE_IDS as u32)))
    }

    fn lease(&mut self) -> Request {
        match self.below(12) {
            0..=3 => {
                let id = if self.one_in(4) {
                    LeaseId::NONE
                } else {
                    self.lease_id()
                };
                let ttl_s = match self.below(10) {
                    0 => 9_000_000_001,
                    _ => LEASE_TTL_S + i64::from(self.below(1000)),
                };
                Request::LeaseGrant { id, ttl_s }
            }
            4..=5 => Request::LeaseRevoke {
                id: self.lease_id(),
            },
            6..=7 => Request::LeaseKeepAlive {
                id: self.lease_id(),
            },
            8..=10 => Request::LeaseTimeToLive {
                id: self.lease_id(),
                keys: self.one_in(2),
            },
            _ => Request::LeaseList,
        }
    }

    fn compaction(&mut self) -> i64 {
        match self.below(6) {
            0 => self.revision(),
            _ => (self.revision - i64::from(self.below(40))).max(0),
        }
    }

    /// Requests that both must refuse, or that are at the edge of it.
    fn invalid(&mut self) -> Request {
        let many = [127, 128, 129][self.below(3) as usize];
        match self.below(9) {
            0 => Request::Put(PutRequest::new("", "v")),
            1 => Request::Range(RangeRequest::key("")),
            2 => Request::DeleteRange(DeleteRequest {
                range: KeyRange::Single("".into()),
                prev_kv: false,
            }),
            3 => Request::Put(PutRequest {
                ignore_value: true,
                ..self.put()
            }),
            4 => Request::Put(PutRequest {
                ignore_lease: true,
                lease: self.lease_id(),
                ..self.put()
            }),
            5 => {
                let put = |n: u32| TxnOp::Put(PutRequest::new(format!("e{n}"), "v"));
                Request::Txn(TxnRequest {
                    success: (0..many).map(put).collect(),
                    ..TxnRequest::default()
                })
            }
            6 => {
                let compare = self.compare();
                let compare = vec![compare; many as usize];
                Request::Txn(TxnRequest {
                    compare,
                    ..TxnRequest::default()
                })
            }
            7 => Request::Put(PutRequest::new(
                "big",
                vec![b'x'; (1 << 20) + self.below(1 << 20) as usize - 4096],
            )),
            _ => {
                let nested = TxnRequest {
                    failure: vec![self.op(3); 2],
                    ..TxnRequest::default()
                };
                let outer = vec![TxnOp::Txn(nested); (many / 2 - 1) as usize];
                Request::Txn(TxnRequest {
                    success: outer,
                    ..TxnRequest::default()
                })
            }
        }
    }

    /// Now, in the past (often at the edge of what was compacted), or well in the future.
    fn watch_start(&mut self) -> i64 {
        match self.below(8) {
            0..=2 => 0,
            3 => self.compacted + i64::from(self.below(3)),
            4 => self.revision + 10 + i64::from(self.below(40)),
            _ => self.revision().max(1),
        }
    }

    fn watch(&mut self) -> WatchOp {
        let stream = self.below(STREAMS as u32) as usize;
        match self.below(12) {
            0..=5 => {
                let id = if self.one_in(3) {
                    i64::from(1 + self.below(6))
                } else {
                    0
                };
                let filters = [WatchFilter::NoPut, WatchFilter::NoDelete];
                let start_revision = self.watch_start();
                // The edge of a compaction shows in previous versions and in every key.
                let at_edge = (self.compacted..=self.compacted + 2).contains(&start_revision);
                let filter = self.one_in(4).then(|| filters[self.below(2) as usize]);
                WatchOp::Create {
                    stream,
                    id: WatchId(id),
                    range: if at_edge {
                        KeyRange::all()
                    } else {
                        self.key_range()
                    },
                    start_revision,
                    prev_kv: at_edge || self.one_in(2),
                    filters: filter.into_iter().collect(),
                }
            }
            6..=9 => WatchOp::Cancel {
                stream,
                id: WatchId(i64::from(self.below(8))),
            },
            10 => WatchOp::Progress { stream },
            _ => WatchOp::Reopen { stream },
        }
    }
}

/// Whether a transaction deletes to the end of the key space, which etcd does not see as an
/// overlap with its puts.
fn deletes_to_the_end(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        TxnOp::DeleteRange(delete) => matches!(delete.range, KeyRange::From(_)),
        TxnOp::Txn(inner) => deletes_to_the_end(inner),
        TxnOp::Range(_) | TxnOp::Put(_) => false,
    })
}

/// After such a deletion etcd 3.4 crashes at a put that needs what the key held before.
fn need_no_previous(txn: &mut TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match op {
            TxnOp::Put(put) => (put.ignore_value, put.ignore_lease) = (false, false),
            TxnOp::Txn(inner) => need_no_previous(inner),
            TxnOp::Range(_) | TxnOp::DeleteRange(_) => {}
        }
    }
}

fn kind(request: &Request) -> &'static str {
    match request {
        Request::Range(_) => "range",
        Request::Put(_) => "put",
        Request::DeleteRange(_) => "delete",
        Request::Txn(_) => "txn",
        Request::Compact { .. } => "compact",
        Request::LeaseGrant { .. } => "grant",
        Request::LeaseRevoke { .. } => "revoke",
        Request::LeaseKeepAlive { .. } => "keep-alive",
        Request::LeaseTimeToLive { .. } => "time-to-live",
        Request::LeaseList => "leases",
        Request::NoSpaceAlarm(_) => "alarm",
        Request::Watch(_) => "watch",
    }
}
