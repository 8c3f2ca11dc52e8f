//! Plugins while the gateway runs: installed, reviewed, activated, tried, rolled back, suspended; and what is told of them.
//!
//! One task, the keeper, owns what each channel uses. This handle loads and compiles before it asks the keeper, so that a
//! large component keeps no other channel waiting, and reads what it tells from the store and from what is published.

mod acts;
mod error;
mod judge;
mod keeper;
mod kept;
mod routers;
mod sections;
mod shelf;
mod stage;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use fanfare_model::digest::Digest;
use fanfare_model::id::{DeliveryId, NotificationId};
use fanfare_model::name::ChannelName;
use fanfare_model::notification::{Notification, Target};
pub(crate) use fanfare_runtime::COMPONENT_BYTES_MAX;
use fanfare_runtime::{AttemptInput, AttemptReport, RecipientInfo, Request, Runtime};
use fanfare_store::Store;
use fanfare_store::plugins::{AuditEntry, Component, Generation, Slot, Use};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use self::acts::{Activation, Review, Trial};
pub(crate) use self::acts::{parse_share, percent};
pub use self::error::{ActError, Refused};
use self::keeper::{ACTS_MAX, Act, Keeper, Order, Steer};
use self::shelf::Shelf;
pub(crate) use self::watch::Watch;
use crate::config::{Config, Environment};
use crate::registry::{Setup, SetupError, Signals};

/// Generations that are shown of a channel.
const SHOWN: usize = 20;

/// What plugins need.
pub struct Options {
    /// Loads and stages.
    pub runtime: Runtime,
    /// Keeps components, generations and the audit.
    pub store: Store,
    /// Where secrets are looked up.
    pub environment: Arc<dyn Environment>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").finish_non_exhaustive()
    }
}

/// A handle on plugins and channels; cheap to clone.
#[derive(Clone, Debug)]
pub struct Plugins {
    shelf: Shelf,
    setup: tokio::sync::watch::Receiver<Arc<Setup>>,
    orders: Arc<Mutex<Option<mpsc::Sender<Order>>>>,
    keeper: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// A channel or router as the store knows it.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it uses.
    pub usage: Use,
    /// Its generations, the newest first, and no more than are shown.
    pub generations: Vec<Generation>,
}

impl Record {
    /// A generation, if it is among those that are shown.
    #[must_use]
    pub fn generation(&self, number: u64) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.number == number)
    }
}

impl Plugins {
    /// Serves what `config` names, and what was activated since.
    ///
    /// # Errors
    /// Every section that can't serve.
    pub async fn start(options: Options, config: &Config) -> Result<Self, Vec<SetupError>> {
        let Options { runtime, store, environment } = options;
        let clock = Arc::clone(store.clock());
        let shelf = Shelf { runtime, store: store.plugins(), clock };
        match shelf.store.sweep_components().await {
            Ok(0) => {}
            Ok(swept) => tracing::info!(swept, "installations that were cut off are cleared away"),
            Err(error) => {
                tracing::warn!(error = %error, "installations that were cut off were not cleared away");
            }
        }
        if let Err(error) = shelf.store.prune_audit().await {
            tracing::warn!(error = %error, "old audit entries were not cleared away");
        }
        let (sender, setup) = tokio::sync::watch::channel(Arc::default());
        let mut keeper = Keeper {
            shelf: shelf.clone(),
            environment,
            config: config.clone(),
            channels: std::collections::BTreeMap::new(),
            router: None,
            signals: Arc::new(Signals::default()),
            setup: sender,
        };
        keeper.reload(config.clone()).await?;
        let (orders, waiting) = mpsc::channel(ACTS_MAX);
        let keeper = tokio::spawn(keeper.run(waiting));
        Ok(Self {
            shelf,
            setup,
            orders: Arc::new(Mutex::new(Some(orders))),
            keeper: Arc::new(Mutex::new(Some(keeper))),
        })
    }

    /// Takes no more orders, and writes what is known of candidates.
    pub async fn stop(&self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            let _ = keeper.await;
        }
    }

    /// What serves, and a way to learn of changes.
    #[must_use]
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<Arc<Setup>> {
        self.setup.clone()
    }

    /// What serves now.
    #[must_use]
    pub fn setup(&self) -> Arc<Setup> {
        self.setup.borrow().clone()
    }

    /// The runtime, for what it counts.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.shelf.runtime
    }

    /// Serves `config` in place of what serves now.
    ///
    /// # Errors
    /// Every section that can't serve; then nothing has changed.
    pub async fn reload(&self, config: Config) -> Result<(), Vec<SetupError>> {
        let (answer, answered) = oneshot::channel();
        let asked = self.ask(Order::Reload(Box::new(config), answer)).await;
        let stopping = || {
            vec![SetupError {
                place: "(the gateway)".to_owned(),
                section: "channels".to_owned(),
                code: "server.shutting-down".to_owned(),
                message: "the gateway is stopping".to_owned(),
            }]
        };
        asked.map_err(|_| stopping())?;
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Installs a component.
    ///
    /// # Errors
    /// When it is no plugin that this host can serve, or the store fails.
    pub async fn install(&self, bytes: Vec<u8>, by: &str) -> Result<(Component, bool), ActError> {
        let (component, new) = self.shelf.install(bytes, by).await?;
        if new {
            tracing::info!(
                plugin = component.name,
                digest = component.digest.short(),
                by,
                "plugin installed"
            );
        }
        Ok((component, new))
    }

    /// Takes an installed component away.
    ///
    /// # Errors
    /// When it is not installed, or somebody needs it.
    pub async fn remove(&self, name: &str, by: &str) -> Result<Digest, ActError> {
        let digest = self.shelf.find(name).await?;
        let (answer, answered) = oneshot::channel();
        self.ask(Order::Remove(digest, by.to_owned(), answer)).await?;
        answered.await.unwrap_or(Err(ActError::Stopping))?;
        Ok(digest)
    }

    /// An activation of the plugin that `name` means, loaded and compiled.
    ///
    /// # Errors
    /// When there is no such plugin, or it can't be loaded.
    pub async fn activation(&self, name: &str) -> Result<Activation, ActError> {
        let digest = self.shelf.find(name).await?;
        let found = self.shelf.found(digest).await.map_err(ActError::Refused)?;
        Ok(Activation { found, settings: None, secrets: None, grants: None, canary: None, approve: false })
    }

    /// What an activation would come to, without doing it.
    ///
    /// # Errors
    /// When there is no such channel, or the grants can't be read.
    pub async fn review(&self, name: &ChannelName, activation: &Activation) -> Result<Review, ActError> {
        let record = self.channel(name).await?;
        let current = record.generation(record.usage.current).ok_or_else(|| acts::no_channel(name))?;
        activation.review(name, current).map_err(ActError::Refused)
    }

    /// Serves another plugin or other settings.
    ///
    /// # Errors
    /// [`ActError`]; then nothing has changed.
    pub async fn activate(
        &self,
        name: &ChannelName,
        activation: Activation,
        by: &str,
    ) -> Result<(), ActError> {
        self.act(name, Act::Activate(activation), by).await
    }

    /// Ends a trial, or serves the generation before.
    ///
    /// # Errors
    /// [`ActError`]; then nothing has changed.
    pub async fn rollback(&self, name: &ChannelName, by: &str) -> Result<(), ActError> {
        self.act(name, Act::Rollback, by).await
    }

    /// Begins no more attempts.
    ///
    /// # Errors
    /// [`ActError`]; then nothing has changed.
    pub async fn pause(&self, name: &ChannelName, by: &str) -> Result<(), ActError> {
        self.act(name, Act::Pause, by).await
    }

    /// Begins attempts again, after a pause or a suspension.
    ///
    /// # Errors
    /// [`ActError`]; then nothing has changed.
    pub async fn resume(&self, name: &ChannelName, by: &str) -> Result<(), ActError> {
        self.act(name, Act::Resume, by).await
    }

    /// Routes by another plugin or other settings; what else an activation says is no matter of a router.
    ///
    /// # Errors
    /// [`ActError`]; then nothing has changed.
    pub async fn activate_router(
        &self,
        name: &str,
        activation: Activation,
        by: &str,
    ) -> Result<(), ActError> {
        self.steer(name, Steer::Activate(activation), by).await
    }

    /// Routes by the generation before.
    ///
    /// # Errors
    /// [`ActError`]; then nothing has changed.
    pub async fn rollback_router(&self, name: &str, by: &str) -> Result<(), ActError> {
        self.steer(name, Steer::Rollback, by).await
    }

    async fn steer(&self, name: &str, act: Steer, by: &str) -> Result<(), ActError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Order::Steer(Box::new((name.to_owned(), act, by.to_owned())), answer)).await?;
        answered.await.unwrap_or(Err(ActError::Stopping))
    }

    async fn act(&self, name: &ChannelName, act: Act, by: &str) -> Result<(), ActError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Order::Act(Box::new((name.clone(), act, by.to_owned())), answer)).await?;
        answered.await.unwrap_or(Err(ActError::Stopping))
    }

    async fn ask(&self, order: Order) -> Result<(), ActError> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let orders = orders.ok_or(ActError::Stopping)?;
        orders.send(order).await.map_err(|_| ActError::Stopping)
    }

    /// The plugin that `name` means; one that is built in looks as if it had been installed by the binary.
    ///
    /// # Errors
    /// When there is none, or the store can't be read.
    pub async fn component(&self, name: &str) -> Result<Component, ActError> {
        let digest = self.shelf.find(name).await?;
        if let Some(component) = self.shelf.store.component(digest).await? {
            return Ok(component);
        }
        let found = self.shelf.found(digest).await.map_err(ActError::Refused)?;
        Ok(self.shelf.component(&found.plugin, found.bytes.len(), shelf::BUILT_IN))
    }

    /// What a generation's plugin asks for, and what of it is granted; empty when its component can't be read.
    pub async fn permissions(&self, generation: &Generation) -> Vec<Request> {
        self.shelf.permissions(generation).await.unwrap_or_default()
    }

    /// Makes one attempt with a notification that is made up and kept nowhere. Answers the generation's number, and what
    /// came of it.
    ///
    /// # Errors
    /// When there is no such channel, or none of its generations can be staged.
    pub async fn test(
        &self,
        name: &ChannelName,
        id: NotificationId,
        address: Option<String>,
        by: &str,
    ) -> Result<(u64, AttemptReport), ActError> {
        let setup = self.setup();
        let channel = setup.channels.get(name).ok_or_else(|| acts::no_channel(name))?;
        let Some(generation) = channel.ready.clone() else {
            let why = format!("{name} can't be staged: {}", channel.why().unwrap_or_default());
            return Err(ActError::Conflict(Refused::new("channel.suspended", why)));
        };
        let report = generation.send(self.made_up(name, id, address)?).await;
        let outcome = report.outcome.as_str();
        let code = report.outcome.fault().map(|fault| format!(" ({})", fault.code)).unwrap_or_default();
        let slot = Slot::Channel(name.clone());
        let mut entry = AuditEntry::new(self.shelf.clock.now(), by, "test", slot, format!("{outcome}{code}"));
        (entry.digest, entry.generation) = (Some(generation.plugin().digest()), Some(generation.number()));
        self.shelf.store.note(&entry).await?;
        Ok((generation.number(), report))
    }

    fn made_up(
        &self,
        name: &ChannelName,
        id: NotificationId,
        address: Option<String>,
    ) -> Result<AttemptInput, ActError> {
        let event_type = "fanfare.test".parse().map_err(|error: fanfare_model::name::BadName| {
            ActError::Refused(Refused::new("request.invalid-field", error.to_string()))
        })?;
        let to = vec![Target::Channel { channel: name.clone(), address: address.clone() }];
        let notification = Notification {
            to,
            title: Some(format!("A test of the channel {name}")),
            body: Some(
                "An operator asked for it with `fanfare channel test`. There is nothing to do.".to_owned(),
            ),
            ..Notification::new(id, event_type, self.shelf.clock.now())
        };
        Ok(AttemptInput {
            delivery: DeliveryId { notification: id, index: 0 },
            number: 1,
            notification: Arc::new(notification),
            recipient: RecipientInfo::default(),
            address,
            traceparent: None,
        })
    }

    /// All components in the store.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn components(&self) -> Result<Vec<Component>, ActError> {
        Ok(self.shelf.store.components().await?)
    }

    /// What every channel and router uses.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn uses(&self) -> Result<Vec<(Slot, Use)>, ActError> {
        Ok(self.shelf.store.uses().await?)
    }

    /// One generation.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn generation(&self, slot: &Slot, number: u64) -> Result<Option<Generation>, ActError> {
        Ok(self.shelf.store.generation(slot, number).await?)
    }

    /// What the store knows of a configured channel.
    ///
    /// # Errors
    /// When there is no such channel, or the store can't be read.
    pub async fn channel(&self, name: &ChannelName) -> Result<Record, ActError> {
        if !self.setup.borrow().channels.contains_key(name) {
            return Err(acts::no_channel(name));
        }
        let record = self.record(&Slot::Channel(name.clone())).await?;
        record.ok_or_else(|| acts::no_channel(name))
    }

    /// What the store knows of a configured router.
    ///
    /// # Errors
    /// When there is no such router, or the store can't be read.
    pub async fn router(&self, name: &str) -> Result<Record, ActError> {
        if self.setup.borrow().router.as_ref().is_none_or(|router| router.name != name) {
            return Err(routers::no_router(name));
        }
        let record = self.record(&Slot::Router(name.to_owned())).await?;
        record.ok_or_else(|| routers::no_router(name))
    }

    async fn record(&self, slot: &Slot) -> Result<Option<Record>, ActError> {
        let usage = self.shelf.store.uses().await?.into_iter().find(|(found, _)| found == slot);
        let Some((_, usage)) = usage else { return Ok(None) };
        let mut generations = self.shelf.store.generations(slot, SHOWN).await?;
        for number in [Some(usage.current), usage.canary.map(|canary| canary.candidate)].into_iter().flatten()
        {
            if !generations.iter().any(|generation| generation.number == number) {
                generations.extend(self.shelf.store.generation(slot, number).await?);
            }
        }
        Ok(Some(Record { usage, generations }))
    }

    /// The latest audit entries; about one subject, if one is named.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn audit(&self, subject: Option<&str>, limit: usize) -> Result<Vec<AuditEntry>, ActError> {
        Ok(self.shelf.store.audit(subject, limit).await?)
    }
}
