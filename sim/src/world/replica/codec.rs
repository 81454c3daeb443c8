//! The core's transactions and records as etcd has them.

use berth_core::io::{Op, Stored, Txn};
use berth_core::planted::{Bug, planted};
use berth_core::{EventId, Key, StoreRevision};
use berth_kv as kv;
use berth_kv::{
    Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, PutRequest, RangeRequest, TxnOp,
    TxnOpResponse, TxnRequest,
};

use super::LEADER_KEY;
use crate::world::texts::Texts;

/// A read of all these at one revision.
pub(super) fn encode_read(keys: &[Key]) -> TxnRequest {
    let gets = keys.iter();
    let gets = gets.map(|key| TxnOp::Range(RangeRequest::key(key.to_string())));
    TxnRequest {
        success: gets.collect(),
        ..TxnRequest::default()
    }
}

/// The fenced etcd transaction of one of the core's.
pub(super) fn encode_txn(txn: &Txn) -> TxnRequest {
    let single = |key: &Key| KeyRange::Single(key.to_string().into());
    let mut compare = vec![Compare {
        range: KeyRange::Single(LEADER_KEY.into()),
        op: CompareOp::Equal,
        target: CompareTarget::Create(txn.epoch.0),
    }];
    if planted(Bug::FenceDropped) {
        compare.clear();
    }
    let compared = txn.compares.iter();
    let compared = compared.filter(|_| !planted(Bug::ComparesDropped));
    compare.extend(compared.map(|(key, at)| Compare {
        range: single(key),
        op: CompareOp::Equal,
        target: CompareTarget::Mod(at.0),
    }));
    let success = txn.ops.iter().map(|op| match op {
        Op::Put { key, value } => TxnOp::Put(PutRequest::new(key.to_string(), value.clone())),
        Op::Delete { key } => TxnOp::DeleteRange(DeleteRequest {
            range: single(key),
            prev_kv: false,
        }),
        Op::DeleteEventsBefore { before } => {
            let range = KeyRange::Span {
                start: Key::Event(EventId::from_text("")).to_string().into(),
                end: Key::Event(before.clone()).to_string().into(),
            };
            TxnOp::DeleteRange(DeleteRequest {
                range,
                prev_kv: false,
            })
        }
    });
    let mut failure = vec![TxnOp::Range(RangeRequest::key(LEADER_KEY))];
    let compared = txn.compares.iter();
    failure.extend(compared.map(|(key, _)| TxnOp::Range(RangeRequest::key(key.to_string()))));
    TxnRequest {
        compare,
        success: success.collect(),
        failure,
    }
}

pub(super) fn stored_of_event(texts: &mut Texts, event: &kv::Event) -> Option<Stored> {
    match event.kind {
        kv::EventKind::Put => texts.stored(&event.kv),
        kv::EventKind::Delete => Some(Stored {
            key: Key::parse(std::str::from_utf8(&event.kv.key).ok()?)?,
            value: None,
            mod_revision: StoreRevision(event.kv.mod_revision),
        }),
    }
}

pub(super) fn gets(texts: &mut Texts, keys: &[Key], responses: &[TxnOpResponse]) -> Vec<Stored> {
    let pairs = keys.iter().zip(responses);
    pairs
        .filter_map(|(key, response)| match response {
            TxnOpResponse::Range(range) => {
                Some(match range.kvs.first().and_then(|kv| texts.stored(kv)) {
                    Some(stored) => stored,
                    None => Stored {
                        key: key.clone(),
                        value: None,
                        mod_revision: StoreRevision(0),
                    },
                })
            }
            TxnOpResponse::Put(_) | TxnOpResponse::DeleteRange(_) | TxnOpResponse::Txn(_) => None,
        })
        .collect()
}
