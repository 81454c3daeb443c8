//! The TOML file: the same settings by the same names, as strings, numbers, booleans or lists.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Value;

use super::ConfigError;
use super::settings::settings;

/// The largest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file.
pub(super) fn read(file: &Path) -> Result<BTreeMap<&'static str, String>, ConfigError> {
    let wrong = |problem: String| ConfigError::File {
        file: file.to_owned(),
        problem,
    };
    let size = std::fs::metadata(file)
        .map_err(|error| wrong(error.to_string()))?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    parse(file, &text)
}

/// Reads the text of a file.
pub(super) fn parse(
    file: &Path,
    text: &str,
) -> Result<BTreeMap<&'static str, String>, ConfigError> {
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| ConfigError::File {
            file: file.to_owned(),
            problem: error.to_string(),
        })?;
    let all = settings();
    let mut given = BTreeMap::new();
    for (key, value) in table {
        let Some(setting) = all.iter().find(|setting| setting.name == key) else {
            return Err(ConfigError::UnknownKey {
                file: file.to_owned(),
                key,
            });
        };
        let value = plain(&value).ok_or_else(|| ConfigError::Value {
            origin: format!("{key} in {}", file.display()),
            text: value.to_string(),
            expected: "a string, a number, a boolean or a list of strings".to_owned(),
        })?;
        given.insert(setting.name, value);
    }
    Ok(given)
}

/// A value as one would write it behind the flag.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<_>> = values.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}
