//! What a client submits: JSON parsed once, here, into an intake [`Draft`] that can't be malformed.
//!
//! Bounded by the size of the body (read with a limit before) and by the constants below. Refuses unknown
//! fields by name, wrong types, bad names and dates, each with a code, a JSON pointer and a sentence.
//! Whether channels and users exist is intake's to say.

mod digits;
mod explain;

use std::time::Duration;

use fanfare_model::json::JsonObject;
use fanfare_model::name::EventType;
use fanfare_model::notification::{ADDRESS_BYTES_MAX, Dedup, Target};
use fanfare_model::priority::Priority;
use fanfare_model::state::DELIVERIES_MAX;
use fanfare_model::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::problem::{Problem, code};
use crate::intake::Draft;

/// A headline longer than this is a body.
pub const TITLE_BYTES_MAX: usize = 4 * 1_024;
/// A dedup key is part of a store key.
pub const DEDUP_KEY_BYTES_MAX: usize = 255;
/// The store keeps a dedup claim no longer than a history.
pub const DEDUP_WINDOW_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Further ahead is more likely a mistake in the date than a plan.
pub const SEND_AT_AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// A notification as it stands on the wire. [`explain`] lists the same fields; a test compares them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireNotification {
    #[serde(rename = "type")]
    event_type: Option<String>,
    to: Option<Vec<WireTarget>>,
    title: Option<String>,
    body: Option<String>,
    data: Option<Map<String, Value>>,
    priority: Option<String>,
    send_at: Option<String>,
    expires_at: Option<String>,
    dedup: Option<WireDedup>,
    metadata: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTarget {
    channel: Option<String>,
    address: Option<String>,
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDedup {
    key: Option<String>,
    window_s: Option<u64>,
}

/// Parses one notification.
///
/// # Errors
/// `request.invalid-json`, `request.unknown-field` or `request.invalid-field`, with what to change.
pub fn notification(json: &[u8], now: Timestamp) -> Result<Draft, Problem> {
    let wire: WireNotification =
        serde_json::from_slice(json).map_err(|error| explain::failure(json, &error))?;
    digits::refuse_lost(json, "/data", wire.data.as_ref())?;
    digits::refuse_lost(json, "/metadata", wire.metadata.as_ref())?;
    wire.into_draft(now)
}

impl WireNotification {
    fn into_draft(self, now: Timestamp) -> Result<Draft, Problem> {
        let event_type = self.event_type.ok_or_else(|| {
            invalid("/type", "type is required: the kind of event, such as \"payment.failed\"")
        })?;
        let event_type: EventType = event_type.parse().map_err(|error| invalid("/type", error))?;
        if self.title.as_ref().is_some_and(|title| title.len() > TITLE_BYTES_MAX) {
            return Err(invalid("/title", format!("title has at most {TITLE_BYTES_MAX} bytes; use body")));
        }
        let priority = match self.priority {
            Some(text) => text.parse::<Priority>().map_err(|error| invalid("/priority", error))?,
            None => Priority::default(),
        };
        Ok(Draft {
            event_type,
            to: targets(self.to.unwrap_or_default())?,
            title: self.title,
            body: self.body,
            data: self.data.map(JsonObject::from).unwrap_or_default(),
            priority,
            send_at: send_at(self.send_at, now)?,
            expires_at: instant("/expires_at", self.expires_at)?,
            dedup: self.dedup.map(dedup).transpose()?,
            metadata: self.metadata.map(JsonObject::from).unwrap_or_default(),
        })
    }
}

fn targets(wire: Vec<WireTarget>) -> Result<Vec<Target>, Problem> {
    if wire.len() > DELIVERIES_MAX {
        let message = format!("to has at most {DELIVERIES_MAX} entries; this one has {}", wire.len());
        return Err(invalid("/to", message));
    }
    wire.into_iter().enumerate().map(|(place, target)| target.parse(place)).collect()
}

impl WireTarget {
    fn parse(self, place: usize) -> Result<Target, Problem> {
        match self {
            Self { channel: Some(channel), user: None, address } => {
                let channel =
                    channel.parse().map_err(|error| invalid(format!("/to/{place}/channel"), error))?;
                if let Some(address) = &address {
                    check_address(address, place)?;
                }
                Ok(Target::Channel { channel, address })
            }
            Self { channel: None, user: Some(user), address: None } => {
                let user = user.parse().map_err(|error| invalid(format!("/to/{place}/user"), error))?;
                Ok(Target::User { user })
            }
            Self { channel: None, user: Some(_), address: Some(_) } => Err(invalid(
                format!("/to/{place}/address"),
                "a user's addresses come from the configuration: take address away, or name a channel in \
                 place of the user",
            )),
            Self { channel: Some(_), user: Some(_), .. } => Err(invalid(
                format!("/to/{place}"),
                "an entry names a channel or a user, not both: make two entries of it",
            )),
            Self { channel: None, user: None, .. } => Err(invalid(
                format!("/to/{place}"),
                "an entry names a channel ({\"channel\": NAME, \"address\": ...}) or a user ({\"user\": ID})",
            )),
        }
    }
}

fn check_address(address: &str, place: usize) -> Result<(), Problem> {
    let sound = (1..=ADDRESS_BYTES_MAX).contains(&address.len()) && !address.chars().any(char::is_control);
    if sound {
        return Ok(());
    }
    let rule = format!("an address is 1 to {ADDRESS_BYTES_MAX} bytes without control characters");
    Err(invalid(format!("/to/{place}/address"), rule))
}

fn instant(pointer: &'static str, text: Option<String>) -> Result<Option<Timestamp>, Problem> {
    text.map(|text| text.parse().map_err(|error| invalid(pointer, error))).transpose()
}

fn send_at(text: Option<String>, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let at = instant("/send_at", text)?;
    match at {
        Some(at) if at > now.plus(SEND_AT_AHEAD_MAX) => {
            Err(invalid("/send_at", format!("{at} is more than a year ahead; the clock here says {now}")))
        }
        at => Ok(at),
    }
}

fn dedup(wire: WireDedup) -> Result<Dedup, Problem> {
    let key = wire.key.ok_or_else(|| invalid("/dedup/key", "dedup needs a key"))?;
    if !(1..=DEDUP_KEY_BYTES_MAX).contains(&key.len()) || key.chars().any(char::is_control) {
        let rule = format!("a dedup key is 1 to {DEDUP_KEY_BYTES_MAX} bytes without control characters");
        return Err(invalid("/dedup/key", rule));
    }
    let window_s = wire.window_s.ok_or_else(|| invalid("/dedup/window_s", "dedup needs a window_s"))?;
    let window = Duration::from_secs(window_s);
    if window.is_zero() || window > DEDUP_WINDOW_MAX {
        let rule = format!("window_s is 1 to {} seconds (30 days)", DEDUP_WINDOW_MAX.as_secs());
        return Err(invalid("/dedup/window_s", rule));
    }
    Ok(Dedup { key, window })
}

#[allow(clippy::needless_pass_by_value, reason = "takes errors straight from map_err")]
fn invalid(pointer: impl Into<String>, message: impl ToString) -> Problem {
    Problem::new(code::INVALID_FIELD, message.to_string()).at(pointer)
}

#[cfg(test)]
mod tests;
