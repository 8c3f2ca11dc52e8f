//! The keeper: one task that owns what each channel uses, does one act after the other, and publishes what serves.
//!
//! An act is staged first, then written to the store, and then published by one pointer: killed in between, the next start
//! finds the old or the new state and nothing in the middle. Bounded by [`ACTS_MAX`] acts that wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::name::ChannelName;
use fanfare_model::time::Timestamp;
use fanfare_store::engine::CommitError;
use fanfare_store::plugins::{AuditEntry, Generation, Move, Slot, Use};
use tokio::sync::{mpsc, oneshot, watch};

use super::acts::Activation;
use super::error::ActError;
use super::kept::Kept;
use super::routers::KeptRouter;
use super::shelf::Shelf;
use crate::config::{Config, Environment};
use crate::registry::{Router, RouterHalt, Setup, SetupError, Signals, User};

/// Acts that may wait for their turn.
pub(super) const ACTS_MAX: usize = 64;

/// The keeper looks at candidates' scores at least so often while there is one, and writes what has grown.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who does what the configuration says.
pub(super) const FILE: &str = "file";

/// What the keeper is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Serve this configuration.
    Reload(Box<Config>, oneshot::Sender<Result<(), Vec<SetupError>>>),
    /// Do this to a channel.
    Act(Box<(ChannelName, Act, String)>, oneshot::Sender<Result<(), ActError>>),
    /// Do this to a router.
    Steer(Box<(String, Steer, String)>, oneshot::Sender<Result<(), ActError>>),
    /// Take a component out of the store, if nothing needs it.
    Remove(fanfare_model::digest::Digest, String, oneshot::Sender<Result<(), ActError>>),
}

/// What is done to a channel.
#[derive(Debug)]
pub(super) enum Act {
    /// Serve another plugin, or the same with other settings.
    Activate(Activation),
    /// End a trial, or serve the generation before.
    Rollback,
    /// Begin no attempt.
    Pause,
    /// Begin attempts again.
    Resume,
}

/// What is done to a router.
#[derive(Debug)]
pub(super) enum Steer {
    /// Serve another plugin, or the same with other settings.
    Activate(Activation),
    /// Serve the generation before.
    Rollback,
}

/// Owns what serves.
pub(super) struct Keeper {
    pub(super) shelf: Shelf,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) config: Config,
    pub(super) channels: BTreeMap<ChannelName, Kept>,
    pub(super) router: Option<KeptRouter>,
    pub(super) signals: Arc<Signals>,
    pub(super) setup: watch::Sender<Arc<Setup>>,
}

impl Keeper {
    /// Works until nobody can ask it any more, and writes what it knows of candidates.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let signals = Arc::clone(&self.signals);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => break,
                },
                rung = signals.taken() => {
                    for name in rung {
                        self.look_at(&name).await;
                    }
                }
                () = tokio::time::sleep(self.pause()) => self.look_at_clock().await,
            }
        }
        self.write_scores(0).await;
    }

    async fn obey(&mut self, order: Order) {
        // Whoever asked may have gone meanwhile; what was done stays done.
        match order {
            Order::Reload(config, answer) => {
                let _ = answer.send(self.reload(*config).await);
            }
            Order::Act(act, answer) => {
                let (name, act, by) = *act;
                let _ = answer.send(self.act(&name, act, &by).await);
            }
            Order::Steer(act, answer) => {
                let (name, act, by) = *act;
                let _ = answer.send(self.steer(&name, act, &by).await);
            }
            Order::Remove(digest, by, answer) => {
                let _ = answer.send(self.remove(digest, &by).await);
            }
        }
    }

    /// How long nothing happens by itself.
    fn pause(&self) -> Duration {
        let elapsed = self.now().0;
        // A paused channel is not probed.
        let probes = self
            .channels
            .values()
            .filter(|kept| kept.usage.paused.is_none())
            .filter_map(|kept| kept.probe_at);
        let next = probes.map(|(at, _)| at.saturating_sub(elapsed)).min();
        let trial = self.channels.values().any(|kept| kept.usage.canary.is_some());
        let most = if trial { LOOK_EVERY } else { Duration::from_secs(3_600) };
        next.map_or(most, |next| next.min(most))
    }

    pub(super) fn now(&self) -> (Duration, Timestamp) {
        (self.shelf.clock.elapsed(), self.shelf.clock.now())
    }

    /// Everybody sees what the keeper knows.
    pub(super) fn publish(&self) {
        let channels = self.channels.iter().filter_map(|(name, kept)| {
            let section = self.config.channels.get(name)?;
            Some((name.clone(), Arc::new(kept.channel(section))))
        });
        let users: BTreeMap<_, User> =
            self.config.users.iter().map(|(id, section)| (id.clone(), super::stage::user(section))).collect();
        let router = self.router.as_ref().zip(self.config.router.as_ref());
        let router = router.map(|(kept, section)| Router {
            name: section.name.clone(),
            generation: kept
                .serving
                .clone()
                .map_err(|refused| RouterHalt { code: refused.code.to_owned(), message: refused.message }),
            number: kept.usage.current,
            plugin: format!("{} {}", kept.record.plugin_name, kept.record.plugin_version),
            file: section.plugin.file().map(ToOwned::to_owned),
            deadline: section.deadline,
        });
        self.setup.send_replace(Arc::new(Setup { channels: channels.collect(), router, users }));
    }

    /// Writes one channel's change, with what is new of it.
    pub(super) async fn write(
        &self,
        name: &ChannelName,
        usage: &Use,
        generation: Option<Generation>,
        audit: Option<AuditEntry>,
    ) -> Result<(), CommitError> {
        let slot = Slot::Channel(name.clone());
        self.shelf.store.write(vec![Move { slot, usage: usage.clone(), generation, audit }]).await
    }

    /// An entry about a channel or router.
    pub(super) fn entry(&self, slot: &Slot, by: &str, act: &str, detail: String) -> AuditEntry {
        AuditEntry::new(self.now().1, by, act, slot, detail)
    }
}

/// The permissions of a generation, one a line: what it asked for, and what it was granted.
pub(super) fn permissions(generation: &Generation) -> Vec<String> {
    let mut lines: Vec<String> =
        generation.asked.lines().iter().map(|line| format!("asks for {line}")).collect();
    let grants = &generation.grants;
    lines.extend(grants.http.iter().map(|line| format!("granted http {line}")));
    lines.extend(grants.smtp.iter().map(|line| format!("granted smtp {line}")));
    if grants.allow_private {
        lines.push("granted private addresses".to_owned());
    }
    lines.extend(
        generation.secrets.iter().map(|(name, reference)| format!("given secret {name} from {reference}")),
    );
    lines
}

/// Fills in what an entry says about a change of generations.
pub(super) fn compare(entry: &mut AuditEntry, new: &Generation, old: Option<&Generation>) {
    let (now, before) = (permissions(new), old.map(permissions).unwrap_or_default());
    entry.digest = Some(new.plugin);
    entry.generation = Some(new.number);
    entry.added = now.iter().filter(|line| !before.contains(line)).cloned().collect();
    entry.removed = before.into_iter().filter(|line| !now.contains(line)).collect();
}
