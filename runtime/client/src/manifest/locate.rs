//! The line of a field, for errors of checks that know paths but no lines.
//!
//! A guess by the look of the text, right for manifests as people write them; where it finds
//! nothing, the error goes without a line.

/// The first line (from 0) of document `number` (from 1) of a YAML text.
pub(super) fn document_start(text: &str, number: usize) -> usize {
    let mut document = 1;
    let mut content_seen = false;
    for (at, line) in text.lines().enumerate() {
        let separator = line == "---" || line.starts_with("--- ");
        if separator {
            // The first one only opens the first document, unless something stood before it.
            if content_seen {
                document += 1;
            }
            content_seen = true;
        } else if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
            content_seen = true;
        }
        if document == number && (number > 1 || !separator) {
            return at;
        }
    }
    0
}

/// The line (from 1) of the field at `path`, such as `spec.ports[1].host_port`, in a document
/// that begins at line `start` (from 0).
pub(super) fn line_of(text: &str, start: usize, path: &str) -> Option<usize> {
    let lines: Vec<&str> = text.lines().skip(start).collect();
    let mut at = 0;
    let keys = path.split('.').filter(|key| !key.is_empty());
    for (depth, key) in keys.enumerate() {
        let name = key.split('[').next().unwrap_or(key);
        let found = lines[at..].iter().position(|line| {
            let top =
                depth > 0 || !line.starts_with(' ') || line.trim_start().starts_with(['{', '"']);
            top && has_key(line, name)
        });
        at += found?;
    }
    (at < lines.len()).then_some(start + at + 1)
}

/// Whether a line holds `name:`, quoted or not, and not as the end of a longer word.
fn has_key(line: &str, name: &str) -> bool {
    let mut rest = line;
    while let Some(found) = rest.find(name) {
        let before = rest[..found].chars().next_back();
        let after = rest[found + name.len()..]
            .trim_start_matches('"')
            .trim_start();
        let begins = before.is_none_or(|c| c.is_whitespace() || "\"'{,".contains(c));
        if begins && after.starts_with(':') {
            return true;
        }
        rest = &rest[found + name.len()..];
        if name.is_empty() {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Two.
---
id: a
constraints:
  labels: {zone: x}
labels:
  id: y
---
id: b
spec:
  ports:
    - host_port: 1
";

    #[test]
    fn documents_begin_after_their_separators() {
        assert_eq!(document_start(TEXT, 1), 0);
        assert_eq!(document_start(TEXT, 2), 7);
        assert_eq!(document_start("a: 1\n---\nb: 2\n", 1), 0);
        assert_eq!(document_start("a: 1\n---\nb: 2\n", 2), 1);
    }

    #[test]
    fn fields_are_found_by_their_path() {
        assert_eq!(line_of(TEXT, 0, "id"), Some(3));
        assert_eq!(line_of(TEXT, 0, "labels.id"), Some(7));
        assert_eq!(line_of(TEXT, 0, "constraints.labels.zone"), Some(5));
        assert_eq!(line_of(TEXT, 7, "id"), Some(9));
        assert_eq!(line_of(TEXT, 7, "spec.ports[0].host_port"), Some(12));
        assert_eq!(line_of(TEXT, 7, "spec.image"), None);
        assert_eq!(line_of("{\"id\": 1,\n \"spec\": {}}", 0, "spec"), Some(2));
    }
}
