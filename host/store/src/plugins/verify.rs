//! Whether a record of this layer reads as what its key says it is: for the tools that look at a store from outside.

use super::audit::at;
use super::components::CHUNK_BYTES;
use super::keys::{self, Part};
use super::records;
use crate::engine::ReadError;

pub(crate) fn verify(key: &[u8], value: &[u8]) -> Result<(), ReadError> {
    let keyless = || ReadError(format!("the key of a plugin record is damaged: {key:02x?}"));
    match Part::of(key) {
        Some(Part::Intent) => keys::parse_digest(key).map(drop).ok_or_else(keyless),
        Some(Part::Chunk) => {
            let digest = key.len().checked_sub(size_of::<u16>()).and_then(|end| key.get(..end));
            digest.and_then(keys::parse_digest).ok_or_else(keyless)?;
            let sound = (1..=CHUNK_BYTES).contains(&value.len());
            let wrong = || ReadError(format!("a chunk of a component has {} bytes", value.len()));
            sound.then_some(()).ok_or_else(wrong)
        }
        Some(Part::Component) => {
            let digest = keys::parse_digest(key).ok_or_else(keyless)?;
            records::decode_component(digest, value).map(drop)
        }
        Some(Part::Use) => {
            keys::parse_use(key).ok_or_else(keyless)?;
            records::decode_use(value).map(drop)
        }
        Some(Part::Generation) => {
            let number = keys::parse_generation(key).ok_or_else(keyless)?;
            records::decode_generation(number, value).map(drop)
        }
        Some(Part::Audit) => records::decode_audit(at(key)?, value).map(drop),
        None => Err(keyless()),
    }
}
