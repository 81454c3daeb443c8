//! Names of a trace as ids.

use std::collections::BTreeSet;

use berth_core::WorkloadId;
use berth_core::model::id::ID_LENGTH_MAX;

/// Each is valid, and none comes twice.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: BTreeSet<WorkloadId>,
}

impl Names {
    pub(super) fn id(&mut self, name: &str) -> WorkloadId {
        let plain = |c: char| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '.' | '_') => c,
            _ => '-',
        };
        // Room for what tells two of them apart.
        let text: String = name.chars().map(plain).take(ID_LENGTH_MAX - 12).collect();
        let text = text.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let text = if text.is_empty() { "pod" } else { text };
        let mut number = 1;
        loop {
            let next = if number == 1 {
                text.to_owned()
            } else {
                format!("{text}-{number}")
            };
            let id: WorkloadId = next.parse().expect("letters and digits, and not too long");
            if self.taken.insert(id.clone()) {
                return id;
            }
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ids() {
        let mut names = Names::default();
        let mut id = |name: &str| names.id(name).to_string();
        assert_eq!(id("openb-pod-0000"), "openb-pod-0000");
        assert_eq!(id("Job/7"), "job-7");
        assert_eq!(id("job 7"), "job-7-2");
        assert_eq!(id("--"), "pod");
        assert_eq!(id("é"), "pod-2");
        assert_eq!(id(&"x".repeat(500)).len(), ID_LENGTH_MAX - 12);
    }
}
