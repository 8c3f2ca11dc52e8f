//! What lies on disk: one version byte, then postcard. Apart from the domain's types, so that these can change
//! while old records stay readable.
//!
//! It refuses records of a newer version and records that break the domain's rules, by name; it never panics.

mod claim;
mod notification;
mod state;

use serde::{Deserialize, Serialize};

use crate::engine::{ReadError, Value};

pub(crate) use self::claim::{DeadRecord, DedupRecord, IdempotencyRecord};
pub(crate) use self::notification::{decode_notification, encode_notification};
pub(crate) use self::state::{CHUNK, decode_chunk, decode_head, encode_chunk, encode_head};

/// The only version so far.
const VERSION: u8 = 1;

pub(crate) fn encode<T: Serialize>(record: &T) -> Value {
    let buffer = vec![VERSION];
    // Serialising plain structs into a growing vector has no way to fail; an empty record would be refused when
    // it is read.
    postcard::to_extend(record, buffer).unwrap_or_default().into()
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, ReadError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest)
            .map_err(|error| ReadError(format!("a {what} record is damaged: {error}"))),
        Some((version, _)) => Err(ReadError(format!(
            "a {what} record has format {version}, and this version of Fanfare reads formats up to {VERSION}: start a newer one"
        ))),
        None => Err(ReadError(format!("a {what} record is empty"))),
    }
}

pub(crate) fn damaged(what: &str, why: &dyn std::fmt::Display) -> ReadError {
    ReadError(format!("a {what} record is damaged: {why}"))
}

#[cfg(test)]
mod tests;
