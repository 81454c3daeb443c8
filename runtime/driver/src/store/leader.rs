//! Who leads, read from the store itself: for who follows, and whose watch lags behind.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::connect::StoreFactory;
use super::error::{StoreError, within};
use super::keys::Keys;
use crate::config::{Replica, StoreConfig};

/// A read of who leads; `None`: nobody does.
pub type ReadingLeader<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Replica>, String>> + Send + 'a>>;

/// Knows who leads without the watch that a follower lives on.
pub trait Leaders: fmt::Debug + Send + Sync {
    /// Reads it, linearizably. Whoever asks bounds how often and how long.
    fn read(&self) -> ReadingLeader<'_>;
}

/// Reads the leadership key, each time over a connection of its own: it is seldom needed, and when
/// it is, the connection that lags is the one in use.
pub(crate) struct LeaderRecord {
    pub(crate) factory: Arc<dyn StoreFactory>,
    pub(crate) config: Arc<StoreConfig>,
}

impl fmt::Debug for LeaderRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderRecord")
            .field("prefix", &self.config.prefix)
            .finish_non_exhaustive()
    }
}

impl LeaderRecord {
    async fn look(&self) -> Result<Option<Replica>, StoreError> {
        let (config, keys) = (&self.config, Keys::new(&self.config.prefix));
        let connecting = self.factory.connect();
        let mut client = within(config.connect_timeout, "connect", connecting).await?;
        let asking = client.get(keys.leader(), None);
        let held = within(config.request_timeout, "election", asking).await?;
        let record = held.kvs().first();
        let leader = record.map(|record| serde_json::from_slice(record.value()));
        leader
            .transpose()
            .map_err(|_| StoreError::Nonsense("leader"))
    }
}

impl Leaders for LeaderRecord {
    fn read(&self) -> ReadingLeader<'_> {
        Box::pin(async { self.look().await.map_err(|error| error.to_string()) })
    }
}
