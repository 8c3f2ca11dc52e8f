//! Hands out the keys of a table, typed, and refuses those that nobody asked for.
//!
//! Reading never stops at a fault: it is noted with its place and key, and the caller goes on with a default, so
//! that one run shows every fault. No text of a value is quoted but by those who know that it is no secret.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::quantity;
use super::suggest::nearest;
use super::tree::{Node, Table, Value};
use crate::config::error::{ConfigError, Faults, Place};

/// A table that is being read.
#[derive(Debug)]
pub(in crate::config) struct Section<'a> {
    key: String,
    place: Place,
    table: &'a Table,
    known: Vec<&'static str>,
    faults: &'a Faults,
}

/// One value of a table or list.
#[derive(Clone, Debug)]
pub(in crate::config) struct Entry<'a> {
    key: String,
    node: &'a Node,
    faults: &'a Faults,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(in crate::config) fn root(table: &'a Table, place: Place, faults: &'a Faults) -> Self {
        Self { key: String::new(), place, table, known: Vec::new(), faults }
    }

    /// The value of `name`, which is known from now on.
    pub(in crate::config) fn take(&mut self, name: &'static str) -> Option<Entry<'a>> {
        self.known.push(name);
        let node = self.table.get(name)?;
        Some(Entry { key: self.key_of(name), node, faults: self.faults })
    }

    /// The value of `name`, which has to be there.
    pub(in crate::config) fn require(&mut self, name: &'static str, example: &str) -> Option<Entry<'a>> {
        let entry = self.take(name);
        if entry.is_none() {
            let remedy = format!("add a line such as: {example}");
            self.note(&self.key_of(name), "is missing".to_owned(), remedy);
        }
        entry
    }

    /// The table of `name`.
    pub(in crate::config) fn section(&mut self, name: &'static str) -> Option<Section<'a>> {
        self.take(name)?.section()
    }

    /// Every entry of a table whose keys are names that people give.
    pub(in crate::config) fn named(self) -> Vec<(&'a str, Entry<'a>)> {
        let entry = |(name, node): (&'a String, &'a Node)| {
            (name.as_str(), Entry { key: self.key_of(name), node, faults: self.faults })
        };
        self.table.iter().map(entry).collect()
    }

    /// Refuses every key that was not asked for.
    pub(in crate::config) fn finish(self) {
        for (name, node) in self.table {
            if self.known.contains(&name.as_str()) {
                continue;
            }
            let known = self.known.join(", ");
            let remedy = match nearest(name, self.known.iter().copied()) {
                Some(meant) => format!("did you mean {meant:?}? Known here: {known}"),
                None => format!("known here: {known}"),
            };
            let key = self.key_of(name);
            let wrong = "is not a known key".to_owned();
            self.faults.note(ConfigError { place: node.place.clone(), key, wrong, remedy });
        }
    }

    /// Notes a fault of the section as a whole.
    pub(in crate::config) fn wrong(&self, wrong: impl Display, remedy: impl Display) {
        self.note(&self.key, wrong.to_string(), remedy.to_string());
    }

    fn note(&self, key: &str, wrong: String, remedy: String) {
        self.faults.note(ConfigError { place: self.place.clone(), key: key.to_owned(), wrong, remedy });
    }

    fn key_of(&self, name: &str) -> String {
        // A name that is no bare key of TOML is quoted, so that the key can be pasted.
        let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        let name = if bare { name.to_owned() } else { format!("{name:?}") };
        if self.key.is_empty() { name } else { format!("{}.{name}", self.key) }
    }
}

impl<'a> Entry<'a> {
    /// Its place.
    pub(in crate::config) fn place(&self) -> &'a Place {
        &self.node.place
    }

    /// Its value as TOML knows it.
    pub(in crate::config) fn value(&self) -> &'a Value {
        &self.node.value
    }

    /// The entry of a table or list below it.
    pub(in crate::config) fn below(&self, part: &str, node: &'a Node) -> Self {
        Self { key: format!("{}{part}", self.key), node, faults: self.faults }
    }

    /// Notes a fault of it.
    pub(in crate::config) fn wrong(&self, wrong: impl Display, remedy: impl Display) {
        let (wrong, remedy) = (wrong.to_string(), remedy.to_string());
        let place = self.node.place.clone();
        self.faults.note(ConfigError { place, key: self.key.clone(), wrong, remedy });
    }

    fn expected(&self, expected: impl Display) {
        self.wrong(format!("must be {expected}, not {}", self.node.value.kind()), "");
    }

    /// A text.
    pub(in crate::config) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.expected("a text in quotes");
                None
            }
        }
    }

    /// A text that is not empty, and so was meant.
    pub(in crate::config) fn word(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.wrong("is empty", "give a value, or take the line away");
            return None;
        }
        Some(text)
    }

    /// A text that a type of ours understands; its error says what is wrong.
    pub(in crate::config) fn parse<T: FromStr>(&self, remedy: &str) -> Option<T>
    where
        T::Err: Display,
    {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(error, remedy);
                None
            }
        }
    }

    /// An integer within bounds.
    pub(in crate::config) fn integer(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let number = match &self.node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            // A variable has no other way to say a number.
            Value::Text(text) if self.is_variable() => text.trim().parse().ok(),
            _ => {
                self.expected("an integer");
                return None;
            }
        };
        let within = number.filter(|number| bounds.contains(number));
        if within.is_none() {
            self.wrong(format!("must be an integer from {} to {}", bounds.start(), bounds.end()), "");
        }
        within
    }

    /// The same as a `usize`.
    pub(in crate::config) fn count(&self, bounds: RangeInclusive<u64>) -> Option<usize> {
        self.integer(bounds).and_then(|number| usize::try_from(number).ok())
    }

    /// A number with or without a fraction.
    pub(in crate::config) fn number(&self) -> Option<f64> {
        let number = match &self.node.value {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => i32::try_from(*number).ok().map(f64::from),
            Value::Text(text) if self.is_variable() => text.trim().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.expected("a number");
        }
        number
    }

    /// `true` or `false`.
    pub(in crate::config) fn flag(&self) -> Option<bool> {
        let flag = match &self.node.value {
            Value::Flag(flag) => Some(*flag),
            Value::Text(text) if self.is_variable() => text.trim().parse().ok(),
            _ => None,
        };
        if flag.is_none() {
            self.expected("true or false, without quotes");
        }
        flag
    }

    /// A duration within bounds.
    pub(in crate::config) fn duration(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        const EXAMPLES: &str = r#"write it with its unit, such as "500ms", "1s", "5m" or "24h""#;
        let Value::Text(text) = &self.node.value else {
            self.wrong(format!("must be a duration in quotes, not {}", self.node.value.kind()), EXAMPLES);
            return None;
        };
        let Some(duration) = quantity::duration(text) else {
            self.wrong(format!("{text:?} is not a duration"), EXAMPLES);
            return None;
        };
        if bounds.contains(&duration) {
            return Some(duration);
        }
        let [least, most] = [bounds.start(), bounds.end()].map(|bound| quantity::show_duration(*bound));
        self.wrong(format!("must be from {least} to {most}"), "");
        None
    }

    /// A size in bytes within bounds, as a text with a unit or a bare integer.
    pub(in crate::config) fn size(&self, bounds: RangeInclusive<u64>) -> Option<usize> {
        let bytes = match &self.node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) => quantity::size(text).or_else(|| text.trim().parse().ok()),
            _ => None,
        };
        let Some(bytes) = bytes else {
            self.wrong("is not a size", r#"write it as "256 KiB" or as a number of bytes"#);
            return None;
        };
        if bounds.contains(&bytes) {
            return usize::try_from(bytes).ok();
        }
        let [least, most] = [bounds.start(), bounds.end()].map(|bound| quantity::show_size(*bound));
        self.wrong(format!("must be from {least} to {most}"), "");
        None
    }

    /// A table.
    pub(in crate::config) fn section(&self) -> Option<Section<'a>> {
        let Value::Table(table) = &self.node.value else {
            self.expected("a table");
            return None;
        };
        let place = self.node.place.clone();
        Some(Section { key: self.key.clone(), place, table, known: Vec::new(), faults: self.faults })
    }

    /// The items of a list; none when it is no list.
    pub(in crate::config) fn items(&self) -> Vec<Entry<'a>> {
        let Value::List(items) = &self.node.value else {
            self.expected("a list");
            return Vec::new();
        };
        items.iter().enumerate().map(|(index, node)| self.below(&format!("[{index}]"), node)).collect()
    }

    /// A list of texts; those that are none are noted and left out.
    pub(in crate::config) fn texts(&self) -> Vec<String> {
        self.items().iter().filter_map(|item| item.word().map(str::to_owned)).collect()
    }

    fn is_variable(&self) -> bool {
        matches!(self.node.place, Place::Variable(_))
    }
}
