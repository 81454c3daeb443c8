//! Requests from etcd's messages.

use berth_kv::{
    AlarmAction, Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, KvError, LeaseId,
    PutRequest, RangeRequest, Request, RevisionFilter, SortOrder, SortTarget, TxnOp, TxnRequest,
};
use etcd_client::proto::{
    PbAlarmRequest, PbCompare, PbDeleteRequest, PbLeaseGrantRequest, PbPutRequest, PbRangeRequest,
    PbTargetUnion, PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp,
};
use tonic::Status;

use super::status::{malformed, refused};

pub(crate) fn put(message: PbPutRequest) -> PutRequest {
    PutRequest {
        key: message.key.into(),
        value: message.value.into(),
        lease: LeaseId(message.lease),
        prev_kv: message.prev_kv,
        ignore_value: message.ignore_value,
        ignore_lease: message.ignore_lease,
    }
}

pub(crate) fn delete(message: PbDeleteRequest) -> DeleteRequest {
    DeleteRequest {
        range: KeyRange::from_wire(message.key, message.range_end),
        prev_kv: message.prev_kv,
    }
}

pub(crate) fn range(message: PbRangeRequest) -> Result<RangeRequest, Status> {
    let given = |revision: i64| (revision != 0).then_some(revision);
    Ok(RangeRequest {
        limit: message.limit,
        revision: message.revision,
        sort_order: match message.sort_order {
            0 => SortOrder::None,
            1 => SortOrder::Ascend,
            2 => SortOrder::Descend,
            _ => return Err(malformed("sort_order")),
        },
        sort_target: match message.sort_target {
            0 => SortTarget::Key,
            1 => SortTarget::Version,
            2 => SortTarget::Create,
            3 => SortTarget::Mod,
            4 => SortTarget::Value,
            _ => return Err(malformed("sort_target")),
        },
        keys_only: message.keys_only,
        count_only: message.count_only,
        filter: RevisionFilter {
            min_mod: given(message.min_mod_revision),
            max_mod: given(message.max_mod_revision),
            min_create: given(message.min_create_revision),
            max_create: given(message.max_create_revision),
        },
        range: KeyRange::from_wire(message.key, message.range_end),
    })
}

pub(crate) fn txn(message: PbTxnRequest) -> Result<TxnRequest, Status> {
    let ops = |ops: Vec<PbTxnRequestOp>| ops.into_iter().map(op).collect::<Result<Vec<_>, _>>();
    Ok(TxnRequest {
        compare: message
            .compare
            .into_iter()
            .map(compare)
            .collect::<Result<_, _>>()?,
        success: ops(message.success)?,
        failure: ops(message.failure)?,
    })
}

fn op(message: PbTxnRequestOp) -> Result<TxnOp, Status> {
    match message.request {
        Some(PbTxnOpRequest::RequestRange(message)) => range(message).map(TxnOp::Range),
        Some(PbTxnOpRequest::RequestPut(message)) => Ok(TxnOp::Put(put(message))),
        Some(PbTxnOpRequest::RequestDeleteRange(message)) => {
            Ok(TxnOp::DeleteRange(delete(message)))
        }
        Some(PbTxnOpRequest::RequestTxn(message)) => txn(message).map(TxnOp::Txn),
        // What etcd says to an operation without content.
        None => Err(refused(KvError::KeyNotFound)),
    }
}

fn compare(message: PbCompare) -> Result<Compare, Status> {
    let number = match &message.target_union {
        Some(
            PbTargetUnion::Version(number)
            | PbTargetUnion::CreateRevision(number)
            | PbTargetUnion::ModRevision(number)
            | PbTargetUnion::Lease(number),
        ) => *number,
        Some(PbTargetUnion::Value(_)) | None => 0,
    };
    let target = match (message.target, message.target_union) {
        (0, _) => CompareTarget::Version(number),
        (1, _) => CompareTarget::Create(number),
        (2, _) => CompareTarget::Mod(number),
        (3, Some(PbTargetUnion::Value(value))) => CompareTarget::Value(value.into()),
        (3, _) => CompareTarget::Value(bytes::Bytes::new()),
        (4, _) => CompareTarget::Lease(LeaseId(number)),
        (_, _) => return Err(malformed("compare.target")),
    };
    let op = match message.result {
        0 => CompareOp::Equal,
        1 => CompareOp::Greater,
        2 => CompareOp::Less,
        3 => CompareOp::NotEqual,
        _ => return Err(malformed("compare.result")),
    };
    Ok(Compare {
        range: KeyRange::from_wire(message.key, message.range_end),
        op,
        target,
    })
}

pub(crate) fn lease_grant(message: &PbLeaseGrantRequest) -> Request {
    Request::LeaseGrant {
        id: LeaseId(message.id),
        ttl_s: message.ttl,
    }
}

/// Only the alarm about space exists: there is no other member that could be corrupt.
pub(crate) fn alarm(message: &PbAlarmRequest) -> Result<Request, Status> {
    match message.action {
        0 => Ok(Request::NoSpaceAlarm(AlarmAction::Get)),
        1 => Ok(Request::NoSpaceAlarm(AlarmAction::Activate)),
        2 => Ok(Request::NoSpaceAlarm(AlarmAction::Deactivate)),
        _ => Err(malformed("alarm.action")),
    }
}
