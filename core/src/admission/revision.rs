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
    // The stem has at most 128 characters and the hash at most 31 behind it; `r` leaves room for 64.
    last.expect("stem, dash and digits are a revision")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::{ContainerSpec, RestartPolicy};

    fn new_spec(image: &str) -> NewSpec {
        NewSpec {
            spec: Spec::Container(ContainerSpec {
                image: image.into(),
                ..Default::default()
            }),
            resources: Resources::new(500, 64, 0),
            constraints: Default::default(),
            tenant: None,
            priority: 0,
            max_attempts: None,
            labels: BTreeMap::new(),
        }
    }

    fn revision(text: &str) -> Revision {
        text.parse().unwrap()
    }

    fn resolve(
        label: Option<&str>,
        previous: Option<(&str, Option<&str>, &str)>,
        hash: &str,
    ) -> String {
        let label = label.map(revision);
        let previous = previous.map(|(r, l, hash)| (revision(r), l.map(revision), hash));
        let previous = previous.as_ref().map(|(revision, label, hash)| Previous {
            revision,
            label: label.as_ref(),
            hash,
        });
        resolve_revision(label.as_ref(), previous, hash).to_string()
    }

    /// Stored hashes and running artifacts depend on it: a change of this text recreates every
    /// unlabelled workload at its next apply.
    #[test]
    fn the_hash_is_fixed() {
        assert_eq!(
            spec_hash(&new_spec("nginx:1")),
            "1e17157229d8d4636f566172431a230d8f0564e39a383153feb8d66f14526fb0"
        );
    }

    #[test]
    fn what_the_agent_gets_is_hashed_and_nothing_else() {
        let one = new_spec("a");
        let hash = spec_hash(&one);
        let mut other = one.clone();
        other.priority = 9;
        other.max_attempts = Some(2);
        other.tenant = Some("t".parse().unwrap());
        other.constraints.spread_by = Some("zone".into());
        assert_eq!(spec_hash(&other), hash);

        let mut memory = one.clone();
        memory.resources = Resources::new(500, 65, 0);
        let mut labels = one.clone();
        labels.labels.insert("a".into(), "b".into());
        let mut policy = one.clone();
        policy.spec = Spec::Container(ContainerSpec {
            image: "a".into(),
            restart_policy: RestartPolicy::Always,
            ..Default::default()
        });
        for changed in [new_spec("b"), memory, labels, policy] {
            assert_ne!(spec_hash(&changed), hash);
        }
    }

    #[test]
    fn the_rule_row_by_row() {
        let (h1, h2) = ("11111111aaaaaaaa", "22222222bbbbbbbb");
        // No label: the hash alone, whatever there was.
        assert_eq!(resolve(None, None, h1), "r-11111111aaaaaaaa");
        assert_eq!(
            resolve(None, Some(("v1", Some("v1"), h1)), h1),
            "r-11111111aaaaaaaa"
        );
        // A label with a new spec.
        assert_eq!(resolve(Some("v1"), None, h1), "v1");
        assert_eq!(resolve(Some("v2"), Some(("v1", Some("v1"), h1)), h2), "v2");
        // The same label with the same spec changes nothing, also behind a suffix.
        assert_eq!(resolve(Some("v1"), Some(("v1", Some("v1"), h1)), h1), "v1");
        assert_eq!(
            resolve(Some("v1"), Some(("v1-22222222", Some("v1"), h2)), h2),
            "v1-22222222"
        );
        // The same label with another spec.
        assert_eq!(
            resolve(Some("v1"), Some(("v1", Some("v1"), h1)), h2),
            "v1-22222222"
        );
        assert_eq!(
            resolve(Some("v1"), Some(("v1-22222222", Some("v1"), h2)), h1),
            "v1-11111111"
        );
        // A new label with the same spec.
        assert_eq!(resolve(Some("v2"), Some(("v1", Some("v1"), h1)), h1), "v2");
    }

    #[test]
    fn imitated_and_colliding_revisions_are_told_apart() {
        let (h1, h2) = ("2222222211111111aaaa", "2222222222222222bbbb");
        // Eight digits collide.
        assert_eq!(
            resolve(Some("v1"), Some(("v1-22222222", Some("v1"), h1)), h2),
            "v1-2222222222222222"
        );
        // A client's label imitates a revision of ours.
        assert_eq!(
            resolve(Some("r-x"), Some(("r-x", None, h1)), h2),
            "r-x-22222222"
        );
        let imitated = Some(("r-2222222222222222", Some("r-2222222222222222"), h1));
        assert_ne!(resolve(None, imitated, h2), "r-2222222222222222");
    }

    #[test]
    fn any_hash_and_label_make_a_revision() {
        let long = "L".repeat(160);
        for hash in [
            "",
            "x",
            "not hex at all/",
            &"ä".repeat(99),
            &"f".repeat(999),
        ] {
            let previous = Some((long.as_str(), Some(long.as_str()), "other"));
            assert!(resolve(Some(&long), previous, hash).len() <= 160);
            assert!(resolve(None, previous, hash).starts_with("r-"));
        }
    }
}
