//! Aligned columns.

use std::collections::BTreeMap;

use super::console::Tone;

/// One field of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A text in a tone. Control characters, which could rewrite the terminal, become blanks.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        let text = text.into();
        let text = if text.chars().any(char::is_control) {
            text.replace(char::is_control, " ")
        } else {
            text
        };
        Self { text, tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Rows below headings; every column as wide as its widest field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    least: BTreeMap<usize, usize>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
            least: BTreeMap::new(),
        }
    }

    /// Adds a row with as many fields as there are headings.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells);
    }

    /// No rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, one line a row, with `indent` blanks before each.
    #[must_use]
    pub fn render(&self, indent: usize, colored: bool) -> String {
        let widths = self.widths();
        let headings: Vec<Cell> = self
            .headings
            .iter()
            .map(|text| Cell::new(*text, Tone::Strong))
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            text.push_str(&render_row(row, &widths, indent, colored));
        }
        text
    }

    /// Only the rows, aligned below a table that was printed before with `widths`.
    #[must_use]
    pub fn render_rows(&self, widths: &[usize], colored: bool) -> String {
        self.rows
            .iter()
            .map(|row| render_row(row, widths, 0, colored))
            .collect()
    }

    /// Makes a column at least so wide, for fields that are still to come.
    pub fn at_least(&mut self, heading: &str, columns: usize) {
        if let Some(at) = self.headings.iter().position(|other| *other == heading) {
            self.least.insert(at, columns);
        }
    }

    /// How wide each column is.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        let of = |at: usize| {
            let cells = self.rows.iter().map(|row| width(&row[at].text));
            let least = self.least.get(&at).copied().unwrap_or(0);
            cells
                .max()
                .unwrap_or(0)
                .max(width(self.headings[at]))
                .max(least)
        };
        (0..self.headings.len()).map(of).collect()
    }
}

fn render_row(row: &[Cell], widths: &[usize], indent: usize, colored: bool) -> String {
    let mut line = " ".repeat(indent);
    let last = row.iter().rposition(|cell| !cell.text.is_empty());
    for (at, cell) in row.iter().enumerate().take(last.map_or(0, |last| last + 1)) {
        line.push_str(&cell.tone.paint(&cell.text, colored));
        if Some(at) != last {
            let fill = widths[at].saturating_sub(width(&cell.text));
            line.push_str(&" ".repeat(fill + 2));
        }
    }
    line.push('\n');
    line
}

/// How many columns of a terminal a text takes: two for the wide scripts of East Asia and emoji,
/// none for combining marks, else one a character.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match u32::from(c) {
            0x0300..=0x036F | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
            0x1100..=0x115F
            | 0x2E80..=0xA4CF
            | 0xAC00..=0xD7A3
            | 0xF900..=0xFAFF
            | 0xFE30..=0xFE6F
            | 0xFF00..=0xFF60
            | 0xFFE0..=0xFFE6
            | 0x1F300..=0x1FAFF
            | 0x20000..=0x3FFFD => 2,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["ID", "STATUS", "NODE"]);
        table.row(vec![
            "web-1".into(),
            Cell::new("Running", Tone::Good),
            "node-1".into(),
        ]);
        table.row(vec![
            "日本".into(),
            Cell::new("RetryPending", Tone::Busy),
            "".into(),
        ]);
        table
    }

    #[test]
    fn columns_are_aligned() {
        let golden = "\
ID     STATUS        NODE
web-1  Running       node-1
日本   RetryPending
";
        assert_eq!(sample().render(0, false), golden);
    }

    #[test]
    fn colours_change_no_alignment() {
        let plain = sample().render(2, false);
        let mut colored = sample().render(2, true);
        assert_ne!(plain, colored);
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[32m", "\x1b[33m"] {
            colored = colored.replace(code, "");
        }
        assert_eq!(plain, colored);
    }

    #[test]
    fn text_from_elsewhere_cannot_rewrite_the_terminal() {
        let mut table = Table::new(&["REASON"]);
        table.row(vec!["a\x1b[2Jb\nc".into()]);
        assert_eq!(table.render(0, false), "REASON\na [2Jb c\n");
    }

    #[test]
    fn later_rows_line_up_with_the_first_table() {
        let mut more = Table::new(&["ID", "STATUS", "NODE"]);
        more.row(vec!["b".into(), "Failed".into(), "node-2".into()]);
        more.at_least("ID", 3);
        assert_eq!(more.widths(), [3, 6, 6]);
        assert_eq!(
            more.render_rows(&sample().widths(), false),
            "b      Failed        node-2\n"
        );
    }
}
