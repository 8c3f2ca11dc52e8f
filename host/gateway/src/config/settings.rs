//! A plugin's settings: any table, as the JSON that the plugin's own schema describes.

use serde_json::{Map, Number, Value as Json};

use super::read::section::Entry;
use super::read::tree::{Table, Value};

/// The entry's table as JSON; none, with a fault noted, where it is no table.
pub(super) fn settings(entry: Option<&Entry<'_>>) -> Map<String, Json> {
    let Some(entry) = entry else { return Map::new() };
    match entry.value() {
        Value::Table(table) => object(entry, table),
        other => {
            entry.wrong(
                format!("must be a table, not {}", other.kind()),
                r#"write settings = { key = "value" }"#,
            );
            Map::new()
        }
    }
}

fn object(entry: &Entry<'_>, table: &Table) -> Map<String, Json> {
    let member = |(name, node)| (String::clone(name), json(&entry.below(&format!(".{name}"), node)));
    table.iter().map(member).collect()
}

fn json(entry: &Entry<'_>) -> Json {
    match entry.value() {
        Value::Text(text) => Json::String(text.clone()),
        Value::Integer(number) => Json::Number(Number::from(*number)),
        Value::Float(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::Flag(flag) => Json::Bool(*flag),
        Value::DateTime => {
            entry.wrong("is a date or time, which JSON does not have", "put it in quotes");
            Json::Null
        }
        Value::List(_) => Json::Array(entry.items().iter().map(json).collect()),
        Value::Table(table) => Json::Object(object(entry, table)),
    }
}
