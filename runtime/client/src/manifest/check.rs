//! The shape of a manifest, checked field by field before it is sent.
//!
//! The server checks everything again and more; here the aim is a line number.

use std::collections::BTreeMap;

use berth_core::admission::parse_manifest;
use berth_core::io::RequestError;
use berth_core::model::spec::{ComposeSpec, Constraints, ContainerSpec, VmSpec, WorkloadType};
use berth_core::model::units::Resources;
use berth_core::model::workload::DesiredState;
use berth_core::{Revision, TenantId, WorkloadId};
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

use super::locate::line_of;
use super::words::{humane, missing};
use super::{Manifest, ManifestError, Origin};

/// What a manifest names and wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The workload.
    pub id: WorkloadId,
    /// Whether it shall run.
    pub desired: DesiredState,
}

/// A manifest whose spec is an `S`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // read for its errors only
struct Shape<S> {
    id: WorkloadId,
    #[serde(rename = "type")]
    kind: WorkloadType,
    spec: S,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    constraints: Constraints,
    tenant: Option<TenantId>,
    #[serde(default)]
    priority: i32,
    max_attempts: Option<u32>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    revision_id: Option<Revision>,
    desired_state: Option<Desired>,
}

/// What a manifest may ask for; deletions have a command of their own.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
enum Desired {
    Running,
    Stopped,
}

/// What is read first, because it says how to read the rest.
#[derive(Debug, Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: WorkloadType,
}

/// Where a document stands, and the text of its file.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) origin: Origin,
    pub(super) text: &'a str,
    /// The document's first line, from 0.
    pub(super) start: usize,
}

/// Checks a YAML document; `reader` reads it once more.
pub(super) fn document(
    place: &Place<'_>,
    value: &Value,
    reader: Option<serde_yaml_ng::Deserializer<'_>>,
) -> Result<Manifest, ManifestError> {
    let Some(reader) = reader else {
        return Err(plain(
            &place.origin,
            "",
            "the document cannot be read again",
        ));
    };
    let failed = |field, error| place.point(yaml_error(&place.origin, field, &error));
    if let Some(manifest) = of_a_view(value) {
        let wanted = match kind_of(place, &manifest)? {
            WorkloadType::Container => typed::<_, ContainerSpec>(&manifest, failed)?,
            WorkloadType::Compose => typed::<_, ComposeSpec>(&manifest, failed)?,
            WorkloadType::Vm => typed::<_, VmSpec>(&manifest, failed)?,
        };
        return finish(place, &manifest, wanted);
    }
    let wanted = match kind_of(place, value)? {
        WorkloadType::Container => typed::<_, ContainerSpec>(reader, failed)?,
        WorkloadType::Compose => typed::<_, ComposeSpec>(reader, failed)?,
        WorkloadType::Vm => typed::<_, VmSpec>(reader, failed)?,
    };
    finish(place, value, wanted)
}

/// Checks a JSON document.
pub(super) fn json_document(
    place: &Place<'_>,
    value: &Value,
    text: &str,
) -> Result<Manifest, ManifestError> {
    if of_a_view(value).is_some() {
        let reader = serde_yaml_ng::Deserializer::from_str(text);
        return document(place, value, Some(reader));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let failed =
        |field, error: serde_json::Error| json_error(&place.origin, place.start, field, &error);
    let wanted = match kind_of(place, value)? {
        WorkloadType::Container => typed::<_, ContainerSpec>(&mut reader, failed)?,
        WorkloadType::Compose => typed::<_, ComposeSpec>(&mut reader, failed)?,
        WorkloadType::Vm => typed::<_, VmSpec>(&mut reader, failed)?,
    };
    finish(place, value, wanted)
}

impl Place<'_> {
    /// Points an error at its field. The reader's own line is kept when the field stands there:
    /// for what it finds out late it only knows where the mapping around the field begins.
    fn point(&self, mut error: ManifestError) -> ManifestError {
        let last = error.field.rsplit('.').next().unwrap_or_default();
        let of_an_item = last.ends_with(']');
        let said = error.line.and_then(|line| self.text.lines().nth(line - 1));
        let stands_there = said.is_some_and(|said| said.contains(last));
        let found_by_reader = stands_there || (of_an_item && error.line.is_some());
        if !last.is_empty() && !found_by_reader {
            let whole = line_of(self.text, self.start, &error.field);
            // An entry is at least below the field that holds it.
            let holder = error.field.split('[').next().unwrap_or_default();
            let found = whole.or_else(|| line_of(self.text, self.start, holder));
            error.line = found.or(error.line);
        }
        error
    }
}

fn kind_of(place: &Place<'_>, value: &Value) -> Result<WorkloadType, ManifestError> {
    let origin = &place.origin;
    if !value.is_mapping() {
        let problem = "expected a mapping with id, type and spec";
        return Err(plain(origin, "", problem));
    }
    let expected = "expected container, compose or vm";
    if value.get("type").is_none() {
        return Err(plain(origin, "type", &format!("is missing; {expected}")));
    }
    match Kind::deserialize(value) {
        Ok(Kind { kind }) => Ok(kind),
        Err(_) => Err(place.point(plain(origin, "type", expected))),
    }
}

/// The fields of a manifest in a record as the server sends it; `None`: it is not one. So what
/// `get -o yaml` prints can be edited and applied.
fn of_a_view(value: &Value) -> Option<Value> {
    let view = value.as_mapping()?;
    if !(view.contains_key("display_status") && view.contains_key("resource_version")) {
        return None;
    }
    let mut manifest = serde_yaml_ng::Mapping::new();
    for field in [
        "id",
        "type",
        "spec",
        "resources",
        "constraints",
        "tenant",
        "priority",
        "labels",
        "desired_state",
    ] {
        if let Some(found) = view.get(field).filter(|found| !found.is_null()) {
            manifest.insert(field.into(), found.clone());
        }
    }
    let tries = view
        .get("retry")
        .and_then(|retry| retry.get("max_attempts"));
    if let Some(tries) = tries.filter(|tries| tries.as_u64().is_some_and(|tries| tries > 0)) {
        manifest.insert("max_attempts".into(), tries.clone());
    }
    // A label of the client's stays; one made of the spec would not follow an edit of it.
    let revision = view.get("revision_id");
    if let Some(label) = revision.filter(|label| !is_computed(label.as_str().unwrap_or_default())) {
        manifest.insert("revision_id".into(), label.clone());
    }
    Some(Value::Mapping(manifest))
}

/// Whether a revision is one that the server made of the spec: `r-` and 16 digits.
fn is_computed(revision: &str) -> bool {
    revision.strip_prefix("r-").is_some_and(|digits| {
        digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn typed<'de, D, S>(
    reader: D,
    failed: impl Fn(String, D::Error) -> ManifestError,
) -> Result<Wanted, ManifestError>
where
    D: Deserializer<'de>,
    S: DeserializeOwned,
{
    let shape: Result<Shape<S>, _> = serde_path_to_error::deserialize(reader);
    match shape {
        Ok(shape) => Ok(Wanted {
            id: shape.id,
            desired: match shape.desired_state {
                None | Some(Desired::Running) => DesiredState::Running,
                Some(Desired::Stopped) => DesiredState::Stopped,
            },
        }),
        Err(error) => {
            let field = match error.path().to_string().as_str() {
                "." => String::new(),
                path => path.to_owned(),
            };
            Err(failed(field, error.into_inner()))
        }
    }
}

/// The body of the request, checked by the same code that the server checks it with.
fn finish(place: &Place<'_>, value: &Value, wanted: Wanted) -> Result<Manifest, ManifestError> {
    let origin = place.origin.clone();
    let body = match serde_json::to_string(value) {
        Ok(body) => body,
        // Keys that are no text, or tags.
        Err(error) => {
            return Err(plain(
                &origin,
                "",
                &format!("no JSON can say this: {error}"),
            ));
        }
    };
    let checked = parse_manifest(body.as_bytes()).and_then(|manifest| manifest.into_apply());
    match checked {
        Ok(_) => Ok(Manifest {
            origin,
            wanted,
            body,
        }),
        Err(RequestError::Invalid { field, problem }) => {
            Err(place.point(plain(&origin, &field, &problem)))
        }
        Err(other) => Err(plain(&origin, "", &other.to_string())),
    }
}

fn plain(origin: &Origin, field: &str, problem: &str) -> ManifestError {
    ManifestError {
        origin: origin.clone(),
        line: None,
        field: field.to_owned(),
        problem: humane(problem),
    }
}

/// The reader's error, without the place and path that it repeats in its text.
pub(super) fn yaml_error(
    origin: &Origin,
    field: String,
    error: &serde_yaml_ng::Error,
) -> ManifestError {
    let place = error.location();
    let mut problem = error.to_string();
    if let Some(place) = &place {
        let said = format!(" at line {} column {}", place.line(), place.column());
        problem = problem.replace(&said, "");
    }
    // It begins with the path, or that of the mapping around it.
    if let Some((path, rest)) = problem.split_once(": ")
        && !path.is_empty()
        && field.starts_with(path)
    {
        problem = rest.to_owned();
    }
    let line = place.map(|place| place.line());
    of_reader(origin, line, field, &problem)
}

/// The same for JSON; `lines` lie before the text that was read.
pub(super) fn json_error(
    origin: &Origin,
    lines: usize,
    field: String,
    error: &serde_json::Error,
) -> ManifestError {
    let line = (error.line() > 0).then_some(lines + error.line());
    of_reader(origin, line, field, &error.to_string())
}

/// A reader's problem: what is missing is named as a field, the rest said in words.
fn of_reader(
    origin: &Origin,
    line: Option<usize>,
    mut field: String,
    problem: &str,
) -> ManifestError {
    let problem = match missing(problem) {
        Some(name) => {
            if !field.is_empty() {
                field.push('.');
            }
            field.push_str(name);
            "is missing".to_owned()
        }
        None => humane(problem),
    };
    ManifestError {
        origin: origin.clone(),
        line,
        field,
        problem,
    }
}
