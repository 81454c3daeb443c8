//! Lists, page by page.

use berth_core::StoreRevision;
use berth_core::io::request::Freshness;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml_ng::Value;

use super::Session;
use crate::exit::{Exit, Failure};

/// The most records that are asked for at once. Who wants more gets pages as large as the server
/// likes them.
const PAGE: usize = 1000;

fn page_limit(limit: Option<usize>, have: usize) -> Option<(&'static str, String)> {
    let wanted = limit?.saturating_sub(have);
    (wanted < PAGE).then(|| ("limit", wanted.to_string()))
}

/// A page of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct Page<T> {
    /// What is on it.
    #[serde(alias = "events")]
    pub items: Vec<T>,
    /// More follow.
    #[serde(default)]
    pub more: bool,
    /// The id to ask on from.
    #[serde(default)]
    pub next: Option<String>,
    /// The server that answered does not lead.
    #[serde(default)]
    pub stale: bool,
    /// How old it is, milliseconds: on several pages, the oldest.
    #[serde(default)]
    pub age_ms: u64,
    /// The revision of the store that it reflects: on several pages, the oldest.
    #[serde(default)]
    pub revision: StoreRevision,
}

impl<T> Page<T> {
    /// One record as a page.
    pub(super) fn of_one(record: T, freshness: Freshness) -> Self {
        Self {
            items: vec![record],
            more: false,
            next: None,
            stale: freshness.stale,
            age_ms: freshness.age_ms,
            revision: freshness.revision,
        }
    }

    /// How old it is.
    pub(super) const fn freshness(&self) -> Freshness {
        Freshness {
            revision: self.revision,
            stale: self.stale,
            age_ms: self.age_ms,
        }
    }
}

/// Everything that matches, or the first `limit`.
///
/// # Errors
/// Those of the requests.
pub async fn all<T: DeserializeOwned>(
    session: &Session<'_>,
    path: &str,
    query: &[(&str, String)],
    limit: Option<usize>,
) -> Result<Page<T>, Failure> {
    let mut whole: Option<Page<T>> = None;
    loop {
        let have = whole.as_ref().map_or(0, |page| page.items.len());
        let mut query = query.to_vec();
        query.extend(page_limit(limit, have));
        if let Some(next) = whole.as_ref().and_then(|page| page.next.clone()) {
            query.push(("after", next));
        }
        let page: Page<T> = session.api.read(&[path], &query).await?;
        let merged = match whole {
            None => page,
            Some(mut before) => {
                if page.items.is_empty() {
                    before.more = false;
                }
                before.items.extend(page.items);
                before.stale |= page.stale;
                before.age_ms = before.age_ms.max(page.age_ms);
                before.revision = before.revision.min(page.revision);
                Page {
                    more: page.more,
                    next: page.next,
                    ..before
                }
            }
        };
        let full = limit.is_some_and(|limit| merged.items.len() >= limit);
        if !merged.more || merged.next.is_none() || full {
            return Ok(merged);
        }
        whole = Some(merged);
    }
}

/// The same as the server's own JSON: a single page unchanged, several as one.
///
/// # Errors
/// Those of the requests.
pub async fn raw(
    session: &Session<'_>,
    path: &str,
    query: &[(&str, String)],
    limit: Option<usize>,
) -> Result<Value, Failure> {
    let mut whole: Option<Value> = None;
    loop {
        let have = whole.as_ref().map_or(0, |page| items(page).len());
        let mut query = query.to_vec();
        query.extend(page_limit(limit, have));
        if let Some(next) = whole.as_ref().and_then(next_of) {
            query.push(("after", next));
        }
        let mut page: Value = session.api.read(&[path], &query).await?;
        if let Some(before) = &whole {
            let mut joined = items(before).to_vec();
            joined.extend_from_slice(items(&page));
            if let Some(list) = page.get_mut("items") {
                *list = Value::Sequence(joined);
            }
        }
        let more = page.get("more").and_then(Value::as_bool) == Some(true);
        let full = limit.is_some_and(|limit| items(&page).len() >= limit);
        if !more || next_of(&page).is_none() || full {
            return Ok(page);
        }
        whole = Some(page);
    }
}

fn items(page: &Value) -> &[Value] {
    page.get("items")
        .and_then(Value::as_sequence)
        .map_or(&[], Vec::as_slice)
}

fn next_of(page: &Value) -> Option<String> {
    page.get("next")?.as_str().map(str::to_owned)
}

/// Prints what the server sent, as JSON or YAML, fields in its order.
///
/// # Errors
/// Those of the stream.
pub fn print_raw(session: &mut Session<'_>, value: &Value, yaml: bool) -> Result<(), Failure> {
    let wrong = |error: String| Failure::new(Exit::Error, error);
    if yaml {
        let text = serde_yaml_ng::to_string(value).map_err(|error| wrong(error.to_string()))?;
        session.console.text(&quoted(&text))?;
    } else {
        let text = serde_json::to_string_pretty(value).map_err(|error| wrong(error.to_string()))?;
        session.console.line(&text)?;
    }
    Ok(())
}

/// YAML in which no text reads as a truth value: readers of YAML 1.1 take a bare `no` for one.
fn quoted(yaml: &str) -> String {
    let mut out = String::with_capacity(yaml.len());
    // The indentation of the line that opened a text of several lines, while in it.
    let mut block: Option<usize> = None;
    for line in yaml.lines() {
        let indent = line.len() - line.trim_start().len();
        let inside = block.is_some_and(|opened| line.trim().is_empty() || indent > opened);
        if !inside {
            block = None;
        }
        let value = line.rsplit_once(": ").or_else(|| line.rsplit_once("- "));
        match value {
            Some((_, word)) if !inside && is_truth(word) => {
                out.push_str(&line[..line.len() - word.len()]);
                out.push_str(&format!("'{word}'"));
            }
            Some((_, opener)) if !inside && opener.starts_with(['|', '>']) => {
                block = Some(indent);
                out.push_str(line);
            }
            Some(_) | None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// Words that are truth values in YAML 1.1 and texts in YAML 1.2.
fn is_truth(word: &str) -> bool {
    let words = ["y", "n", "yes", "no", "on", "off"];
    words.iter().any(|truth| word.eq_ignore_ascii_case(truth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truths_of_old_yaml_are_quoted_and_texts_left_alone() {
        let yaml = "policy: no\nlist:\n- off\n- 'on'\ntext: |\n  answer: no\n\n  - yes\nnote: no way\n\
            deep:\n  - |-\n    a: on\n  b: Yes\nflag: true\n";
        let expected = "policy: 'no'\nlist:\n- 'off'\n- 'on'\ntext: |\n  answer: no\n\n  - yes\n\
            note: no way\ndeep:\n  - |-\n    a: on\n  b: 'Yes'\nflag: true\n";
        assert_eq!(quoted(yaml), expected);
    }
}
