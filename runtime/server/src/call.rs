//! What is known of the call that is being answered, besides what it asks: who makes it, until
//! when, and how new the answer must be. Doors put it in scope, [`crate::Api::ask`] reads it.

use std::future::Future;
use std::net::SocketAddr;
use std::str::FromStr;

use axum::http::HeaderMap;
use berth_core::StoreRevision;
use berth_proto::metadata::{CONSISTENCY, REVISION_MIN};
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

/// How new the answer to a read has to be, as a client says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// As old as the replica's image.
    #[default]
    Default,
    /// Everything that was acknowledged before.
    Strong,
}

impl FromStr for Consistency {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "strong" => Ok(Self::Strong),
            "default" => Ok(Self::Default),
            _ => Err("expected strong or default"),
        }
    }
}

/// A header that cannot be understood, and what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadHeader(pub(crate) &'static str, pub(crate) &'static str);

/// The header's one value; `None` when it is absent.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, BadHeader> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(BadHeader(name, "is not ASCII")),
        },
        (Some(_), Some(_)) => Err(BadHeader(name, "is given twice")),
    }
}

impl Call {
    /// What the headers of a request, or the metadata of a gRPC call, say.
    pub(crate) fn from_headers(caller: Caller, headers: &HeaderMap) -> Result<Self, BadHeader> {
        let strong = match only(headers, CONSISTENCY)? {
            None => false,
            Some(text) => match text.parse::<Consistency>() {
                Ok(consistency) => consistency == Consistency::Strong,
                Err(problem) => return Err(BadHeader(CONSISTENCY, problem)),
            },
        };
        let at_least = match only(headers, REVISION_MIN)? {
            None => StoreRevision(0),
            Some(text) => match text.parse() {
                Ok(revision) if revision >= 0 => StoreRevision(revision),
                Ok(_) | Err(_) => {
                    let problem = "expected a revision as answers carry it in berth-revision";
                    return Err(BadHeader(REVISION_MIN, problem));
                }
            },
        };
        Ok(Self {
            caller,
            strong,
            at_least,
            ..Self::default()
        })
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_headers_say() {
        let of = |pairs: &[_]| Call::from_headers(Caller::default(), &headers(pairs));
        assert_eq!(of(&[]), Ok(Call::default()));
        let call = of(&[(CONSISTENCY, "strong"), (REVISION_MIN, "42")]).unwrap();
        assert_eq!((call.strong, call.at_least), (true, StoreRevision(42)));
        assert!(!of(&[(CONSISTENCY, "default")]).unwrap().strong);
        for (name, bad) in [
            (CONSISTENCY, "Strong"),
            (CONSISTENCY, ""),
            (REVISION_MIN, "-1"),
            (REVISION_MIN, "x"),
            (REVISION_MIN, "99999999999999999999"),
        ] {
            assert_eq!(of(&[(name, bad)]).unwrap_err().0, name, "{bad}");
        }
        assert!(of(&[(REVISION_MIN, "1"), (REVISION_MIN, "1")]).is_err());
    }

    #[tokio::test]
    async fn a_call_is_in_scope_where_it_is_answered_and_nowhere_else() {
        let call = Call {
            strong: true,
            ..Call::default()
        };
        let inside = call.clone().scope(async { Call::current() }).await;
        assert_eq!(inside, call);
        assert_eq!(Call::current(), Call::default());
    }
}
