//! What the index holds: entries, what each segment is said to hold, and the position that is covered; and their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::super::format::{Cursor, put_varint};
use super::super::journal::{Location, Position};
use super::super::overlay::Tombs;
use crate::engine::{Value, Version};

/// Values up to this size lie in the index itself, and a scan of them reads nothing else.
pub(crate) const INLINE_BYTES_MAX: usize = 128;

/// What a segment holds, as of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// Bytes of the records that are current.
    pub(crate) live: i64,
    /// Bytes of its deletions.
    pub(crate) tombs: u64,
    /// The newest of the deletions.
    pub(crate) newest_tomb: u64,
}

/// What all segments hold, and the journal position up to which that is so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares {
    pub(crate) of: BTreeMap<u64, Share>,
    pub(crate) flushed: Position,
}

/// What the index holds of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Indexed {
    pub(crate) version: Version,
    pub(crate) value: Stored,
}

/// A value, or where it is. Both name their segment: the journal must keep inline values too, or the index
/// could not be built again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Inline { segment: u64, value: Value },
    At(Location),
}

impl Stored {
    /// The bytes of the value.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Inline { value, .. } => value.len() as u64,
            Self::At(at) => u64::from(at.length),
        }
    }
}

impl Indexed {
    pub(crate) fn encode(version: Version, at: Location, value: Option<&Value>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        put_varint(&mut bytes, version.0);
        put_varint(&mut bytes, at.segment);
        match value.filter(|value| value.len() <= INLINE_BYTES_MAX) {
            Some(value) => {
                bytes.push(0);
                bytes.extend_from_slice(value);
            }
            None => {
                bytes.push(1);
                put_varint(&mut bytes, at.offset);
                put_varint(&mut bytes, u64::from(at.length));
                bytes.extend(at.crc.to_le_bytes());
            }
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let version = Version(cursor.varint()?);
        let segment = cursor.varint()?;
        let value = if cursor.u8()? == 0 {
            Stored::Inline { segment, value: cursor.0.into() }
        } else {
            let offset = cursor.varint()?;
            let length = u32::try_from(cursor.varint()?).ok()?;
            Stored::At(Location { segment, offset, length, crc: cursor.u32()? })
        };
        Some(Self { version, value })
    }

    /// The segment that must be kept for it, and the length of its value there.
    pub(crate) fn place(&self) -> (u64, usize) {
        match &self.value {
            Stored::Inline { segment, value } => (*segment, value.len()),
            Stored::At(at) => (at.segment, at.length as usize),
        }
    }
}

impl Share {
    pub(crate) fn encode(self) -> Vec<u8> {
        [self.live.to_le_bytes(), self.tombs.to_le_bytes(), self.newest_tomb.to_le_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let live = i64::from_le_bytes(*cursor.take(8)?.first_chunk()?);
        Some(Self { live, tombs: cursor.u64()?, newest_tomb: cursor.u64()? })
    }
}

impl Shares {
    /// Counts a batch, and answers what is said of the segments that it changed.
    pub(crate) fn change(&mut self, live: &BTreeMap<u64, i64>, tombs: &Tombs) -> Vec<(u64, Share)> {
        for (segment, change) in live {
            let share = self.of.entry(*segment).or_default();
            share.live = share.live.saturating_add(*change);
        }
        for (segment, tomb) in &tombs.0 {
            let share = self.of.entry(*segment).or_default();
            share.tombs += tomb.bytes;
            share.newest_tomb = share.newest_tomb.max(tomb.newest);
        }
        let changed: BTreeSet<u64> = live.keys().chain(tombs.0.keys()).copied().collect();
        changed.into_iter().filter_map(|segment| Some((segment, *self.of.get(&segment)?))).collect()
    }
}

pub(crate) fn decoded(bytes: &[u8]) -> io::Result<Indexed> {
    Indexed::decode(bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an entry is unreadable"))
}

pub(crate) fn encode_position(position: Position) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24);
    for n in [position.segment, position.offset, position.sequence] {
        bytes.extend(n.to_le_bytes());
    }
    bytes
}

pub(crate) fn decode_position(bytes: &[u8]) -> Option<Position> {
    let mut cursor = Cursor(bytes);
    Some(Position { segment: cursor.u64()?, offset: cursor.u64()?, sequence: cursor.u64()? })
}
