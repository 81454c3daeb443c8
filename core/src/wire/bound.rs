//! Bounds of outside text. What is cut carries a mark.

/// The longest text of one field, in bytes.
pub const FIELD_BYTES_MAX: usize = 4 * 1024;

/// The most statuses that are taken from one heartbeat or listing.
pub const STATUSES_MAX: usize = 10_000;

/// Bytes of a request over gRPC other than a heartbeat; what is larger cannot be stored anyway.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Bytes of a body over REST, unless the server is told otherwise.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Stands at the end of a text that was cut.
pub const CUT_MARK: &str = "… [cut]";

/// The text, cut at a character's boundary to at most `bytes_max` bytes, mark included. A bound
/// too small for the mark gives the beginning alone.
#[must_use]
pub fn bounded(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mark = if bytes_max >= CUT_MARK.len() {
        CUT_MARK
    } else {
        ""
    };
    let mut end = bytes_max - mark.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut cut = String::with_capacity(end + mark.len());
    cut.push_str(&text[..end]);
    cut.push_str(mark);
    cut
}

/// The text, quoted, for an error message: short whatever it was.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("{:?}", bounded(text, 80))
}

/// The path of an entry of a map, for an error message: `field["key"]`.
#[must_use]
pub fn entry(field: &str, key: &str) -> String {
    format!("{field}[{}]", quoted(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_characters_and_says_so() {
        assert_eq!(bounded("short", 5), "short");
        assert_eq!(bounded("0123456789abcdef", 12), "012… [cut]");
        assert_eq!(bounded("ääääääää", 3), "ä");
        assert_eq!(bounded("abc", 0), "");
        let cut = bounded(&"ä".repeat(5_000_000), FIELD_BYTES_MAX);
        assert!(cut.len() <= FIELD_BYTES_MAX && cut.ends_with(CUT_MARK));
    }
}
