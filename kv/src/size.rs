//! The size of a write as etcd encodes it for its log, which is what its request limit counts.

use crate::request::{
    Compare, CompareTarget, DeleteRequest, PutRequest, RangeRequest, Request, TxnOp, TxnRequest,
};

/// etcd wraps a write with a header that holds a request id of 10 bytes.
const LOG_HEADER_LEN: usize = 14;

/// Bytes of the write in etcd's log; `None` for what is not logged.
pub(crate) fn encoded_write_len(request: &Request) -> Option<usize> {
    let body = match request {
        Request::Put(put) => put_len(put),
        Request::DeleteRange(delete) => delete_len(delete),
        Request::Txn(txn) => txn_len(txn),
        Request::Range(_)
        | Request::Compact { .. }
        | Request::LeaseGrant { .. }
        | Request::LeaseRevoke { .. }
        | Request::LeaseKeepAlive { .. }
        | Request::LeaseTimeToLive { .. }
        | Request::LeaseList
        | Request::NoSpaceAlarm(_)
        | Request::Watch(_) => return None,
    };
    Some(LOG_HEADER_LEN + message(body))
}

fn varint(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn bytes(len: usize) -> usize {
    if len == 0 { 0 } else { message(len) }
}

fn message(len: usize) -> usize {
    1 + varint(len as u64) + len
}

fn int(value: i64) -> usize {
    if value == 0 {
        0
    } else {
        1 + varint(value as u64)
    }
}

fn flag(set: bool) -> usize {
    if set { 2 } else { 0 }
}

fn put_len(put: &PutRequest) -> usize {
    bytes(put.key.len())
        + bytes(put.value.len())
        + int(put.lease.0)
        + flag(put.prev_kv)
        + flag(put.ignore_value)
        + flag(put.ignore_lease)
}

fn delete_len(delete: &DeleteRequest) -> usize {
    bytes(delete.range.start().len()) + bytes(delete.range.wire_end().len()) + flag(delete.prev_kv)
}

fn range_len(range: &RangeRequest) -> usize {
    let filter = &range.filter;
    let filters = [
        filter.min_mod,
        filter.max_mod,
        filter.min_create,
        filter.max_create,
    ];
    bytes(range.range.start().len())
        + bytes(range.range.wire_end().len())
        + int(range.limit)
        + int(range.revision)
        + int(range.sort_order as i64)
        + int(range.sort_target as i64)
        + flag(range.keys_only)
        + flag(range.count_only)
        + filters
            .iter()
            .map(|revision| int(revision.unwrap_or(0)))
            .sum::<usize>()
}

fn compare_len(compare: &Compare) -> usize {
    let union = match &compare.target {
        CompareTarget::Version(number) | CompareTarget::Create(number) => {
            1 + varint(*number as u64)
        }
        CompareTarget::Mod(revision) => 1 + varint(*revision as u64),
        CompareTarget::Value(value) => message(value.len()),
        CompareTarget::Lease(lease) => 1 + varint(lease.0 as u64),
    };
    let end = compare.range.wire_end().len();
    // The tags of result and target are counted as present; the tag of `range_end` has two bytes.
    4 + bytes(compare.range.start().len()) + union + if end == 0 { 0 } else { 1 + bytes(end) }
}

fn txn_len(txn: &TxnRequest) -> usize {
    let compares: usize = txn
        .compare
        .iter()
        .map(|compare| message(compare_len(compare)))
        .sum();
    let ops: usize = txn
        .success
        .iter()
        .chain(&txn.failure)
        .map(|op| message(op_len(op)))
        .sum();
    compares + ops
}

fn op_len(op: &TxnOp) -> usize {
    message(match op {
        TxnOp::Range(range) => range_len(range),
        TxnOp::Put(put) => put_len(put),
        TxnOp::DeleteRange(delete) => delete_len(delete),
        TxnOp::Txn(txn) => txn_len(txn),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_take_seven_bits_a_byte() {
        assert_eq!([0, 127, 128, 16383, 16384].map(varint), [1, 1, 2, 2, 3]);
        assert_eq!(varint(u64::MAX), 10);
    }

    #[test]
    fn a_put_is_its_key_and_value_with_tags_and_lengths() {
        let put = PutRequest::new("abc", vec![0u8; 200]);
        assert_eq!(put_len(&put), (1 + 1 + 3) + (1 + 2 + 200));
    }
}
