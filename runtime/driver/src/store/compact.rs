//! Keeps the store's history short, so that its size is bounded by what is alive.

use std::sync::Arc;

use etcd_client::Client;
use tokio::time::MissedTickBehavior;

use super::error::{StoreError, is_compacted, within};
use super::keys::Keys;
use crate::config::StoreConfig;
use crate::metrics::DriverMetrics;

/// Compacts on a schedule, for ever: keeps the last interval and a number of revisions.
pub(crate) async fn compact_on_schedule(
    mut client: Client,
    keys: Keys,
    config: Arc<StoreConfig>,
    metrics: Arc<DriverMetrics>,
) {
    let Some(interval) = config.compact_interval else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The newest revision at the last tick.
    let mut last = 0;
    loop {
        ticks.tick().await;
        match compact(&mut client, &keys, &config, last).await {
            Ok(Compacted { newest, done }) => {
                last = newest;
                if done {
                    DriverMetrics::count(&metrics.compactions);
                }
            }
            // Somebody else was there first.
            Err(error) if is_compacted(&error) => {}
            Err(error) => tracing::warn!(%error, "cannot compact the store, trying again later"),
        }
    }
}

struct Compacted {
    newest: i64,
    done: bool,
}

/// Compacts up to the revision of the last tick, less what is always kept.
async fn compact(
    client: &mut Client,
    keys: &Keys,
    config: &StoreConfig,
    last: i64,
) -> Result<Compacted, StoreError> {
    let answer = client.get(keys.leader(), None);
    let answer = within(config.request_timeout, "compaction", answer).await?;
    let newest = answer
        .header()
        .ok_or(StoreError::Nonsense("compaction"))?
        .revision();
    let target = last.min(newest - config.compact_keep.max(0));
    let done = target > 0;
    if done {
        let request = client.compact(target, None);
        within(config.request_timeout, "compaction", request).await?;
    }
    Ok(Compacted { newest, done })
}
