//! The router's part: which generation of it serves, by its section or by an activation, and the one that it goes back to.
//!
//! Staged, written and published as channels are. A router is granted nothing and has no attempts of its own, so there is
//! nothing to approve, to try on a share, to pause or to suspend; one that served before and can't now says why instead.

use std::sync::Arc;

use fanfare_runtime::{Limits, RouterGeneration, RouterSpec};
use fanfare_store::plugins::{Generation, Move, Slot, Use};
use serde_json::{Map, Value};

use super::acts::wrong_kind;
use super::error::{ActError, Refused};
use super::keeper::{Keeper, Steer, compare};
use super::shelf::{Found, is_channel};
use super::stage::Recipe;
use crate::config::RouterConfig;

/// The router as the keeper knows it.
#[derive(Debug)]
pub(super) struct KeptRouter {
    /// As it stands in the store.
    pub(super) usage: Use,
    /// The generation that serves.
    pub(super) record: Generation,
    /// The same, ready to decide.
    pub(super) serving: Result<Arc<RouterGeneration>, Refused>,
}

impl Keeper {
    /// What the section of a configuration comes to: what served before, or a new generation with its move.
    pub(super) async fn draft_router(
        &self,
        section: &RouterConfig,
        known: Option<Use>,
    ) -> Result<(KeptRouter, Option<Move>), Refused> {
        let slot = Slot::Router(section.name.clone());
        if let Some(usage) = known.as_ref().filter(|usage| usage.section == section.fingerprint)
            && let Ok(Some(record)) = self.shelf.store.generation(&slot, usage.current).await
        {
            let serving = self.revived_router(section, &record).await;
            if self.router.is_none() {
                // Once a start: the file is read and compiled for it.
                self.tell_of_the_file(&slot, &section.plugin, &record).await;
            }
            if let Err(Refused { code, message, .. }) = &serving {
                tracing::error!(router = section.name, code, message, "router suspended");
            }
            return Ok((KeptRouter { usage: usage.clone(), record, serving }, None));
        }
        let found = self.shelf.named(&section.plugin).await?;
        let number = known.as_ref().map_or(1, |usage| usage.newest + 1);
        let serving = self.staged_router(&section.name, number, &found, &section.settings).await?;
        let recipe = router_recipe(section.settings.clone());
        let (record, step) = self.begun(slot, (section.fingerprint, known.as_ref()), &found, &recipe).await?;
        Ok((KeptRouter { usage: step.usage.clone(), record, serving: Ok(serving) }, Some(step)))
    }

    /// Serves another plugin or other settings, or the generation before; or changes nothing.
    pub(super) async fn steer(&mut self, name: &str, steer: Steer, by: &str) -> Result<(), ActError> {
        let kept = self.router.as_ref().filter(|_| self.is_router(name)).ok_or_else(|| no_router(name))?;
        let slot = Slot::Router(name.to_owned());
        let (old, mut usage) = (&kept.record, kept.usage.clone());
        let (record, serving, new, act, said) = match steer {
            Steer::Activate(activation) => {
                let found = &activation.found;
                if is_channel(&found.plugin) {
                    return Err(ActError::Refused(wrong_kind(&found.plugin)));
                }
                let settings = activation.settings.unwrap_or_else(|| Recipe::of(old).settings);
                let number = usage.newest + 1;
                let serving = self.staged_router(name, number, found, &settings).await;
                let serving = serving.map_err(ActError::Refused)?;
                self.shelf.keep(found, by).await?;
                let recipe = router_recipe(settings);
                let record = self.record(number, found, &recipe, Some(old), (by, "an activation"));
                usage.newest = number;
                (record.clone(), serving, Some(record), "activate", "serves")
            }
            Steer::Rollback => {
                let record = self.router_before(&slot, old).await?;
                let serving = self.restaged_router(name, &record).await.map_err(ActError::Refused)?;
                (record, serving, None, "rollback", "serves again")
            }
        };
        usage.current = record.number;
        let what = format!("{} {}", record.plugin_name, record.plugin_version);
        let detail = format!("generation {} ({what}) {said} in place of {}", record.number, old.number);
        let mut entry = self.entry(&slot, by, act, detail.clone());
        compare(&mut entry, &record, Some(old));
        let step = Move { slot, usage: usage.clone(), generation: new, audit: Some(entry) };
        self.shelf.store.write(vec![step]).await?;
        tracing::info!(router = name, by, act, detail, "router changed");
        self.router = Some(KeptRouter { usage, record, serving: Ok(serving) });
        self.publish();
        Ok(())
    }

    fn is_router(&self, name: &str) -> bool {
        self.config.router.as_ref().is_some_and(|section| section.name == name)
    }

    async fn router_before(&self, slot: &Slot, old: &Generation) -> Result<Generation, ActError> {
        let none = |why: String| ActError::Conflict(Refused::new("router.no-rollback", why));
        let before = old.before.ok_or_else(|| {
            none(format!("generation {} of {slot} is the first: there is none to go back to", old.number))
        })?;
        let record = self.shelf.store.generation(slot, before).await?;
        record.ok_or_else(|| none(format!("generation {before} of {slot} is not kept any more")))
    }

    /// The one that routes already, or the one of the store.
    async fn revived_router(
        &self,
        section: &RouterConfig,
        record: &Generation,
    ) -> Result<Arc<RouterGeneration>, Refused> {
        let same = self.router.as_ref().filter(|router| router.usage.current == record.number);
        if let Some(Ok(serving)) = same.map(|router| &router.serving) {
            return Ok(Arc::clone(serving));
        }
        self.restaged_router(&section.name, record).await
    }

    async fn restaged_router(
        &self,
        name: &str,
        record: &Generation,
    ) -> Result<Arc<RouterGeneration>, Refused> {
        let found = self.shelf.found(record.plugin).await?;
        self.staged_router(name, record.number, &found, &Recipe::of(record).settings).await
    }

    async fn staged_router(
        &self,
        name: &str,
        number: u64,
        found: &Found,
        settings: &Map<String, Value>,
    ) -> Result<Arc<RouterGeneration>, Refused> {
        let spec = RouterSpec {
            name: name.to_owned(),
            number,
            plugin: Arc::clone(&found.plugin),
            settings: settings.clone(),
            limits: Limits::default(),
        };
        let staged = self.shelf.runtime.stage_router(spec).await;
        staged.map_err(|error| Refused::new(error.code(), error.to_string()))
    }
}

/// A router has settings alone.
fn router_recipe(settings: Map<String, Value>) -> Recipe {
    Recipe { settings, ..Recipe::default() }
}

pub(super) fn no_router(name: &str) -> ActError {
    let short: String = name.chars().take(80).collect();
    let why = format!(
        "no router {short:?} is configured; the one that routes is called default, paste this into the configuration, with a plugin of yours, and reload it:\n[routers.default]\nplugin = \"rules\"\n"
    );
    ActError::Absent(Refused::new("router.absent", why))
}
