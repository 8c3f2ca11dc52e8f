//! The configuration's part: which sections make a new generation, and what serves after a start or a reload.
//!
//! A section makes one only when it says something else than when it was looked at last; otherwise what was activated since
//! then goes on. A section that says something new and can't serve is an error, and then nothing changes. One that says what
//! it said, and served before, comes up suspended.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_model::digest::Digest;
use fanfare_model::name::ChannelName;
use fanfare_runtime::ChannelGeneration;
use fanfare_store::plugins::{Generation, Move, Slot, Use};
use serde_json::Value;

use super::error::Refused;
use super::keeper::{FILE, Keeper, compare};
use super::kept::{Candidate, Kept};
use super::routers::KeptRouter;
use super::shelf::{Found, asked};
use super::stage::{Lookup, Recipe, channel_recipe, limits, renew, stage_channel};
use crate::config::{ChannelConfig, Config, PluginRef};
use crate::registry::{SetupError, Vigil};

/// What a reload has made so far; nothing of it counts before all of it is there.
#[derive(Default)]
struct Draft {
    channels: BTreeMap<ChannelName, Kept>,
    /// Channels that go on as they are.
    same: Vec<ChannelName>,
    router: Option<KeptRouter>,
    moves: Vec<Move>,
    errors: Vec<SetupError>,
}

impl Keeper {
    /// Serves `config` in place of what serves now, or keeps that.
    pub(super) async fn reload(&mut self, config: Config) -> Result<(), Vec<SetupError>> {
        let unreadable = |error: &dyn std::fmt::Display| vec![SetupError::of_store(error)];
        let uses = self.shelf.store.uses().await.map_err(|error| unreadable(&error))?;
        let uses: BTreeMap<Slot, Use> = uses.into_iter().collect();
        let mut draft = Draft::default();
        for (name, section) in &config.channels {
            let live = self.channels.get(name).map(|kept| kept.usage.section);
            if live == Some(section.fingerprint) {
                draft.same.push(name.clone());
                continue;
            }
            let live = self.channels.get(name).map(|kept| kept.usage.clone());
            let known = live.or_else(|| uses.get(&Slot::Channel(name.clone())).cloned());
            if let Err(refused) = self.draft_channel(&config, name, section, known, &mut draft).await {
                draft.errors.push(SetupError::of_section(&config, &format!("channels.{name}"), refused));
            }
        }
        if let Some(section) = &config.router {
            let known = uses.get(&Slot::Router(section.name.clone())).cloned();
            match self.draft_router(section, known).await {
                Ok((router, step)) => {
                    draft.router = Some(router);
                    draft.moves.extend(step);
                }
                Err(refused) => {
                    let here = format!("routers.{}", section.name);
                    draft.errors.push(SetupError::of_section(&config, &here, refused));
                }
            }
        }
        if !draft.errors.is_empty() {
            return Err(draft.errors);
        }
        self.shelf.store.write(draft.moves).await.map_err(|error| unreadable(&error))?;
        let mut channels = draft.channels;
        for name in draft.same {
            if let (Some(mut kept), Some(section)) = (self.channels.remove(&name), config.channels.get(&name))
            {
                self.renew(&config, &name, section, &mut kept);
                channels.insert(name, kept);
            }
        }
        (self.channels, self.router, self.config) = (channels, draft.router, config);
        self.publish();
        Ok(())
    }

    /// A channel that is new, back, or says something else.
    async fn draft_channel(
        &self,
        config: &Config,
        name: &ChannelName,
        section: &ChannelConfig,
        known: Option<Use>,
        draft: &mut Draft,
    ) -> Result<(), Refused> {
        let slot = Slot::Channel(name.clone());
        if let Some(usage) = known.as_ref().filter(|usage| usage.section == section.fingerprint)
            && let Ok(Some(record)) = self.shelf.store.generation(&slot, usage.current).await
        {
            let (kept, step) = self.revive(config, name, section, usage.clone(), record).await;
            draft.moves.extend(step);
            draft.channels.insert(name.clone(), kept);
            return Ok(());
        }
        let found = self.shelf.named(&section.plugin).await?;
        let number = known.as_ref().map_or(1, |usage| usage.newest + 1);
        let recipe = channel_recipe(section);
        let serving = self.staged(config, (name, number), section, &found, &recipe).await?;
        let (record, step) = self.begun(slot, (section.fingerprint, known.as_ref()), &found, &recipe).await?;
        let kept = self.kept(name, section, step.usage.clone(), record, Ok(serving));
        draft.moves.push(step);
        draft.channels.insert(name.clone(), kept);
        Ok(())
    }

    /// The generation that a section begins, which is staged already: its component is put into the store here.
    pub(super) async fn begun(
        &self,
        slot: Slot,
        (section, known): (Digest, Option<&Use>),
        found: &Found,
        recipe: &Recipe,
    ) -> Result<(Generation, Move), Refused> {
        let kept = self.shelf.keep(found, FILE).await;
        kept.map_err(|error| Refused::new("store.failed", error.to_string()))?;
        let before = match known {
            Some(usage) => self.shelf.store.generation(&slot, usage.current).await.ok().flatten(),
            None => None,
        };
        let number = known.map_or(1, |usage| usage.newest + 1);
        let record = self.record(number, found, recipe, before.as_ref(), (FILE, "its section in the file"));
        let usage = Use {
            section,
            newest: number,
            current: number,
            canary: None,
            paused: known.and_then(|usage| usage.paused.clone()),
            suspended: None,
        };
        let detail = format!("generation {number} serves: the section in the file is new");
        let mut entry = self.entry(&slot, FILE, "activate", detail);
        compare(&mut entry, &record, before.as_ref());
        let step = Move { slot, usage, generation: Some(record.clone()), audit: Some(entry) };
        Ok((record, step))
    }

    /// What served before the start, with the values of secrets and the limits of now.
    async fn revive(
        &self,
        config: &Config,
        name: &ChannelName,
        section: &ChannelConfig,
        usage: Use,
        record: Generation,
    ) -> (Kept, Option<Move>) {
        let slot = Slot::Channel(name.clone());
        let serving = self.restaged(config, name, section, &record).await;
        self.tell_of_the_file(&slot, &section.plugin, &record).await;
        let mut kept = self.kept(name, section, usage, record, serving);
        let mut entry = None;
        if let Some(canary) = kept.usage.canary {
            match self.restaged_number(config, name, section, canary.candidate).await {
                Ok(trial) => kept.trial = Some(trial),
                Err(refused) => {
                    kept.usage.canary = None;
                    let why = format!("generation {} can't be staged any more: {refused}", canary.candidate);
                    tracing::warn!(channel = %name, why, "the candidate is rolled back");
                    entry = Some(self.entry(&slot, "canary", "rollback", why));
                    kept.watch(name, section, &self.signals);
                }
            }
        }
        match &kept.serving {
            Err(refused) => {
                let refused = refused.clone();
                if kept.usage.suspended.as_ref().is_none_or(|before| before.code != refused.code) {
                    kept.usage.suspended = None;
                    kept.suspend(section, self.now(), refused.code, refused.message.clone());
                    entry = Some(self.entry(&slot, FILE, "suspend", refused.to_string()));
                } else {
                    kept.rest(section, self.now());
                }
                tracing::error!(channel = %name, code = refused.code, message = refused.message, "channel suspended");
            }
            Ok(_) if kept.usage.suspended.as_ref().is_some_and(|before| is_of_staging(&before.code)) => {
                kept.usage.suspended = None;
                entry = Some(self.entry(&slot, FILE, "resume", "it can serve again".to_owned()));
            }
            Ok(_) if kept.usage.suspended.is_some() => kept.rest(section, self.now()),
            Ok(_) => {}
        }
        let step =
            entry.map(|audit| Move { slot, usage: kept.usage.clone(), generation: None, audit: Some(audit) });
        (kept, step)
    }

    /// Says so when the plugin that the section names is another one by now, since that alone changes nothing.
    pub(super) async fn tell_of_the_file(&self, slot: &Slot, section: &PluginRef, record: &Generation) {
        if record.made_by != FILE {
            let (by, generation) = (record.made_by.as_str(), record.number);
            tracing::info!(%slot, generation, by, "an activation serves: it is later than the section in the file");
            return;
        }
        if matches!(section, PluginRef::Installed(_)) {
            return;
        }
        if let Ok(found) = self.shelf.named(section).await
            && found.plugin.digest() != record.plugin
        {
            let (serves, now) = (record.plugin.short(), found.plugin.digest());
            tracing::warn!(
                %slot, serves, now = now.short(),
                "the section's plugin has changed, and the old one serves on: `fanfare plugin install` and `fanfare {} activate` swap it",
                slot.kind()
            );
        }
    }

    /// Takes on other values of secrets and other limits; the generation stays.
    fn renew(&self, config: &Config, name: &ChannelName, section: &ChannelConfig, kept: &mut Kept) {
        let lookup = Lookup { folder: config.folder(), environment: self.environment.as_ref() };
        let serving = kept.serving.as_ref().ok().map(|serving| (serving, &kept.record));
        let trial = kept.trial.as_ref().map(|trial| (&trial.generation, &trial.record));
        for (generation, record) in [serving, trial].into_iter().flatten() {
            generation.set_isolation(section.isolation);
            if let Err(refused) = renew(generation, &Recipe::of(record), limits(&section.limits), &lookup) {
                tracing::warn!(channel = %name, code = refused.code, message = refused.message,
                    "secrets and limits could not be renewed: the old ones go on");
            }
        }
        let before = self.config.channels.get(name).map(|before| before.suspend_after);
        if before.is_some_and(|before| before != section.suspend_after) && !kept.is_probing() {
            kept.score();
            kept.watch(name, section, &self.signals);
        }
    }

    pub(super) fn kept(
        &self,
        name: &ChannelName,
        section: &ChannelConfig,
        usage: Use,
        record: Generation,
        serving: Result<Arc<ChannelGeneration>, Refused>,
    ) -> Kept {
        let vigil =
            Arc::new(Vigil::new(name.clone(), section.suspend_after, None, Arc::clone(&self.signals)));
        let mut kept = Kept { usage, record, serving, trial: None, vigil, probe_at: None, written: 0 };
        kept.watch(name, section, &self.signals);
        kept
    }

    pub(super) async fn staged(
        &self,
        config: &Config,
        channel: (&ChannelName, u64),
        section: &ChannelConfig,
        found: &Found,
        recipe: &Recipe,
    ) -> Result<Arc<ChannelGeneration>, Refused> {
        let lookup = Lookup { folder: config.folder(), environment: self.environment.as_ref() };
        let plugin = Arc::clone(&found.plugin);
        stage_channel(&self.shelf.runtime, channel, plugin, recipe, limits(&section.limits), lookup)
            .await
            .inspect(|generation| generation.set_isolation(section.isolation))
    }

    /// A generation of the store, staged once more.
    pub(super) async fn restaged(
        &self,
        config: &Config,
        name: &ChannelName,
        section: &ChannelConfig,
        record: &Generation,
    ) -> Result<Arc<ChannelGeneration>, Refused> {
        let plugin = self.shelf.by_digest(record.plugin).await?;
        let lookup = Lookup { folder: config.folder(), environment: self.environment.as_ref() };
        let recipe = Recipe::of(record);
        let channel = (name, record.number);
        stage_channel(&self.shelf.runtime, channel, plugin, &recipe, limits(&section.limits), lookup)
            .await
            .inspect(|generation| generation.set_isolation(section.isolation))
    }

    /// The generation of that number, staged once more.
    pub(super) async fn restaged_number(
        &self,
        config: &Config,
        name: &ChannelName,
        section: &ChannelConfig,
        number: u64,
    ) -> Result<Candidate, Refused> {
        let slot = Slot::Channel(name.clone());
        match self.shelf.store.generation(&slot, number).await {
            Ok(Some(record)) => {
                let generation = self.restaged(config, name, section, &record).await?;
                Ok(Candidate { record, generation })
            }
            Ok(None) => {
                Err(Refused::new("channel.generation", format!("generation {number} is not kept any more")))
            }
            Err(error) => Err(Refused::new("plugin.unreadable", error.to_string())),
        }
    }

    pub(super) fn record(
        &self,
        number: u64,
        found: &Found,
        recipe: &Recipe,
        before: Option<&Generation>,
        (by, why): (&str, &str),
    ) -> Generation {
        let manifest = found.plugin.manifest();
        Generation {
            number,
            plugin: found.plugin.digest(),
            plugin_name: manifest.name.clone(),
            plugin_version: manifest.version.clone(),
            settings: Value::Object(recipe.settings.clone()).to_string(),
            secrets: recipe.secrets.clone(),
            grants: recipe.grants.clone(),
            asked: asked(manifest),
            before: before.map(|before| before.number),
            made_at: self.now().1,
            made_by: by.to_owned(),
            why: why.to_owned(),
        }
    }
}

/// Whether a suspension came of a generation that could not be staged, and not of its attempts.
pub(super) fn is_of_staging(code: &str) -> bool {
    let plugin =
        ["unknown", "unreadable", "invalid", "too-large", "version", "compile", "kind", "link", "check"];
    code.starts_with("config.")
        || code == "channel.generation"
        || code.strip_prefix("plugin.").is_some_and(|rest| plugin.contains(&rest))
}

impl SetupError {
    fn of_section(config: &Config, here: &str, refused: Refused) -> Self {
        let section = match refused.part {
            Some(part) => format!("{here}.{part}"),
            None => here.to_owned(),
        };
        let place = config.place_of(&section).to_string();
        Self { place, section, code: refused.code.to_owned(), message: refused.message }
    }

    fn of_store(error: &dyn std::fmt::Display) -> Self {
        Self {
            place: "(the store)".to_owned(),
            section: "store".to_owned(),
            code: "store.failed".to_owned(),
            message: error.to_string(),
        }
    }
}
