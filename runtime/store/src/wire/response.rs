//! Answers to etcd's messages.

use berth_kv::{
    DeleteResponse, KeyValue, LeaseId, LeaseInfo, PutResponse, RangeResponse, TxnOpResponse,
    TxnResponse,
};
use etcd_client::proto::{
    PbAlarmMember, PbDeleteResponse, PbKeyValue, PbLeaseLeasesResponse, PbLeaseStatus,
    PbLeaseTimeToLiveResponse, PbPutResponse, PbRangeResponse, PbResponseHeader, PbResponseOp,
    PbTxnOpResponse, PbTxnResponse,
};

use super::{CLUSTER_ID, MEMBER_ID, RAFT_TERM};

/// The header of an answer.
pub(crate) fn header(revision: i64) -> Option<PbResponseHeader> {
    Some(PbResponseHeader {
        cluster_id: CLUSTER_ID,
        member_id: MEMBER_ID,
        revision,
        raft_term: RAFT_TERM,
    })
}

/// The header of an operation within a transaction: etcd fills in the revision only.
fn inner_header(revision: i64) -> Option<PbResponseHeader> {
    Some(PbResponseHeader {
        revision,
        ..PbResponseHeader::default()
    })
}

pub(crate) fn key_value(kv: KeyValue) -> PbKeyValue {
    PbKeyValue {
        key: kv.key.into(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value.into(),
        lease: kv.lease.0,
    }
}

fn key_values(kvs: Vec<KeyValue>) -> Vec<PbKeyValue> {
    kvs.into_iter().map(key_value).collect()
}

pub(crate) fn range(response: RangeResponse) -> PbRangeResponse {
    PbRangeResponse {
        header: header(response.revision),
        kvs: key_values(response.kvs),
        more: response.more,
        count: response.count,
    }
}

pub(crate) fn put(response: PutResponse) -> PbPutResponse {
    PbPutResponse {
        header: header(response.revision),
        prev_kv: response.prev_kv.map(key_value),
    }
}

pub(crate) fn delete(response: DeleteResponse) -> PbDeleteResponse {
    PbDeleteResponse {
        header: header(response.revision),
        deleted: response.deleted,
        prev_kvs: key_values(response.prev_kvs),
    }
}

pub(crate) fn txn(response: TxnResponse) -> PbTxnResponse {
    PbTxnResponse {
        header: header(response.revision),
        succeeded: response.succeeded,
        responses: response.responses.into_iter().map(op).collect(),
    }
}

fn op(response: TxnOpResponse) -> PbResponseOp {
    let response = match response {
        TxnOpResponse::Range(inner) => {
            let header = inner_header(inner.revision);
            PbTxnOpResponse::ResponseRange(PbRangeResponse {
                header,
                ..range(inner)
            })
        }
        TxnOpResponse::Put(inner) => {
            let header = inner_header(inner.revision);
            PbTxnOpResponse::ResponsePut(PbPutResponse {
                header,
                ..put(inner)
            })
        }
        TxnOpResponse::DeleteRange(inner) => {
            let header = inner_header(inner.revision);
            PbTxnOpResponse::ResponseDeleteRange(PbDeleteResponse {
                header,
                ..delete(inner)
            })
        }
        TxnOpResponse::Txn(inner) => {
            let header = inner_header(inner.revision);
            PbTxnOpResponse::ResponseTxn(PbTxnResponse {
                header,
                ..txn(inner)
            })
        }
    };
    PbResponseOp {
        response: Some(response),
    }
}

pub(crate) fn time_to_live(
    revision: i64,
    id: LeaseId,
    lease: Option<LeaseInfo>,
) -> PbLeaseTimeToLiveResponse {
    // A lease that does not exist is told by this time to live.
    const GONE_TTL: i64 = -1;
    let header = header(revision);
    match lease {
        None => PbLeaseTimeToLiveResponse {
            header,
            id: id.0,
            ttl: GONE_TTL,
            ..PbLeaseTimeToLiveResponse::default()
        },
        Some(lease) => PbLeaseTimeToLiveResponse {
            header,
            id: id.0,
            ttl: lease.remaining_s,
            granted_ttl: lease.granted_s,
            keys: lease.keys.into_iter().map(Into::into).collect(),
        },
    }
}

pub(crate) fn leases(revision: i64, leases: Vec<LeaseId>) -> PbLeaseLeasesResponse {
    PbLeaseLeasesResponse {
        header: header(revision),
        leases: leases
            .into_iter()
            .map(|id| PbLeaseStatus { id: id.0 })
            .collect(),
    }
}

/// The alarms that stand: none, or that of the only member about space.
pub(crate) fn alarms(active: bool) -> Vec<PbAlarmMember> {
    const NO_SPACE: i32 = 1;
    let alarm = PbAlarmMember {
        member_id: MEMBER_ID,
        alarm: NO_SPACE,
    };
    if active { vec![alarm] } else { Vec::new() }
}
