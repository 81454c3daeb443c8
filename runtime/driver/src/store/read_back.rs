//! What is in the store, after a commit whose fate is unknown.

use std::time::Duration;

use berth_core::io::Stored;
use berth_core::{Input, Key, StoreRevision, TxnId};
use etcd_client::{GetOptions, KvClient, Txn, TxnOp, TxnOpResponse};

use super::error::{StoreError, is_compacted, within};
use super::keys::Keys;
use super::memory::Memory;
use super::txn::stored;
use crate::config::StoreConfig;

/// Keys read by one request.
const KEYS_MAX: usize = 100;

/// Reads linearizably, trying again until the store answers. `None`: it is not the store that was
/// loaded, so that what it says tells nothing of the commit.
pub(crate) async fn read_back(
    mut client: KvClient,
    keys: &Keys,
    config: &StoreConfig,
    memory: &Memory,
    txn: TxnId,
    wanted: Vec<Key>,
) -> Option<Input> {
    let mut pause = config.backoff_min;
    loop {
        let before = memory.asks();
        match read_all(&mut client, keys, config.request_timeout, &wanted).await {
            Ok((cluster, revision, records)) => {
                if let Err(broken) = memory.judge_answer(before, cluster, revision.0) {
                    tracing::error!(why = %broken, "the store is another one than before");
                    return None;
                }
                return Some(Input::ReadBack {
                    txn,
                    revision,
                    records,
                });
            }
            Err(error) => {
                if !is_compacted(&error) {
                    tracing::warn!(%error, "cannot read back, trying again");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(config.backoff_max);
            }
        }
    }
}

/// Reads all of them as they are at one revision, the newest, and says of which cluster that is.
async fn read_all(
    client: &mut KvClient,
    keys: &Keys,
    limit: Duration,
    wanted: &[Key],
) -> Result<(u64, StoreRevision, Vec<Stored>), StoreError> {
    let nonsense = || StoreError::Nonsense("read back");
    let mut records = Vec::with_capacity(wanted.len());
    // Of the first request; the others read at the same.
    let (mut cluster, mut revision) = (0, 0);
    for chunk in wanted.chunks(KEYS_MAX) {
        let at = (revision > 0).then(|| GetOptions::new().with_revision(revision));
        let reads: Vec<TxnOp> = chunk
            .iter()
            .map(|key| TxnOp::get(keys.full(key), at.clone()))
            .collect();
        let request = client.txn(Txn::new().and_then(reads));
        let answer = within(limit, "read back", request).await?;
        if revision == 0 {
            let header = answer.header().ok_or_else(nonsense)?;
            (cluster, revision) = (header.cluster_id(), header.revision());
        }
        let found = answer.op_responses();
        if found.len() != chunk.len() {
            return Err(nonsense());
        }
        for (key, response) in chunk.iter().zip(found) {
            let TxnOpResponse::Get(mut get) = response else {
                return Err(nonsense());
            };
            records.push(stored(keys, key, get.take_kvs().into_iter().next()));
        }
    }
    Ok((cluster, StoreRevision(revision), records))
}
