//! Acts as they are written, read so that whatever is wrong is told with the name of its field.

use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};
use serde_yaml_ng::{Mapping, Value};

use crate::nearest;

use super::act::{Act, Deed};
use super::expect::{Expect, That};
use super::setup::Setup;

impl<'de> Deserialize<'de> for Act {
    fn deserialize<D: Deserializer<'de>>(act: D) -> Result<Self, D::Error> {
        read_act(Mapping::deserialize(act)?).map_err(de::Error::custom)
    }
}

/// What is wrong with the first act that is wrong, by its place.
pub(super) fn check_acts(document: &Value) -> Result<(), String> {
    let acts = document.get("acts").and_then(Value::as_sequence);
    for (at, act) in acts.into_iter().flatten().enumerate() {
        let fields = act.as_mapping().ok_or("expected {at, do, …}");
        let read = fields.map_err(str::to_owned).cloned().and_then(read_act);
        read.map_err(|problem| format!("acts[{at}]: {problem}"))?;
    }
    Ok(())
}

fn read_act(mut fields: Mapping) -> Result<Act, String> {
    let at = fields
        .remove("at")
        .ok_or("missing field `at`: when it is done")?;
    let lasting = fields.remove("for");
    let deed = fields
        .get("do")
        .ok_or("missing field `do`: what is done")?
        .as_str()
        .ok_or("do: expected the name of what is done")?;
    let known = deeds();
    if !known.contains(&deed) {
        let near = nearest::names(deed, known);
        return Err(format!("do: unknown deed `{deed}`; nearest: {near}"));
    }
    Ok(Act {
        at: field("at", at)?,
        lasting: lasting.map(|lasting| field("for", lasting)).transpose()?,
        deed: read_fields(&fields)?,
    })
}

fn field<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, String> {
    serde_yaml_ng::from_value(value).map_err(|e| format!("{name}: {e}"))
}

fn read_fields<T: DeserializeOwned>(fields: &Mapping) -> Result<T, String> {
    from_fields(fields.clone()).map_err(|problem| match wrong_field::<T>(fields) {
        Some(name) => format!("{name}: {problem}"),
        None => problem,
    })
}

fn from_fields<T: DeserializeOwned>(fields: Mapping) -> Result<T, String> {
    serde_yaml_ng::from_value(Value::Mapping(fields)).map_err(|e| e.to_string())
}

/// The field that is wrong: without it there is no problem, or another one. The reader of a tagged enum
/// does not say, nor does that of a text that stands for something.
fn wrong_field<T: DeserializeOwned>(fields: &Mapping) -> Option<String> {
    let problem = from_fields::<T>(fields.clone()).err()?;
    if problem.starts_with("missing field") {
        return None;
    }
    let names = fields.keys().filter_map(Value::as_str);
    let mut others = names.filter(|name| *name != "do");
    let is_it = |name: &&str| {
        let mut rest = fields.clone();
        rest.remove(*name);
        from_fields::<T>(rest).err().as_ref() != Some(&problem)
    };
    others.find(is_it).map(str::to_owned)
}

/// A problem as the reader tells it, with the name of its field where that names only what it is in.
pub(super) fn with_field(document: &Value, problem: String) -> String {
    let Some((path, told)) = problem.split_once(": ") else {
        return problem;
    };
    let Some(fields) = value_at(document, path).and_then(Value::as_mapping) else {
        return problem;
    };
    let field = match path {
        "world" => wrong_field::<Setup>(fields),
        _ if path.ends_with(".that") => wrong_field::<That>(fields),
        _ if path.starts_with("expect[") => wrong_field::<Expect>(fields),
        _ => None,
    };
    match field {
        Some(field) => format!("{path}.{field}: {told}"),
        None => problem,
    }
}

/// What stands at a place such as `expect[0].that`.
fn value_at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, step| {
        let Some((name, place)) = step.split_once('[') else {
            return value.get(step);
        };
        let place: usize = place.strip_suffix(']')?.parse().ok()?;
        value.get(name)?.get(place)
    })
}

/// The names of all deeds.
fn deeds() -> &'static [&'static str] {
    let unknown = MapDeserializer::new([("do", "")].into_iter());
    let Err(Names(names)) = Deed::deserialize(unknown) else {
        return &[];
    };
    names
}

/// An error that keeps the names that were possible, for that is all that is wanted of it.
#[derive(Debug)]
struct Names(&'static [&'static str]);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl std::error::Error for Names {}

impl de::Error for Names {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, names: &'static [&'static str]) -> Self {
        Self(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_deeds_are_known() {
        assert!(deeds().len() > 40, "{:?}", deeds());
        assert!(deeds().contains(&"crash-scheduler"));
    }
}
