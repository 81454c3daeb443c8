//! One of the two stores: requests through an etcd client, answers normalised.

use std::collections::BTreeMap;

use berth_kv::{
    Compare as ModelCompare, CompareOp as ModelCompareOp, CompareTarget, DeleteRequest, KeyRange,
    LeaseId, PutRequest, RangeRequest, Request, SortOrder as ModelSortOrder,
    SortTarget as ModelSortTarget, TxnOp as ModelTxnOp, TxnRequest,
};
use etcd_client::proto::{PbKeyValue, PbTxnOpResponse, PbTxnResponse};
use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error, GetOptions,
    LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp,
};

use crate::answer::{Answer, normalise_header, normalise_ties, normalise_time_to_live};

/// Leases that the server chooses an id for are known in the history by numbers from here.
pub(crate) const ALIAS_BASE: i64 = 1 << 40;

/// A client and what must be remembered to compare its answers.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    /// Ids that this server chose, by alias and back.
    chosen: BTreeMap<i64, i64>,
    aliases: BTreeMap<i64, i64>,
    revision: i64,
}

impl Side {
    pub(crate) fn new(name: &'static str, client: Client) -> Self {
        Side {
            name,
            client,
            chosen: BTreeMap::new(),
            aliases: BTreeMap::new(),
            revision: 1,
        }
    }

    /// The newest revision that an answer carried.
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    /// Asks, and normalises the answer.
    pub(crate) async fn ask(&mut self, request: &Request) -> Answer {
        match self.try_ask(request).await {
            Ok(answer) => answer,
            Err(Error::GRpcStatus(status)) => Answer::Refused {
                code: status.code(),
                message: status.message().to_owned(),
            },
            Err(other) => Answer::Client(other.to_string()),
        }
    }

    async fn try_ask(&mut self, request: &Request) -> Result<Answer, Error> {
        match request {
            Request::Range(range) => {
                let options = Some(get_options(range));
                let mut answer = self
                    .client
                    .get(range.range.start().to_vec(), options)
                    .await?
                    .0;
                self.header(&mut answer.header);
                self.key_values(&mut answer.kvs);
                normalise_ties(range, &mut answer);
                Ok(Answer::Range(answer))
            }
            Request::Put(put) => {
                let (key, value) = (put.key.to_vec(), put.value.to_vec());
                let options = Some(self.put_options(put));
                let mut answer = self.client.put(key, value, options).await?.0;
                self.header(&mut answer.header);
                self.key_values(answer.prev_kv.as_mut_slice());
                Ok(Answer::Put(answer))
            }
            Request::DeleteRange(delete) => {
                let key = delete.range.start().to_vec();
                let mut answer = self
                    .client
                    .delete(key, Some(delete_options(delete)))
                    .await?
                    .0;
                self.header(&mut answer.header);
                self.key_values(&mut answer.prev_kvs);
                Ok(Answer::Delete(answer))
            }
            Request::Txn(txn) => {
                let mut answer = self.client.txn(self.txn(txn)).await?.0;
                self.header(&mut answer.header);
                self.normalise_txn(txn, &mut answer);
                Ok(Answer::Txn(answer))
            }
            Request::Compact { revision } => {
                let options = CompactionOptions::new().with_physical();
                let mut answer = self.client.compact(*revision, Some(options)).await?.0;
                self.header(&mut answer.header);
                Ok(Answer::Compact(answer))
            }
            _ => self.try_ask_lease(request).await,
        }
    }

    async fn try_ask_lease(&mut self, request: &Request) -> Result<Answer, Error> {
        match request {
            Request::LeaseGrant { id, ttl_s } => {
                let options = LeaseGrantOptions::new().with_id(id.0);
                let mut answer = self.client.lease_grant(*ttl_s, Some(options)).await?.0;
                self.header(&mut answer.header);
                if id.is_none() {
                    answer.id = self.remember(answer.id);
                }
                Ok(Answer::Grant(answer))
            }
            Request::LeaseRevoke { id } => {
                let mut answer = self.client.lease_revoke(self.real(*id)).await?.0;
                self.header(&mut answer.header);
                Ok(Answer::Revoke(answer))
            }
            Request::LeaseKeepAlive { id } => {
                let (mut keeper, mut answers) =
                    self.client.lease_keep_alive(self.real(*id)).await?;
                keeper.keep_alive().await?;
                let Some(answer) = answers.message().await? else {
                    return Ok(Answer::Client("the keep-alive stream ended".into()));
                };
                let mut answer = answer.0;
                self.header(&mut answer.header);
                answer.id = self.alias(answer.id);
                Ok(Answer::KeepAlive(answer))
            }
            Request::LeaseTimeToLive { id, keys } => {
                let options = LeaseTimeToLiveOptions::new();
                let options = if *keys { options.with_keys() } else { options };
                let real = self.real(*id);
                let mut answer = self.client.lease_time_to_live(real, Some(options)).await?.0;
                self.header(&mut answer.header);
                answer.id = self.alias(answer.id);
                normalise_time_to_live(&mut answer);
                Ok(Answer::TimeToLive(answer))
            }
            Request::LeaseList => {
                let mut answer = self.client.leases().await?.0;
                self.header(&mut answer.header);
                for lease in &mut answer.leases {
                    lease.id = self.alias(lease.id);
                }
                answer.leases.sort_by_key(|lease| lease.id);
                Ok(Answer::Leases(answer))
            }
            other => panic!("{}: the history never asks {other:?}", self.name),
        }
    }

    fn header(&mut self, header: &mut Option<etcd_client::proto::PbResponseHeader>) {
        self.revision = self
            .revision
            .max(header.as_ref().map_or(0, |header| header.revision));
        normalise_header(header);
    }

    /// Gives a lease that the server named a name of the history.
    fn remember(&mut self, real: i64) -> i64 {
        let alias = ALIAS_BASE + self.chosen.len() as i64;
        self.chosen.insert(alias, real);
        self.aliases.insert(real, alias);
        alias
    }

    fn real(&self, id: LeaseId) -> i64 {
        self.chosen.get(&id.0).copied().unwrap_or(id.0)
    }

    fn alias(&self, real: i64) -> i64 {
        self.aliases.get(&real).copied().unwrap_or(real)
    }

    /// Puts the history's names in the place of chosen lease ids.
    pub(crate) fn key_values(&self, kvs: &mut [PbKeyValue]) {
        for kv in kvs {
            kv.lease = self.alias(kv.lease);
        }
    }

    fn normalise_txn(&self, request: &TxnRequest, answer: &mut PbTxnResponse) {
        let ops = if answer.succeeded {
            &request.success
        } else {
            &request.failure
        };
        for (op, response) in ops.iter().zip(&mut answer.responses) {
            match (op, &mut response.response) {
                (ModelTxnOp::Range(range), Some(PbTxnOpResponse::ResponseRange(answer))) => {
                    self.key_values(&mut answer.kvs);
                    normalise_ties(range, answer);
                }
                (ModelTxnOp::Put(_), Some(PbTxnOpResponse::ResponsePut(answer))) => {
                    self.key_values(answer.prev_kv.as_mut_slice());
                }
                (
                    ModelTxnOp::DeleteRange(_),
                    Some(PbTxnOpResponse::ResponseDeleteRange(answer)),
                ) => {
                    self.key_values(&mut answer.prev_kvs);
                }
                (ModelTxnOp::Txn(inner), Some(PbTxnOpResponse::ResponseTxn(answer))) => {
                    self.normalise_txn(inner, answer);
                }
                (op, response) => panic!("{}: {response:?} answers {op:?}", self.name),
            }
        }
    }

    fn put_options(&self, put: &PutRequest) -> PutOptions {
        let mut options = PutOptions::new().with_lease(self.real(put.lease));
        if put.prev_kv {
            options = options.with_prev_key();
        }
        if put.ignore_value {
            options = options.with_ignore_value();
        }
        if put.ignore_lease {
            options = options.with_ignore_lease();
        }
        options
    }

    fn txn(&self, txn: &TxnRequest) -> Txn {
        let compares: Vec<_> = txn
            .compare
            .iter()
            .map(|compare| self.compare(compare))
            .collect();
        let ops = |ops: &[ModelTxnOp]| ops.iter().map(|op| self.op(op)).collect::<Vec<_>>();
        Txn::new()
            .when(compares)
            .and_then(ops(&txn.success))
            .or_else(ops(&txn.failure))
    }

    fn op(&self, op: &ModelTxnOp) -> TxnOp {
        match op {
            ModelTxnOp::Range(range) => {
                TxnOp::get(range.range.start().to_vec(), Some(get_options(range)))
            }
            ModelTxnOp::Put(put) => {
                let options = Some(self.put_options(put));
                TxnOp::put(put.key.to_vec(), put.value.to_vec(), options)
            }
            ModelTxnOp::DeleteRange(delete) => {
                TxnOp::delete(delete.range.start().to_vec(), Some(delete_options(delete)))
            }
            ModelTxnOp::Txn(inner) => TxnOp::txn(self.txn(inner)),
        }
    }

    fn compare(&self, compare: &ModelCompare) -> Compare {
        let key = compare.range.start().to_vec();
        let op = match compare.op {
            ModelCompareOp::Equal => CompareOp::Equal,
            ModelCompareOp::NotEqual => CompareOp::NotEqual,
            ModelCompareOp::Greater => CompareOp::Greater,
            ModelCompareOp::Less => CompareOp::Less,
        };
        let built = match &compare.target {
            CompareTarget::Version(version) => Compare::version(key, op, *version),
            CompareTarget::Create(revision) => Compare::create_revision(key, op, *revision),
            CompareTarget::Mod(revision) => Compare::mod_revision(key, op, *revision),
            CompareTarget::Value(value) => Compare::value(key, op, value.to_vec()),
            CompareTarget::Lease(lease) => Compare::lease(key, op, self.real(*lease)),
        };
        built.with_range(compare.range.wire_end().to_vec())
    }
}

fn get_options(range: &RangeRequest) -> GetOptions {
    let order = match range.sort_order {
        ModelSortOrder::None => SortOrder::None,
        ModelSortOrder::Ascend => SortOrder::Ascend,
        ModelSortOrder::Descend => SortOrder::Descend,
    };
    let target = match range.sort_target {
        ModelSortTarget::Key => SortTarget::Key,
        ModelSortTarget::Version => SortTarget::Version,
        ModelSortTarget::Create => SortTarget::Create,
        ModelSortTarget::Mod => SortTarget::Mod,
        ModelSortTarget::Value => SortTarget::Value,
    };
    let filter = &range.filter;
    let mut options = GetOptions::new()
        .with_range(range.range.wire_end().to_vec())
        .with_limit(range.limit)
        .with_revision(range.revision)
        .with_sort(target, order)
        .with_min_mod_revision(filter.min_mod.unwrap_or(0))
        .with_max_mod_revision(filter.max_mod.unwrap_or(0))
        .with_min_create_revision(filter.min_create.unwrap_or(0))
        .with_max_create_revision(filter.max_create.unwrap_or(0));
    if range.keys_only {
        options = options.with_keys_only();
    }
    if range.count_only {
        options = options.with_count_only();
    }
    options
}

fn delete_options(delete: &DeleteRequest) -> DeleteOptions {
    let options = DeleteOptions::new();
    let options = match &delete.range {
        KeyRange::Single(_) => options,
        KeyRange::Span { .. } | KeyRange::From(_) => {
            options.with_range(delete.range.wire_end().to_vec())
        }
    };
    if delete.prev_kv {
        options.with_prev_key()
    } else {
        options
    }
}
