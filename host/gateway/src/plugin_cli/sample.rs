//! Settings that fit a schema, for a rehearsal that was given none.
//!
//! Only what is required is made up: defaults and optional settings are the plugin's own business. A guess may miss what
//! a plugin's `check` wants beyond its schema; the command then says so, and the author gives settings.

use serde_json::{Map, Value};

/// Schemas nest no deeper than this in anything a person configures; references may go in circles.
const DEPTH_MAX: usize = 16;

/// The least settings that a schema asks for.
pub(super) fn settings(schema: Option<&Value>, sends_mail: bool) -> Map<String, Value> {
    let Some(root) = schema else { return Map::new() };
    match (Guess { root, sends_mail }).value("", root, 0) {
        Value::Object(settings) => settings,
        _ => Map::new(),
    }
}

struct Guess<'s> {
    root: &'s Value,
    sends_mail: bool,
}

impl Guess<'_> {
    fn value(&self, name: &str, schema: &Value, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        for key in ["default", "const"] {
            if let Some(value) = schema.get(key) {
                return value.clone();
            }
        }
        for key in ["examples", "enum"] {
            if let Some(first) = schema.get(key).and_then(Value::as_array).and_then(|values| values.first()) {
                return first.clone();
            }
        }
        if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
            let target = path.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(Value::Null, |target| self.value(name, target, depth + 1));
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            if let Some(first) = schema.get(key).and_then(Value::as_array).and_then(|all| all.first()) {
                return self.value(name, first, depth + 1);
            }
        }
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds.first(),
            kind => kind,
        };
        match kind.and_then(Value::as_str) {
            Some("object") => self.object(schema, depth),
            Some("array") => self.array(name, schema, depth),
            Some("string") => Value::from(self.text(name, schema)),
            Some("integer" | "number") => number(name, schema),
            Some("boolean") => Value::Bool(false),
            _ => Value::Null,
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let filled = required.iter().filter_map(Value::as_str).filter_map(|name| {
            let property = schema.get("properties")?.get(name)?;
            Some((name.to_owned(), self.value(name, property, depth + 1)))
        });
        Value::Object(filled.collect())
    }

    fn array(&self, name: &str, schema: &Value, depth: usize) -> Value {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(16);
        let item = schema.get("items").map_or(Value::Null, |item| self.value(name, item, depth + 1));
        Value::Array((0..least).map(|_| item.clone()).collect())
    }

    fn text(&self, name: &str, schema: &Value) -> String {
        let name = name.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        let text = if matches!(format, "uri" | "url") || has(&["url", "uri", "endpoint", "webhook"]) {
            "https://receiver.example/in"
        } else if format == "email" || has(&["mail"]) || (self.sends_mail && has(&["from", "to", "sender"])) {
            "fanfare@receiver.example"
        } else if has(&["host", "server", "domain"]) {
            "mail.receiver.example"
        } else if has(&["phone", "number", "from", "sender"]) || name == "to" {
            "0212345678"
        } else {
            "sample"
        };
        let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0).min(4_096);
        let missing = usize::try_from(least).unwrap_or(0).saturating_sub(text.len());
        format!("{text}{}", "x".repeat(missing))
    }
}

fn number(name: &str, schema: &Value) -> Value {
    if let Some(least) = schema.get("minimum").filter(|least| least.as_f64().is_some_and(|least| least > 0.0))
    {
        return least.clone();
    }
    Value::from(if name.contains("port") { 587 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded;

    #[test]
    fn every_first_party_plugin_gets_settings_that_its_schema_takes() {
        for (name, bytes) in embedded::all() {
            let manifest = fanfare_runtime::inspect(name, bytes).unwrap();
            let settings = settings(manifest.settings_schema.as_ref(), !manifest.permissions.smtp.is_empty());
            let schema = manifest.settings_schema.unwrap();
            let required = schema["required"].as_array().map_or(0, Vec::len);
            assert_eq!(settings.len(), required, "{name}: {settings:?}");
        }
    }

    #[test]
    fn references_in_circles_end() {
        let schema = serde_json::json!({
            "type": "object", "required": ["a"], "properties": { "a": { "$ref": "#/properties/a" } },
        });
        assert_eq!(settings(Some(&schema), false)["a"], Value::Null);
    }
}
