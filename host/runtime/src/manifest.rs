//! The manifest: what a plugin says of itself, in the custom section `fanfare:manifest` of its component.

use serde::Deserialize;
use serde_json::Value;

use crate::limits::Limits;

/// The custom section's name.
pub const SECTION: &str = "fanfare:manifest";

/// What a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It sends.
    Channel,
    /// It routes.
    Router,
}

impl Kind {
    /// Its word in the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Router => "router",
        }
    }
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The manifest's own format; 1.
    #[serde(default = "one")]
    pub manifest: u32,
    /// The plugin's name.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// What it is.
    pub kind: Kind,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// A JSON Schema of its settings.
    #[serde(default)]
    pub settings_schema: Option<Value>,
    /// What it asks for.
    #[serde(default)]
    pub permissions: Permissions,
    /// What it makes do with.
    #[serde(default)]
    pub limits: ManifestLimits,
}

fn one() -> u32 {
    1
}

/// What a plugin asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Permissions {
    /// Origins, or `{settings.NAME}` for the origin of a setting.
    pub http: Vec<String>,
    /// Secrets that it may use, by name.
    pub secrets: Vec<String>,
    /// Mail servers, `host:port`, either part of which may be a setting.
    pub smtp: Vec<String>,
    /// Whether secrets may stand in request bodies.
    pub secrets_in_body: bool,
}

/// Limits that a plugin sets itself, below the operator's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManifestLimits {
    /// Memory, MiB.
    pub memory_mib: Option<u64>,
    /// CPU time, ms.
    pub cpu_ms: Option<u64>,
    /// Time around the call, ms.
    pub wall_ms: Option<u64>,
}

impl ManifestLimits {
    /// These limits, where they are lower than `ceilings`.
    #[must_use]
    pub fn below(self, ceilings: Limits) -> Limits {
        use std::time::Duration;
        let own = Limits {
            memory_bytes: self.memory_mib.map_or(u64::MAX, |mib| mib.saturating_mul(1024 * 1024)),
            cpu: self.cpu_ms.map_or(Duration::MAX, Duration::from_millis),
            wall: self.wall_ms.map_or(Duration::MAX, Duration::from_millis),
            ..ceilings
        };
        own.lower_of(ceilings)
    }
}
