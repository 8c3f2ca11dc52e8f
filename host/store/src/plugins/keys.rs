//! Keys below `P`: one byte of part, then what orders the records of it.
//!
//! | part | rest of the key | value |
//! | --- | --- | --- |
//! | `i` intent | digest | empty: chunks of this digest may lie around without their component |
//! | `k` chunk | digest, place | 256 KiB of the component, the last one less |
//! | `p` component | digest | name, version, permissions |
//! | `u` use | kind, name | what serves |
//! | `g` generation | kind, name, 0, number | plugin, settings, grants |
//! | `a` audit | time, place | who did what |

use std::ops::Range;

use fanfare_model::digest::Digest;
use fanfare_model::id::Shard;
use fanfare_model::name::ChannelName;
use fanfare_model::time::Timestamp;

use super::types::Slot;
use crate::engine::Key;
use crate::keys::{self, Kind};

/// Ends a name; no name contains it.
const END: u8 = 0;

/// Where the part stands, behind the shard and the kind.
pub(super) const PART_AT: usize = 3;

#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Part {
    Intent = b'i',
    Chunk = b'k',
    Component = b'p',
    Use = b'u',
    Generation = b'g',
    Audit = b'a',
}

impl Part {
    const ALL: [Self; 6] =
        [Self::Intent, Self::Chunk, Self::Component, Self::Use, Self::Generation, Self::Audit];

    /// The part that a key names.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        let byte = key.get(PART_AT)?;
        Self::ALL.into_iter().find(|part| *part as u8 == *byte)
    }
}

fn prefix(part: Part) -> Key {
    let mut key = keys::all(Shard::EMBEDDED, Kind::Plugin).start;
    key.push(part as u8);
    key
}

/// Every key that begins with `start`, which does not end in 255.
fn below(start: Key) -> Range<Key> {
    let mut end = start.clone();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    start..end
}

pub(super) fn all(part: Part) -> Range<Key> {
    below(prefix(part))
}

fn of_digest(part: Part, digest: &Digest) -> Key {
    let mut key = prefix(part);
    key.extend(digest.as_bytes());
    key
}

pub(super) fn intent(digest: &Digest) -> Key {
    of_digest(Part::Intent, digest)
}

pub(super) fn component(digest: &Digest) -> Key {
    of_digest(Part::Component, digest)
}

/// The digest at the end of an intent's or component's key.
pub(super) fn parse_digest(key: &[u8]) -> Option<Digest> {
    key.get(4..)?.try_into().ok().map(Digest::from_bytes)
}

pub(super) fn chunk(digest: &Digest, place: u16) -> Key {
    let mut key = of_digest(Part::Chunk, digest);
    key.extend(place.to_be_bytes());
    key
}

fn push_slot(key: &mut Key, slot: &Slot) {
    let (kind, name) = match slot {
        Slot::Channel(name) => (b'c', name.as_str()),
        Slot::Router(name) => (b'r', name.as_str()),
    };
    key.push(kind);
    key.extend(name.bytes());
}

pub(super) fn usage(slot: &Slot) -> Key {
    let mut key = prefix(Part::Use);
    push_slot(&mut key, slot);
    key
}

/// The slot at the end of a use's key.
pub(super) fn parse_use(key: &[u8]) -> Option<Slot> {
    let name = std::str::from_utf8(key.get(5..)?).ok()?;
    match key.get(4)? {
        b'c' => ChannelName::stored(name).map(Slot::Channel),
        b'r' => Some(Slot::Router(name.to_owned())),
        _ => None,
    }
}

fn of_slot(slot: &Slot) -> Key {
    let mut key = prefix(Part::Generation);
    push_slot(&mut key, slot);
    key.push(END);
    key
}

pub(super) fn generation(slot: &Slot, number: u64) -> Key {
    let mut key = of_slot(slot);
    key.extend(number.to_be_bytes());
    key
}

/// All generations of a slot.
pub(super) fn generations(slot: &Slot) -> Range<Key> {
    below(of_slot(slot))
}

/// The number at the end of a generation's key.
pub(super) fn parse_generation(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|number| u64::from_be_bytes(*number))
}

pub(super) fn audit(at: Timestamp, place: u32) -> Key {
    let mut key = prefix(Part::Audit);
    key.extend(at.as_ms().to_be_bytes());
    key.extend(place.to_be_bytes());
    key
}
