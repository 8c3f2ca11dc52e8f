//! What lies on disk: one version byte, then postcard. Apart from the domain's types, so that these can change
//! while old records stay readable.
//!
//! It refuses records of a newer version and records that break the domain's rules, by name; it never panics.

mod claim;
mod notification;
mod state;

use fanfare_model::delivery::HISTORY_MAX;
use serde::{Deserialize, Serialize};

use crate::engine::{ReadError, Value};

pub(crate) use self::claim::{AnswerPartRecord, DeadRecord, DedupRecord, IdempotencyRecord};
pub(crate) use self::notification::{decode_notification, encode_notification};
pub(crate) use self::state::{CHUNK, decode_chunk, decode_head, encode_chunk, encode_head};

/// The version of a plain record.
const VERSION: u8 = 1;

/// The version of a record with an extension behind it, which older programs can't read.
const EXTENDED: u8 = 2;

/// Attempts and events that are kept of each delivery, from all of them down to what a record needs to fit.
const HISTORIES: [usize; 4] = [HISTORY_MAX, 16, 4, 1];

/// Most records are smaller than this, and grow no further while they are written.
const ROOM: usize = 512;

/// The record with as much history as fits into `bytes_max`, the latest of it first. The shortest one is taken
/// as it is: addresses and names are bounded by the size of a notification.
pub(crate) fn fitting(bytes_max: usize, encode: impl Fn(usize) -> Value) -> Value {
    let [all, shorter @ ..] = HISTORIES;
    let mut value = encode(all);
    for history in shorter {
        if value.len() <= bytes_max {
            break;
        }
        value = encode(history);
    }
    value
}

pub(crate) fn encode<T: Serialize>(record: &T) -> Value {
    let mut buffer = Vec::with_capacity(ROOM);
    buffer.push(VERSION);
    // Serialising plain structs into a growing vector has no way to fail; an empty record would be refused when
    // it is read.
    postcard::to_extend(record, buffer).unwrap_or_default().into()
}

/// A record with an extension behind it; without one it stays as older programs read it.
pub(crate) fn encode_extended<T: Serialize, E: Serialize>(record: &T, extension: Option<&E>) -> Value {
    let Some(extension) = extension else { return encode(record) };
    let mut buffer = Vec::with_capacity(ROOM);
    buffer.push(EXTENDED);
    let extended =
        postcard::to_extend(record, buffer).and_then(|buffer| postcard::to_extend(extension, buffer));
    extended.unwrap_or_default().into()
}

/// A record of either version; the default extension stands for none.
pub(crate) fn decode_extended<'a, T, E>(what: &str, bytes: &'a [u8]) -> Result<(T, E), ReadError>
where
    T: Deserialize<'a>,
    E: Deserialize<'a> + Default,
{
    let Some((&EXTENDED, rest)) = bytes.split_first() else {
        return Ok((decode(what, bytes)?, E::default()));
    };
    let parts = postcard::take_from_bytes(rest).and_then(|(record, rest)| {
        let (extension, rest) = postcard::take_from_bytes(rest)?;
        Ok((record, extension, rest))
    });
    match parts {
        Ok((record, extension, [])) => Ok((record, extension)),
        Ok((_, _, more)) => Err(damaged(what, &format!("{} bytes follow it", more.len()))),
        Err(error) => Err(damaged(what, &error)),
    }
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, ReadError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((record, [])) => Ok(record),
            Ok((_, more)) => Err(damaged(what, &format!("{} bytes follow it", more.len()))),
            Err(error) => Err(damaged(what, &error)),
        },
        Some((version, _)) => Err(ReadError(format!(
            "a {what} record has format {version}, and this version of Fanfare reads formats up to {EXTENDED}: start a newer one"
        ))),
        None => Err(ReadError(format!("a {what} record is empty"))),
    }
}

pub(crate) fn damaged(what: &str, why: &dyn std::fmt::Display) -> ReadError {
    ReadError(format!("a {what} record is damaged: {why}"))
}

#[cfg(test)]
mod tests;
