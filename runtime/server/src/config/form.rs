//! The forms of values: how a text is read, and what to say when it cannot be.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::{LogFormat, LogLevel};

/// The longest duration that is accepted.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What was expected instead.
pub(super) type Read<T> = Result<T, String>;

/// Words between "is not" and the end of a sentence.
pub(super) const DURATION: &str = "a duration above zero such as 500ms, 10s, 5m or 1h30m";

pub(super) fn duration(text: &str) -> Read<Duration> {
    match humantime::parse_duration(text) {
        Ok(time) if time > Duration::ZERO && time <= DURATION_MAX => Ok(time),
        Ok(_) | Err(_) => Err(DURATION.to_owned()),
    }
}

/// One that may be zero.
pub(super) fn grace(text: &str) -> Read<Duration> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= DURATION_MAX => Ok(time),
        Ok(_) | Err(_) => Err("a duration such as 0s, 500ms, 10s, 5m or 1h30m".to_owned()),
    }
}

pub(super) fn number<T>(text: &str, range: RangeInclusive<T>) -> Read<T>
where
    T: FromStr + PartialOrd + Display,
{
    match text.parse() {
        Ok(value) if range.contains(&value) => Ok(value),
        Ok(_) | Err(_) => Err(format!(
            "a whole number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

pub(super) fn flag(text: &str) -> Read<bool> {
    text.parse().map_err(|_| "true or false".to_owned())
}

/// Numbers only: a name could mean several addresses, except for `localhost`.
pub(super) fn address(text: &str) -> Read<SocketAddr> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let expected = "an address and a port such as 0.0.0.0:8085 or [::]:8085";
    numeric.parse().map_err(|_| expected.to_owned())
}

/// A name or a number, as somebody else dials it.
pub(super) fn host_and_port(text: &str) -> Read<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let good = text.rsplit_once(':').is_some_and(|(host, port)| {
        let numbered = port.parse::<u16>().is_ok_and(|port| port != 0);
        let one = host.starts_with('[') == host.contains(':');
        numbered && one && !host.is_empty() && host.len() <= 255 && host.chars().all(plain)
    });
    match good {
        true => Ok(text.to_owned()),
        false => Err("a host and a port such as berth-1:8085".to_owned()),
    }
}

pub(super) fn urls(text: &str) -> Read<Vec<String>> {
    let wrong = || "one or more URLs such as http://10.0.0.1:2379, separated by commas".to_owned();
    let mut urls = Vec::new();
    for url in text.split(',').map(str::trim) {
        let rest = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"));
        let rest = rest.ok_or_else(wrong)?.trim_end_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if rest.is_empty() || !rest.chars().all(plain) {
            return Err(wrong());
        }
        urls.push(url.trim_end_matches('/').to_owned());
    }
    Ok(urls)
}

pub(super) fn prefix(text: &str) -> Read<String> {
    let good = text.is_empty()
        || (text.starts_with('/')
            && !text.ends_with('/')
            && text.len() <= 128
            && text.chars().all(|c| c.is_ascii_graphic()));
    match good {
        true => Ok(text.to_owned()),
        false => Err("empty or a path such as /berth, without a slash at its end".to_owned()),
    }
}

pub(super) fn replica(text: &str) -> Read<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    match !text.is_empty() && text.len() <= 128 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("1 to 128 letters, digits, '-', '.', '_' or ':'".to_owned()),
    }
}

pub(super) fn path(text: &str) -> Read<std::path::PathBuf> {
    match text.is_empty() {
        true => Err("the path of a file".to_owned()),
        false => Ok(text.into()),
    }
}

pub(super) fn log_format(text: &str) -> Read<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("text or json".to_owned()),
    }
}

impl LogFormat {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

pub(super) fn log_level(text: &str) -> Read<LogLevel> {
    match text {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        _ => Err("error, warn, info, debug or trace".to_owned()),
    }
}

impl LogLevel {
    /// The name, as `tracing` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
