//! What readers of YAML and JSON complain about, in the words of whoever writes manifests.

/// More digits than this nobody wrote.
const DIGITS_MAX: usize = 24;

/// The problem without the reader's types and places.
pub(super) fn humane(problem: &str) -> String {
    let problem = without_place(problem);
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) = problem
            .strip_prefix(kind)
            .and_then(|rest| rest.rsplit_once(", expected "))
        {
            return format!("{} is not {}", thing(found), wanted(expected));
        }
    }
    if let Some((found, expected)) = problem
        .strip_prefix("unknown variant ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        let expected = expected.replace("one of ", "").replace('`', "");
        let found = found.trim_matches('`');
        return format!("{found:?} is not known; expected {}", listed(&expected));
    }
    // A float such as 1e300, written out.
    let digits = problem.bytes().take_while(u8::is_ascii_digit).count();
    if digits > DIGITS_MAX {
        return format!("a number of this size{}", &problem[digits..]);
    }
    problem.to_owned()
}

/// The field that is missing, by a problem that says so.
pub(super) fn missing(problem: &str) -> Option<&str> {
    without_place(problem)
        .strip_prefix("missing field `")?
        .strip_suffix('`')
}

/// ` at line 1 column 8` of a text that the writer never saw.
fn without_place(problem: &str) -> &str {
    match problem.rsplit_once(" at line ") {
        Some((before, place)) if place.contains(" column ") => before,
        _ => problem,
    }
}

/// `a, b` as `a or b`.
fn listed(names: &str) -> String {
    match names.rsplit_once(", ") {
        Some((before, last)) => format!("{before} or {last}"),
        None => names.to_owned(),
    }
}

/// What was found.
fn thing(found: &str) -> String {
    let bare = |kind: &str| found.strip_prefix(kind).map(|rest| rest.trim_matches('`'));
    if found.ends_with(" as u128") || found.ends_with(" as i128") {
        return "a number of this size".to_owned();
    }
    if let Some(text) = found.strip_prefix("string ") {
        return format!("the text {text}");
    }
    if let Some(number) = bare("integer ").or_else(|| bare("floating point ")) {
        return if number.len() > DIGITS_MAX {
            "a number of this size".to_owned()
        } else {
            format!("the number {number}")
        };
    }
    if let Some(truth) = bare("boolean ") {
        return truth.to_owned();
    }
    match found {
        "map" | "newtype struct" => "a mapping".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" | "null" | "unit" | "Option value" => "an empty value".to_owned(),
        other => other.to_owned(),
    }
}

/// What was expected.
fn wanted(expected: &str) -> String {
    let expected = expected.trim_end_matches(" in YAML");
    let words = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number of 0 or more",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" => "a whole number",
        "a string" | "string" | "str" => "a text; write it in quotes",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a mapping",
        "any YAML value" | "any valid JSON value" => "a value that a manifest can hold",
        other if other.starts_with("struct ") => "a mapping of fields",
        other => other,
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_in_words() {
        for (said, expected) in [
            (
                "invalid type: string \"64\", expected u64",
                "the text \"64\" is not a whole number of 0 or more",
            ),
            (
                "invalid value: integer `70000`, expected u16",
                "the number 70000 is not a whole number from 0 to 65535",
            ),
            (
                "invalid type: integer `12`, expected a string at line 1 column 8",
                "the number 12 is not a text; write it in quotes",
            ),
            (
                "invalid type: map, expected a sequence",
                "a mapping is not a list",
            ),
            (
                "invalid type: integer `99999999999999999999999` as u128, expected any YAML value",
                "a number of this size is not a value that a manifest can hold",
            ),
            (
                "unknown variant `running`, expected `Running` or `Stopped`",
                "\"running\" is not known; expected Running or Stopped",
            ),
            (
                "unknown variant `x`, expected one of `a`, `b`, `c`",
                "\"x\" is not known; expected a, b or c",
            ),
            ("has 'W' at byte 0", "has 'W' at byte 0"),
        ] {
            assert_eq!(humane(said), expected);
        }
        let large = format!("1{} is not an amount of CPU", "0".repeat(300));
        let expected = "a number of this size is not an amount of CPU";
        assert_eq!(humane(&large), expected);
        assert_eq!(missing("missing field `id` at line 1 column 2"), Some("id"));
        assert_eq!(missing("unknown field `id`"), None);
    }
}
