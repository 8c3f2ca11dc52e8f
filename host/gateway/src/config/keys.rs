//! `[[keys]]`: who may come in, known by the hash of their key only, what each may do, and how fast.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use fanfare_model::digest::Digest;

use super::error::{ConfigError, Faults, Place};
use super::read::section::{Entry, Section};
use super::read::suggest::nearest;
use super::server::Listen;
use crate::auth::Rate;

/// Notifications a second that a rate can say; the least is about one in a quarter of an hour.
const PER_SECOND: RangeInclusive<f64> = 0.001..=1_000_000.0;
const BURST_MAX: u32 = 1_000_000;

/// An API key, by its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyConfig {
    /// Names the caller in the log, and parts the idempotency keys of one caller from another's.
    pub name: String,
    /// The SHA-256 of the key.
    pub sha256: Digest,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// How fast it may submit; none means as fast as it can.
    pub rate: Option<Rate>,
}

/// What a key may do. None includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Submit and cancel notifications.
    Submit,
    /// Read notifications and traces.
    Read,
    /// See and change what is under `/api/v1/admin`.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Submit, Self::Read, Self::Admin];

    /// Its word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no scope.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a scope; the scopes are submit, read and admin{1}")]
pub struct BadScope(String, String);

impl FromStr for Scope {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| {
            let meant = nearest(text, Self::ALL.map(Self::as_str));
            BadScope(
                text.to_owned(),
                meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default(),
            )
        })
    }
}

pub(super) fn keys(entry: Option<&Entry<'_>>) -> Vec<KeyConfig> {
    let mut keys: Vec<KeyConfig> = Vec::new();
    for item in entry.map(Entry::items).unwrap_or_default() {
        let Some(key) = item.section().and_then(key) else { continue };
        if keys.iter().any(|other| other.name == key.name) {
            item.wrong(format!("there are two keys named {:?}", key.name), "give each key a name of its own");
        } else if let Some(other) = keys.iter().find(|other| other.sha256 == key.sha256) {
            let wrong = format!("{:?} and {:?} are the same key", other.name, key.name);
            item.wrong(wrong, "take one away, or make a key for each");
        } else {
            keys.push(key);
        }
    }
    keys
}

fn key(mut section: Section<'_>) -> Option<KeyConfig> {
    let name = section.require("name", r#"name = "ci""#).and_then(|entry| name(&entry));
    let sha256 =
        section.require("sha256", r#"sha256 = "64 hexadecimal digits""#).and_then(|entry| sha256(&entry));
    let scopes = section.require("scopes", r#"scopes = ["submit", "read"]"#).map(|entry| scopes(&entry));
    let rate = section.section("rate").and_then(rate);
    section.finish();
    Some(KeyConfig { name: name?, sha256: sha256?, scopes: scopes?, rate })
}

fn rate(mut section: Section<'_>) -> Option<Rate> {
    let entry = section.require("per_second", "per_second = 100");
    let per_second = entry.and_then(|entry| {
        let per_second = entry.number()?;
        if PER_SECOND.contains(&per_second) {
            return Some(per_second);
        }
        entry.wrong(
            format!("must be from {} to {}", PER_SECOND.start(), PER_SECOND.end()),
            "10 a minute are 0.17 a second",
        );
        None
    });
    let burst = section.take("burst").and_then(|entry| entry.integer(1..=u64::from(BURST_MAX)));
    section.finish();
    let per_second = per_second?;
    // A key that may submit one a minute may submit one at once.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "PER_SECOND is inside of u32")]
    let usual = per_second.ceil() as u32;
    let burst = burst.and_then(|burst| u32::try_from(burst).ok()).unwrap_or(usual);
    Some(Rate { per_second, burst })
}

fn name(entry: &Entry<'_>) -> Option<String> {
    let name = entry.word()?;
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.len() <= 64 && name.chars().all(fine) {
        return Some(name.to_owned());
    }
    entry.wrong("is not a valid name of a key", "use 1 to 64 of letters, digits, -, _ and .");
    None
}

fn sha256(entry: &Entry<'_>) -> Option<Digest> {
    // Not quoted in the error: someone may have written the key itself.
    let Ok(digest) = entry.text()?.parse::<Digest>() else {
        let wrong = "is not a SHA-256 digest, which has 64 hexadecimal digits";
        entry.wrong(wrong, r#"write what `printf %s "$KEY" | sha256sum` prints"#);
        return None;
    };
    let of_nothing = [&b""[..], b"\n"].map(Digest::of);
    if of_nothing.contains(&digest) {
        let wrong = "is the digest of an empty key";
        entry.wrong(wrong, r#"set KEY, then write what `printf %s "$KEY" | sha256sum` prints"#);
        return None;
    }
    Some(digest)
}

fn scopes(entry: &Entry<'_>) -> BTreeSet<Scope> {
    let mut scopes = BTreeSet::new();
    let items = entry.items();
    for item in &items {
        let Some(scope) = item.parse::<Scope>("write one of these") else { continue };
        if !scopes.insert(scope) {
            item.wrong(format!("{scope} is there twice"), "take one away");
        }
    }
    if items.is_empty() {
        entry.wrong("allows nothing", "name at least one of submit, read and admin");
    }
    scopes
}

/// Without keys anybody who can connect may do everything, so only this machine may connect.
pub(super) fn check_open_mode(keys: &[KeyConfig], listen: &Listen, whole: &Place, faults: &Faults) {
    if !keys.is_empty() || listen.address.ip().to_canonical().is_loopback() {
        return;
    }
    let wrong = format!("{} can be reached from other machines, and no key is configured", listen.address);
    let remedy = "listen on 127.0.0.1, or add these lines, with the digest that \
                  `printf %s \"$KEY\" | sha256sum` prints for a key of your own:\n\
                  [[keys]]\n\
                  name = \"ci\"\n\
                  sha256 = \"THE 64 DIGITS\"\n\
                  scopes = [\"submit\", \"read\", \"admin\"]";
    let place = listen.place.clone().unwrap_or_else(|| whole.clone());
    faults.note(ConfigError { place, key: "server.listen".to_owned(), wrong, remedy: remedy.to_owned() });
}
