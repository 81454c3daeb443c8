//! Finds out when a store that takes no writes takes them again: by writing, at growing intervals.

use std::sync::Arc;
use std::time::Duration;

use berth_core::Epoch;
use etcd_client::{Client, Txn, TxnOp};

use super::End;
use super::error::{Verdict, judge, within};
use super::health::Reporter;
use super::keys::Keys;
use super::txn::fence;
use crate::config::StoreConfig;

/// The first pause between two tries, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(16);

/// Probes during a term, while the store is read-only. One key, which nobody reads.
pub(crate) async fn probe(
    mut client: Client,
    keys: Keys,
    config: Arc<StoreConfig>,
    epoch: Epoch,
    health: Reporter,
) -> End {
    loop {
        health.until_read_only().await;
        let mut pause = PAUSE_MIN;
        while health.read_only().is_some() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            let write = TxnOp::put(keys.probe(), epoch.to_string(), None);
            let request = client.txn(Txn::new().when([fence(&keys, epoch)]).and_then([write]));
            match within(config.request_timeout, "probe", request).await {
                Ok(answer) if answer.succeeded() => {
                    tracing::info!("the store takes writes again");
                    health.wrote();
                    health.store_works();
                }
                Ok(_) => return End::Lost,
                Err(error) => {
                    if let Verdict::Refused {
                        text,
                        store_wide: true,
                    } = judge(&error)
                    {
                        health.refused_write(&text);
                    }
                }
            }
        }
    }
}
