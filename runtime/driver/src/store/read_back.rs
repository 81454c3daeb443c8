//! What is in the store, after a commit whose fate is unknown.

use std::time::Duration;

use berth_core::io::Stored;
use berth_core::{Input, Key, StoreRevision, TxnId};
use etcd_client::{GetOptions, KvClient, Txn, TxnOp, TxnOpResponse};

use super::error::{StoreError, is_compacted, within};
use super::keys::Keys;
use super::txn::stored;
use crate::config::StoreConfig;

/// Keys read by one request.
const KEYS_MAX: usize = 100;

/// Reads linearizably, trying again until the store answers.
pub(crate) async fn read_back(
    mut client: KvClient,
    keys: &Keys,
    config: &StoreConfig,
    txn: TxnId,
    wanted: Vec<Key>,
) -> Input {
    let mut pause = config.backoff_min;
    loop {
        match read_all(&mut client, keys, config.request_timeout, &wanted).await {
            Ok((revision, records)) => {
                return Input::ReadBack {
                    txn,
                    revision,
                    records,
                };
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

/// Reads all of them as they are at one revision, the newest.
async fn read_all(
    client: &mut KvClient,
    keys: &Keys,
    limit: Duration,
    wanted: &[Key],
) -> Result<(StoreRevision, Vec<Stored>), StoreError> {
    let nonsense = || StoreError::Nonsense("read back");
    let mut records = Vec::with_capacity(wanted.len());
    // Of the first request; the others read at the same.
    let mut revision = 0;
    for chunk in wanted.chunks(KEYS_MAX) {
        let at = (revision > 0).then(|| GetOptions::new().with_revision(revision));
        let reads: Vec<TxnOp> = chunk
            .iter()
            .map(|key| TxnOp::get(keys.full(key), at.clone()))
            .collect();
        let request = client.txn(Txn::new().and_then(reads));
        let answer = within(limit, "read back", request).await?;
        if revision == 0 {
            revision = answer.header().ok_or_else(nonsense)?.revision();
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
    Ok((StoreRevision(revision), records))
}
