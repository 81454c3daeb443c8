//! What the store answers to a transaction of a core.

use berth_core::io::{Deposed, Fate, Input};
use berth_core::{Key, StoreRevision, TxnId};
use berth_kv as kv;
use berth_kv::TxnOpResponse;

use crate::marks::Mark;
use crate::oracle::Rule;
use crate::world::World;

use super::codec::gets;

impl World {
    pub(super) fn commit_answered(
        &mut self,
        at: usize,
        txn: TxnId,
        keys: &[Key],
        result: Result<kv::Response, kv::KvError>,
    ) {
        match result {
            Ok(kv::Response::Txn(answer)) if answer.succeeded => {
                let fate = Fate::Committed(StoreRevision(answer.revision));
                self.feed(at, vec![Input::Commit { txn, fate }]);
            }
            Ok(kv::Response::Txn(answer)) => {
                let fenced = match answer.responses.first() {
                    Some(TxnOpResponse::Range(leader)) => leader
                        .kvs
                        .first()
                        .is_none_or(|kv| kv.create_revision != self.replicas[at].epoch.0),
                    _ => true,
                };
                if fenced {
                    self.depose(at, Deposed::LostLeadership);
                    return;
                }
                self.mark(Mark::CommitConflict);
                let current = gets(
                    &mut self.texts,
                    keys,
                    answer.responses.get(1..).unwrap_or_default(),
                );
                let revision = StoreRevision(answer.revision);
                let fate = Fate::Conflict { revision, current };
                self.feed(at, vec![Input::Commit { txn, fate }]);
            }
            Ok(_) => {
                let seen = "the store answered something else".to_owned();
                self.violate(Rule::S8, "an answer to a transaction", seen);
            }
            Err(error) => {
                let fate = Fate::Refused(error.to_string());
                self.feed(at, vec![Input::Commit { txn, fate }]);
            }
        }
    }
}
