//! Comma-separated text with a header: plain, without quotes, as the public traces have it.

use std::fmt;

/// The longest text that is read, in bytes.
const TEXT_MAX: usize = 256 * 1024 * 1024;

/// Why a text is no trace: where, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvError {
    /// The file, as it was named.
    pub file: String,
    /// The line, counted from 1; 0: the file as a whole.
    pub line: usize,
    /// The column, by its name in the header.
    pub column: Option<&'static str>,
    /// What was expected, and what was found.
    pub problem: String,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for CsvError {}

/// A text whose header has been read.
pub(super) struct Table<'a> {
    file: &'a str,
    /// The columns that are asked for.
    wanted: &'static [&'static str],
    /// Where each of them stands.
    places: Vec<usize>,
    width: usize,
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    rows: usize,
    rows_max: usize,
}

impl<'a> Table<'a> {
    /// Reads the header. Columns that are not wanted are passed over.
    pub(super) fn new(
        file: &'a str,
        text: &'a str,
        wanted: &'static [&'static str],
        rows_max: usize,
    ) -> Result<Self, CsvError> {
        let fail = |line, column, problem: String| CsvError {
            file: file.to_owned(),
            line,
            column,
            problem,
        };
        if text.len() > TEXT_MAX {
            let problem = format!("expected at most {TEXT_MAX} bytes, found {}", text.len());
            return Err(fail(0, None, problem));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().enumerate();
        let header = lines.next().map_or("", |(_, line)| line);
        let names: Vec<&str> = header.split(',').map(str::trim).collect();
        let place = |column: &&'static str| {
            let found = names.iter().position(|name| name == column);
            found.ok_or_else(|| {
                let problem = format!("expected in the header, found `{header}`");
                fail(1, Some(*column), problem)
            })
        };
        let places = wanted.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self {
            file,
            wanted,
            places,
            width: names.len(),
            lines,
            rows: 0,
            rows_max,
        })
    }

    /// The next row that is not empty.
    pub(super) fn next(&mut self) -> Option<Result<Row<'a>, CsvError>> {
        let (at, text) = self.lines.find(|(_, line)| !line.trim().is_empty())?;
        self.rows += 1;
        Some(self.row(at + 1, text))
    }

    fn row(&self, line: usize, text: &'a str) -> Result<Row<'a>, CsvError> {
        let fail = |problem| CsvError {
            file: self.file.to_owned(),
            line,
            column: None,
            problem,
        };
        if self.rows > self.rows_max {
            return Err(fail(format!("expected at most {} rows", self.rows_max)));
        }
        if text.contains('"') {
            return Err(fail("expected fields without quotes".to_owned()));
        }
        let fields: Vec<&str> = text.split(',').map(str::trim).collect();
        if fields.len() != self.width {
            let (wanted, found) = (self.width, fields.len());
            return Err(fail(format!(
                "expected {wanted} fields as in the header, found {found}"
            )));
        }
        Ok(Row {
            file: self.file.to_owned(),
            line,
            wanted: self.wanted,
            fields: self.places.iter().map(|place| fields[*place]).collect(),
        })
    }
}

/// One row: its fields in the order in which they were asked for.
pub(super) struct Row<'a> {
    file: String,
    line: usize,
    wanted: &'static [&'static str],
    fields: Vec<&'a str>,
}

impl<'a> Row<'a> {
    /// What is wrong with a field.
    pub(super) fn error(&self, which: usize, problem: String) -> CsvError {
        CsvError {
            file: self.file.clone(),
            line: self.line,
            column: Some(self.wanted[which]),
            problem,
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&self, which: usize) -> Result<&'a str, CsvError> {
        match self.fields[which] {
            "" => Err(self.error(which, "expected a name, found nothing".to_owned())),
            text => Ok(text),
        }
    }

    /// A whole number up to `max`.
    pub(super) fn number(&self, which: usize, max: u64) -> Result<u64, CsvError> {
        let text = self.fields[which];
        let number = text.parse().ok().filter(|number| *number <= max);
        number.ok_or_else(|| {
            let problem = format!("expected a whole number of 0 to {max}, found `{text}`");
            self.error(which, problem)
        })
    }

    /// A whole number up to `max`, or nothing.
    pub(super) fn perhaps(&self, which: usize, max: u64) -> Result<Option<u64>, CsvError> {
        match self.fields[which] {
            "" => Ok(None),
            _ => self.number(which, max).map(Some),
        }
    }
}
