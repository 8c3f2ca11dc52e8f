//! A configuration's text as a tree that remembers where each value stands.
//!
//! Owned and small: the file is 1 MiB at most. Numbers that TOML can't hold exactly and syntax errors become
//! faults here; what the values mean is the sections' business.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::error::{ConfigError, Faults, Place};

/// A table: its keys with where they stand, and their values.
pub(in crate::config) type Table = BTreeMap<String, Node>;

/// A value and its place.
#[derive(Clone, Debug)]
pub(in crate::config) struct Node {
    pub(in crate::config) place: Place,
    pub(in crate::config) value: Value,
}

/// A value as TOML knows them.
#[derive(Clone, Debug)]
pub(in crate::config) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    DateTime,
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// What it is, for a sentence such as "must be a text, not ...".
    pub(in crate::config) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number with a fraction",
            Self::Flag(_) => "true or false",
            Self::DateTime => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Reads `text`, which came from `file`. Faults of its syntax are noted; what could be understood is given.
pub(in crate::config) fn parse(file: &Arc<str>, text: &str, faults: &Faults) -> Table {
    let lines = Lines::of(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place =
            error.span().map_or_else(|| Place::WholeFile(Arc::clone(file)), |span| lines.place(&span));
        let remedy = "see https://toml.io for how TOML is written".to_owned();
        // The parser's own sentence has several lines for a list of what it expected.
        let wrong = error.message().trim().replace('\n', ", ");
        faults.note(ConfigError { place, key: String::new(), wrong, remedy });
    }
    table(document.get_ref(), &lines, faults)
}

fn table(raw: &DeTable<'_>, lines: &Lines<'_>, faults: &Faults) -> Table {
    let entry = |(key, raw): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let mut node = node(raw, lines, faults);
        // The span of a table can be that of a header far above or of one of its parts: its own name is clearer.
        if matches!(node.value, Value::Table(_)) {
            node.place = lines.place(&key.span());
        }
        (String::from(AsRef::<str>::as_ref(key.get_ref())), node)
    };
    raw.iter().map(entry).collect()
}

fn node(raw: &Spanned<DeValue<'_>>, lines: &Lines<'_>, faults: &Faults) -> Node {
    let place = lines.place(&raw.span());
    let value = match raw.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => unreadable(&place, "an integer of more than 64 bits", Value::Integer(0), faults),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            _ => unreadable(&place, "not a finite number", Value::Float(0.0), faults),
        },
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::DateTime,
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, lines, faults)).collect()),
        DeValue::Table(raw) => Value::Table(table(raw, lines, faults)),
    };
    Node { place, value }
}

fn unreadable(place: &Place, wrong: &str, instead: Value, faults: &Faults) -> Value {
    let remedy = "give a smaller number, or a text".to_owned();
    faults.note(ConfigError { place: place.clone(), key: String::new(), wrong: wrong.to_owned(), remedy });
    instead
}

/// Turns byte offsets into lines and columns.
struct Lines<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(file: &'a Arc<str>, text: &'a str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { file, text, starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let line = self.starts.partition_point(|start| *start <= span.start);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..span.start).unwrap_or_default();
        Place::File { file: Arc::clone(self.file), line, column: before.chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> String {
        let faults = Faults::default();
        parse(&Arc::from("f.toml"), text, &faults);
        faults.into_result().unwrap_err().to_string()
    }

    #[test]
    fn every_syntax_error_has_its_line_and_column() {
        let told = faults_of("a = 1\nb = \nc = \"한\" x\n");
        assert!(told.starts_with("f.toml:2:"), "{told}");
        assert!(told.contains("\nf.toml:3:"), "{told}");
        assert_eq!(told.lines().count(), 2, "{told}");
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert!(
            faults_of("a = 99999999999999999999").contains("f.toml:1:5: an integer of more than 64 bits")
        );
        assert!(faults_of("a = nan").contains("not a finite number"));
    }

    #[test]
    fn columns_count_characters() {
        let lines = "a\n한글 = 1".to_owned();
        let file = Arc::from("f");
        let lines = Lines::of(&file, &lines);
        assert_eq!(lines.place(&(11..12)).to_string(), "f:2:6");
        assert_eq!(lines.place(&(0..1)).to_string(), "f:1:1");
    }
}
