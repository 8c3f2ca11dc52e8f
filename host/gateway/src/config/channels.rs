//! `[channels.NAME]`: which plugin sends, with which settings, secrets, grants, limits and retries.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanfare_model::digest::Digest;
use fanfare_model::name::ChannelName;
use fanfare_model::retry::{BadRetryPolicy, RetryPolicy};
use fanfare_runtime::Isolation;
use serde_json::{Map, Value as Json, json};

use super::plugin::{self, PluginRef};
use super::read::section::{Entry, Section};
use super::read::suggest::nearest;
use super::secrets::{self, SecretText, Sources};
use super::settings::settings;

/// Attempts under way at once on a channel that says nothing.
const CONCURRENCY: usize = 64;

/// Traps in a row that suspend a channel which says nothing: more than one delivery that a plugin trips over has
/// attempts, so that it can't stop the others.
const SUSPEND_AFTER: u32 = 5;

const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_AFTER_LEAST: Duration = Duration::from_millis(10);

/// The runtime's ceilings for one attempt: a section can only go below them. (DESIGN, "Limits".)
const MEMORY_MIB_MAX: u64 = 64;
const CPU_MS: std::ops::RangeInclusive<u64> = 10..=500;
const WALL_MS: std::ops::RangeInclusive<u64> = 10..=15_000;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A configured use of a channel plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelConfig {
    /// The plugin.
    pub plugin: PluginRef,
    /// What the plugin is told; checked against its own schema when it is loaded.
    pub settings: Map<String, Json>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, SecretText>,
    /// Where it may send.
    pub grants: GrantsConfig,
    /// What one attempt may use, below the runtime's own.
    pub limits: LimitsConfig,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Whether attempts share instances of the plugin.
    pub isolation: Isolation,
    /// Attempts that may be under way at once.
    pub concurrency: usize,
    /// Who is told when a delivery goes dead; a channel of this configuration, never this one.
    pub alert_channel: Option<ChannelName>,
    /// Traps in a row that suspend it.
    pub suspend_after: u32,
    /// How long it is suspended before the first probe; each probe that fails doubles it.
    pub probe_after: Duration,
    /// Equal for equal plugins, settings, grants and references of secrets: with another one it is another generation.
    /// Values of secrets, limits and retries change without one.
    pub fingerprint: Digest,
}

/// What a channel is granted; the default is nothing. The runtime knows their grammar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantsConfig {
    /// Origins such as `https://hooks.example.org`.
    pub http: Vec<String>,
    /// Mail servers such as `smtp.example.org:587`.
    pub smtp: Vec<String>,
    /// Whether granted names may lead to private addresses.
    pub allow_private: bool,
}

/// What one attempt may use; none means as much as the runtime gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Memory, in MiB.
    pub memory_mib: Option<u64>,
    /// Time that guest code runs.
    pub cpu: Option<Duration>,
    /// Time around the whole attempt.
    pub wall: Option<Duration>,
}

/// The names that references to channels may use, whether or not those sections are sound.
pub(super) struct ChannelNames(BTreeSet<ChannelName>);

impl ChannelNames {
    /// A reference to a channel that exists.
    pub(super) fn reference(&self, entry: &Entry<'_>) -> Option<ChannelName> {
        let text = entry.word()?;
        if let Some(name) = self.0.get(text) {
            return Some(name.clone());
        }
        let names: Vec<&str> = self.0.iter().map(ChannelName::as_str).collect();
        let remedy = match nearest(text, names.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None if names.is_empty() => format!("add a section [channels.{text}]"),
            None => format!("add a section [channels.{text}], or name one of: {}", names.join(", ")),
        };
        entry.wrong(format!("there is no channel {text:?}"), remedy);
        None
    }
}

/// Every channel that could be read, and the names of all.
pub(super) fn channels(
    section: Option<Section<'_>>,
    sources: Sources<'_>,
) -> (BTreeMap<ChannelName, ChannelConfig>, ChannelNames) {
    let mut sections = BTreeMap::new();
    for (name, entry) in section.map(Section::named).unwrap_or_default() {
        match name.parse::<ChannelName>() {
            Ok(name) => {
                sections.insert(name, entry);
            }
            Err(error) => entry.wrong(error, "give the section another name"),
        }
    }
    let names = ChannelNames(sections.keys().cloned().collect());
    let read = |(name, entry): (ChannelName, Entry<'_>)| {
        let config = channel(&name, entry.section()?, &names, sources)?;
        Some((name, config))
    };
    let channels = sections.into_iter().filter_map(read).collect();
    (channels, names)
}

fn channel(
    name: &ChannelName,
    mut section: Section<'_>,
    names: &ChannelNames,
    sources: Sources<'_>,
) -> Option<ChannelConfig> {
    let plugin = plugin::plugin(&mut section, r#"plugin = "webhook""#, sources.folder);
    let settings = settings(section.take("settings").as_ref());
    let secrets = secrets::secrets(section.section("secrets"), sources);
    let grants = section.section("grants").map(grants).unwrap_or_default();
    let limits = section.section("limits").map(limits).unwrap_or_default();
    let retry = retry(section.section("retry"), plugin.as_ref());
    let isolation = section.take("isolation").and_then(|entry| entry.parse(r#"write "fresh" or "warm""#));
    let concurrency = section.take("concurrency").and_then(|entry| entry.count(1..=1_000));
    let alert_channel = section.take("alert_channel").and_then(|entry| {
        let other = names.reference(&entry)?;
        if other == *name {
            entry.wrong("a channel can't be told of its own dead letters", "name another channel");
            return None;
        }
        Some(other)
    });
    let suspend_after = section.take("suspend_after").and_then(|entry| entry.integer(1..=1_000));
    let probe_after = section.take("probe_after").and_then(|entry| entry.duration(PROBE_AFTER_LEAST..=DAY));
    section.finish();
    let mut config = ChannelConfig {
        plugin: plugin?,
        settings,
        secrets,
        grants,
        limits,
        retry,
        isolation: isolation.unwrap_or_default(),
        concurrency: concurrency.unwrap_or(CONCURRENCY),
        alert_channel,
        suspend_after: suspend_after.and_then(|n| u32::try_from(n).ok()).unwrap_or(SUSPEND_AFTER),
        probe_after: probe_after.unwrap_or(PROBE_AFTER),
        fingerprint: Digest::of(b""),
    };
    config.fingerprint = fingerprint(&config);
    Some(config)
}

fn grants(mut section: Section<'_>) -> GrantsConfig {
    let http = section.take("http").map(|entry| entry.texts()).unwrap_or_default();
    let smtp = section.take("smtp").map(|entry| entry.texts()).unwrap_or_default();
    let allow_private = section.take("allow_private").and_then(|entry| entry.flag()).unwrap_or_default();
    section.finish();
    GrantsConfig { http, smtp, allow_private }
}

fn limits(mut section: Section<'_>) -> LimitsConfig {
    let memory_mib = section.take("memory_mib").and_then(|entry| entry.integer(1..=MEMORY_MIB_MAX));
    let cpu = section.take("cpu_ms").and_then(|entry| entry.integer(CPU_MS)).map(Duration::from_millis);
    let wall = section.take("wall_ms").and_then(|entry| entry.integer(WALL_MS)).map(Duration::from_millis);
    section.finish();
    LimitsConfig { memory_mib, cpu, wall }
}

fn retry(section: Option<Section<'_>>, plugin: Option<&PluginRef>) -> RetryPolicy {
    let default = plugin.map(plugin::retry_default).unwrap_or_default();
    let Some(mut section) = section else { return default };
    let mut delay = |name: &'static str, least_ms: u64, most: Duration| {
        section.take(name)?.duration(Duration::from_millis(least_ms)..=most)
    };
    let initial_delay = delay("initial_delay", 1, DAY);
    let max_delay = delay("max_delay", 1, DAY);
    let give_up_after = delay("give_up_after", 1_000, 30 * DAY);
    let max_retries = section.take("max_retries").and_then(|entry| entry.integer(0..=1_000));
    let policy = RetryPolicy {
        max_retries: max_retries.and_then(|n| u32::try_from(n).ok()).unwrap_or(default.max_retries),
        initial_delay: initial_delay.unwrap_or(default.initial_delay),
        multiplier: section.take("multiplier").and_then(|entry| entry.number()).unwrap_or(default.multiplier),
        max_delay: max_delay.unwrap_or(default.max_delay),
        jitter: section.take("jitter").and_then(|entry| entry.number()).unwrap_or(default.jitter),
        give_up_after: give_up_after.unwrap_or(default.give_up_after),
    };
    let policy = policy.validated().unwrap_or_else(|error| {
        let remedy = match error {
            BadRetryPolicy::InitialDelay => "set both, or make initial_delay shorter",
            BadRetryPolicy::Multiplier | BadRetryPolicy::Jitter | BadRetryPolicy::MaxRetries => "correct it",
        };
        section.wrong(error, remedy);
        default
    });
    section.finish();
    policy
}

fn fingerprint(config: &ChannelConfig) -> Digest {
    let GrantsConfig { http, smtp, allow_private } = &config.grants;
    let secrets: Map<String, Json> =
        config.secrets.iter().map(|(name, secret)| (name.clone(), secret.reference().into())).collect();
    let all = json!({
        "plugin": config.plugin.to_string(),
        "settings": config.settings,
        "secrets": secrets,
        "grants": { "http": http, "smtp": smtp, "allow_private": allow_private },
    });
    Digest::of(all.to_string().as_bytes())
}
