//! `[routers.default]`: which plugin decides where notifications go that name no channel.

use std::path::Path;
use std::time::Duration;

use fanfare_model::digest::Digest;
use serde_json::{Map, Value as Json, json};

use super::channels::ChannelNames;
use super::plugin::{self, PluginRef};
use super::read::section::Section;
use super::settings::settings;

/// The only router that routes.
const DEFAULT: &str = "default";

/// How long a decision may take when the section says nothing. (The submitter waits for it.)
const DEADLINE: Duration = Duration::from_secs(1);

/// A configured use of a router plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterConfig {
    /// Its name, `default`.
    pub name: String,
    /// The plugin.
    pub plugin: PluginRef,
    /// What the plugin is told; checked against its own schema when it is loaded.
    pub settings: Map<String, Json>,
    /// A decision that takes longer is made again later, after the notification was accepted.
    pub deadline: Duration,
    /// Equal for equal plugin references and settings: with another one it is another generation.
    pub fingerprint: Digest,
}

pub(super) fn router(
    section: Option<Section<'_>>,
    folder: &Path,
    channels: &ChannelNames,
) -> Option<RouterConfig> {
    let mut found = None;
    for (name, entry) in section?.named() {
        if name == DEFAULT {
            found = entry.section().and_then(|section| default(section, folder, channels));
        } else {
            entry.wrong("only the router named default routes", "put its rules into [routers.default]");
        }
    }
    found
}

fn default(mut section: Section<'_>, folder: &Path, channels: &ChannelNames) -> Option<RouterConfig> {
    let plugin = plugin::plugin(&mut section, r#"plugin = "rules""#, folder);
    let entry = section.take("settings");
    if let (Some(entry), Some(plugin)) = (&entry, &plugin) {
        for named in plugin::named_channels(plugin, entry) {
            channels.reference(&named);
        }
    }
    let settings = settings(entry.as_ref());
    let bounds = Duration::from_millis(10)..=Duration::from_secs(10);
    let deadline = section.take("deadline").and_then(|entry| entry.duration(bounds));
    section.finish();
    let plugin = plugin?;
    let all = json!({ "plugin": plugin.to_string(), "settings": settings });
    let fingerprint = Digest::of(all.to_string().as_bytes());
    Some(RouterConfig {
        name: DEFAULT.to_owned(),
        plugin,
        settings,
        deadline: deadline.unwrap_or(DEADLINE),
        fingerprint,
    })
}
