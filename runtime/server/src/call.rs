//! What is known of the call that is being answered, besides what it asks: who makes it, until
//! when, and how new the answer must be. Doors put it in scope, [`crate::Api::ask`] reads it.

use std::future::Future;
use std::net::SocketAddr;

use berth_core::StoreRevision;
use tokio::time::Instant;

tokio::task_local! {
    static CALL: Call;
}

/// Who asks, as far as it can be told. For the log: nothing is decided by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Where it connects from, `host:port`; empty when it is not known.
    pub address: String,
    /// The subject of its certificate; empty without TLS.
    pub subject: String,
}

impl Caller {
    /// A peer at `address`.
    #[must_use]
    pub fn at(address: Option<SocketAddr>) -> Self {
        Self {
            address: address.map_or_else(String::new, |address| address.to_string()),
            subject: String::new(),
        }
    }
}

/// What is known of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// Who makes it.
    pub caller: Caller,
    /// When nobody waits for the answer any more.
    pub until: Option<Instant>,
    /// A read is answered by the leader, and reflects everything acknowledged before.
    pub strong: bool,
    /// A read reflects at least this revision of the store.
    pub at_least: StoreRevision,
    /// Another replica sent it on: it goes no further.
    pub forwarded: bool,
}

impl Call {
    /// The call that is being answered; an empty one outside of any.
    #[must_use]
    pub fn current() -> Self {
        CALL.try_with(Self::clone).unwrap_or_default()
    }

    /// Does `work` as an answer to this call.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CALL.scope(self, work).await
    }
}
