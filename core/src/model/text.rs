//! Records as texts. A record that a newer version wrote may hold fields that this one does not know
//! inside its spec, its resources or its constraints, where clients' mistakes are refused. They are
//! set aside when it is read, and stand where they were when it is written again.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::spec::{ComposeSpec, Constraints, ContainerSpec, VmSpec};
use super::units::Resources;

/// Where they are meanwhile: a field of the record, which is never stored. A list of pairs: the way
/// to the field, and its value.
const ASIDE: &str = "fields_of_other_versions";
/// Of one record. One with more is not read.
const ASIDE_MAX: usize = 100;

/// Reads a record.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text)
        .or_else(|error| read_of_others(text).ok_or(error))
        .map_err(|error| error.to_string())
}

/// A record that is wrong only in what this version does not know.
fn read_of_others<T: DeserializeOwned>(text: &str) -> Option<T> {
    let mut record: Map<String, Value> = serde_json::from_str(text).ok()?;
    let mut aside = Vec::new();
    let kind = record
        .get("type")
        .and_then(Value::as_str)
        .map(str::to_owned);
    for (name, part) in &mut record {
        match (name.as_str(), kind.as_deref()) {
            ("spec", Some("container")) => set_aside::<ContainerSpec>(name, part, &mut aside),
            ("spec", Some("compose")) => set_aside::<ComposeSpec>(name, part, &mut aside),
            ("spec", Some("vm")) => set_aside::<VmSpec>(name, part, &mut aside),
            ("resources", _) => set_aside::<Resources>(name, part, &mut aside),
            ("constraints", _) => set_aside::<Constraints>(name, part, &mut aside),
            _ => {}
        }
    }
    record.insert(ASIDE.to_owned(), Value::Array(aside));
    serde_json::from_value(Value::Object(record)).ok()
}

/// Takes out of a part what its type does not know.
fn set_aside<T: DeserializeOwned>(name: &str, part: &mut Value, aside: &mut Vec<Value>) {
    while aside.len() < ASIDE_MAX {
        let Err(error) = serde_path_to_error::deserialize::<_, T>(&*part) else {
            return;
        };
        if !error.inner().to_string().starts_with("unknown field") {
            return;
        }
        let mut way = vec![Value::from(name)];
        way.extend(error.path().iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Value::from(*index)),
            Segment::Map { key } => Some(Value::from(key.as_str())),
            Segment::Enum { .. } | Segment::Unknown => None,
        }));
        let Some((Value::String(key), to)) = way[1..].split_last() else {
            return;
        };
        let holder = walk(part, to).and_then(Value::as_object_mut);
        let Some(value) = holder.and_then(|fields| fields.remove(key)) else {
            return;
        };
        aside.push(Value::Array(vec![Value::Array(way), value]));
    }
}

fn walk<'a>(from: &'a mut Value, way: &[Value]) -> Option<&'a mut Value> {
    way.iter().try_fold(from, |at, step| match step {
        Value::String(key) => at.get_mut(key.as_str()),
        step => at.get_mut(usize::try_from(step.as_u64()?).ok()?),
    })
}

/// Writes a record: canonical JSON.
pub(crate) fn write<T: Serialize>(record: &T) -> String {
    let text =
        serde_json::to_string(record).expect("records have text keys and no other way to fail");
    if text.contains(ASIDE) {
        put_back(&text).unwrap_or(text)
    } else {
        text
    }
}

/// `None`: nothing was set aside.
fn put_back(text: &str) -> Option<String> {
    let mut record: Value = serde_json::from_str(text).ok()?;
    let aside = record.as_object_mut()?.remove(ASIDE)?;
    for pair in aside.as_array()? {
        let (way, value) = (pair.get(0)?.as_array()?, pair.get(1)?);
        let (key, to) = way.split_last()?;
        if let [Value::String(part)] = to {
            // A part that is as usual is not written.
            let fields = record.as_object_mut()?;
            fields
                .entry(part.as_str())
                .or_insert_with(|| Value::Object(Map::new()));
        }
        // What they belonged to may be gone: then they are, too.
        let holder = walk(&mut record, to).and_then(Value::as_object_mut);
        if let (Some(fields), Some(key)) = (holder, key.as_str()) {
            fields.entry(key).or_insert_with(|| value.clone());
        }
    }
    serde_json::to_string(&record).ok()
}

/// The spec is another one now: what was set aside of the former one is gone.
pub(crate) fn forget_aside(extra: &mut super::Extra) {
    extra.remove(ASIDE);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::workload::{AssignmentRecord, WorkloadRecord};

    fn record() -> Value {
        json!({
            "id": "w", "revision_id": "r", "desired_state": "Running", "assigned_node": null,
            "type": "container",
            "spec": {
                "image": "i",
                "restart_policy": "no",
                "gpu": {"model": "x"},
                "ports": [{"host_port": 1, "container_port": 2, "protocol": "tcp", "name": "web"}],
                "volumes": [{"host_path": "/a", "container_path": "/b", "read_only": false}],
            },
            "resources": {"cpu": 1, "memory_mb": 2, "disk_gb": 3, "gpus": 4},
            "constraints": {"zone": ["a"]},
            "retry": {"attempts": 0, "max_attempts": 5},
            "status": {
                "actual_state": "Pending", "last_updated": "2026-02-17T00:00:00.000Z",
                "failure_reason": "",
            },
            "metadata": {
                "created_at": "2026-02-17T00:00:00.000Z", "last_action": null, "last_error": "",
                "generation": 1, "spec_hash": "",
            },
            "tomorrow": true,
        })
    }

    #[test]
    fn what_a_newer_version_put_inside_survives_a_rewrite() {
        let stored = record();
        let read: WorkloadRecord = read(&stored.to_string()).unwrap();
        assert_eq!(read.resources, Resources::new(1000, 2, 3));
        let written: Value = serde_json::from_str(&write(&read)).unwrap();
        assert_eq!(written, stored);
    }

    /// The same for the specs of the other types.
    #[test]
    fn what_is_new_in_any_type_of_spec_survives() {
        for (kind, spec) in [
            (
                "compose",
                json!({"inline_yaml": "services: {}", "tomorrow": 1}),
            ),
            ("vm", json!({"vcpus": 1, "memory_mb": 64, "tomorrow": [1]})),
        ] {
            let mut stored = record();
            stored["type"] = json!(kind);
            stored["spec"] = spec;
            let read: WorkloadRecord = read(&stored.to_string()).unwrap();
            let written: Value = serde_json::from_str(&write(&read)).unwrap();
            assert_eq!(written["spec"]["tomorrow"], stored["spec"]["tomorrow"]);
        }
    }

    #[test]
    fn more_than_is_set_aside_is_not_understood() {
        for (fields, is_read) in [(ASIDE_MAX, true), (ASIDE_MAX + 1, false)] {
            let mut stored = record();
            stored["spec"] = json!({"image": "i"});
            stored["resources"] = json!({"cpu": 1, "memory_mb": 2, "disk_gb": 3});
            stored["constraints"] = json!({});
            for at in 0..fields {
                stored["spec"][format!("new-{at}")] = json!(at);
            }
            let read = read::<WorkloadRecord>(&stored.to_string());
            assert_eq!(read.is_ok(), is_read, "{fields}");
        }
    }

    #[test]
    fn an_assignment_keeps_what_it_reserves_beyond() {
        let stored = json!({
            "workload_id": "w", "node_id": "n", "revision_id": "r", "epoch": 1,
            "assigned_at": "2026-02-17T00:00:00.000Z",
            "resources": {"cpu": 1, "memory_mb": 2, "disk_gb": 3, "gpus": 4},
        });
        let read: AssignmentRecord = read(&stored.to_string()).unwrap();
        let written: Value = serde_json::from_str(&write(&read)).unwrap();
        assert_eq!(written, stored);
    }

    #[test]
    fn what_is_wrong_for_this_version_too_stays_wrong() {
        let mut stored = record();
        stored["spec"]["ports"][0]["host_port"] = json!("one");
        let error = read::<WorkloadRecord>(&stored.to_string()).unwrap_err();
        assert!(
            error.contains("unknown field") || error.contains("invalid type"),
            "{error}"
        );
        assert!(read::<WorkloadRecord>("{").is_err());
        assert!(read::<WorkloadRecord>("[]").is_err());
    }

    #[test]
    fn of_another_spec_nothing_is_kept() {
        let mut read: WorkloadRecord = read(&record().to_string()).unwrap();
        forget_aside(&mut read.extra);
        let written: Value = serde_json::from_str(&write(&read)).unwrap();
        assert_eq!(written["spec"].get("gpu"), None);
        assert_eq!(written.get(ASIDE), None);
        assert_eq!(written["tomorrow"], json!(true));
    }
}
