//! Where a replica stands, and what it asks the store for.

use berth_core::io::Stored;
use berth_core::lineage::Sight;
use berth_core::{Key, Timestamp, TxnId};

/// Where a replica stands in its election.
#[derive(Debug)]
pub(super) enum Standing {
    /// Waits for its turn.
    Idle,
    /// Asked whether somebody leads.
    Looking,
    /// Asked for a lease.
    Granting,
    /// Asked for the leadership key.
    Campaigning,
    /// Reads the store, to lead or to follow.
    Loading {
        follows: bool,
        /// Somebody leads at that revision.
        led: bool,
        revision: i64,
        records: Vec<Stored>,
        strangers: Vec<String>,
    },
    /// It has the key, and waits until its watch tells of it: then its image is the one to lead
    /// over. Not longer than until then.
    Awaiting(Timestamp),
    /// Leads.
    Leading,
    /// Somebody else leads, and its watch keeps its image up.
    Following,
}

/// Where a replica stands, as others see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::world) enum Role {
    /// It waits for its turn.
    #[default]
    Waits,
    /// It asks for the lease and the leadership key.
    Campaigns,
    /// It has the key and reads the store.
    Loads(i64),
    /// It leads.
    Leads(i64),
}

/// What a call to the store is for.
#[derive(Debug)]
pub(super) enum Purpose {
    Look,
    /// Whether the store is the one that was seen before; how far it was seen, and what comes next.
    Verify(Option<Sight>, Next),
    /// When, by its own clock.
    Grant {
        asked_at: Timestamp,
    },
    Campaign,
    Load(Option<Sight>),
    /// When, by its own clock.
    KeepAlive {
        asked_at: Timestamp,
    },
    Commit(TxnId, Vec<Key>, Option<Sight>),
    ReadBack(TxnId, Vec<Key>, Option<Sight>),
    Watch,
    /// Keeps everybody from leading.
    Hold,
}

/// What comes after the store was found to be the one that it was.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    /// To lead, or to follow.
    Begin,
    /// Its watch goes on, from this revision.
    Watch(i64),
    /// It follows on, if anybody leads still: its watch may have kept the end of the term to itself.
    Follow,
}
