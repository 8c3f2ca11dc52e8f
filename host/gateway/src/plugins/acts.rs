//! What people do to a channel: activate, roll back, pause, resume; and to a component: remove.
//!
//! Each act is staged whole before anything is written, so that a failure leaves what serves as it is, and each is one
//! transaction with its entry in the audit.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_model::digest::Digest;
use fanfare_model::name::ChannelName;
use fanfare_runtime::{ChannelGeneration, Plugin, Request, review};
use fanfare_store::plugins::{AuditEntry, Canary, Generation, GrantLines, Pause, Score, Slot, Use};
use serde_json::{Map, Value};

use super::error::{ActError, Refused};
use super::keeper::{Act, Keeper, compare};
use super::kept::{Candidate, Kept};
use super::shelf::{Found, asked, is_channel};
use super::stage::{Recipe, grants};
use crate::config::{ChannelConfig, PluginRef, SecretText};
use crate::embedded;

/// What is to serve a channel. What is left out is inherited from the generation that serves.
#[derive(Clone, Debug)]
pub struct Activation {
    pub(super) found: Found,
    /// Settings.
    pub settings: Option<Map<String, Value>>,
    /// References of secrets, by name.
    pub secrets: Option<BTreeMap<String, String>>,
    /// Grants.
    pub grants: Option<GrantLines>,
    /// For a part of the deliveries first.
    pub canary: Option<Trial>,
    /// Whether what it asks for beyond the generation that serves is approved.
    pub approve: bool,
}

/// How a candidate is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Its part of the deliveries, in hundredths of a per cent.
    pub share: u16,
    /// It is rolled back when its rate of faults is over so many hundredths of the other's.
    pub ratio_percent: u32,
    /// It is judged after so many attempts.
    pub attempts_min: u32,
}

/// What an activation would come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Each permission that the plugin asks for.
    pub requests: Vec<Request>,
    /// What it asks for beyond what was approved.
    pub beyond: Vec<String>,
    /// The lines to paste into the channel's section, where something is not granted.
    pub paste: Option<String>,
}

impl Activation {
    fn recipe(&self, current: &Generation) -> Recipe {
        let mut recipe = Recipe::of(current);
        if let Some(settings) = &self.settings {
            recipe.settings.clone_from(settings);
        }
        if let Some(secrets) = &self.secrets {
            recipe.secrets.clone_from(secrets);
        }
        if let Some(grants) = &self.grants {
            recipe.grants.clone_from(grants);
        }
        recipe
    }

    /// The plugin's name, version and digest.
    #[must_use]
    pub fn plugin(&self) -> (&str, &str, Digest) {
        let manifest = self.found.plugin.manifest();
        (&manifest.name, &manifest.version, self.found.plugin.digest())
    }

    /// What is asked for against what is granted, with `current` serving.
    pub(super) fn review(&self, name: &ChannelName, current: &Generation) -> Result<Review, Refused> {
        let recipe = self.recipe(current);
        let plugin = &self.found.plugin;
        let secrets: Vec<String> = recipe.secrets.keys().cloned().collect();
        let requests = review(plugin, &recipe.settings, &grants(&recipe.grants)?, &secrets);
        let beyond = asked(plugin.manifest()).beyond(&current.asked);
        let paste = paste(name, &recipe.grants, &requests);
        Ok(Review { requests, beyond, paste })
    }
}

/// The lines that grant what is missing beside what is granted.
fn paste(name: &ChannelName, granted: &GrantLines, requests: &[Request]) -> Option<String> {
    let missing = |kind: &str| {
        let of_kind = requests.iter().filter(move |request| request.kind == kind && !request.granted);
        of_kind.map(|request| request.what.clone()).collect::<Vec<_>>()
    };
    let (http, smtp) = (missing("http"), missing("smtp"));
    if http.is_empty() && smtp.is_empty() {
        return None;
    }
    let line = |key: &str, old: &[String], new: Vec<String>| {
        let all: Vec<String> = old.iter().cloned().chain(new).collect();
        // A list of strings reads the same in TOML as in JSON.
        if all.is_empty() { String::new() } else { format!("{key} = {}\n", Value::from(all)) }
    };
    let mut text = format!("[channels.{name}.grants]\n");
    text.push_str(&line("http", &granted.http, http));
    text.push_str(&line("smtp", &granted.smtp, smtp));
    if granted.allow_private {
        text.push_str("allow_private = true\n");
    }
    Some(text)
}

/// A step that is staged and not written yet.
struct Step {
    usage: Use,
    new: Option<Generation>,
    record: Generation,
    serving: Result<Arc<ChannelGeneration>, Refused>,
    trial: Option<Candidate>,
    entry: AuditEntry,
}

impl Keeper {
    /// Does it, or changes nothing.
    pub(super) async fn act(&mut self, name: &ChannelName, act: Act, by: &str) -> Result<(), ActError> {
        let Some(section) = self.config.channels.get(name).cloned() else { return Err(no_channel(name)) };
        let Some(kept) = self.channels.get_mut(name) else { return Err(no_channel(name)) };
        kept.score();
        let kept = self.channels.get(name).ok_or_else(|| no_channel(name))?;
        let step = match act {
            Act::Activate(activation) => Some(self.activation(name, &section, kept, &activation, by).await?),
            Act::Rollback => Some(self.rollback(name, &section, kept, by).await?),
            Act::Pause => self.pausing(name, kept, by),
            Act::Resume => self.resuming(name, &section, kept, by).await?,
        };
        let Some(Step { usage, new, record, serving, trial, entry }) = step else { return Ok(()) };
        let said = (entry.act.clone(), entry.detail.clone());
        self.write(name, &usage, new, Some(entry)).await?;
        tracing::info!(channel = %name, by, act = said.0, detail = said.1, "channel changed");
        let signals = Arc::clone(&self.signals);
        if let Some(kept) = self.channels.get_mut(name) {
            (kept.usage, kept.record, kept.serving, kept.trial) = (usage, record, serving, trial);
            if kept.usage.suspended.is_none() {
                kept.probe_at = None;
            }
            kept.watch(name, &section, &signals);
        }
        self.publish();
        Ok(())
    }

    async fn activation(
        &self,
        name: &ChannelName,
        section: &ChannelConfig,
        kept: &Kept,
        activation: &Activation,
        by: &str,
    ) -> Result<Step, ActError> {
        let manifest = activation.found.plugin.manifest();
        if !is_channel(&activation.found.plugin) {
            return Err(ActError::Refused(wrong_kind(&activation.found.plugin)));
        }
        let stopped = kept.usage.suspended.is_some();
        if activation.canary.is_some() && stopped {
            let why = format!(
                "{name} is suspended, so there is nothing to compare a candidate with; activate it without a canary"
            );
            return Err(ActError::Conflict(Refused::new("channel.suspended", why)));
        }
        let review = activation.review(name, &kept.record).map_err(ActError::Refused)?;
        if !review.beyond.is_empty() && !activation.approve {
            let why = format!(
                "{} {} asks for what {} {}, which serves, does not: {}. Approve it with --approve (\"approve\": true)",
                manifest.name,
                manifest.version,
                kept.record.plugin_name,
                kept.record.plugin_version,
                review.beyond.join("; ")
            );
            return Err(ActError::Conflict(Refused::new("plugin.approval", why)));
        }
        if let Some(paste) = &review.paste {
            let missing =
                review.requests.iter().filter(|request| !request.granted && request.kind != "secret");
            let missing: Vec<String> =
                missing.map(|request| format!("{} {}", request.kind, request.what)).collect();
            let why = format!(
                "{} {} needs what channel {name} is not granted: {}. Give grants with the activation, or paste this into the configuration and reload it:\n{paste}",
                manifest.name,
                manifest.version,
                missing.join("; ")
            );
            return Err(ActError::Refused(Refused {
                code: "config.grant",
                message: why,
                part: Some("grants"),
            }));
        }
        self.check_references(activation, kept).map_err(ActError::Refused)?;
        let recipe = activation.recipe(&kept.record);
        let number = kept.usage.newest + 1;
        let staged = self.staged(&self.config, (name, number), section, &activation.found, &recipe).await;
        let staged = staged.map_err(ActError::Refused)?;
        self.shelf.keep(&activation.found, by).await?;
        let record =
            self.record(number, &activation.found, &recipe, Some(&kept.record), (by, "an activation"));
        let mut usage = Use { newest: number, canary: None, ..kept.usage.clone() };
        let (mut entry, new) =
            (self.entry(&Slot::Channel(name.clone()), by, "activate", String::new()), Some(record.clone()));
        compare(&mut entry, &record, Some(&kept.record));
        let what = format!("{} {}", record.plugin_name, record.plugin_version);
        if let Some(Trial { share, ratio_percent, attempts_min }) = activation.canary {
            let none = Score::default();
            let started_at = self.now().1;
            let canary = Canary {
                candidate: number,
                share,
                ratio_percent,
                attempts_min,
                started_at,
                new: none,
                old: none,
            };
            usage.canary = Some(canary);
            entry.act = "canary".to_owned();
            entry.detail =
                format!("generation {number} ({what}) is tried on {} of the deliveries", percent(share));
            let (old, serving) = (kept.record.clone(), kept.serving.clone());
            let trial = Some(Candidate { record, generation: staged });
            return Ok(Step { usage, new, record: old, serving, trial, entry });
        }
        (usage.current, usage.suspended) = (number, None);
        entry.detail = format!("generation {number} ({what}) serves in place of {}", kept.record.number);
        Ok(Step { usage, new, record, serving: Ok(staged), trial: None, entry })
    }

    /// A reference leads into the gateway's environment and files, so only the configuration introduces one: else whoever
    /// may activate could read all of them.
    fn check_references(&self, activation: &Activation, kept: &Kept) -> Result<(), Refused> {
        let known = |reference: &String| {
            let of_file = self.config.channels.values().flat_map(|section| section.secrets.values());
            of_file.map(SecretText::reference).any(|known| known == reference)
                || kept.record.secrets.values().any(|known| known == reference)
        };
        for (name, reference) in activation.secrets.iter().flatten() {
            if !known(reference) {
                let why = format!(
                    "the reference of the secret {name} stands nowhere in the configuration; put it into a channel's secrets there, and reload it"
                );
                return Err(Refused { code: "config.secret", message: why, part: Some("secrets") });
            }
        }
        Ok(())
    }

    async fn rollback(
        &self,
        name: &ChannelName,
        section: &ChannelConfig,
        kept: &Kept,
        by: &str,
    ) -> Result<Step, ActError> {
        let mut usage = kept.usage.clone();
        let mut entry = self.entry(&Slot::Channel(name.clone()), by, "rollback", String::new());
        if let Some(canary) = usage.canary.take() {
            compare(&mut entry, &kept.record, kept.trial.as_ref().map(|trial| &trial.record));
            entry.detail = format!("the trial of generation {} ended", canary.candidate);
            let (record, serving) = (kept.record.clone(), kept.serving.clone());
            return Ok(Step { usage, new: None, record, serving, trial: None, entry });
        }
        let Some(before) = kept.record.before else {
            let why = format!(
                "generation {} of {name} is the first: there is none to go back to",
                kept.record.number
            );
            return Err(ActError::Conflict(Refused::new("channel.no-rollback", why)));
        };
        let record = self.shelf.store.generation(&Slot::Channel(name.clone()), before).await?;
        let record = record.ok_or_else(|| {
            let why = format!("generation {before} of {name} is not kept any more");
            ActError::Conflict(Refused::new("channel.no-rollback", why))
        })?;
        let serving = self.restaged(&self.config, name, section, &record).await.map_err(ActError::Refused)?;
        (usage.current, usage.suspended) = (before, None);
        compare(&mut entry, &record, Some(&kept.record));
        entry.detail = format!(
            "generation {before} ({} {}) serves again in place of {}",
            record.plugin_name, record.plugin_version, kept.record.number
        );
        Ok(Step { usage, new: None, record, serving: Ok(serving), trial: None, entry })
    }

    fn pausing(&self, name: &ChannelName, kept: &Kept, by: &str) -> Option<Step> {
        if kept.usage.paused.is_some() {
            return None;
        }
        let paused = Some(Pause { at: self.now().1, by: by.to_owned() });
        let entry =
            self.entry(&Slot::Channel(name.clone()), by, "pause", "its deliveries are parked".to_owned());
        Some(Step { usage: Use { paused, ..kept.usage.clone() }, ..same(kept, entry) })
    }

    async fn resuming(
        &self,
        name: &ChannelName,
        section: &ChannelConfig,
        kept: &Kept,
        by: &str,
    ) -> Result<Option<Step>, ActError> {
        if kept.usage.paused.is_none() && kept.usage.suspended.is_none() {
            return Ok(None);
        }
        let entry = self.entry(
            &Slot::Channel(name.clone()),
            by,
            "resume",
            "its deliveries are sent again".to_owned(),
        );
        let mut step = same(kept, entry);
        if step.serving.is_err() {
            let staged = self.restaged(&self.config, name, section, &kept.record).await;
            step.serving = Ok(staged.map_err(ActError::Refused)?);
        }
        (step.usage.paused, step.usage.suspended) = (None, None);
        Ok(Some(step))
    }

    /// Takes a component out of the store, unless a channel or router would miss it.
    pub(super) async fn remove(&mut self, digest: Digest, by: &str) -> Result<(), ActError> {
        if let Some(name) = embedded::name_of(digest) {
            let why = format!("{name} is built in, and stays");
            return Err(ActError::Conflict(Refused::new("plugin.in-use", why)));
        }
        if let Some(who) = self.needs(digest).await? {
            let why = format!("{who}; activate another plugin there first");
            return Err(ActError::Conflict(Refused::new("plugin.in-use", why)));
        }
        let Some(component) = self.shelf.store.component(digest).await? else {
            return Err(not_installed(digest));
        };
        let detail = format!("{} {}", component.name, component.version);
        let subject = format!("plugin {}", component.name);
        let mut entry = AuditEntry::new(self.now().1, by, "remove", subject, detail);
        (entry.digest, entry.removed) = (Some(digest), component.asked.lines());
        if !self.shelf.store.remove(digest, &entry).await? {
            return Err(not_installed(digest));
        }
        tracing::info!(plugin = component.name, digest = digest.short(), by, "plugin removed");
        Ok(())
    }

    /// Who would miss a component: as what serves, as a candidate, or to roll back to.
    async fn needs(&self, digest: Digest) -> Result<Option<String>, ActError> {
        for (name, section) in &self.config.channels {
            if section.plugin == PluginRef::Installed(digest) {
                return Ok(Some(format!("the section of channel {name} names it")));
            }
        }
        let router = self.config.router.as_ref();
        if let Some(section) = router.filter(|section| section.plugin == PluginRef::Installed(digest)) {
            return Ok(Some(format!("the section of router {} names it", section.name)));
        }
        for (slot, usage) in self.shelf.store.uses().await? {
            let current = self.shelf.store.generation(&slot, usage.current).await?;
            let before = current.as_ref().and_then(|current| current.before);
            let candidate = usage.canary.map(|canary| canary.candidate);
            let roles =
                [(Some(usage.current), "uses it"), (candidate, "tries it"), (before, "may roll back to it")];
            for (number, role) in roles {
                let Some(number) = number else { continue };
                let generation = self.shelf.store.generation(&slot, number).await?;
                if generation.is_some_and(|generation| generation.plugin == digest) {
                    return Ok(Some(format!("{slot} {role}")));
                }
            }
        }
        Ok(None)
    }
}

fn same(kept: &Kept, entry: AuditEntry) -> Step {
    Step {
        usage: kept.usage.clone(),
        new: None,
        record: kept.record.clone(),
        serving: kept.serving.clone(),
        trial: kept.trial.clone(),
        entry,
    }
}

pub(super) fn no_channel(name: &ChannelName) -> ActError {
    let why = format!(
        "no channel {name} is configured; paste this into the configuration, with a plugin of yours, and reload it:\n[channels.{name}]\nplugin = \"webhook\"\n"
    );
    ActError::Absent(Refused::new("channel.absent", why))
}

/// A router where a channel is wanted, or the other way round.
pub(super) fn wrong_kind(plugin: &Plugin) -> Refused {
    let (is, wanted) = if is_channel(plugin) { ("channel", "router") } else { ("router", "channel") };
    let name = &plugin.manifest().name;
    Refused::new(
        "plugin.kind",
        format!(
            "the plugin {name} is a {is}, and a {wanted} is wanted here; `fanfare plugin list` tells the kind of each"
        ),
    )
}

fn not_installed(digest: Digest) -> ActError {
    let why = format!("no plugin with the digest {digest} is installed");
    ActError::Absent(Refused::new("plugin.unknown", why))
}

/// Hundredths of a per cent, as people write them.
pub(crate) fn percent(share: u16) -> String {
    let (whole, part) = (share / 100, share % 100);
    if part == 0 { format!("{whole}%") } else { format!("{whole}.{part:02}%") }
}

/// A part of all deliveries, such as `10%`, in hundredths of a per cent.
///
/// # Errors
/// What has to be written instead.
pub(crate) fn parse_share(text: &str) -> Result<u16, String> {
    let wrong = || {
        let short: String = text.chars().take(40).collect();
        format!("{short:?} is no part of the deliveries; write such as \"10%\", from 0.01% to 99.99%")
    };
    let number: f64 = text.trim().strip_suffix('%').and_then(|n| n.trim().parse().ok()).ok_or_else(wrong)?;
    if !(0.01..=99.99).contains(&number) {
        return Err(wrong());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 and 9999")]
    let share = (number * 100.0).round() as u16;
    Ok(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_of_the_deliveries_and_never_all_or_none() {
        for (text, share) in [("10%", 1_000), ("0.01%", 1), ("99.99%", 9_999), (" 2.5 %", 250)] {
            assert_eq!(parse_share(text), Ok(share), "{text}");
            assert_eq!(parse_share(&percent(share)), Ok(share), "{text}");
        }
        for text in ["", "10", "0%", "100%", "-1%", "x%", "NaN%", "1e9%"] {
            assert!(parse_share(text).unwrap_err().contains("\"10%\""), "{text}");
        }
    }
}
