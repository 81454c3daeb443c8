//! One look at the store before it is used: who leads, and whether it is the store that it was.

use berth_core::StoreRevision;
use berth_core::lineage::{Generation, Hold, Look};
use berth_core::schema::Schema;
use etcd_client::{
    Client, Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::error::{Refusal, StoreError, within};
use super::keys::Keys;
use super::memory::Memory;
use crate::config::{Replica, StoreConfig};

/// What a look found, in a store that is to be believed.
#[derive(Debug)]
pub(crate) struct Found {
    /// The leadership key.
    pub(crate) leader: Option<KeyValue>,
    /// The store's generation.
    pub(crate) generation: u32,
    /// The revision of its record; 0: there is none.
    pub(crate) generation_at: i64,
    /// The revision of a record that closes the store and is void; 0: there is none.
    pub(crate) hold_at: i64,
    /// Which versions may use it, if anybody said so yet.
    pub(crate) schema: Option<Schema>,
    /// The revision of that record; 0: there is none.
    pub(crate) schema_at: i64,
}

impl Found {
    /// What a transaction compares that presumes what was found.
    pub(crate) fn compares(&self, keys: &Keys) -> [Compare; 3] {
        [
            Compare::mod_revision(keys.schema(), CompareOp::Equal, self.schema_at),
            Compare::mod_revision(keys.generation(), CompareOp::Equal, self.generation_at),
            Compare::mod_revision(keys.hold(), CompareOp::Equal, self.hold_at),
        ]
    }
}

/// Looks, linearizably. A store that is not the one that was seen before is closed to all replicas,
/// those that cannot know included, by a record in it.
///
/// # Errors
/// The store cannot be asked, or is not to be believed.
pub(crate) async fn look(
    client: &mut Client,
    keys: &Keys,
    config: &StoreConfig,
    replica: &Replica,
    memory: &Memory,
) -> Result<Found, StoreError> {
    let before = memory.asks();
    let all = GetOptions::new()
        .with_range(keys.root_end())
        .with_count_only();
    let reads = [
        TxnOp::get(keys.leader(), None),
        TxnOp::get(keys.generation(), None),
        TxnOp::get(keys.hold(), None),
        TxnOp::get(keys.schema(), None),
        TxnOp::get(keys.probe(), None),
        TxnOp::get(keys.root(), Some(all)),
    ];
    let asked = client.txn(Txn::new().and_then(reads));
    let answer = within(config.request_timeout, "election", asked).await?;
    let (mut records, count) = read(&answer).ok_or(StoreError::Nonsense("election"))?;
    let header = answer.header().ok_or(StoreError::Nonsense("election"))?;
    let ours = i64::try_from(records.iter().flatten().count()).unwrap_or(i64::MAX);
    let [leader, generation, hold, schema, _probe] = &mut records;
    let found = Found {
        leader: leader.take(),
        generation: match generation {
            None => 0,
            Some(record) => {
                serde_json::from_slice::<Generation>(record.value())
                    .map_err(|_| StoreError::Nonsense("generation"))?
                    .generation
            }
        },
        generation_at: generation.as_ref().map_or(0, KeyValue::mod_revision),
        hold_at: hold.as_ref().map_or(0, KeyValue::mod_revision),
        schema: match schema {
            None => None,
            Some(record) => Some(
                serde_json::from_slice(record.value())
                    .map_err(|_| StoreError::Nonsense("schema"))?,
            ),
        },
        schema_at: schema.as_ref().map_or(0, KeyValue::mod_revision),
    };
    let seen = Look {
        cluster: header.cluster_id(),
        generation: found.generation,
        revision: StoreRevision(header.revision()),
        held: Some(count > ours),
    };
    if let Err(broken) = memory.judge(before, seen) {
        if found.hold_at == 0 && broken.concerns_all(memory.in_this_life()) {
            close(client, keys, config, replica, &found, &broken).await;
        }
        return Err(StoreError::Refused(Refusal::Broken(broken)));
    }
    if let Some(Err(too_old)) = found.schema.as_ref().map(Schema::check) {
        return Err(StoreError::Refused(Refusal::TooOld(too_old)));
    }
    let Some(record) = hold else {
        return Ok(found);
    };
    let hold = serde_json::from_slice::<Hold>(record.value()).ok();
    let written_at = StoreRevision(record.mod_revision());
    match hold {
        // It came late, into the right store.
        Some(hold) if !hold.stands(written_at, seen) => Ok(found),
        hold => Err(StoreError::Refused(Refusal::Held(hold.map(Box::new)))),
    }
}

/// The records that were asked for and the number of all.
fn read(answer: &TxnResponse) -> Option<([Option<KeyValue>; 5], i64)> {
    let mut responses = answer.op_responses().into_iter();
    let mut next = || match responses.next()? {
        TxnOpResponse::Get(get) => Some(get),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
    };
    let mut records = [None, None, None, None, None];
    for record in &mut records {
        *record = next()?.take_kvs().into_iter().next();
    }
    Some((records, next()?.count()))
}

/// Keeps everybody from leading, and ends the term of whoever leads: it cannot know.
async fn close(
    client: &mut Client,
    keys: &Keys,
    config: &StoreConfig,
    replica: &Replica,
    found: &Found,
    broken: &berth_core::lineage::Break,
) {
    let hold = Hold {
        by: replica.id.clone(),
        what: *broken,
        why: broken.to_string(),
    };
    let Ok(value) = serde_json::to_vec(&hold) else {
        return;
    };
    let writes = [
        TxnOp::put(keys.hold(), value, None),
        TxnOp::delete(keys.leader(), None),
    ];
    let request = client.txn(Txn::new().when(found.compares(keys)).and_then(writes));
    match within(config.request_timeout, "hold", request).await {
        Ok(_) => tracing::error!(why = %broken, "the store is closed to every scheduler"),
        // The next look tries again.
        Err(error) => tracing::warn!(%error, "cannot close the store to other schedulers"),
    }
}

/// What an operator's word came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The generation that the store has now.
    pub generation: u32,
    /// Why it was closed, if it was.
    pub was_closed: Option<String>,
}

/// Says for the operator that the store is to be believed from now on: a record of a new generation,
/// the end of what kept schedulers from leading, and the end of the present term.
///
/// # Errors
/// The store cannot be asked; the generation is not a new one; or somebody was faster.
pub(crate) async fn accept(
    client: &mut Client,
    prefix: &str,
    config: &StoreConfig,
    generation: Option<u32>,
) -> Result<Accepted, String> {
    let keys = Keys::new(prefix);
    let words = |error: StoreError| error.to_string();
    let reads = [
        TxnOp::get(keys.generation(), None),
        TxnOp::get(keys.hold(), None),
    ];
    let asked = client.txn(Txn::new().and_then(reads));
    let answer = within(config.request_timeout, "look", asked)
        .await
        .map_err(words)?;
    let mut found = answer
        .op_responses()
        .into_iter()
        .map(|response| match response {
            TxnOpResponse::Get(mut get) => get.take_kvs().into_iter().next(),
            TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
        });
    let (record, hold) = (found.next().flatten(), found.next().flatten());
    let present = record.as_ref().map_or(Ok(0), |record| {
        serde_json::from_slice::<Generation>(record.value())
            .map(|found| found.generation)
            .map_err(|error| format!("the record of the generation cannot be read: {error}"))
    })?;
    let hold_at = hold.as_ref().map_or(0, KeyValue::mod_revision);
    let hold: Option<Hold> = hold.and_then(|hold| serde_json::from_slice(hold.value()).ok());
    // Whoever closed the store may have seen a later generation than it has now.
    let least = hold
        .as_ref()
        .map_or(present, |hold| hold.what.seen().generation.max(present))
        + 1;
    let generation = generation.unwrap_or(least);
    if generation < least {
        return Err(format!("the generation must be at least {least}"));
    }
    let value = serde_json::to_vec(&Generation { generation }).map_err(|e| e.to_string())?;
    let compares = [
        Compare::mod_revision(
            keys.generation(),
            CompareOp::Equal,
            record.as_ref().map_or(0, KeyValue::mod_revision),
        ),
        Compare::mod_revision(keys.hold(), CompareOp::Equal, hold_at),
    ];
    let writes = [
        TxnOp::put(keys.generation(), value, None),
        TxnOp::delete(keys.hold(), None),
        TxnOp::delete(keys.leader(), None),
    ];
    let request = client.txn(Txn::new().when(compares).and_then(writes));
    let answer = within(config.request_timeout, "acceptance", request)
        .await
        .map_err(words)?;
    if !answer.succeeded() {
        return Err("somebody else changed it meanwhile: look again".to_owned());
    }
    let was_closed = hold.map(|hold| hold.why);
    Ok(Accepted {
        generation,
        was_closed,
    })
}
