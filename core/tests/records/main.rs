//! The canonical records: what is written is read back equal, fields of other versions survive a
//! rewrite, and the workload's record has the shape that the design fixes.

mod make;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Written and read back, it is the same; written again, it is the same to the byte.
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(record: &T) {
    let text = serde_json::to_string(record).unwrap();
    let back: T = serde_json::from_str(&text).unwrap();
    assert_eq!(&back, record);
    assert_eq!(serde_json::to_string(&back).unwrap(), text);
}

/// A field that this version does not know, put in by another, is still there after a rewrite.
fn survives<T: Serialize + DeserializeOwned>(record: &T, at: &str, unknown: &Value) {
    let mut stored = serde_json::to_value(record).unwrap();
    let part = stored.pointer_mut(at).unwrap().as_object_mut().unwrap();
    part.insert("field_of_tomorrow".to_owned(), unknown.clone());
    let read: T = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), stored);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn workloads(record in make::workload(), unknown in make::json()) {
        round_trip(&record);
        for part in ["", "/status", "/metadata"] {
            survives(&record, part, &unknown);
        }
    }

    #[test]
    fn nodes(record in make::node(), unknown in make::json()) {
        round_trip(&record);
        survives(&record, "", &unknown);
    }

    #[test]
    fn events(record in make::event(), unknown in make::json()) {
        round_trip(&record);
        survives(&record, "", &unknown);
    }

    #[test]
    fn assignments(record in make::assignment(), unknown in make::json()) {
        round_trip(&record);
        survives(&record, "", &unknown);
    }

    #[test]
    fn intents(record in make::intent(), unknown in make::json()) {
        round_trip(&record);
        survives(&record, "", &unknown);
    }

    #[test]
    fn retries(record in make::retry(), unknown in make::json()) {
        round_trip(&record);
        survives(&record, "", &unknown);
    }

    #[test]
    fn tombstones(record in make::tombstone(), unknown in make::json()) {
        round_trip(&record);
        survives(&record, "", &unknown);
    }
}

fn sorted_keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

/// The shape of section 3 of the design, field by field: people and tools read it in the store.
#[test]
fn the_workloads_record_has_the_designs_shape() {
    let record = make::plain_workload();
    let stored = serde_json::to_value(&record).unwrap();
    assert_eq!(
        sorted_keys(&stored),
        [
            "assigned_node",
            "desired_state",
            "id",
            "metadata",
            "resources",
            "retry",
            "revision_id",
            "spec",
            "status",
            "type"
        ]
    );
    assert_eq!(stored["id"], "w-1");
    assert_eq!(stored["type"], "container");
    assert_eq!(stored["revision_id"], "rev-1");
    assert_eq!(stored["desired_state"], "Running");
    assert_eq!(stored["assigned_node"], "node-1");
    assert_eq!(
        stored["resources"],
        json!({"cpu": 2, "memory_mb": 2048, "disk_gb": 20})
    );
    assert_eq!(
        stored["retry"],
        json!({"attempts": 1, "max_attempts": 5, "next_retry_at": "2026-02-17T00:00:00.000Z"})
    );
    assert_eq!(
        stored["status"],
        json!({
            "actual_state": "Pending",
            "last_updated": "2026-02-17T00:00:00.000Z",
            "failure_reason": ""
        })
    );
    let metadata = &stored["metadata"];
    assert_eq!(metadata["created_at"], "2026-02-17T00:00:00.000Z");
    assert_eq!(metadata["last_action"], "Apply");
    assert_eq!(metadata["last_error"], "");
}

/// The example of the design itself, with its comments resolved, is a record.
#[test]
fn the_designs_example_is_read() {
    let text = r#"{ "id": "w-1", "type": "compose", "revision_id": "rev-1",
        "desired_state": "Running", "assigned_node": "node-1",
        "spec": {}, "resources": {"cpu": 2, "memory_mb": 2048, "disk_gb": 20},
        "retry": {"attempts": 1, "max_attempts": 5, "next_retry_at": "2026-02-17T00:00:00Z"},
        "status": {"actual_state": "Pending", "last_updated": "2026-02-17T00:00:00Z",
                   "failure_reason": ""},
        "metadata": {"created_at": "2026-02-17T00:00:00Z", "last_action": "Apply",
                     "last_error": ""} }"#;
    let record: berth_core::model::workload::WorkloadRecord = serde_json::from_str(text).unwrap();
    round_trip(&record);
}

#[test]
fn the_nodes_record_has_the_designs_fields() {
    let stored = serde_json::to_value(make::plain_node()).unwrap();
    for field in ["id", "status", "resources", "last_heartbeat", "labels"] {
        assert!(stored.get(field).is_some(), "{field}");
    }
    assert_eq!(
        sorted_keys(&stored["resources"]),
        [
            "cpu_allocated",
            "cpu_total",
            "disk_allocated",
            "disk_total",
            "memory_allocated",
            "memory_total"
        ]
    );
    assert_eq!(stored["resources"]["cpu_total"], json!(1.5));
}

/// A record that another hand damaged is refused, not guessed at.
#[test]
fn damaged_records_are_refused() {
    let good = serde_json::to_value(make::plain_workload()).unwrap();
    for (at, bad) in [
        ("/id", json!("A/b")),
        ("/type", json!("pod")),
        ("/desired_state", json!("running")),
        ("/resources/cpu", json!(-1)),
        ("/status/actual_state", json!("Gone")),
        ("/retry/attempts", json!(-1)),
        ("/status/last_updated", json!("yesterday")),
    ] {
        let mut damaged = good.clone();
        *damaged.pointer_mut(at).unwrap() = bad;
        let read = serde_json::from_value::<berth_core::model::workload::WorkloadRecord>(damaged);
        assert!(read.is_err(), "{at}");
    }
}
