//! Everything that was ever written to an etcd, revision by revision, as its watch tells it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_client::{Client, EventType, WatchOptions};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::etcd::Etcd;
use crate::wait::{secs, wait_for};

/// One change of one key.
#[derive(Debug, Clone)]
pub struct Change {
    /// The store's revision after it.
    pub revision: i64,
    /// The key.
    pub key: String,
    /// The value; `None`: deleted.
    pub value: Option<Value>,
}

/// A recorder: start it before anything writes.
#[derive(Debug)]
pub struct History {
    changes: Arc<Mutex<Vec<Change>>>,
    task: JoinHandle<()>,
}

impl History {
    /// Follows `etcd` from its first revision on, through restarts.
    #[must_use]
    pub fn record(etcd: &Etcd) -> Self {
        Self::of(&etcd.url())
    }

    /// Follows the member of etcd at this URL.
    #[must_use]
    pub fn of(url: &str) -> Self {
        let changes = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(follow(url.to_owned(), Arc::clone(&changes)));
        Self { changes, task }
    }

    /// All changes up to the store's revision of now, in order.
    ///
    /// # Panics
    /// When the recorder does not catch up.
    pub async fn until_now(&self, etcd: &Etcd) -> Vec<Change> {
        self.up_to(etcd.revision().await).await
    }

    /// All changes so far, in order.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.changes.lock().map(|c| c.clone()).unwrap_or_default()
    }

    /// All changes up to a revision, in order.
    ///
    /// # Panics
    /// When the recorder does not catch up.
    pub async fn up_to(&self, revision: i64) -> Vec<Change> {
        let (changes, _) = wait_for("the recorder to catch up", secs(20), async || {
            let mut changes = self.changes.lock().map_err(|e| e.to_string())?.clone();
            let at = changes.last().map_or(1, |c| c.revision);
            if at >= revision {
                changes.retain(|c| c.revision <= revision);
                Ok(changes)
            } else {
                Err(format!("{at} of {revision}"))
            }
        })
        .await;
        changes
    }

    /// What was seen so far of the records of one workload, a line for each change.
    #[must_use]
    pub fn about(&self, workload: &str) -> String {
        let ending = format!("/{workload}");
        let changes = self.changes.lock().map(|c| c.clone()).unwrap_or_default();
        let lines = changes
            .iter()
            .filter(|c| c.key.ends_with(&ending))
            .map(|change| {
                let value = change
                    .value
                    .as_ref()
                    .map_or_else(|| "deleted".to_owned(), Value::to_string);
                format!("{:>6} {} {value}\n", change.revision, change.key)
            });
        lines.collect()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(url: String, changes: Arc<Mutex<Vec<Change>>>) {
    loop {
        // An error is a lost connection: go on behind the last change that was seen.
        let _ = follow_once(&url, &changes).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn follow_once(url: &str, changes: &Mutex<Vec<Change>>) -> Result<(), etcd_client::Error> {
    let next = changes
        .lock()
        .ok()
        .and_then(|c| c.last().map(|c| c.revision + 1))
        .unwrap_or(1);
    let mut client = Client::connect([url], None).await?;
    let options = WatchOptions::new()
        .with_all_keys()
        .with_start_revision(next);
    let mut stream = client.watch("", Some(options)).await?;
    while let Some(message) = stream.message().await? {
        assert!(
            message.compact_revision() == 0,
            "history was compacted away"
        );
        let Ok(mut all) = changes.lock() else {
            return Ok(());
        };
        for event in message.events() {
            let Some(kv) = event.kv() else { continue };
            let value = serde_json::from_slice(kv.value()).unwrap_or(Value::Null);
            all.push(Change {
                revision: kv.mod_revision(),
                key: String::from_utf8_lossy(kv.key()).into_owned(),
                value: (event.event_type() == EventType::Put).then_some(value),
            });
        }
    }
    Ok(())
}

/// What stood at every revision: calls `look` after each with all keys that hold a value.
pub fn replay(changes: &[Change], mut look: impl FnMut(i64, &BTreeMap<String, Value>)) {
    let mut state = BTreeMap::new();
    for group in changes.chunk_by(|a, b| a.revision == b.revision) {
        for change in group {
            match &change.value {
                Some(value) => state.insert(change.key.clone(), value.clone()),
                None => state.remove(&change.key),
            };
        }
        look(group[0].revision, &state);
    }
}
