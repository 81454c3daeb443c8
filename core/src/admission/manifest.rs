//! Manifests: the shape in which people write workloads, JSON or YAML that became JSON.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::check::check_apply;
use crate::io::RequestError;
use crate::io::request::{ApplyWorkload, NewSpec};
use crate::model::id::{Revision, TenantId, WorkloadId};
use crate::model::spec::{Constraints, Spec, WorkloadType};
use crate::model::units::Resources;
use crate::model::workload::DesiredState;
use crate::wire::bound::{FIELD_BYTES_MAX, bounded};

/// A workload as people write it. Unknown fields are refused at every level, by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The workload's id.
    pub id: WorkloadId,
    /// The kind; says what `spec` holds.
    #[serde(rename = "type")]
    pub workload_type: WorkloadType,
    /// What to run: the fields of a container, a compose project or a virtual machine. Typed by
    /// [`Manifest::into_apply`], because the kind may stand behind it.
    pub spec: serde_json::Value,
    /// What it asks for: `cpu` in cores, `memory_mb` in MiB, `disk_gb` in GiB.
    #[serde(default)]
    pub resources: Resources,
    /// Where it may run.
    #[serde(default)]
    pub constraints: Constraints,
    /// Whose quota it counts against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Higher is placed first.
    #[serde(default)]
    pub priority: i32,
    /// After this many failures it is `Failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// The user's own metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The client's label of this spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_id: Option<Revision>,
    /// `Running` or `Stopped`. Absent: as it is, `Running` for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<DesiredState>,
}

/// Reads a manifest from JSON.
///
/// # Errors
/// [`RequestError::Invalid`] with the path of the wrong field; `manifest` when it is the document
/// itself that cannot be read.
pub fn parse_manifest(json: &[u8]) -> Result<Manifest, RequestError> {
    let mut from = serde_json::Deserializer::from_slice(json);
    let manifest = typed(&mut from, "")?;
    from.end()
        .map_err(|error| RequestError::invalid("manifest", error))?;
    Ok(manifest)
}

impl Manifest {
    /// The request that it stands for, checked in every field. `if_match` and `dry_run` are the
    /// caller's to add.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] with the path of the wrong field.
    pub fn into_apply(self) -> Result<ApplyWorkload, RequestError> {
        let spec = match self.workload_type {
            WorkloadType::Container => Spec::Container(typed(self.spec, "spec")?),
            WorkloadType::Compose => Spec::Compose(typed(self.spec, "spec")?),
            WorkloadType::Vm => Spec::Vm(typed(self.spec, "spec")?),
        };
        let apply = ApplyWorkload {
            workload: self.id,
            spec: Some(NewSpec {
                spec,
                resources: self.resources,
                constraints: self.constraints,
                tenant: self.tenant,
                priority: self.priority,
                max_attempts: self.max_attempts,
                labels: self.labels,
            }),
            revision: self.revision_id,
            desired_state: self.desired_state,
            if_match: None,
            dry_run: false,
        };
        check_apply(&apply)?;
        Ok(apply)
    }
}

/// Reads a value; an error carries the path below `root`.
fn typed<'de, T, D>(from: D, root: &str) -> Result<T, RequestError>
where
    T: DeserializeOwned,
    D: serde::Deserializer<'de>,
    D::Error: std::fmt::Display,
{
    serde_path_to_error::deserialize(from).map_err(|error| {
        let problem = error.inner().to_string();
        let mut path = root.to_owned();
        let below = error.path().to_string();
        let missing = problem
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split('`').next());
        for part in [Some(below.as_str()).filter(|p| *p != "."), missing]
            .into_iter()
            .flatten()
        {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        if path.is_empty() {
            path.push_str("manifest");
        }
        RequestError::invalid(
            bounded(&path, FIELD_BYTES_MAX),
            bounded(&problem, FIELD_BYTES_MAX),
        )
    })
}
