//! The whole store below the prefix, page by page, all at one revision.

use berth_core::StoreRevision;
use berth_core::io::{Snapshot, Stored};
use etcd_client::{GetOptions, KeyValue, KvClient};

use super::error::{StoreError, within};
use super::keys::{Keys, Place};
use crate::config::StoreConfig;

/// Reads everything that is not of the election.
pub(crate) async fn load(
    client: &mut KvClient,
    keys: &Keys,
    config: &StoreConfig,
) -> Result<Snapshot, StoreError> {
    let mut snapshot = Snapshot::default();
    let (mut from, end) = (keys.root().into_bytes(), keys.root_end());
    let limit = i64::try_from(config.page_keys.max(1)).unwrap_or(i64::MAX);
    let mut revision = 0;
    loop {
        let mut options = GetOptions::new().with_range(end.clone()).with_limit(limit);
        if revision > 0 {
            options = options.with_revision(revision);
        }
        let page = client.get(std::mem::take(&mut from), Some(options));
        let mut page = within(config.request_timeout, "load", page).await?;
        if revision == 0 {
            revision = page
                .header()
                .ok_or(StoreError::Nonsense("load"))?
                .revision();
        }
        let more = page.more();
        for record in page.take_kvs() {
            from.clear();
            from.extend_from_slice(record.key());
            take(keys, record, &mut snapshot);
        }
        if !more {
            snapshot.revision = StoreRevision(revision);
            return Ok(snapshot);
        }
        if from.is_empty() {
            return Err(StoreError::Nonsense("load"));
        }
        // The first key after the last one.
        from.push(0);
    }
}

fn take(keys: &Keys, record: KeyValue, snapshot: &mut Snapshot) {
    let mod_revision = StoreRevision(record.mod_revision());
    let (full, value) = record.into_key_value();
    match keys.place(&full) {
        Place::Record(key) => match String::from_utf8(value) {
            Ok(value) => snapshot.records.push(Stored {
                key,
                value: Some(value.into()),
                mod_revision,
            }),
            Err(_) => snapshot.strangers.push(keys.full(&key)),
        },
        Place::Election => {}
        Place::Stranger(text) => snapshot.strangers.push(text),
    }
}
