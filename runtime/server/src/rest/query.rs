//! Query parameters: each is known by name and form, and everything else is refused.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{Method, Uri};

use super::Problem;
use crate::call::Consistency;

/// In the query of a GET: how new the answer has to be.
const CONSISTENCY: &str = "consistency";

/// How new the answer has to be, as the query says it.
///
/// # Errors
/// A problem that names the parameter.
pub(crate) fn consistency(uri: &Uri) -> Result<Consistency, Problem> {
    // What cannot be read is told where all of it is read.
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).unwrap_or_default();
    let given = pairs.0.into_iter().find(|(name, _)| name == CONSISTENCY);
    given.map_or(Ok(Consistency::Default), |(_, value)| {
        let wrong = |problem| Problem::invalid(CONSISTENCY, problem);
        value.parse().map_err(wrong)
    })
}

/// The query of a request, not yet understood.
#[derive(Debug, Default)]
pub(crate) struct Params(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Problem::malformed("query", error.to_string()))?;
        let mut known = BTreeMap::new();
        for (name, value) in pairs {
            if known.insert(name.clone(), value).is_some() {
                return Err(Problem::malformed(name, "the parameter is given twice"));
            }
        }
        if parts.method == Method::GET {
            // Understood before the request came here.
            known.remove(CONSISTENCY);
        }
        Ok(Self(known))
    }
}

impl Params {
    /// Takes a parameter; empty means absent.
    ///
    /// # Errors
    /// A problem that names the parameter.
    pub(crate) fn take<T>(&mut self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr<Err: Display>,
    {
        match self.0.remove(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|error: T::Err| {
                let text: String = text.chars().take(80).collect();
                Problem::invalid(name, format!("{text:?} {error}"))
            }),
        }
    }

    /// Takes a parameter that is `true` or `false`; absent means `false`.
    ///
    /// # Errors
    /// A problem that names the parameter.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.0.remove(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::invalid(name, "expected true or false")),
        }
    }

    /// Takes `limit`: absent means `max`.
    ///
    /// # Errors
    /// A problem when it is not a number from 1 to `max`.
    pub(crate) fn limit(&mut self, max: usize) -> Result<usize, Problem> {
        let Some(text) = self.0.remove("limit") else {
            return Ok(max);
        };
        match text.parse() {
            Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
            _ => Err(Problem::invalid(
                "limit",
                format!("expected a number from 1 to {max}"),
            )),
        }
    }

    /// Takes a parameter that is one of `names`, in any case of letters.
    ///
    /// # Errors
    /// A problem that names the parameter and lists what is allowed.
    pub(crate) fn one_of(&mut self, name: &str, names: &[&str]) -> Result<Option<String>, Problem> {
        let Some(text) = self.0.remove(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        match names.iter().find(|known| known.eq_ignore_ascii_case(&text)) {
            Some(known) => Ok(Some((*known).to_owned())),
            None => Err(Problem::invalid(
                name,
                format!("expected one of {}", names.join(", ")),
            )),
        }
    }

    /// Refuses what was not taken.
    ///
    /// # Errors
    /// A problem that names the first parameter that is left.
    pub(crate) fn done(self) -> Result<(), Problem> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(80).collect();
                Err(Problem::malformed(
                    name,
                    "there is no such query parameter here",
                ))
            }
        }
    }
}
