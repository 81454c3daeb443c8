//! Random steps, over few enough keys and revisions that they meet.

use berth_kv::{
    Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, LeaseId, PutRequest, RangeRequest,
    Request, RevisionFilter, SortOrder, SortTarget, TxnOp, TxnRequest,
};
use proptest::option;
use proptest::prelude::*;

/// One step of a history.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Ask { now_ms: u64, request: Request },
    Expire { now_ms: u64 },
    Restart { now_ms: u64 },
}

/// A history; time goes on by up to two seconds with every step.
pub(crate) fn steps(max: usize) -> BoxedStrategy<Vec<Step>> {
    let step = prop_oneof![
        30 => request().prop_map(Kind::Ask),
        2 => Just(Kind::Expire),
        1 => Just(Kind::Restart),
    ];
    prop::collection::vec((0_u64..2000, step), 1..max)
        .prop_map(|steps| {
            let mut now_ms = 0;
            let timed = steps.into_iter().map(|(passed_ms, kind)| {
                now_ms += passed_ms;
                match kind {
                    Kind::Ask(request) => Step::Ask { now_ms, request },
                    Kind::Expire => Step::Expire { now_ms },
                    Kind::Restart => Step::Restart { now_ms },
                }
            });
            timed.collect()
        })
        .boxed()
}

#[derive(Clone, Debug)]
enum Kind {
    Ask(Request),
    Expire,
    Restart,
}

fn request() -> BoxedStrategy<Request> {
    prop_oneof![
        8 => put().prop_map(Request::Put),
        6 => range(-1_i64..40).prop_map(Request::Range),
        3 => delete().prop_map(Request::DeleteRange),
        6 => txn().prop_map(Request::Txn),
        1 => (-1_i64..30).prop_map(|revision| Request::Compact { revision }),
        2 => (lease(), prop_oneof![9 => 0_i64..20, 1 => Just(9_000_000_001)])
            .prop_map(|(id, ttl_s)| Request::LeaseGrant { id, ttl_s }),
        1 => lease().prop_map(|id| Request::LeaseRevoke { id }),
        1 => lease().prop_map(|id| Request::LeaseKeepAlive { id }),
        1 => (lease(), any::<bool>()).prop_map(|(id, keys)| Request::LeaseTimeToLive { id, keys }),
        1 => Just(Request::LeaseList),
    ]
    .boxed()
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "a/1", "a/2", "b", "b/1", "c"])
}

fn lease() -> impl Strategy<Value = LeaseId> {
    (1_i64..4).prop_map(LeaseId)
}

fn key_range() -> BoxedStrategy<KeyRange> {
    prop_oneof![
        4 => key().prop_map(|key| KeyRange::Single(key.into())),
        2 => (key(), key()).prop_map(|(start, end)| KeyRange::from_wire(start, end)),
        1 => key().prop_map(|key| KeyRange::From(key.into())),
        1 => key().prop_map(KeyRange::prefix),
    ]
    .boxed()
}

fn value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "x", "y"])
}

fn put() -> BoxedStrategy<PutRequest> {
    let lease = prop_oneof![3 => Just(LeaseId::NONE), 1 => lease()];
    let ignore =
        prop_oneof![6 => Just((false, false)), 1 => Just((true, false)), 1 => Just((false, true))];
    (key(), value(), lease, any::<bool>(), ignore)
        .prop_map(
            |(key, value, lease, prev_kv, (ignore_value, ignore_lease))| PutRequest {
                key: key.into(),
                value: if ignore_value {
                    "".into()
                } else {
                    value.into()
                },
                lease: if ignore_lease { LeaseId::NONE } else { lease },
                prev_kv,
                ignore_value,
                ignore_lease,
            },
        )
        .boxed()
}

fn delete() -> BoxedStrategy<DeleteRequest> {
    (key_range(), any::<bool>())
        .prop_map(|(range, prev_kv)| DeleteRequest { range, prev_kv })
        .boxed()
}

fn range(revisions: std::ops::Range<i64>) -> BoxedStrategy<RangeRequest> {
    let order = prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = prop::sample::select(vec![
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ]);
    let bound = || option::weighted(0.1, 1_i64..30);
    let filter = (bound(), bound(), bound(), bound()).prop_map(
        |(min_mod, max_mod, min_create, max_create)| RevisionFilter {
            min_mod,
            max_mod,
            min_create,
            max_create,
        },
    );
    let revision = prop_oneof![2 => Just(0), 1 => revisions];
    (
        key_range(),
        -1_i64..4,
        revision,
        order,
        target,
        any::<(bool, bool)>(),
        filter,
    )
        .prop_map(
            |(range, limit, revision, sort_order, sort_target, (keys_only, count_only), filter)| {
                RangeRequest {
                    range,
                    limit,
                    revision,
                    sort_order,
                    sort_target,
                    keys_only,
                    count_only,
                    filter,
                }
            },
        )
        .boxed()
}

/// Transactions that pass the check of their form: every list touches its own keys only.
fn txn() -> BoxedStrategy<TxnRequest> {
    let leaf = (compares(), ops("n"), ops("n"));
    let leaf = leaf.prop_map(|(compare, success, failure)| TxnRequest {
        compare,
        success,
        failure,
    });
    (
        compares(),
        ops("t"),
        ops("t"),
        option::of(leaf),
        any::<bool>(),
    )
        .prop_map(|(compare, mut success, failure, nested, first)| {
            if let Some(nested) = nested {
                let at = if first { 0 } else { success.len() };
                success.insert(at, TxnOp::Txn(nested));
            }
            TxnRequest {
                compare,
                success,
                failure,
            }
        })
        .boxed()
}

/// A put of one key and a deletion of others, below a prefix, with reads of anything between.
fn ops(prefix: &'static str) -> BoxedStrategy<Vec<TxnOp>> {
    let put = put().prop_map(move |put| {
        TxnOp::Put(PutRequest {
            key: format!("{prefix}put").into(),
            ..put
        })
    });
    let delete = (0..3_u8, any::<bool>()).prop_map(move |(number, prev_kv)| {
        let range = match number {
            0 => KeyRange::Single(format!("{prefix}del").into()),
            1 => KeyRange::prefix("a"),
            _ => KeyRange::Single("b".into()),
        };
        TxnOp::DeleteRange(DeleteRequest { range, prev_kv })
    });
    let read = || range(-1_i64..40).prop_map(TxnOp::Range);
    (
        option::of(put),
        option::of(delete),
        option::of(read()),
        option::of(read()),
    )
        .prop_map(|(put, delete, before, after)| {
            before
                .into_iter()
                .chain(put)
                .chain(delete)
                .chain(after)
                .collect()
        })
        .boxed()
}

fn compares() -> BoxedStrategy<Vec<Compare>> {
    let op = prop::sample::select(vec![
        CompareOp::Equal,
        CompareOp::NotEqual,
        CompareOp::Greater,
        CompareOp::Less,
    ]);
    let target = prop_oneof![
        (0_i64..4).prop_map(CompareTarget::Version),
        (0_i64..30).prop_map(CompareTarget::Create),
        (0_i64..30).prop_map(CompareTarget::Mod),
        value().prop_map(|value| CompareTarget::Value(value.into())),
        (0_i64..4).prop_map(|id| CompareTarget::Lease(LeaseId(id))),
    ];
    let compare =
        (key_range(), op, target).prop_map(|(range, op, target)| Compare { range, op, target });
    prop::collection::vec(compare, 0..3).boxed()
}
