//! Which plugin a channel or router uses, and what is different for the one or other of ours.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fanfare_model::digest::Digest;
use fanfare_model::retry::RetryPolicy;

use super::read::section::{Entry, Section};
use super::read::tree::Value;

/// A plugin, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginRef {
    /// One that is built into the gateway, by its name. Whether there is one is not known here.
    Embedded(String),
    /// The file of a component.
    File(PathBuf),
    /// One that is installed in the store.
    Installed(Digest),
}

impl PluginRef {
    /// The file, where it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Embedded(_) | Self::Installed(_) => None,
        }
    }

    /// Whether it is looked up in the store.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        matches!(self, Self::Installed(_))
    }
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Installed(digest) => write!(f, "{INSTALLED}{digest}"),
        }
    }
}

/// Begins the digest of an installed plugin.
const INSTALLED: &str = "sha256:";

/// What has a slash or ends in `.wasm` is a path, which begins in `folder` when it is relative; `sha256:` and a digest
/// is an installed plugin.
pub(super) fn plugin(section: &mut Section<'_>, example: &str, folder: &Path) -> Option<PluginRef> {
    let entry = section.require("plugin", example)?;
    let text = entry.word()?.to_owned();
    if let Some(digest) = text.strip_prefix(INSTALLED) {
        return match digest.parse() {
            Ok(digest) => Some(PluginRef::Installed(digest)),
            Err(error) => {
                entry.wrong(error, "take the digest from `fanfare plugin list`");
                None
            }
        };
    }
    let is_path = text.contains(['/', std::path::MAIN_SEPARATOR]) || text.ends_with(".wasm");
    Some(if is_path { PluginRef::File(folder.join(text)) } else { PluginRef::Embedded(text) })
}

/// The retry policy of a channel that says nothing of its own. A text message that comes minutes late is worse than
/// one that is tried more often, so SMS waits 30 s at most.
pub(super) fn retry_default(plugin: &PluginRef) -> RetryPolicy {
    match plugin {
        PluginRef::Embedded(name) if name == "coolsms" => {
            RetryPolicy { max_delay: Duration::from_secs(30), ..RetryPolicy::default() }
        }
        PluginRef::Embedded(_) | PluginRef::File(_) | PluginRef::Installed(_) => RetryPolicy::default(),
    }
}

/// The channels that the settings of a router of ours name: what went to one that is not there would be dead letters. Values
/// of another form are the schema's to refuse.
pub(super) fn named_channels<'a>(plugin: &PluginRef, settings: &Entry<'a>) -> Vec<Entry<'a>> {
    if !matches!(plugin, PluginRef::Embedded(name) if name == "rules") {
        return Vec::new();
    }
    let rules = member(settings, "rules").map(|rules| list(&rules)).unwrap_or_default();
    let channels = rules.iter().filter_map(|rule| member(&member(rule, "then")?, "channels"));
    channels
        .flat_map(|channels| list(&channels))
        .filter(|entry| matches!(entry.value(), Value::Text(_)))
        .collect()
}

fn member<'a>(entry: &Entry<'a>, name: &str) -> Option<Entry<'a>> {
    let Value::Table(table) = entry.value() else { return None };
    table.get(name).map(|node| entry.below(&format!(".{name}"), node))
}

fn list<'a>(entry: &Entry<'a>) -> Vec<Entry<'a>> {
    if matches!(entry.value(), Value::List(_)) { entry.items() } else { Vec::new() }
}
