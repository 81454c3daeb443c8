//! What the agent remembers of a workload: the part of its state that survives its restart.
//!
//! A record says what is wanted ([`Target`]) and what was made ([`Artifact`]). Everything that the
//! agent does is the way from the second to the first.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_core::model::spec::WorkloadType;
use berth_core::{Epoch, Revision, Timestamp, WorkloadId};
use berth_proto::agent::v1 as proto;
use prost::Message as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::failure::Failure;

/// All that is known of one workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The workload.
    pub id: WorkloadId,
    /// What it should be.
    pub target: Target,
    /// What was made for it. At most one at any time (S6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// The number of the latest artifact that was made for it.
    #[serde(default)]
    pub last_artifact: u64,
    /// The latest call that changed it, when its caller numbers its calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
    /// When the agent first heard of it.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Timestamp,
}

/// What a workload should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// It exists.
    Present(Want),
    /// It does not. Once nothing is left of it, the record goes, or stays for a while as a
    /// tombstone that refuses calls older than its stamp.
    Absent {
        /// When it was deleted.
        since: Timestamp,
    },
}

/// A revision that should exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Want {
    /// Which.
    pub revision: Revision,
    /// Whether it should run, or only exist.
    pub running: bool,
    /// What to run.
    pub spec: SpecBlob,
}

/// What exists, or may exist, on the node: one container, one process, one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its number; grows, and is not used again when the workload was deleted in between.
    pub number: u64,
    /// How often it was started, this start included.
    pub launch: u32,
    /// What it was made for.
    pub revision: Revision,
    /// Its kind.
    pub workload_type: WorkloadType,
    /// What it is.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// Starts that its restart policy made since it last ran long enough.
    #[serde(default)]
    pub restarts: u32,
    /// It is of no more use: it is removed, and another one is made if one is wanted.
    #[serde(default)]
    pub discard: bool,
    /// What the runtime says of it, for people.
    #[serde(default)]
    pub message: String,
    /// What the runtime says of it, by key: becomes metadata of the status.
    #[serde(default)]
    pub details: BTreeMap<String, String>,
}

/// What an artifact is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was decided to start it; whether that happened is not known yet.
    Starting,
    /// It runs.
    Running,
    /// It exists and was stopped by the agent.
    Stopped,
    /// It ended by itself, or did not start.
    Ended(End),
}

/// How an artifact ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The exit code, if it is known.
    pub exit_code: Option<i32>,
    /// Why that is a failure; `None`: it ended well.
    pub failure: Option<Failure>,
}

/// One start of one artifact: what commands and events of the runtime speak of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LaunchId {
    /// The workload.
    pub workload: WorkloadId,
    /// The artifact's number.
    pub artifact: u64,
    /// The number of the start.
    pub launch: u32,
}

impl fmt::Display for LaunchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.workload, self.artifact, self.launch)
    }
}

/// Orders the calls of schedulers that number them: first by epoch, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// The leader's epoch.
    pub epoch: Epoch,
    /// The number that this leader gave to the call; grows.
    pub call: u64,
}

impl Record {
    /// The start that the artifact is at.
    #[must_use]
    pub fn launch(&self) -> Option<LaunchId> {
        self.artifact.as_ref().map(|artifact| LaunchId {
            workload: self.id.clone(),
            artifact: artifact.number,
            launch: artifact.launch,
        })
    }

    /// The revision that should exist.
    #[must_use]
    pub fn want(&self) -> Option<&Want> {
        match &self.target {
            Target::Present(want) => Some(want),
            Target::Absent { .. } => None,
        }
    }

    /// Nothing is wanted and nothing is left: all that remains is the memory of the delete.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.artifact.is_none() && self.want().is_none()
    }
}

/// A spec as it came over the wire; in JSON the message's bytes in base64.
#[derive(Debug, Clone, PartialEq)]
pub struct SpecBlob(Arc<proto::workload_spec::Spec>);

impl SpecBlob {
    /// Takes a spec.
    #[must_use]
    pub fn new(spec: proto::workload_spec::Spec) -> Self {
        Self(Arc::new(spec))
    }

    /// The spec.
    #[must_use]
    pub fn spec(&self) -> &proto::workload_spec::Spec {
        &self.0
    }

    /// Its kind.
    #[must_use]
    pub fn workload_type(&self) -> WorkloadType {
        match self.spec() {
            proto::workload_spec::Spec::Container(_) => WorkloadType::Container,
            proto::workload_spec::Spec::Compose(_) => WorkloadType::Compose,
            proto::workload_spec::Spec::Vm(_) => WorkloadType::Vm,
        }
    }

    /// The user's metadata that came with it: labels of a container, metadata of a machine,
    /// the environment of a compose project.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        match self.spec() {
            proto::workload_spec::Spec::Container(spec) => &spec.labels,
            proto::workload_spec::Spec::Compose(spec) => &spec.env,
            proto::workload_spec::Spec::Vm(spec) => &spec.metadata,
        }
    }
}

impl Serialize for SpecBlob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let message = proto::WorkloadSpec {
            spec: Some(self.spec().clone()),
        };
        to.serialize_str(&STANDARD.encode(message.encode_to_vec()))
    }
}

impl<'de> Deserialize<'de> for SpecBlob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        let message = proto::WorkloadSpec::decode(bytes.as_slice()).map_err(D::Error::custom)?;
        let spec = message
            .spec
            .ok_or_else(|| D::Error::custom("the spec is empty"))?;
        Ok(Self::new(spec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureCode;

    #[test]
    fn a_record_survives_json() {
        let spec = proto::workload_spec::Spec::Container(proto::ContainerSpec {
            image: "alpine:latest".to_owned(),
            command: vec!["sleep".to_owned(), "60".to_owned()],
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            ..Default::default()
        });
        let at = Timestamp::from_millis(1_771_286_400_123);
        let record = Record {
            id: "web".parse().unwrap(),
            target: Target::Present(Want {
                revision: "rev-1".parse().unwrap(),
                running: true,
                spec: SpecBlob::new(spec),
            }),
            artifact: Some(Artifact {
                number: 3,
                launch: 1,
                revision: "rev-1".parse().unwrap(),
                workload_type: WorkloadType::Container,
                phase: Phase::Ended(End {
                    exit_code: Some(3),
                    failure: Some(Failure::new(FailureCode::RuntimeError, "exit code 3")),
                }),
                since: at,
                restarts: 0,
                discard: false,
                message: "exit code 3".to_owned(),
                details: BTreeMap::new(),
            }),
            last_artifact: 3,
            stamp: Some(Stamp {
                epoch: Epoch(7),
                call: 9,
            }),
            created_at: at,
            updated_at: at,
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert_eq!(record.launch().unwrap().to_string(), "web:3:1");
    }
}
