//! Lines and columns of a text as offsets of bytes.

use std::ops::Range;

use proc_macro2::{LineColumn, Span};

use crate::list::Place;

/// Where each line of a text begins.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let behind = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(behind).collect(),
        }
    }

    /// The offset of a place; the text's end for one that lies behind it.
    pub(crate) fn offset(&self, place: Place) -> usize {
        let line = place.line.saturating_sub(1);
        let Some(start) = self.starts.get(line) else {
            return self.text.len();
        };
        let mut columns = self.text[*start..].char_indices();
        let found = columns.nth(place.column.saturating_sub(1));
        found.map_or(self.text.len(), |(at, _)| start + at)
    }

    /// The bytes of a piece of syntax.
    pub(crate) fn range(&self, span: Span) -> Range<usize> {
        self.offset(place(span.start()))..self.offset(place(span.end()))
    }

    /// The text of a piece of syntax.
    pub(crate) fn text(&self, span: Span) -> &'a str {
        &self.text[self.range(span)]
    }

    /// The whole text.
    pub(crate) fn whole(&self) -> &'a str {
        self.text
    }
}

/// The compiler's columns are from 0.
pub(crate) fn place(at: LineColumn) -> Place {
    Place {
        line: at.line,
        column: at.column + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters_and_offsets_are_bytes() {
        let lines = Lines::of("ab\n→x\n");
        let at = |line, column| lines.offset(Place { line, column });
        assert_eq!(at(1, 1), 0);
        assert_eq!(at(2, 1), 3);
        assert_eq!(at(2, 2), 6);
        assert_eq!(at(9, 1), 8);
    }
}
