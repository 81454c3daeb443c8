//! Answers in a form that can be compared.

use berth_kv::{RangeRequest, SortOrder, SortTarget};
use etcd_client::proto::{
    PbCompactionResponse, PbDeleteResponse, PbKeyValue, PbLeaseGrantResponse,
    PbLeaseKeepAliveResponse, PbLeaseLeasesResponse, PbLeaseRevokeResponse,
    PbLeaseTimeToLiveResponse, PbPutResponse, PbRangeResponse, PbResponseHeader, PbTxnResponse,
};

/// Up to this many records etcd's sort is stable.
const STABLE_SORT_MAX: i64 = 12;
/// A lease that has at least this part of its time left counts as fresh.
const COUNTDOWN_MAX_S: i64 = 600;

/// What one side said.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Range(PbRangeResponse),
    Put(PbPutResponse),
    Delete(PbDeleteResponse),
    Txn(PbTxnResponse),
    Compact(PbCompactionResponse),
    Grant(PbLeaseGrantResponse),
    Revoke(PbLeaseRevokeResponse),
    KeepAlive(PbLeaseKeepAliveResponse),
    TimeToLive(PbLeaseTimeToLiveResponse),
    Leases(PbLeaseLeasesResponse),
    /// A gRPC status.
    Refused {
        code: tonic::Code,
        message: String,
    },
    /// The client itself refused to go on.
    Client(String),
}

/// The ids of cluster, member and term differ by nature; whether they are there does not.
pub(crate) fn normalise_header(header: &mut Option<PbResponseHeader>) {
    if let Some(header) = header {
        header.cluster_id = header.cluster_id.min(1);
        header.member_id = header.member_id.min(1);
        header.raft_term = header.raft_term.min(1);
    }
}

/// etcd's sort leaves records that tie in any order, if there are many.
pub(crate) fn normalise_ties(request: &RangeRequest, response: &mut PbRangeResponse) {
    if response.count <= STABLE_SORT_MAX || request.sort_target == SortTarget::Key {
        return;
    }
    let target = request.sort_target;
    if response.more {
        // Which of the records that tie at the limit are in is open: only what was sorted by
        // can be compared.
        for kv in &mut response.kvs {
            *kv = only(kv, target);
        }
        return;
    }
    let rank = |kv: &PbKeyValue| only(kv, target);
    let by = |a: &PbKeyValue, b: &PbKeyValue| {
        let (a_rank, b_rank) = (rank(a), rank(b));
        let order = (
            a_rank.version,
            a_rank.create_revision,
            a_rank.mod_revision,
            &a_rank.value,
        )
            .cmp(&(
                b_rank.version,
                b_rank.create_revision,
                b_rank.mod_revision,
                &b_rank.value,
            ));
        let order = if request.sort_order == SortOrder::Descend {
            order.reverse()
        } else {
            order
        };
        order.then_with(|| a.key.cmp(&b.key))
    };
    let sorted = response.kvs.is_sorted_by(|a, b| {
        let (mut a, mut b) = (a.clone(), b.clone());
        a.key.clear();
        b.key.clear();
        by(&a, &b).is_le()
    });
    assert!(sorted, "an answer is not sorted as asked: {request:?}");
    response.kvs.sort_by(by);
}

/// The record with nothing but what it is sorted by.
fn only(kv: &PbKeyValue, target: SortTarget) -> PbKeyValue {
    let empty = PbKeyValue::default();
    match target {
        SortTarget::Key => PbKeyValue {
            key: kv.key.clone(),
            ..empty
        },
        SortTarget::Version => PbKeyValue {
            version: kv.version,
            ..empty
        },
        SortTarget::Create => PbKeyValue {
            create_revision: kv.create_revision,
            ..empty
        },
        SortTarget::Mod => PbKeyValue {
            mod_revision: kv.mod_revision,
            ..empty
        },
        SortTarget::Value => PbKeyValue {
            value: kv.value.clone(),
            ..empty
        },
    }
}

/// The countdown runs on; the keys of a lease come in no order.
pub(crate) fn normalise_time_to_live(response: &mut PbLeaseTimeToLiveResponse) {
    let fresh = response.granted_ttl - COUNTDOWN_MAX_S..=response.granted_ttl;
    if response.ttl > 0 && fresh.contains(&response.ttl) {
        response.ttl = response.granted_ttl;
    }
    response.keys.sort();
}
