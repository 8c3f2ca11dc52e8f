//! Variables that take the place of single keys: `FANFARE_SERVER__LISTEN` for `server.listen`.
//!
//! Two underscores part the words. A word stands for the key that has the same letters, case aside and with
//! `_` for `-`, if the file has one; so `FANFARE_CHANNELS__OPS_HOOK__CONCURRENCY` finds `channels.ops-hook`.
//! Only single values can be set: no lists, no tables. Variables without two underscores are somebody else's.

use std::sync::Arc;

use super::tree::{Node, Table, Value};
use crate::config::environment::Environment;
use crate::config::error::{ConfigError, Faults, Place};

const PREFIX: &str = "FANFARE_";
const SEPARATOR: &str = "__";

/// Lays the environment's overrides over `root`.
pub(in crate::config) fn apply(root: &mut Table, environment: &dyn Environment, faults: &Faults) {
    for (name, value) in environment.with_prefix(PREFIX) {
        let Some(path) = name.strip_prefix(PREFIX).filter(|path| path.contains(SEPARATOR)) else { continue };
        let place = Place::Variable(Arc::from(name.as_str()));
        let words: Vec<&str> = path.split(SEPARATOR).collect();
        let set = match value.into_string() {
            Ok(text) => set(root, &words, &place, text),
            Err(_) => Err("its value is no UTF-8 text"),
        };
        if let Err(wrong) = set {
            let remedy =
                "such a variable sets one single value of a section; unset it, or change the file".to_owned();
            let key = words.join(".").to_lowercase();
            faults.note(ConfigError { place, key, wrong: wrong.to_owned(), remedy });
        }
    }
}

fn set(table: &mut Table, words: &[&str], place: &Place, text: String) -> Result<(), &'static str> {
    let Some((word, deeper)) = words.split_first() else { return Err("it names no key") };
    if word.is_empty() {
        return Err("a word of the key is empty");
    }
    let key = table.keys().find(|key| stands_for(word, key)).cloned().unwrap_or_else(|| word.to_lowercase());
    if deeper.is_empty() {
        let value = match table.get(&key).map(|node| &node.value) {
            Some(Value::List(_)) => return Err("it names a list"),
            Some(Value::Table(_)) => return Err("it names a section"),
            replaced => of_the_same_kind(replaced, text),
        };
        table.insert(key, Node { place: place.clone(), value });
        return Ok(());
    }
    let empty = || Node { place: place.clone(), value: Value::Table(Table::new()) };
    match &mut table.entry(key).or_insert_with(empty).value {
        Value::Table(inner) => set(inner, deeper, place, text),
        _ => Err("it goes through a key that is no section"),
    }
}

fn stands_for(word: &str, key: &str) -> bool {
    let same = |(a, b): (char, char)| a.eq_ignore_ascii_case(&b) || (a == '_' && b == '-');
    word.chars().count() == key.chars().count() && word.chars().zip(key.chars()).all(same)
}

/// Plugins' settings have no types that we know, so a text keeps the kind of what it replaces.
fn of_the_same_kind(replaced: Option<&Value>, text: String) -> Value {
    let parsed = match replaced {
        Some(Value::Integer(_)) => text.parse().ok().map(Value::Integer),
        Some(Value::Float(_)) => {
            text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float)
        }
        Some(Value::Flag(_)) => text.parse().ok().map(Value::Flag),
        _ => None,
    };
    parsed.unwrap_or(Value::Text(text))
}
