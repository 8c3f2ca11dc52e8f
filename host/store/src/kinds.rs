//! What a record is, told from its key, and whether it can be read: for the tools that look at a store from outside.
//!
//! Kinds that are not known here count as other records, and are not looked into.

use fanfare_model::id::NotificationId;
use fanfare_model::json::JsonObject;

use crate::claims;
use crate::engine::{ReadError, counter};
use crate::keys::{self, DueEntry};
use crate::plugins;
use crate::records::{self, CHUNK, DeadRecord};

/// The name of a record's kind, as `fanfare store stats` prints it.
pub(crate) fn name(key: &[u8]) -> &'static str {
    match key.get(2) {
        Some(b'B') => "body",
        Some(b'S') => "state",
        Some(b'D') => "due",
        Some(b'L') => "dead-letter",
        Some(b'U') => "user",
        Some(b'I') => "idempotency",
        Some(b'K') => "dedup",
        Some(b'C') => "counter",
        Some(b'P') => "plugin",
        _ => "other",
    }
}

/// The notification that a key belongs to; claims and counters belong to none.
pub(crate) fn notification(key: &[u8]) -> Option<NotificationId> {
    match key.get(2)? {
        b'B' | b'S' => key.get(3..)?.first_chunk().map(|id| NotificationId::from_bytes(*id)),
        b'L' => keys::parse_dead(key).map(|(_, delivery)| delivery.notification),
        b'U' => keys::parse_user(key),
        // A due key ends with the notification and two bytes of index.
        b'D' => {
            let (id, _) = key.split_last_chunk::<2>()?;
            id.last_chunk().map(|id| NotificationId::from_bytes(*id))
        }
        _ => None,
    }
}

/// Whether a record reads as what its key says it is.
pub(crate) fn verify(key: &[u8], value: &[u8]) -> Result<(), ReadError> {
    let keyless = || ReadError(format!("the key of a {} record is damaged: {key:02x?}", name(key)));
    match key.get(2) {
        Some(b'B') => {
            let id = notification(key).ok_or_else(keyless)?;
            let read = records::decode_notification(id, value)?;
            let is_canonical =
                |object: &JsonObject| JsonObject::parse(object.as_str()).as_ref() == Ok(object);
            let holds = is_canonical(&read.data) && is_canonical(&read.metadata);
            let odd =
                || ReadError(format!("the data or metadata of notification {id} is not as it was written"));
            holds.then_some(()).ok_or_else(odd)
        }
        Some(b'S') => match keys::parse_state(key).ok_or_else(keyless)? {
            (id, 0) => records::decode_head(id, value).map(drop),
            (id, place) => records::decode_chunk(id, usize::from(place) * CHUNK, value).map(drop),
        },
        Some(b'D') => DueEntry::parse(key, value).map(drop).ok_or_else(keyless),
        Some(b'L') => {
            keys::parse_dead(key).ok_or_else(keyless)?;
            records::decode::<DeadRecord<'_>>("dead letter", value).map(drop)
        }
        Some(b'U') => keys::parse_user(key).map(drop).ok_or_else(keyless),
        Some(b'I' | b'K') => claims::expires_at(key, value).map(drop),
        Some(b'C') => counter(Some(value)).map(drop).map_err(|error| ReadError(error.to_string())),
        Some(b'P') => plugins::verify(key, value),
        _ => Ok(()),
    }
}
