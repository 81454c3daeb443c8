//! Election: whoever creates the leadership key leads; the revision that created it is the epoch.

use std::time::Duration;

use berth_core::Epoch;
use berth_core::schema::Schema;
use etcd_client::{Client, Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse};
use tokio::time::Instant;

use super::error::{StoreError, within};
use super::health::Reporter;
use super::keys::Keys;
use super::lease::Lease;
use super::look::{Found, look};
use super::memory::Memory;
use crate::config::{Replica, StoreConfig};

/// An election that was won.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Won {
    pub(crate) epoch: Epoch,
    pub(crate) lease: Lease,
}

/// What one campaign came to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Campaign {
    /// This replica leads.
    Won(Won),
    /// Somebody else does, by the key that was made at this revision of a store of this generation.
    Led { made: i64, generation: u32 },
}

/// Campaigns once.
pub(crate) async fn campaign(
    client: &mut Client,
    keys: &Keys,
    config: &StoreConfig,
    replica: &Replica,
    health: &Reporter,
    memory: &Memory,
) -> Result<Campaign, StoreError> {
    loop {
        let asked = Instant::now();
        let found = look(client, keys, config, replica, memory).await?;
        health.answered(Some(asked.elapsed()));
        health.believed();
        if let Some(record) = &found.leader {
            health.store_works();
            health.leader_is(serde_json::from_slice(record.value()).ok());
            return Ok(Campaign::Led {
                made: record.create_revision(),
                generation: found.generation,
            });
        }
        health.leader_is(None);
        if let Some(won) = try_once(client, keys, config, replica, &found).await? {
            health.wrote();
            health.store_works();
            health.leader_is(Some(replica.clone()));
            return Ok(Campaign::Won(won));
        }
    }
}

/// Asks for a lease, and creates the key with it. `None`: somebody was faster.
async fn try_once(
    client: &mut Client,
    keys: &Keys,
    config: &StoreConfig,
    replica: &Replica,
    found: &Found,
) -> Result<Option<Won>, StoreError> {
    let since = Instant::now();
    let seconds = i64::try_from(config.lease_ttl.as_secs())
        .unwrap_or(i64::MAX)
        .max(1);
    let granted = client.lease_grant(seconds, None);
    let granted = within(config.request_timeout, "lease", granted).await?;
    let lease = Lease {
        id: granted.id(),
        ttl: Duration::from_secs(granted.ttl().unsigned_abs()),
        since,
    };
    let created = create_key(client, keys, config, replica, found, lease.id).await;
    match created {
        Ok(Some(epoch)) => Ok(Some(Won { epoch, lease })),
        // Whether or not the key was created: without the lease, it goes.
        Ok(None) => {
            revoke(client, config, lease.id).await;
            Ok(None)
        }
        Err(error) => {
            revoke(client, config, lease.id).await;
            Err(error)
        }
    }
}

async fn create_key(
    client: &mut Client,
    keys: &Keys,
    config: &StoreConfig,
    replica: &Replica,
    found: &Found,
    lease: i64,
) -> Result<Option<Epoch>, StoreError> {
    let value = serde_json::to_vec(replica).map_err(|_| StoreError::Nonsense("replica"))?;
    let absent = Compare::create_revision(keys.leader(), CompareOp::Equal, 0);
    let with_lease = PutOptions::new().with_lease(lease);
    let put = TxnOp::put(keys.leader(), value, Some(with_lease));
    let mut writes = vec![put];
    if let Some(schema) = Schema::raised(found.schema.as_ref(), env!("CARGO_PKG_VERSION")) {
        let value = serde_json::to_vec(&schema).map_err(|_| StoreError::Nonsense("schema"))?;
        writes.push(TxnOp::put(keys.schema(), value, None));
    }
    let [schema, generation, hold] = found.compares(keys);
    let compares = [absent, schema, generation, hold];
    let request = client.txn(Txn::new().when(compares).and_then(writes));
    let answer = within(config.request_timeout, "election", request).await?;
    let revision = answer
        .header()
        .ok_or(StoreError::Nonsense("election"))?
        .revision();
    let epoch = Epoch::of(found.generation, revision);
    Ok(answer.succeeded().then_some(epoch))
}

/// How many records the store held when this epoch began: of workloads, nodes and tombstones. Asked
/// apart from the election: every member would count in that, and answer nothing else meanwhile.
pub(crate) async fn records_at(
    client: &mut Client,
    keys: &Keys,
    config: &StoreConfig,
    epoch: Epoch,
) -> Result<usize, StoreError> {
    let counts = keys.records().map(|(first, end)| {
        let options = GetOptions::new().with_range(end).with_count_only();
        TxnOp::get(first, Some(options.with_revision(epoch.create_revision())))
    });
    let asking = client.txn(Txn::new().and_then(counts));
    let answer = within(config.request_timeout, "count", asking).await?;
    let counts = answer.op_responses().into_iter();
    let counts = counts.map(|answer| match answer {
        TxnOpResponse::Get(counted) => usize::try_from(counted.count()).unwrap_or(0),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => 0,
    });
    Ok(counts.sum())
}

/// Whether this epoch still leads.
pub(crate) async fn still_leads(
    client: &mut Client,
    keys: &Keys,
    config: &StoreConfig,
    epoch: Epoch,
) -> Result<(), StoreError> {
    let answer = client.get(keys.leader(), None);
    let answer = within(config.request_timeout, "election", answer).await?;
    match answer.kvs().first() {
        Some(record) if record.create_revision() == epoch.create_revision() => Ok(()),
        Some(_) | None => Err(StoreError::NotLeader),
    }
}

/// Gives a lease back, and the leadership key with it. If that fails, the lease expires.
pub(crate) async fn revoke(client: &mut Client, config: &StoreConfig, lease: i64) {
    let limit = config.request_timeout.min(Duration::from_secs(2));
    if let Err(error) = within(limit, "resignation", client.lease_revoke(lease)).await {
        tracing::info!(%error, "cannot give the leadership lease back: it will expire");
    }
}
