//! Edits of a text: what is put in front of and behind a range, ranges within ranges. The text
//! itself stays, so that what is formatted stays so.

use std::ops::Range;

/// A place where something is switched: what stands around the text of `range`.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) range: Range<usize>,
    pub(crate) before: String,
    pub(crate) after: String,
    /// The mutants that are switched here, and where in `before` each one's own code stands.
    pub(crate) own: Vec<(u32, Range<usize>)>,
}

/// An edited text, and where the code of each mutant came to lie.
#[derive(Debug, Default)]
pub(crate) struct Edited {
    pub(crate) text: String,
    pub(crate) regions: Vec<Region>,
}

/// A part of an edited text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) range: Range<usize>,
    /// One: its own code. Several: where they are switched.
    pub(crate) ids: Vec<u32>,
    /// Whether it is a mutant's own code.
    pub(crate) own: bool,
}

/// Puts the sites' texts around their ranges. Sites come as they nest: outer ones first.
pub(crate) fn apply(text: &str, sites: &[Site]) -> Edited {
    let mut marks: Vec<Mark> = Vec::new();
    for (at, site) in sites.iter().enumerate() {
        // What ends here goes before what begins here, inner ends before outer ones.
        if !site.range.is_empty() {
            marks.push((site.range.end, 0, usize::MAX - at, at));
        }
        marks.push((site.range.start, 1, at, at));
    }
    marks.sort_unstable();

    let mut edited = Edited::default();
    let mut starts = vec![0; sites.len()];
    let mut done = 0;
    for (offset, kind, _, at) in marks {
        edited.text.push_str(&text[done..offset]);
        done = offset;
        let site = &sites[at];
        if kind == 1 {
            let start = edited.text.len();
            starts[at] = start;
            edited
                .regions
                .extend(site.own.iter().map(|(id, own)| Region {
                    range: start + own.start..start + own.end,
                    ids: vec![*id],
                    own: true,
                }));
            edited.text.push_str(&site.before);
        }
        if kind == 0 || site.range.is_empty() {
            edited.text.push_str(&site.after);
            edited.regions.push(Region {
                range: starts[at]..edited.text.len(),
                ids: site.own.iter().map(|(id, _)| *id).collect(),
                own: false,
            });
        }
    }
    edited.text.push_str(&text[done..]);
    edited
}

/// Offset, what happens there, order among those, and the site.
type Mark = (usize, u8, usize, usize);

impl Edited {
    /// The mutants that an error in a part of the text is about: the one whose own code it is in,
    /// else those of the innermost place that holds it.
    pub(crate) fn blamed(&self, spans: &[Range<usize>]) -> Vec<u32> {
        let holding = |own: bool| {
            let regions = self.regions.iter().filter(move |r| r.own == own);
            let held = regions.filter(|r| {
                spans
                    .iter()
                    .any(|s| r.range.start <= s.start && s.end <= r.range.end)
            });
            held.min_by_key(|r| r.range.len())
        };
        let region = holding(true).or_else(|| holding(false));
        region.map(|r| r.ids.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(id: u32, range: Range<usize>, before: &str, after: &str) -> Site {
        Site {
            range,
            before: before.to_owned(),
            after: after.to_owned(),
            own: vec![(id, 1..2)],
        }
    }

    #[test]
    fn ranges_nest_and_touch() {
        let sites = [
            site(1, 0..5, "[1", "1]"),
            site(2, 0..3, "[2", "2]"),
            site(3, 3..5, "[3", "3]"),
            site(4, 5..5, "|4", ""),
        ];
        let edited = apply("abcde.", &sites);
        assert_eq!(edited.text, "[1[2abc2][3de3]1]|4.");
        let blamed = |from, to| edited.blamed(std::slice::from_ref(&(from..to)));
        // A mutant's own code comes first, then the innermost place.
        assert_eq!(blamed(3, 4), [2]);
        assert_eq!(blamed(5, 6), [2]);
        assert_eq!(blamed(5, 12), [1]);
        assert_eq!(edited.blamed(&[5..6, 10..11]), [3]);
        assert!(blamed(19, 20).is_empty());
    }
}
