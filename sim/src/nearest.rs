//! Names that may have been meant.

use std::cmp::Reverse;

/// So many are told.
const TOLD: usize = 3;
/// Likeness is compared in parts of so many.
const SCALE: f64 = 1e6;

/// The names that are most like this one, for people.
pub(crate) fn names<'a>(meant: &str, known: impl IntoIterator<Item = &'a &'a str>) -> String {
    let likeness = |name: &str| {
        // Between 0 and 1, so that the cast keeps it.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let likeness = (strsim::jaro_winkler(meant, name) * SCALE) as u64;
        likeness
    };
    let mut known: Vec<_> = known.into_iter().copied().collect();
    known.sort_by_key(|name| (Reverse(likeness(name)), *name));
    let near: Vec<_> = known
        .iter()
        .take(TOLD)
        .map(|name| format!("`{name}`"))
        .collect();
    near.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_alike_come_first() {
        let known = [
            "drain",
            "reboot-node",
            "replace-node",
            "resize-node",
            "purge",
        ];
        assert_eq!(names("drains", &known[..1]), "`drain`");
        let near = names("reboot", &known);
        assert!(near.starts_with("`reboot-node`"), "{near}");
        assert_eq!(near.matches('`').count(), 2 * TOLD);
    }
}
