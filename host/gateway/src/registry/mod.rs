//! The registry: which channels, router and users serve now, as one immutable value behind one pointer.
//!
//! A [`Setup`] is replaced whole. Attempts under way keep the channel that they began with, and so end on their own
//! generation. Who replaces it is [`crate::plugins`]; nothing here decides, reads a file or touches the store.

mod lineup;
mod vigil;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::name::{ChannelName, UserId};
use fanfare_model::retry::RetryPolicy;
use fanfare_model::time::Timestamp;
use fanfare_runtime::{ChannelGeneration, RouterGeneration};

pub use self::lineup::{Lineup, Made, Trial};
pub use self::vigil::{Seen, Signals, Vigil};

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

/// A configured channel.
#[derive(Debug)]
pub struct Channel {
    /// Whether it makes attempts, and by what.
    pub state: State,
    /// The number of the generation that serves, or would.
    pub generation: u64,
    /// Its plugin's name and version.
    pub plugin: String,
    /// The file that its section names, if it names one.
    pub file: Option<PathBuf>,
    /// The generation that serves, also while it makes no attempts; none when it can't be staged.
    pub ready: Option<Arc<ChannelGeneration>>,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Attempts that may be under way at once.
    pub slots: usize,
    /// Who is told when a delivery of this channel goes dead.
    pub alert_channel: Option<ChannelName>,
    /// Watches what its attempts come to.
    pub vigil: Arc<Vigil>,
}

/// Whether a channel makes attempts.
#[derive(Clone, Debug)]
pub enum State {
    /// By these generations.
    Open(Lineup),
    /// Not now: its deliveries are parked.
    Halted(Halt),
}

/// Why a channel makes no attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// A person stopped it.
    Paused {
        /// Since when.
        at: Timestamp,
        /// Who.
        by: String,
    },
    /// The gateway stopped it.
    Suspended {
        /// Since when.
        at: Timestamp,
        /// The stable code.
        code: String,
        /// Why, as a sentence.
        message: String,
        /// Probes that failed.
        probes: u32,
        /// When the next probe begins, by the wall clock.
        probe_at: Timestamp,
    },
}

impl Channel {
    /// Attempts that may begin at once now: none while it is halted, one while it is probed.
    #[must_use]
    pub fn open_slots(&self) -> Option<usize> {
        match &self.state {
            State::Halted(_) => None,
            State::Open(_) if self.vigil.is_probe() => Some(1),
            State::Open(_) => Some(self.slots),
        }
    }

    /// Every answer of [`Self::word`].
    pub const WORDS: [&'static str; 5] = ["serving", "canary", "probing", "paused", "suspended"];

    /// Why it makes no attempts, as a sentence.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        match &self.state {
            State::Open(_) => None,
            State::Halted(Halt::Paused { by, .. }) => Some(format!("paused by {by}")),
            State::Halted(Halt::Suspended { code, message, .. }) => Some(format!("{message} ({code})")),
        }
    }

    /// Its state as a word: `serving`, `canary`, `probing`, `paused` or `suspended`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match &self.state {
            State::Halted(Halt::Paused { .. }) => "paused",
            State::Halted(Halt::Suspended { .. }) => "suspended",
            State::Open(_) if self.vigil.is_probe() => "probing",
            State::Open(lineup) if lineup.trial.is_some() => "canary",
            State::Open(_) => "serving",
        }
    }
}

/// The configured router.
#[derive(Debug)]
pub struct Router {
    /// Its name.
    pub name: String,
    /// Plugin and settings; the reason why it can't route, where it could before and can't now.
    pub generation: Result<Arc<RouterGeneration>, RouterHalt>,
    /// The generation's number.
    pub number: u64,
    /// Its plugin's name and version.
    pub plugin: String,
    /// The file that its section names, if it names one.
    pub file: Option<PathBuf>,
    /// How long a decision may take.
    pub deadline: Duration,
}

/// Why the router can't route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterHalt {
    /// The stable code.
    pub code: String,
    /// Why, as a sentence.
    pub message: String,
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
