//! Lengths of time as people write them: `250ms`, `12s`, `1.5s`, `3m`, `2h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of virtual time, or an instant counted from the beginning; whole milliseconds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct Span(u64);

/// The longest span: a year.
const LONGEST_MS: u64 = 366 * 86_400_000;

impl Span {
    /// So many milliseconds.
    #[must_use]
    pub const fn millis(ms: u64) -> Self {
        Self(ms)
    }

    /// So many seconds.
    #[must_use]
    pub const fn secs(s: u64) -> Self {
        Self(s * 1_000)
    }

    /// This long; a fraction of a millisecond is left out.
    #[must_use]
    pub const fn of(duration: Duration) -> Self {
        Self(duration.as_secs() * 1_000 + duration.subsec_millis() as u64)
    }

    /// In milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => write!(f, "0s"),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms if ms > 1_000 => {
                let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
                write!(f, "{}s", text.trim_end_matches('0'))
            }
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a time such as 250ms, 12s, 1.5s or 3m, found `{text}`");
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let (number, unit) = text.split_at(split);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let part_ms = if part.is_empty() {
            0
        } else {
            let digits: u64 = part.parse().map_err(|_| wrong())?;
            let scale = 10_u64
                .checked_pow(u32::try_from(part.len()).map_err(|_| wrong())?)
                .ok_or_else(wrong)?;
            let scaled = digits.checked_mul(unit_ms).ok_or_else(wrong)?;
            if scaled % scale != 0 {
                return Err(format!("expected whole milliseconds, found `{text}`"));
            }
            scaled / scale
        };
        whole
            .checked_mul(unit_ms)
            .and_then(|ms| ms.checked_add(part_ms))
            .filter(|ms| *ms <= LONGEST_MS)
            .map(Self)
            .ok_or_else(|| format!("expected at most a year, found `{text}`"))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_they_are_written() {
        for ms in [0, 1, 999, 1_000, 1_500, 1_234, 60_000, 61_000, 7_200_000] {
            let span = Span::millis(ms);
            assert_eq!(span.to_string().parse(), Ok(span), "{span}");
        }
        assert_eq!("1.5s".parse(), Ok(Span::millis(1_500)));
        assert_eq!("0.5m".parse(), Ok(Span::secs(30)));
        for wrong in [
            "", "5", "s", "1.s s", "1.0005s", "-1s", "9999999h", "1d", "1..5s",
        ] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }
}
