//! Why a body did not parse: the slow second look, taken only at bodies that are refused.
//!
//! The first parse is made for speed and keeps no path. Here the body is parsed again, first as plain JSON to
//! find a field that is not known, then with its path tracked. Never decides on an error's text.

use serde_json::Value;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use super::WireNotification;
use crate::api::problem::{Problem, code};

/// The fields of a notification.
pub(super) const FIELDS: &[&str] =
    &["type", "to", "title", "body", "data", "priority", "send_at", "expires_at", "dedup", "metadata"];
/// The fields of an entry of `to`.
pub(super) const TARGET_FIELDS: &[&str] = &["channel", "address", "user"];
/// The fields of `dedup`.
pub(super) const DEDUP_FIELDS: &[&str] = &["key", "window_s"];

/// The problem behind the first parse's `error`.
pub(super) fn failure(json: &[u8], error: &serde_json::Error) -> Problem {
    if error.classify() != Category::Data {
        return not_json(error);
    }
    let value: Value = match serde_json::from_slice(json) {
        Ok(value) => value,
        Err(error) => return not_json(&error),
    };
    if !value.is_object() {
        return not_an_object(&value);
    }
    unknown_field(&value).unwrap_or_else(|| wrong_value(json, &value, error))
}

/// The problem of a body that is no JSON at all.
pub(super) fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(code::INVALID_JSON, format!("the body is not JSON: {error}"))
}

fn not_an_object(value: &Value) -> Problem {
    let elsewhere = if value.is_array() { "; send many to /api/v1/notifications/batch" } else { "" };
    let detail = format!("a notification is a JSON object; this is {}{elsewhere}", kind(value));
    Problem::new(code::INVALID_FIELD, detail).at("")
}

/// What a value is, in JSON's words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "an array",
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Object(_) => "an object",
    }
}

/// What a value has to be at its place, if what is there is of another kind.
fn wanted(pointer: &str, value: &Value) -> Option<&'static str> {
    let (fits, wanted) = match pointer {
        "/to" => (value.is_array(), "an array of channels and users"),
        "/data" | "/metadata" | "/dedup" => (value.is_object(), "an object"),
        "/dedup/window_s" => (value.is_u64(), "a whole number of seconds"),
        _ if pointer.strip_prefix("/to/").is_some_and(|rest| !rest.contains('/')) => {
            (value.is_object(), "an object")
        }
        _ => (value.is_string(), "a string"),
    };
    (!fits).then_some(wanted)
}

fn unknown_field(value: &Value) -> Option<Problem> {
    let of_targets = || {
        let targets = value.get("to")?.as_array()?;
        let mut found = targets
            .iter()
            .enumerate()
            .filter_map(|(place, target)| unknown_in(target, TARGET_FIELDS, &format!("/to/{place}")));
        found.next()
    };
    unknown_in(value, FIELDS, "")
        .or_else(of_targets)
        .or_else(|| unknown_in(value.get("dedup")?, DEDUP_FIELDS, "/dedup"))
}

fn unknown_in(value: &Value, known: &[&str], parent: &str) -> Option<Problem> {
    let field = value.as_object()?.keys().find(|field| !known.contains(&field.as_str()))?;
    let short: String = field.chars().take(80).collect();
    let detail = format!("the field {short:?} is not known here; known are {}", known.join(", "));
    Some(Problem::new(code::UNKNOWN_FIELD, detail).at(format!("{parent}/{}", escaped(&short))))
}

fn wrong_value(json: &[u8], value: &Value, first: &serde_json::Error) -> Problem {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let second: Result<WireNotification, _> = serde_path_to_error::deserialize(&mut deserializer);
    let (pointer, message) = match second {
        Err(error) => (pointer(error.path()), error.inner().to_string()),
        // The value was whole and something followed it.
        Ok(_) => (String::new(), first.to_string()),
    };
    if let Some(found) = value.pointer(&pointer).filter(|_| !pointer.is_empty())
        && let Some(wanted) = wanted(&pointer, found)
    {
        let detail = format!("{pointer} has to be {wanted}, and is {}", kind(found));
        return Problem::new(code::INVALID_FIELD, detail).at(pointer);
    }
    let place = if pointer.is_empty() { "the notification" } else { pointer.as_str() };
    Problem::new(code::INVALID_FIELD, format!("{place} can't be used: {message}")).at(pointer)
}

fn pointer(path: &Path) -> String {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", escaped(key)),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    };
    path.iter().map(step).collect()
}

/// A member's name inside a JSON pointer (RFC 6901, section 3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
