//! JSON objects kept as canonical text: keys sorted, no white space, so that equal objects are equal bytes.

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// A JSON object in its canonical spelling.
///
/// Kept as text because most of the gateway only carries it: from the request to the disk to the guest.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JsonObject(Arc<str>);

/// A text that is not a JSON object.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a JSON object: {0}")]
pub struct NotAnObject(pub String);

impl JsonObject {
    /// From text that is an object; refuses anything else.
    ///
    /// # Errors
    /// [`NotAnObject`] with what the parser met.
    pub fn parse(text: &str) -> Result<Self, NotAnObject> {
        let map: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| NotAnObject(error.to_string()))?;
        Ok(Self::from(map))
    }

    /// From a text that [`Self::as_str`] gave once, such as one from the disk: that it is an object is looked at, that it is
    /// canonical is taken for granted.
    ///
    /// # Errors
    /// [`NotAnObject`] with what the parser met.
    pub fn kept(text: &str) -> Result<Self, NotAnObject> {
        if !text.starts_with('{') {
            return Err(NotAnObject("it begins otherwise".to_owned()));
        }
        let read: Result<IgnoredAny, _> = serde_json::from_str(text);
        read.map(|_| Self(Arc::from(text))).map_err(|error| NotAnObject(error.to_string()))
    }

    /// Its canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        &*self.0 == "{}"
    }

    /// Its members.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        // The text was printed from a map, here or before it came to the disk; an empty one is the harmless answer.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl Default for JsonObject {
    fn default() -> Self {
        static EMPTY: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("{}"));
        Self(Arc::clone(&EMPTY))
    }
}

impl From<Map<String, Value>> for JsonObject {
    fn from(map: Map<String, Value>) -> Self {
        Self(Arc::from(canonical(&Value::Object(map)).as_str()))
    }
}

impl fmt::Debug for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Most texts fit without growing, and growing piece by piece costs as much as writing.
const TEXT_BYTES: usize = 512;

/// The canonical text of a JSON value: members sorted by key, no white space.
///
/// Two requests are the same body when this text is the same. Numbers keep their value, not their spelling:
/// `1.50` and `1.5` are equal, `1` and `1.0` are not.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut text = Vec::with_capacity(TEXT_BYTES);
    write_canonical(value, &mut text);
    // Written by serde_json and the lines below, which write UTF-8 alone.
    String::from_utf8(text).unwrap_or_default()
}

fn write_canonical(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            text.push(b'{');
            for (place, (key, member)) in members.into_iter().enumerate() {
                if place > 0 {
                    text.push(b',');
                }
                write_scalar(key, text);
                text.push(b':');
                write_canonical(member, text);
            }
            text.push(b'}');
        }
        Value::Array(items) => {
            text.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(b',');
                }
                write_canonical(item, text);
            }
            text.push(b']');
        }
        scalar => write_scalar(scalar, text),
    }
}

fn write_scalar(scalar: &impl serde::Serialize, text: &mut Vec<u8>) {
    // A scalar has a spelling, and memory takes it: there is nothing to fail.
    let _ = serde_json::to_writer(text, scalar);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_white_space_do_not_matter() {
        let one = JsonObject::parse(r#"{ "b": [1, {"z": 1, "a": null}], "a": "é\n" }"#).unwrap();
        let two = JsonObject::parse(r#"{"a":"\u00e9\n","b":[1,{"a":null,"z":1}]}"#).unwrap();
        assert_eq!(one, two);
        assert_eq!(one.as_str(), r#"{"a":"é\n","b":[1,{"a":null,"z":1}]}"#);
        assert_eq!(one.to_map().len(), 2);
        assert_eq!(JsonObject::kept(one.as_str()), Ok(one));
    }

    #[test]
    fn other_values_are_refused() {
        for text in ["[]", "1", "null", "{", "", "{}}", "{\"a\":1,}"] {
            assert!(JsonObject::parse(text).is_err(), "{text}");
            assert!(JsonObject::kept(text).is_err(), "{text}");
        }
    }
}
