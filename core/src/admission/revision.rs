//! Which revision a spec gets.
//!
//! Agents compare revisions for equality and never look at specs, so a revision must name what it
//! is made of: two specs that make different artifacts must never share one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::io::request::NewSpec;
use crate::model::id::Revision;
use crate::model::spec::Spec;
use crate::model::units::Resources;

/// What makes the artifact: these parts and no other reach the agent. Constraints, tenant,
/// priority and tries say where and how hard, not what; a change of them alone keeps the revision
/// and what runs.
#[derive(Serialize)]
struct Artifact<'a> {
    spec: &'a Spec,
    resources: &'a Resources,
    labels: &'a BTreeMap<String, String>,
}

/// The SHA-256 of what makes the artifact, as canonical JSON: 64 lower-case hexadecimal digits.
/// Fields in the order of their declaration, maps in the order of keys, defaults left out where
/// the types say so: equal specs have equal hashes, whatever client wrote them.
#[must_use]
pub fn spec_hash(new: &NewSpec) -> String {
    let NewSpec {
        spec,
        resources,
        labels,
        ..
    } = new;
    let artifact = Artifact {
        spec,
        resources,
        labels,
    };
    let json =
        serde_json::to_vec(&artifact).expect("plain data: keys are text, numbers are finite");
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(&json) {
        write!(hex, "{byte:02x}").expect("writing to a String does not fail");
    }
    hex
}

/// What a workload has before an apply.
#[derive(Debug, Clone, Copy)]
pub struct Previous<'a> {
    /// Its revision.
    pub revision: &'a Revision,
    /// The label that the client gave to it.
    pub label: Option<&'a Revision>,
    /// The hash of its spec.
    pub hash: &'a str,
}

/// The revision of a spec that comes with `label`, after `previous`.
///
/// | label | spec | revision |
/// |---|---|---|
/// | none | any | `r-<16 hex of the hash>` |
/// | first of the workload, or another than before | any | the label |
/// | the same as before | the same | unchanged |
/// | the same as before | another | `<label>-<8 hex of the hash>` |
///
/// Another spec than the previous one never gets the previous revision, even if the digits that
/// are shown collide or a client's label imitates them: more digits are shown then.
#[must_use]
pub fn resolve_revision(
    label: Option<&Revision>,
    previous: Option<Previous<'_>>,
    new_hash: &str,
) -> Revision {
    let Some(label) = label else {
        return distinct("r", &[16, 32, 64], previous, new_hash);
    };
    let Some(previous) = previous else {
        return label.clone();
    };
    let reused = previous.label == Some(label);
    if previous.hash == new_hash {
        return if reused {
            previous.revision.clone()
        } else {
            label.clone()
        };
    }
    if reused || previous.revision == label {
        return distinct(label.as_str(), &[8, 16, 24], Some(previous), new_hash);
    }
    label.clone()
}

/// `stem-<hex>`, with as few of the digits as tell it from the previous revision of another spec.
fn distinct(stem: &str, digits: &[usize], previous: Option<Previous<'_>>, hash: &str) -> Revision {
    let taken = previous
        .filter(|p| p.hash != hash)
        .map(|p| p.revision.as_str());
    // What a caller passes as hash may be anything; only its digits can stand in a revision.
    let hash: String = hash.chars().filter(char::is_ascii_alphanumeric).collect();
    // A stem as long as a revision may be leaves room for 31 characters behind it.
    let stem = stem
        .get(..crate::admission::limits::REVISION_LABEL_BYTES_MAX)
        .unwrap_or(stem);
    let texts = digits
        .iter()
        .map(|n| format!("{stem}-{}", hash.get(..*n).unwrap_or(&hash)));
    let mut last = None;
    for text in texts {
        let free = taken != Some(text.as_str());
        last = text.parse::<Revision>().ok();
        if free && last.is_some() {
            break;
        }
    }
    last.expect("a stem of at most 128 characters, '-' and at most 31 of the hash is a revision, and so is r-<64>")
}
