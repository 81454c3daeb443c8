//! The revision law over histories of applies.

use berth_core::Revision;
use berth_core::admission::{Previous, resolve_revision, spec_hash};
use berth_core::io::request::NewSpec;
use berth_core::model::spec::{Constraints, ContainerSpec, Spec};
use berth_core::model::units::Resources;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Few specs, so that histories come back to one.
fn spec(image: u8, memory: u64, env: &[(String, String)]) -> NewSpec {
    NewSpec {
        spec: Spec::Container(ContainerSpec {
            image: format!("image-{image}"),
            env: env.iter().cloned().collect(),
            ..ContainerSpec::default()
        }),
        resources: Resources::new(0, memory, 0),
        constraints: Constraints::default(),
        tenant: None,
        priority: 0,
        max_attempts: None,
        labels: std::collections::BTreeMap::new(),
    }
}

/// What a workload's record keeps of its revision.
struct Kept {
    revision: Revision,
    label: Option<Revision>,
    hash: String,
}

fn apply(kept: Option<&Kept>, label: Option<&Revision>, new: &NewSpec) -> Kept {
    let hash = spec_hash(new);
    let previous = kept.map(|kept| Previous {
        revision: &kept.revision,
        label: kept.label.as_ref(),
        hash: &kept.hash,
    });
    Kept {
        revision: resolve_revision(label, previous, &hash),
        label: label.cloned(),
        hash,
    }
}

/// Labels of clients, some of which look like what the scheduler makes.
fn label() -> impl Strategy<Value = Option<Revision>> {
    let longest = "L".repeat(128);
    let texts = ["rev-1", "rev-2", "r-0123456789abcdef", "rev-1-01234567"];
    let texts = texts.into_iter().map(String::from).chain([longest]);
    option::of(select(texts.collect::<Vec<_>>()).prop_map(|text| text.parse().unwrap()))
}

proptest! {
    /// Equal specs have equal hashes, however they were put together; others differ.
    #[test]
    fn hashes_tell_specs_apart(
        one in (0_u8..3, 0_u64..3, vec(("[ab]", "[xy]"), 0..3)),
        other in (0_u8..3, 0_u64..3, vec(("[ab]", "[xy]"), 0..3)),
    ) {
        let made = |of: &(u8, u64, Vec<(String, String)>)| spec(of.0, of.1, &of.2);
        let (one, other) = (made(&one), made(&other));
        prop_assert_eq!(spec_hash(&one) == spec_hash(&other), one == other);
        let written = serde_json::to_string(&one).unwrap();
        let read: NewSpec = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(spec_hash(&read), spec_hash(&one));
    }

    /// Step by step: the same spec under the same label changes nothing, another spec never keeps
    /// the revision, a new label makes a new one, and no label depends on the spec alone.
    #[test]
    fn histories_follow_the_law(steps in vec((label(), 0_u8..3), 1..12)) {
        let mut kept: Option<Kept> = None;
        for (label, image) in steps {
            let new = spec(image, 0, &[]);
            let next = apply(kept.as_ref(), label.as_ref(), &new);
            prop_assert!(next.revision.as_str().len() <= 160);
            match &label {
                None => {
                    let alone = apply(None, None, &new).revision;
                    prop_assert_eq!(&next.revision, &alone);
                }
                Some(label) => {
                    prop_assert!(next.revision.as_str().starts_with(label.as_str()));
                }
            }
            if let Some(kept) = &kept {
                let (same_spec, same_label) = (kept.hash == next.hash, kept.label == label);
                if same_spec && same_label {
                    prop_assert_eq!(&next.revision, &kept.revision);
                }
                if !same_spec {
                    prop_assert_ne!(&next.revision, &kept.revision);
                }
            }
            kept = Some(next);
        }
    }
}
