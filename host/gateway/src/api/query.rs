//! The query string, parsed against the parameters that a path knows.
//!
//! Bounded by the size of the request's head. Refuses unknown parameters by name, repeated ones and values
//! that don't parse, so that a misspelt filter never widens a list silently.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::Query;
use fanfare_store::Cursor;
use http::Uri;

use super::problem::{Problem, code};

/// Items on a page when the client does not say.
pub(super) const LIMIT_DEFAULT: usize = 50;
/// Items on a page at most.
pub(super) const LIMIT_MAX: usize = 200;

/// The parameters of one request, each known and given once.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Parses the query of `uri`; only `known` parameters are taken.
    pub(super) fn parse(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let query: Query<Vec<(String, String)>> = Query::try_from_uri(uri)
            .map_err(|_| Problem::new(code::BAD_QUERY, "the query string is not key=value&key=value"))?;
        let mut params: Vec<(String, String)> = Vec::new();
        for (name, value) in query.0 {
            if !known.contains(&name.as_str()) {
                return Err(unknown(&name, known));
            }
            if params.iter().any(|(given, _)| *given == name) {
                return Err(Problem::new(code::BAD_QUERY, format!("{name} is given twice")));
            }
            params.push((name, value));
        }
        Ok(Self(params))
    }

    /// Refuses every parameter.
    pub(super) fn none(uri: &Uri) -> Result<(), Problem> {
        if uri.query().is_some() {
            Self::parse(uri, &[])?;
        }
        Ok(())
    }

    /// The text of a parameter.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A parameter as a value.
    pub(super) fn value<T>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr,
        T::Err: Display,
    {
        let parse = |text: &str| {
            text.parse().map_err(|error| Problem::new(code::BAD_QUERY, format!("{name}: {error}")))
        };
        self.text(name).map(parse).transpose()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        all: &[T],
        spell: impl Fn(T) -> &'static str,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = all.iter().copied().find(|word| spell(*word) == text);
        found.map(Some).ok_or_else(|| {
            let words: Vec<_> = all.iter().map(|word| spell(*word)).collect();
            Problem::new(code::BAD_QUERY, format!("{name} is one of {}", words.join(", ")))
        })
    }

    /// The size of a page.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        self.limit_or(LIMIT_DEFAULT)
    }

    /// The size of a page, `usual` when the client does not say.
    pub(super) fn limit_or(&self, usual: usize) -> Result<usize, Problem> {
        let Some(text) = self.text("limit") else { return Ok(usual) };
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| Problem::new(code::BAD_QUERY, format!("limit is a number from 1 to {LIMIT_MAX}")))
    }

    /// Where a page begins.
    pub(super) fn cursor(&self) -> Result<Option<Cursor>, Problem> {
        self.text("cursor").map(|text| text.parse().map_err(|_| bad_cursor())).transpose()
    }
}

/// The problem of a cursor that is not one of ours.
pub(super) fn bad_cursor() -> Problem {
    Problem::new(code::BAD_CURSOR, "cursor has to be next_cursor of a previous page of this very list")
}

fn unknown(name: &str, known: &[&str]) -> Problem {
    let short: String = name.chars().take(80).collect();
    let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
    Problem::new(code::BAD_QUERY, format!("the parameter {short:?} is not known here; known are: {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Params, String> {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        Params::parse(&uri, &["limit", "since", "cursor"]).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn values_are_decoded() {
        let params = parse("since=2026-11-21T10%3A00%3A00%2B09:00&limit=7").unwrap();
        assert_eq!(params.text("since"), Some("2026-11-21T10:00:00+09:00"));
        assert_eq!(params.limit().unwrap(), 7);
        assert_eq!(parse("").unwrap().limit().unwrap(), LIMIT_DEFAULT);
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused_by_name() {
        let error = parse("limt=7").unwrap_err();
        assert_eq!(error, "the parameter \"limt\" is not known here; known are: limit, since, cursor");
        assert_eq!(parse("limit=7&limit=8").unwrap_err(), "limit is given twice");
    }

    #[test]
    fn values_that_do_not_parse_are_refused_with_the_name() {
        for query in ["limit=0", "limit=201", "limit=-1", "limit=x", "limit="] {
            let problem = parse(query).unwrap().limit().unwrap_err();
            assert_eq!(problem.detail(), "limit is a number from 1 to 200", "{query}");
        }
        let since = parse("since=now").unwrap().value::<fanfare_model::time::Timestamp>("since");
        let problem = since.unwrap_err();
        assert_eq!(problem.code(), "request.bad-query");
        assert!(problem.detail().starts_with("since: \"now\" is not an RFC 3339"), "{}", problem.detail());
    }
}
