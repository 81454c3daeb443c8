//! Manifests: the shape in which people write workloads, JSON or YAML that became JSON.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_path_to_error::Segment;

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
    pub spec: Value,
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
    let manifest: Manifest = typed(&mut from, "")?;
    let wrong = |error| RequestError::invalid("manifest", error);
    from.end().map_err(wrong)?;
    let given = serde_json::from_slice(json).map_err(wrong)?;
    let shape = serde_json::to_value(&manifest).map_err(wrong)?;
    check_objects(&given, &shape, "")?;
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
            WorkloadType::Container => Spec::Container(typed_objects(self.spec, "spec")?),
            WorkloadType::Compose => Spec::Compose(typed_objects(self.spec, "spec")?),
            WorkloadType::Vm => Spec::Vm(typed_objects(self.spec, "spec")?),
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
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => path.push_str(&format!("[{index}]")),
                Segment::Map { key } | Segment::Enum { variant: key } => push_key(&mut path, key),
                Segment::Unknown => {}
            }
        }
        // These two the reader tells beside the object, not as a part of the path.
        let beside = ["missing field `", "duplicate field `"];
        let named = beside.iter().find_map(|said| problem.strip_prefix(said));
        if let Some(name) = named.and_then(|rest| rest.split('`').next()) {
            push_key(&mut path, name);
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

fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// Refuses lists where objects were understood: the reader would take the fields by position,
/// which nobody means to write.
fn check_objects(given: &Value, typed: &Value, path: &str) -> Result<(), RequestError> {
    match (given, typed) {
        (Value::Array(_), Value::Object(_)) => {
            let field = if path.is_empty() { "manifest" } else { path };
            let problem = "is a list; expected an object";
            Err(RequestError::invalid(
                bounded(field, FIELD_BYTES_MAX),
                problem,
            ))
        }
        (Value::Array(given), Value::Array(typed)) => given
            .iter()
            .zip(typed)
            .enumerate()
            .try_for_each(|(at, (g, t))| check_objects(g, t, &format!("{path}[{at}]"))),
        (Value::Object(given), Value::Object(typed)) => given.iter().try_for_each(|(key, g)| {
            let mut below = path.to_owned();
            push_key(&mut below, key);
            typed
                .get(key)
                .map_or(Ok(()), |t| check_objects(g, t, &below))
        }),
        _ => Ok(()),
    }
}

/// Reads a part of the manifest; a list never stands for an object.
fn typed_objects<T: DeserializeOwned + Serialize>(
    given: Value,
    root: &str,
) -> Result<T, RequestError> {
    let part: T = typed(&given, root)?;
    let shape = serde_json::to_value(&part).map_err(|e| RequestError::invalid(root, e))?;
    check_objects(&given, &shape, root)?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<ApplyWorkload, RequestError> {
        parse_manifest(json.as_bytes())?.into_apply()
    }

    #[test]
    fn the_whole_shape_is_read() {
        let apply = read(
            r#"{"id": "web-1", "type": "container",
                "spec": {"image": "nginx:1", "command": ["run"], "env": {"A": "b"},
                         "ports": [{"host_port": 80, "container_port": 8080, "protocol": "udp"}],
                         "restart_policy": "on-failure"},
                "resources": {"cpu": 0.5, "memory_mb": 64, "disk_gb": 1},
                "constraints": {"labels": {"zone": "a"}, "spread_by": "zone", "anti_affinity": "g"},
                "tenant": "t", "priority": 5, "max_attempts": 3, "labels": {"team": "x y"},
                "revision_id": "v1", "desired_state": "Stopped"}"#,
        )
        .unwrap();
        let new = apply.spec.unwrap();
        assert_eq!(apply.workload.as_str(), "web-1");
        assert_eq!(apply.desired_state, Some(DesiredState::Stopped));
        assert_eq!(new.resources, Resources::new(500, 64, 1));
        assert_eq!(new.constraints.anti_affinity.as_deref(), Some("g"));
        assert_eq!((new.priority, new.max_attempts), (5, Some(3)));
        let Spec::Container(spec) = new.spec else {
            panic!("a container")
        };
        assert_eq!(spec.ports[0].container_port, 8080);
    }

    #[test]
    fn the_kinds_need_little() {
        for json in [
            r#"{"id":"a","type":"container","spec":{"image":"x"}}"#,
            r#"{"spec":{"inline_yaml":"services: {}"},"type":"compose","id":"a"}"#,
            r#"{"id":"a","type":"compose","spec":{"source_type":"git","git_repo":"https://x/y"}}"#,
            r#"{"id":"a","type":"vm","spec":{"vcpus":1,"memory_mb":1}}"#,
        ] {
            let apply = read(json).unwrap();
            assert_eq!(apply.desired_state, None);
        }
    }

    #[test]
    fn an_error_names_the_field() {
        let container = |rest: &str| {
            format!(r#"{{"id":"a","type":"container","spec":{{"image":"x"}},{rest}}}"#)
        };
        let spec = |rest: &str| {
            format!(r#"{{"id":"a","type":"container","spec":{{"image":"x",{rest}}}}}"#)
        };
        let table = [
            ("{".to_owned(), "manifest"),
            ("[]".to_owned(), "manifest"),
            ("\"text\"".to_owned(), "manifest"),
            ("\u{feff}{}".to_owned(), "manifest"),
            (r#"{"id":"a"} {"id":"b"}"#.to_owned(), "type"),
            (r#"{"type":"vm","spec":{}}"#.to_owned(), "id"),
            (r#"{"id":"a","spec":{}}"#.to_owned(), "type"),
            (r#"{"id":"a","type":"vm"}"#.to_owned(), "spec"),
            (r#"{"id":"A/b","type":"vm","spec":{}}"#.to_owned(), "id"),
            (r#"{"id":7,"type":"vm","spec":{}}"#.to_owned(), "id"),
            (r#"{"id":"a","type":"pod","spec":{}}"#.to_owned(), "type"),
            (
                r#"{"id":"a","type":"vm","spec":{"vcpus":1}}"#.to_owned(),
                "spec.memory_mb",
            ),
            (
                r#"{"id":"a","type":"vm","spec":{"image":"x"}}"#.to_owned(),
                "spec.image",
            ),
            (
                r#"{"id":"a","type":"vm","spec":{"vcpus":0,"memory_mb":1}}"#.to_owned(),
                "spec.vcpus",
            ),
            (
                r#"{"id":"a","type":"container","spec":{}}"#.to_owned(),
                "spec.image",
            ),
            (
                r#"{"id":"a","type":"container","spec":["x"]}"#.to_owned(),
                "spec",
            ),
            (spec(r#""ports":[[80,8080]]"#), "spec.ports[0]"),
            (container(r#""resources":[1,64,0]"#), "resources"),
            (
                r#"["a","vm",{"vcpus":1,"memory_mb":1}]"#.to_owned(),
                "manifest",
            ),
            (container(r#""id":"b""#), "id"),
            (
                r#"{"id":"a","type":"container","spec":7}"#.to_owned(),
                "spec",
            ),
            (container(r#""imagee":1"#), "imagee"),
            (container(r#""priority":"high""#), "priority"),
            (container(r#""resources":{"cpu":-1}"#), "resources.cpu"),
            (container(r#""resources":{"cpu":"1"}"#), "resources.cpu"),
            (container(r#""resources":{"cpu":1e9}"#), "resources.cpu"),
            (
                container(r#""resources":{"memory_mb":-5}"#),
                "resources.memory_mb",
            ),
            (
                container(r#""resources":{"memory_mb":1.5}"#),
                "resources.memory_mb",
            ),
            (container(r#""resources":{"gpu":1}"#), "resources.gpu"),
            (
                container(r#""constraints":{"labels":{"z":7}}"#),
                "constraints.labels.z",
            ),
            (
                container(r#""constraints":{"zone":"a"}"#),
                "constraints.zone",
            ),
            (container(r#""desired_state":"Deleted""#), "desired_state"),
            (container(r#""desired_state":"on""#), "desired_state"),
            (container(r#""tenant":"A""#), "tenant"),
            (container(r#""revision_id":"a b""#), "revision_id"),
            (
                container(r#""labels":{"berth/x":"1"}"#),
                r#"labels["berth/x"]"#,
            ),
            (
                spec(r#""ports":[{"container_port":1},{"container_port":70000}]"#),
                "spec.ports[1].container_port",
            ),
            (
                spec(r#""ports":[{"container_port":1,"proto":"tcp"}]"#),
                "spec.ports[0].proto",
            ),
            (
                spec(r#""ports":[{"host_port":1}]"#),
                "spec.ports[0].container_port",
            ),
            (spec(r#""env":{"A":1}"#), "spec.env.A"),
            (
                spec(r#""restart_policy":"sometimes""#),
                "spec.restart_policy",
            ),
        ];
        for (json, expected) in table {
            let Err(RequestError::Invalid { field, problem }) = read(&json) else {
                panic!("{json} was taken");
            };
            assert_eq!(field, expected, "{json}: {problem}");
            assert!(!problem.is_empty());
        }
    }

    #[test]
    fn what_follows_the_document_is_refused() {
        let json = r#"{"id":"a","type":"container","spec":{"image":"x"}} true"#;
        assert!(parse_manifest(json.as_bytes()).is_err());
    }

    #[test]
    fn errors_are_short_whatever_came() {
        let long = "x".repeat(100_000);
        let json = format!(r#"{{"id":"{long}","{long}":1}}"#);
        let error = parse_manifest(json.as_bytes()).unwrap_err().to_string();
        assert!(error.len() < 3 * FIELD_BYTES_MAX, "{}", error.len());
    }
}
