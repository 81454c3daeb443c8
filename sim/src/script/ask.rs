//! What a client asks for.

use std::collections::BTreeMap;

use berth_core::WorkloadId;
use berth_core::io::request::{ApplyWorkload, NewSpec, Query, Request};
use berth_core::model::spec::{Constraints, ContainerSpec, Spec};
use berth_core::model::units::Resources;
use berth_core::model::workload::DesiredState;
use serde::{Deserialize, Serialize};

use super::span::Span;

/// No padding is larger, whatever is asked for.
const PAD_MAX: usize = 4 << 20;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// That it runs as wished.
    Apply,
    /// That it runs as it is.
    Start,
    /// That it stops.
    Stop,
    /// That it is tried again.
    Retry,
    /// That it goes.
    Delete,
    /// What it is.
    Read,
}

/// How a workload should be, and how it behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wish {
    /// The tag of its image.
    pub image: u64,
    /// Millicores.
    pub cpu: u64,
    /// MiB.
    pub memory: u64,
    /// GB.
    pub disk: u64,
    /// A start takes so long.
    #[serde(skip_serializing_if = "is_zero")]
    pub start: Span,
    /// A stop takes so long.
    #[serde(skip_serializing_if = "is_zero")]
    pub stop: Span,
    /// So many starts fail first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_starts: Option<u64>,
    /// For this reason, as agents write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_reason: Option<String>,
    /// It ends by itself so long after it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_after: Option<Span>,
    /// With this exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u64>,
    /// Only in this zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Spread over the zones.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub spread: bool,
    /// Never beside another of this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apart: Option<String>,
    /// So many bytes of labels of its own: too many are refused.
    #[serde(skip_serializing_if = "is_none")]
    pub pad: u64,
    /// The client names the revision itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// So many tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// Who waits for room is placed before those of a lower one.
    #[serde(skip_serializing_if = "is_usual")]
    pub priority: i32,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_usual(priority: &i32) -> bool {
    *priority == 0
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_none(amount: &u64) -> bool {
    *amount == 0
}

const fn is_zero(span: &Span) -> bool {
    span.as_millis() == 0
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            image: 1,
            cpu: 500,
            memory: 512,
            disk: 1,
            start: Span::default(),
            stop: Span::default(),
            fail_starts: None,
            fail_reason: None,
            pad: 0,
            exit_after: None,
            exit_code: None,
            zone: None,
            spread: false,
            apart: None,
            revision: None,
            tries: None,
            priority: 0,
        }
    }
}

impl Wish {
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let mut say = |name: &str, value: Option<u64>| {
            if let Some(value) = value {
                labels.insert(format!("fake/{name}"), value.to_string());
            }
        };
        say("start-ms", Some(self.start.as_millis()));
        say("stop-ms", Some(self.stop.as_millis()).filter(|ms| *ms > 0));
        say("fail-starts", self.fail_starts);
        say("exit-after-ms", self.exit_after.map(Span::as_millis));
        say("exit-code", self.exit_code);
        if let Some(reason) = &self.fail_reason {
            labels.insert("fake/fail-reason".to_owned(), reason.clone());
        }
        if self.pad > 0 {
            let pad = usize::try_from(self.pad).unwrap_or(usize::MAX).min(PAD_MAX);
            labels.insert("pad".to_owned(), "x".repeat(pad));
        }
        labels
    }

    fn spec(&self) -> NewSpec {
        let mut constraints = Constraints::default();
        if let Some(zone) = &self.zone {
            constraints.labels.insert("zone".to_owned(), zone.clone());
        }
        if self.spread {
            constraints.spread_by = Some("zone".to_owned());
        }
        constraints.anti_affinity.clone_from(&self.apart);
        NewSpec {
            spec: Spec::Container(ContainerSpec {
                image: format!("example:{}", self.image),
                ..ContainerSpec::default()
            }),
            resources: Resources::new(self.cpu, self.memory, self.disk),
            constraints,
            tenant: None,
            priority: self.priority,
            max_attempts: self.tries,
            labels: self.labels(),
        }
    }
}

impl Ask {
    /// The request.
    #[must_use]
    pub fn request(self, workload: WorkloadId, wish: Option<&Wish>) -> Request {
        let apply = |wish: Option<&Wish>, desired| {
            Request::Apply(ApplyWorkload {
                workload: workload.clone(),
                spec: wish.map(Wish::spec),
                revision: wish.and_then(|wish| wish.revision.as_ref()?.parse().ok()),
                desired_state: desired,
                if_match: None,
                dry_run: false,
            })
        };
        match self {
            Self::Apply => apply(wish, None),
            Self::Start => apply(None, Some(DesiredState::Running)),
            Self::Stop => apply(None, Some(DesiredState::Stopped)),
            Self::Retry => Request::Retry { workload },
            Self::Read => Request::Read(Query::Workload(workload)),
            Self::Delete => Request::Delete {
                workload,
                if_match: None,
            },
        }
    }
}
