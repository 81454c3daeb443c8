//! How old an answer may be, and when that deserves a word.
//!
//! A server that does not lead marks each answer as stale, and says how long ago its image was
//! known to be the store's state. That alone is no trouble: while somebody leads and the store
//! tells what changes, the image is seconds old at most. What is trouble is asked of the server.

use std::time::Duration;

use berth_core::io::request::Freshness;
use serde::Deserialize;

use super::Session;
use crate::exit::Failure;
use crate::output::text;

/// An image of which nothing was heard for longer is old: twice the lease of the leadership, if
/// that is 5 s, after which a server takes its watch of the store for broken.
pub const AGE_MAX: Duration = Duration::from_secs(10);

/// What is read of `/health`; older and newer servers may say less or more.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Health {
    pub(super) mode: String,
    pub(super) reason: String,
    pub(super) leading: bool,
    pub(super) epoch: i64,
    leader: Option<String>,
    pub(super) store: Store,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Store {
    pub(super) available: bool,
    pub(super) error: String,
    state: String,
    why: String,
}

/// What is read of `/status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Standing {
    quarantined: u32,
    health: Health,
}

impl Store {
    /// Why it tells nothing new; `None`: it does, as far as is known.
    fn trouble(&self) -> Option<String> {
        let why = [&self.why, &self.error]
            .into_iter()
            .find(|why| !why.is_empty());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        match self.state.as_str() {
            "no-leader" => Some(format!("the store has no leader{why}")),
            "unreachable" => Some(format!("the store is out of reach{why}")),
            "resync" => Some(format!("the store is being read anew{why}")),
            "refused" => Some(format!("the store is refused{why}")),
            _ if !self.available => Some(format!("the store is out of reach{why}")),
            _ => None,
        }
    }
}

/// Why an answer may be old; `None`: it is as new as the store.
pub(super) fn doubt(freshness: Freshness, health: &Health) -> Option<String> {
    let age = age_of(freshness);
    if !freshness.stale {
        return None;
    }
    health.store.trouble().or_else(|| {
        if !health.leading && health.leader.is_none() {
            Some("no scheduler leads".to_owned())
        } else if age > AGE_MAX {
            let silent = text::duration(age);
            Some(format!("the store told nothing for {silent}"))
        } else {
            None
        }
    })
}

fn age_of(freshness: Freshness) -> Duration {
    Duration::from_millis(freshness.age_ms)
}

/// The doubt as a line below what was answered.
pub(super) fn caution(freshness: Freshness, doubt: &str) -> String {
    let revision = freshness.revision;
    let of = match (revision.0, freshness.age_ms) {
        (0, _) => "nothing was read from it yet".to_owned(),
        (_, 0..1_000) => format!("this is revision {revision}, of less than 1s ago"),
        _ => {
            let age = text::duration(age_of(freshness));
            format!("this is revision {revision}, of {age} ago")
        }
    };
    format!("note: this may be old: {doubt}; {of}")
}

/// Says that an answer may be old, and why, if it may.
///
/// # Errors
/// Those of the stream.
pub(super) async fn note(session: &mut Session<'_>, freshness: Freshness) -> Result<(), Failure> {
    if freshness.stale
        && let Some(doubt) = asked(session, freshness).await.0
    {
        session.console.note(&caution(freshness, &doubt))?;
    }
    Ok(())
}

/// What the server itself says: why its answer may be old, and how many records cannot be read.
async fn asked(session: &Session<'_>, freshness: Freshness) -> (Option<String>, u32) {
    match session.api.read::<Standing>(&["status"], &[]).await {
        Ok(standing) => (doubt(freshness, &standing.health), standing.quarantined),
        // The answer can be shown all the same.
        Err(failure) => {
            let doubt = format!("the scheduler does not say how it is: {failure}");
            (Some(doubt), 0)
        }
    }
}

/// Says that a list of `what` is empty, and why: nothing is there, then `otherwise` says what to do
/// about it; or it could not be read.
///
/// # Errors
/// Those of the stream.
pub(super) async fn nothing(
    session: &mut Session<'_>,
    freshness: Freshness,
    what: &str,
    otherwise: &str,
) -> Result<(), Failure> {
    let said = match asked(session, freshness).await {
        (Some(doubt), _) => format!("no {what} are known\n{}", caution(freshness, &doubt)),
        (None, 0) => format!("no {what}; {otherwise}"),
        (None, records) => format!(
            "no {what} are known; {records} records of the store cannot be read and are left \
             alone: `berth status`"
        ),
    };
    session.console.note(&said)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_core::StoreRevision;

    fn health(json: &str) -> Health {
        serde_json::from_str(json).expect("the shape of /health")
    }

    const fn follows(age_ms: u64) -> Freshness {
        Freshness {
            revision: StoreRevision(88),
            stale: true,
            age_ms,
        }
    }

    #[test]
    fn an_image_that_follows_a_store_that_tells_is_not_old() {
        let well =
            health(r#"{"leading":false,"leader":"one","store":{"available":true,"state":"fine"}}"#);
        assert_eq!(doubt(follows(2_400), &well), None);
        assert_eq!(doubt(follows(10_000), &well), None);
        let silent = doubt(follows(12_000), &well).expect("a doubt");
        assert_eq!(
            caution(follows(12_000), &silent),
            "note: this may be old: the store told nothing for 12s; this is revision 88, of 12s ago"
        );
        // The leader's own, whatever else is the matter.
        assert_eq!(doubt(Freshness::default(), &Health::default()), None);
    }

    #[test]
    fn without_a_leader_or_a_store_it_may_be_old_however_young() {
        let of = |json: &str| doubt(follows(40), &health(json)).expect("a doubt");
        let unled = r#"{"leading":false,"leader":null,"store":{"available":true,"state":"fine"}}"#;
        assert_eq!(of(unled), "no scheduler leads");
        for (store, says) in [
            (
                r#"{"available":false,"error":"no answer"}"#,
                "the store is out of reach: no answer",
            ),
            (
                r#"{"available":true,"state":"no-leader","why":"an election"}"#,
                "the store has no leader: an election",
            ),
            (
                r#"{"available":false,"error":"x","state":"refused","why":"restored"}"#,
                "the store is refused: restored",
            ),
        ] {
            let json = format!(r#"{{"leader":"one","store":{store}}}"#);
            assert_eq!(of(&json), says);
        }
        let said = caution(follows(40), "no scheduler leads");
        assert!(
            said.ends_with("this is revision 88, of less than 1s ago"),
            "{said}"
        );
        let unread = caution(Freshness::default(), "no scheduler leads");
        assert!(unread.ends_with("nothing was read from it yet"), "{unread}");
    }
}
