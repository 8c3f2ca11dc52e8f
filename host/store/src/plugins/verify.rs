//! Whether a record of this layer reads as what its key says it is: for the tools that look at a store from outside.

use super::audit::at;
use super::components::CHUNK_BYTES;
use super::{keys, records};
use crate::engine::{Key, ReadError};

pub(crate) fn verify(key: &[u8], value: &[u8]) -> Result<(), ReadError> {
    let keyless = || ReadError(format!("the key of a plugin record is damaged: {key:02x?}"));
    match key.get(keys::PART_AT) {
        Some(b'i') => keys::parse_digest(key).map(drop).ok_or_else(keyless),
        Some(b'k') => {
            let digest = key.len().checked_sub(size_of::<u16>()).and_then(|end| key.get(..end));
            digest.and_then(keys::parse_digest).ok_or_else(keyless)?;
            let sound = (1..=CHUNK_BYTES).contains(&value.len());
            let wrong = || ReadError(format!("a chunk of a component has {} bytes", value.len()));
            sound.then_some(()).ok_or_else(wrong)
        }
        Some(b'p') => {
            let digest = keys::parse_digest(key).ok_or_else(keyless)?;
            records::decode_component(digest, value).map(drop)
        }
        Some(b'u') => {
            keys::parse_use(key).ok_or_else(keyless)?;
            records::decode_use(value).map(drop)
        }
        Some(b'g') => {
            let number = keys::parse_generation(key).ok_or_else(keyless)?;
            records::decode_generation(number, value).map(drop)
        }
        Some(b'a') => records::decode_audit(at(&Key::from(key))?, value).map(drop),
        _ => Err(keyless()),
    }
}
