//! A plugin's manifest: what it is, what settings it takes, what it asks for.
//!
//! The schema can't be made in a constant, so the manifest is made by a test, `fanfare_manifest`, that the export macros
//! add to a plugin. `fanfare-pack` runs it and puts what it writes into the component.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// The version of the manifest's own format.
const FORMAT: u32 = 1;

/// Which world the plugin exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It exports `fanfare:channel/sender`.
    Channel,
    /// It exports `fanfare:router/rules`.
    Router,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Permissions {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    http: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    smtp: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secrets_in_body: bool,
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    manifest: u32,
    name: String,
    version: String,
    kind: Kind,
    description: String,
    settings_schema: Value,
    #[serde(skip_serializing_if = "is_default")]
    permissions: Permissions,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<&'static str, u64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn owned<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

impl Manifest {
    /// The manifest of a plugin whose settings are `S`.
    #[must_use]
    pub fn of<S: JsonSchema>(kind: Kind, name: &str, version: &str, description: &str) -> Self {
        Self {
            manifest: FORMAT,
            name: name.to_owned(),
            version: version.to_owned(),
            kind,
            description: description.to_owned(),
            settings_schema: schemars::schema_for!(S).to_value(),
            permissions: Permissions::default(),
            limits: BTreeMap::new(),
        }
    }

    /// What it does, in one sentence.
    #[must_use]
    pub fn description(mut self, text: &str) -> Self {
        text.clone_into(&mut self.description);
        self
    }

    /// The origins it calls: `https://host[:port]`, `https://*.example.org`, or `{settings.url}`.
    #[must_use]
    pub fn http<const N: usize>(mut self, origins: [&str; N]) -> Self {
        self.permissions.http = owned(origins);
        self
    }

    /// The secrets that it names itself, in `crypto` or `smtp`.
    #[must_use]
    pub fn secrets<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.permissions.secrets = owned(names);
        self
    }

    /// The mail servers it hands mail to: `host:port`, or `{settings.host}:{settings.port}`.
    #[must_use]
    pub fn smtp<const N: usize>(mut self, servers: [&str; N]) -> Self {
        self.permissions.smtp = owned(servers);
        self
    }

    /// Whether the host puts secrets into request bodies too.
    #[must_use]
    pub fn secrets_in_body(mut self, wanted: bool) -> Self {
        self.permissions.secrets_in_body = wanted;
        self
    }

    /// It needs no more memory than this.
    #[must_use]
    pub fn memory_mib(mut self, mib: u64) -> Self {
        self.limits.insert("memory_mib", mib);
        self
    }

    /// It needs no more processor time than this.
    #[must_use]
    pub fn cpu_ms(mut self, ms: u64) -> Self {
        self.limits.insert("cpu_ms", ms);
        self
    }

    /// It needs no more time than this, waiting included.
    #[must_use]
    pub fn wall_ms(mut self, ms: u64) -> Self {
        self.limits.insert("wall_ms", ms);
        self
    }

    /// Whether a gateway would take it.
    ///
    /// # Errors
    ///
    /// A sentence for the author.
    pub fn check(&self) -> Result<(), String> {
        let slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !(1..=64).contains(&self.name.len())
            || !self.name.chars().all(slug)
            || !self.name.starts_with(first)
        {
            return Err(format!("the name {:?} is not 1 to 64 of a-z, 0-9, - and _", self.name));
        }
        if self.description.trim().is_empty() {
            return Err("the description is missing: one sentence on what the plugin does".to_owned());
        }
        if self.settings_schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err("the settings are no JSON object: make them a struct with named fields".to_owned());
        }
        if self.kind == Kind::Router && self.permissions != Permissions::default() {
            return Err("a router imports only log and settings: it can ask for no permission".to_owned());
        }
        if let Some((name, _)) = self.limits.iter().find(|(_, limit)| **limit == 0) {
            return Err(format!("the limit {name} is 0"));
        }
        self.check_references()
    }

    /// Each `{settings.NAME}` has to be a setting, or no operator could ever grant it.
    fn check_references(&self) -> Result<(), String> {
        let properties = self.settings_schema.get("properties");
        for wanted in self.permissions.http.iter().chain(&self.permissions.smtp) {
            for reference in wanted.split('{').skip(1) {
                let name = reference.split('}').next().and_then(|text| text.strip_prefix("settings."));
                let known = name.is_some_and(|name| properties.and_then(|all| all.get(name)).is_some());
                if !known {
                    return Err(format!("the permission {wanted:?} names a setting that there is not"));
                }
            }
        }
        Ok(())
    }

    /// Its JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What the test `fanfare_manifest` does: checks, and writes `NAME.manifest.json` where `FANFARE_MANIFEST_DIR` says.
///
/// # Errors
///
/// A sentence for the author.
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
pub fn emit(manifest: &Manifest) -> Result<(), String> {
    manifest.check()?;
    #[allow(clippy::disallowed_methods, reason = "the one word between fanfare-pack and a plugin's test")]
    let Ok(folder) = std::env::var("FANFARE_MANIFEST_DIR") else { return Ok(()) };
    let path = std::path::Path::new(&folder).join(format!("{}.manifest.json", manifest.name));
    std::fs::write(&path, manifest.to_json()).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[allow(dead_code, reason = "only the schemas of these structs matter")]
mod tests {
    use super::*;

    #[derive(JsonSchema)]
    struct Room {
        url: String,
    }

    fn room() -> Manifest {
        Manifest::of::<Room>(Kind::Channel, "room", "1.2.3", "Posts.")
    }

    #[test]
    fn empty_parts_are_left_out() {
        let json: Value = serde_json::from_str(&room().to_json()).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["description", "kind", "manifest", "name", "settings_schema", "version"]);
    }

    #[test]
    fn what_is_asked_for_is_written() {
        let manifest = room().http(["{settings.url}"]).secrets(["token"]).wall_ms(5_000);
        assert_eq!(manifest.check(), Ok(()));
        let json: Value = serde_json::from_str(&manifest.to_json()).unwrap();
        let expected = serde_json::json!({ "http": ["{settings.url}"], "secrets": ["token"] });
        assert_eq!((&json["permissions"], &json["limits"]["wall_ms"]), (&expected, &5_000.into()));
    }

    #[test]
    fn a_manifest_that_no_gateway_would_take_is_refused() {
        let refused = |manifest: Manifest| manifest.check().unwrap_err();
        assert!(refused(Manifest::of::<Room>(Kind::Channel, "A b", "1.0.0", "d")).contains("name"));
        assert!(refused(Manifest::of::<Room>(Kind::Channel, "a", "1.0.0", " ")).contains("description"));
        assert!(refused(Manifest::of::<String>(Kind::Channel, "a", "1.0.0", "d")).contains("object"));
        assert!(
            refused(Manifest::of::<Room>(Kind::Router, "a", "1.0.0", "d").secrets(["x"])).contains("router")
        );
        assert!(refused(room().http(["{settings.uri}"])).contains("names a setting"));
        assert!(refused(room().cpu_ms(0)).contains("cpu_ms"));
    }
}
