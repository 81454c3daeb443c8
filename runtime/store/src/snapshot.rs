//! Snapshots on disk: the model's state in chunks, so that no single value grows without bound.

use berth_kv::{KeyValue, LeaseId, Snapshot, SnapshotEntry, SnapshotLease};
use prost::Message;

use crate::error::StoreError;

/// The format's version; a snapshot of another one is refused.
const VERSION: u32 = 1;
/// A chunk is closed when its entries reach this size.
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(int64, tag = "2")]
    revision: i64,
    #[prost(int64, tag = "3")]
    compacted: i64,
    #[prost(uint64, tag = "4")]
    mutations: u64,
    #[prost(bool, tag = "5")]
    no_space: bool,
    #[prost(int64, tag = "6")]
    leases_chosen: i64,
    #[prost(message, repeated, tag = "7")]
    leases: Vec<Lease>,
}

#[derive(Clone, PartialEq, Message)]
struct Lease {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl_s: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Chunk {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(int64, tag = "1")]
    revision: i64,
    #[prost(uint32, tag = "2")]
    order: u32,
    #[prost(bool, tag = "3")]
    event: bool,
    #[prost(bytes = "bytes", tag = "4")]
    key: bytes::Bytes,
    #[prost(bool, tag = "5")]
    deleted: bool,
    #[prost(bytes = "bytes", tag = "6")]
    value: bytes::Bytes,
    #[prost(int64, tag = "7")]
    create_revision: i64,
    #[prost(int64, tag = "8")]
    version: i64,
    #[prost(int64, tag = "9")]
    lease: i64,
}

/// The chunks of a snapshot, the head first.
pub(crate) fn encode(snapshot: Snapshot) -> Vec<Vec<u8>> {
    let lease = |lease: &SnapshotLease| Lease {
        id: lease.id.0,
        ttl_s: lease.ttl_s,
    };
    let head = Head {
        version: VERSION,
        revision: snapshot.revision,
        compacted: snapshot.compacted,
        mutations: snapshot.mutations,
        no_space: snapshot.no_space,
        leases_chosen: snapshot.leases_chosen,
        leases: snapshot.leases.iter().map(lease).collect(),
    };
    let mut chunks = vec![head.encode_to_vec()];
    let mut chunk = Chunk::default();
    let mut bytes = 0;
    for entry in snapshot.entries {
        let entry = to_disk(entry);
        bytes += entry.encoded_len();
        chunk.entries.push(entry);
        if bytes >= CHUNK_BYTES {
            chunks.push(std::mem::take(&mut chunk).encode_to_vec());
            bytes = 0;
        }
    }
    if !chunk.entries.is_empty() {
        chunks.push(chunk.encode_to_vec());
    }
    chunks
}

/// The snapshot of which these are the chunks.
pub(crate) fn decode(chunks: &[Vec<u8>]) -> Result<Snapshot, StoreError> {
    let corrupt = |error: prost::DecodeError| StoreError::Corrupt(error.to_string());
    let Some((head, chunks)) = chunks.split_first() else {
        return Err(StoreError::Corrupt("a snapshot without its head".into()));
    };
    let head = Head::decode(head.as_slice()).map_err(corrupt)?;
    if head.version != VERSION {
        let text = format!("snapshot version {}, expected {VERSION}", head.version);
        return Err(StoreError::Corrupt(text));
    }
    let mut entries = Vec::new();
    for chunk in chunks {
        let chunk = Chunk::decode(bytes::Bytes::copy_from_slice(chunk)).map_err(corrupt)?;
        entries.extend(chunk.entries.into_iter().map(from_disk));
    }
    let lease = |lease: &Lease| SnapshotLease {
        id: LeaseId(lease.id),
        ttl_s: lease.ttl_s,
    };
    Ok(Snapshot {
        revision: head.revision,
        compacted: head.compacted,
        mutations: head.mutations,
        no_space: head.no_space,
        leases_chosen: head.leases_chosen,
        entries,
        leases: head.leases.iter().map(lease).collect(),
    })
}

fn to_disk(entry: SnapshotEntry) -> Entry {
    let deleted = entry.kv.is_none();
    let kv = entry.kv.unwrap_or_default();
    Entry {
        revision: entry.revision,
        order: entry.order,
        event: entry.event,
        key: entry.key,
        deleted,
        value: kv.value,
        create_revision: kv.create_revision,
        version: kv.version,
        lease: kv.lease.0,
    }
}

fn from_disk(entry: Entry) -> SnapshotEntry {
    let kv = (!entry.deleted).then(|| KeyValue {
        key: entry.key.clone(),
        // A copy, so that one value does not keep its whole chunk in memory.
        value: bytes::Bytes::copy_from_slice(&entry.value),
        create_revision: entry.create_revision,
        mod_revision: entry.revision,
        version: entry.version,
        lease: LeaseId(entry.lease),
    });
    SnapshotEntry {
        revision: entry.revision,
        order: entry.order,
        event: entry.event,
        key: bytes::Bytes::copy_from_slice(&entry.key),
        kv: kv.map(|kv| KeyValue {
            key: bytes::Bytes::copy_from_slice(&kv.key),
            ..kv
        }),
    }
}

#[cfg(test)]
mod tests {
    use berth_kv::{DeleteRequest, KeyRange, Limits, Model, PutRequest, Request};

    use super::*;

    #[test]
    fn a_snapshot_survives_the_round_trip() {
        let mut model = Model::default();
        let lease = LeaseId(7);
        model
            .apply(
                0,
                Request::LeaseGrant {
                    id: lease,
                    ttl_s: 10,
                },
            )
            .unwrap();
        for round in 0..3 {
            let put = PutRequest {
                lease,
                ..PutRequest::new("leased", format!("{round}"))
            };
            model.apply(0, Request::Put(put)).unwrap();
            let big = vec![round; CHUNK_BYTES];
            model
                .apply(0, Request::Put(PutRequest::new(format!("big{round}"), big)))
                .unwrap();
        }
        let delete = DeleteRequest {
            range: KeyRange::Single("big1".into()),
            prev_kv: false,
        };
        model.apply(0, Request::DeleteRange(delete)).unwrap();
        model.apply(0, Request::Compact { revision: 4 }).unwrap();

        let chunks = encode(model.snapshot());
        assert!(
            chunks.len() > 3,
            "three large values need more than one chunk"
        );
        let snapshot = decode(&chunks).unwrap();
        assert_eq!(snapshot, model.snapshot());
        assert_eq!(
            Model::restore(Limits::default(), 0, snapshot).snapshot(),
            model.snapshot()
        );
    }

    #[test]
    fn a_snapshot_of_another_version_is_refused() {
        let head = Head {
            version: VERSION + 1,
            ..Head::default()
        };
        assert!(matches!(
            decode(&[head.encode_to_vec()]),
            Err(StoreError::Corrupt(_))
        ));
    }
}
