//! The registry: which channels, router and users serve now, as one immutable value behind one pointer.
//!
//! A [`Setup`] is built whole from a configuration, or not at all: any error leaves the one that serves. A channel
//! whose section did not change keeps its generation.

mod build;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::name::{ChannelName, UserId};
use fanfare_model::retry::RetryPolicy;
use fanfare_runtime::{ChannelGeneration, RouterGeneration, Runtime};
use tokio::sync::watch;

use crate::config::Config;

/// Everything that serves, at one moment.
#[derive(Debug, Default)]
pub struct Setup {
    /// Channels by name.
    pub channels: BTreeMap<ChannelName, Arc<Channel>>,
    /// The router, if one is configured.
    pub router: Option<Router>,
    /// The directory of users.
    pub users: BTreeMap<UserId, User>,
}

/// A channel that serves.
#[derive(Debug)]
pub struct Channel {
    /// Plugin, settings and grants.
    pub generation: Arc<ChannelGeneration>,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Attempts that may be under way at once.
    pub slots: usize,
    /// Who is told when a delivery of this channel goes dead.
    pub alert_channel: Option<ChannelName>,
    fingerprint: String,
}

/// The router that serves.
#[derive(Debug)]
pub struct Router {
    /// Plugin and settings.
    pub generation: Arc<RouterGeneration>,
    /// How long a decision may take.
    pub deadline: Duration,
    fingerprint: String,
}

/// Someone who receives.
#[derive(Clone, Debug)]
pub struct User {
    /// For people.
    pub name: Option<String>,
    /// BCP 47.
    pub locale: Option<String>,
    /// IANA time zone.
    pub zone: Option<String>,
    /// Ways to reach them, in order of preference.
    pub contacts: Vec<(ChannelName, Option<String>)>,
}

impl User {
    /// Their address on a channel.
    #[must_use]
    pub fn address(&self, channel: &ChannelName) -> Option<String> {
        self.contacts.iter().find(|(name, _)| name == channel)?.1.clone()
    }
}

/// A section of the configuration that can't serve, and why.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{place}: {section}: {message} ({code})")]
pub struct SetupError {
    /// File, line and column of the section.
    pub place: String,
    /// Such as `channels.ops-hook`.
    pub section: String,
    /// The stable code.
    pub code: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Holds the setup that serves, and replaces it.
#[derive(Debug)]
pub struct Registry {
    runtime: Runtime,
    setup: watch::Sender<Arc<Setup>>,
}

impl Registry {
    /// Loads everything that `config` names, and begins to serve it.
    ///
    /// # Errors
    /// Every section that can't serve.
    pub async fn start(runtime: Runtime, config: &Config) -> Result<Self, Vec<SetupError>> {
        let (setup, _) = build::setup(&runtime, config, &Setup::default()).await?;
        let (setup, _) = watch::channel(Arc::new(setup));
        Ok(Self { runtime, setup })
    }

    /// Serves what `config` names in place of what serves now; attempts under way end on their own generation.
    ///
    /// # Errors
    /// Every section that can't serve; then nothing has changed.
    pub async fn reload(&self, config: &Config) -> Result<(), Vec<SetupError>> {
        let current = self.setup.borrow().clone();
        let (setup, renewals) = build::setup(&self.runtime, config, &current).await?;
        // Only now, when nothing can fail any more.
        renewals.into_iter().for_each(fanfare_runtime::Renewal::apply);
        self.setup.send_replace(Arc::new(setup));
        Ok(())
    }

    /// The runtime that its generations belong to.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What serves, and a way to learn of changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Setup>> {
        self.setup.subscribe()
    }
}
