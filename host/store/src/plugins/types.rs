//! What the layer keeps, as its users see it.

use std::collections::BTreeMap;
use std::fmt;

use fanfare_model::digest::Digest;
use fanfare_model::name::ChannelName;
use fanfare_model::time::Timestamp;

use crate::engine::{CommitError, ReadError};

/// Who uses a plugin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// A channel.
    Channel(ChannelName),
    /// A router, by its name.
    Router(String),
}

impl Slot {
    /// `channel` or `router`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Channel(_) => "channel",
            Self::Router(_) => "router",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(name) => write!(f, "channel {name}"),
            Self::Router(name) => write!(f, "router {name}"),
        }
    }
}

/// What a plugin's manifest asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Origins, as the manifest writes them.
    pub http: Vec<String>,
    /// Mail servers.
    pub smtp: Vec<String>,
    /// Secrets by name.
    pub secrets: Vec<String>,
    /// Whether secrets may stand in request bodies.
    pub secrets_in_body: bool,
}

impl Asked {
    /// One line for each permission, such as `http https://api.example.org`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let kinds = [("http", &self.http), ("smtp", &self.smtp), ("secret", &self.secrets)];
        let mut lines: Vec<String> = kinds
            .into_iter()
            .flat_map(|(kind, names)| names.iter().map(move |name| format!("{kind} {name}")))
            .collect();
        if self.secrets_in_body {
            lines.push("secrets in request bodies".to_owned());
        }
        lines
    }

    /// What it asks for that `other` does not.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        let known = other.lines();
        self.lines().into_iter().filter(|line| !known.contains(line)).collect()
    }
}

/// A component in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// By its manifest.
    pub name: String,
    /// By its manifest.
    pub version: String,
    /// `channel` or `router`.
    pub kind: String,
    /// By its manifest.
    pub description: String,
    /// By its manifest.
    pub asked: Asked,
    /// When it came.
    pub installed_at: Timestamp,
    /// Who brought it.
    pub installed_by: String,
}

/// Grants as the configuration writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantLines {
    /// Origins.
    pub http: Vec<String>,
    /// Mail servers.
    pub smtp: Vec<String>,
    /// Whether granted names may lead to private addresses.
    pub allow_private: bool,
}

/// Plugin, settings and grants of a slot, swapped as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number; grows by one with each.
    pub number: u64,
    /// The component.
    pub plugin: Digest,
    /// The component's name, for people.
    pub plugin_name: String,
    /// The component's version, for people.
    pub plugin_version: String,
    /// A JSON object.
    pub settings: String,
    /// References such as `env:TOKEN`, by the secret's name.
    pub secrets: BTreeMap<String, String>,
    /// What is granted.
    pub grants: GrantLines,
    /// What the plugin asked for when it was approved.
    pub asked: Asked,
    /// The generation that served before: where a rollback leads.
    pub before: Option<u64>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Who made it: an API key's name, or `file`.
    pub made_by: String,
    /// Why, as a sentence.
    pub why: String,
}

/// Attempts of one side of a canary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// All.
    pub attempts: u64,
    /// Those that did not deliver.
    pub faults: u64,
}

/// A candidate beside the generation that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The generation on trial.
    pub candidate: u64,
    /// Its part of the deliveries, in hundredths of a per cent.
    pub share: u16,
    /// It is rolled back when its rate of faults is over so many hundredths of the other's.
    pub ratio_percent: u32,
    /// It is judged after so many attempts.
    pub attempts_min: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// The candidate's.
    pub new: Score,
    /// The other's since then.
    pub old: Score,
}

/// A person stopped a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
}

/// The gateway stopped a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// When.
    pub at: Timestamp,
    /// The stable code.
    pub code: String,
    /// Why, as a sentence.
    pub message: String,
    /// Probes that failed.
    pub probes: u32,
}

/// What a slot uses now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Of the section of the configuration that was looked at last.
    pub section: Digest,
    /// The last number that was given.
    pub newest: u64,
    /// The generation that serves.
    pub current: u64,
    /// A candidate.
    pub canary: Option<Canary>,
    /// Stopped by a person.
    pub paused: Option<Pause>,
    /// Stopped by the gateway.
    pub suspended: Option<Suspension>,
}

/// One act, who did it, and what it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: an API key's name, `file`, or the rule that decided.
    pub by: String,
    /// What, as one word such as `activate`.
    pub act: String,
    /// On what: a channel, a router or a plugin.
    pub subject: String,
    /// The component.
    pub digest: Option<Digest>,
    /// The generation.
    pub generation: Option<u64>,
    /// A sentence for people.
    pub detail: String,
    /// Permissions that came with it.
    pub added: Vec<String>,
    /// Permissions that went with it.
    pub removed: Vec<String>,
}

impl AuditEntry {
    /// One about no component, generation or permission; who knows of them adds them.
    #[must_use]
    pub fn new(at: Timestamp, by: &str, act: &str, subject: impl fmt::Display, detail: String) -> Self {
        Self {
            at,
            by: by.to_owned(),
            act: act.to_owned(),
            subject: subject.to_string(),
            digest: None,
            generation: None,
            detail,
            added: Vec::new(),
            removed: Vec::new(),
        }
    }
}

/// Why a component was not stored.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InstallError {
    /// It is larger than a component may be.
    #[error("it has {0} bytes, and 64 MiB are allowed")]
    TooLarge(usize),
    /// The store can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store can't be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}
