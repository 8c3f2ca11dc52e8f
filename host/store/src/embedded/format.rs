//! The journal's bytes: segment headers, frames, and the changes inside a frame. Format 2; format 1 is read.
//!
//! All integers are little-endian; `varint` is LEB128.
//!
//! ```text
//! segment header, 32 bytes:  magic 8 | format u32 | segment u64 | salt u64 | crc u32
//! frame header, 20 bytes:    magic 4 | payload length u32 | last sequence u64 | crc u32
//! payload:                   transactions, or a manifest
//! transaction:               sequence varint (from 1) | changes varint | changes
//! change:                    0 = delete, 1 = put (u8) | key length varint | key | [value length varint | value]
//! manifest:                  0 (u8) | base varint | segments varint | segments
//! segment of a manifest:     number, less the one before it, varint | bytes varint
//! ```
//!
//! Format 2 adds two things. A *copy* is a transaction whose sequence is not above all before it: reclaiming a
//! segment writes what is still needed of it again, under the sequence that it had. For each key the sequences
//! never fall along the journal, but for deletions that are copied while the key is absent; so whoever reads the
//! segments in their order may let the last record of a key win. The *manifest* is the first frame of each
//! segment, and is written anew when segments are dropped: the last one of the newest segment says which
//! older segments there are, and how long each is. What it does not name was dropped, what it names and is not
//! there is lost, and bytes beyond the length belong to a write that failed. Its base is the last sequence given
//! out before it. Segments of format 1 have no gaps in their numbers.
//!
//! A frame's checksum covers the salt of its segment, the segment's number, the frame's offset, its length and
//! last sequence, and the payload. So a frame that lies where it was not written is not a frame, and nobody
//! who can only choose values can make bytes that look like one: they don't know the salt.

use std::collections::BTreeMap;

/// The format that this code writes; the header's own layout never changes.
pub(crate) const FORMAT: u32 = 2;

/// The oldest that it reads, and the last one without manifests and copies.
pub(crate) const FORMAT_PLAIN: u32 = 1;

/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: usize = 32;

/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 20;

/// No frame is longer: one call may carry a batch of 16 MiB and what is kept about it.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// What every frame begins with; what a search for a whole frame after a broken one looks for.
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"\xf4FRM";

const SEGMENT_MAGIC: [u8; 8] = *b"FANFJRNL";

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) format: u32,
    pub(crate) segment: u64,
    pub(crate) salt: u64,
}

/// Why a segment's header can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Broken,
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(SEGMENT_MAGIC);
        bytes.extend(self.format.to_le_bytes());
        bytes.extend(self.segment.to_le_bytes());
        bytes.extend(self.salt.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let broken = BadHeader::Broken;
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(broken)?;
        let mut cursor = Cursor(body);
        let magic = cursor.take(SEGMENT_MAGIC.len()).ok_or(broken)?;
        if magic != SEGMENT_MAGIC || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(broken);
        }
        let format = cursor.u32().ok_or(broken)?;
        if format > FORMAT {
            return Err(BadHeader::Newer(format));
        }
        if format < FORMAT_PLAIN {
            return Err(broken);
        }
        Ok(Self { format, segment: cursor.u64().ok_or(broken)?, salt: cursor.u64().ok_or(broken)? })
    }
}

/// Where a frame lies, and with which salt: what its checksum is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) header: SegmentHeader,
    pub(crate) offset: u64,
}

impl Place {
    fn checksum(&self, length: u32, last: u64, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.header.salt.to_le_bytes());
        hasher.update(&self.header.segment.to_le_bytes());
        hasher.update(&self.offset.to_le_bytes());
        hasher.update(&length.to_le_bytes());
        hasher.update(&last.to_le_bytes());
        hasher.update(payload);
        hasher.finalize()
    }
}

/// A frame's header as it was read; believed only once [`FrameHeader::holds`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) length: u32,
    pub(crate) last: u64,
    crc: u32,
}

impl FrameHeader {
    /// `None` where no frame can begin.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        if cursor.take(FRAME_MAGIC.len())? != FRAME_MAGIC {
            return None;
        }
        let header = Self { length: cursor.u32()?, last: cursor.u64()?, crc: cursor.u32()? };
        (header.length as usize <= PAYLOAD_BYTES_MAX).then_some(header)
    }

    pub(crate) fn holds(&self, place: Place, payload: &[u8]) -> bool {
        self.crc == self.checksum_at(place, payload)
    }

    /// What its checksum ought to be, there and with that payload.
    pub(crate) fn checksum_at(&self, place: Place, payload: &[u8]) -> u32 {
        place.checksum(self.length, self.last, payload)
    }

    /// What it says itself.
    pub(crate) fn stated_checksum(&self) -> u32 {
        self.crc
    }
}

/// A frame being written; its buffer is used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
}

/// A buffer that grew beyond this for one large group is given back.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

impl FrameBuilder {
    pub(crate) fn clear(&mut self) {
        if self.bytes.capacity() > BUFFER_BYTES_KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.bytes.resize(FRAME_HEADER_BYTES, 0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() <= FRAME_HEADER_BYTES
    }

    pub(crate) fn begin_transaction(&mut self, sequence: u64, changes: usize) {
        put_varint(&mut self.bytes, sequence);
        put_varint(&mut self.bytes, changes as u64);
    }

    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.bytes.push(0);
        self.put_bytes(key);
    }

    /// Answers where the value begins, counted from the frame's first byte.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> u64 {
        self.bytes.push(1);
        self.put_bytes(key);
        put_varint(&mut self.bytes, value.len() as u64);
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(value);
        at
    }

    /// Takes a payload as it was read.
    pub(crate) fn raw(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
    }

    /// Makes it the frame of a manifest.
    pub(crate) fn manifest(&mut self, manifest: &Manifest) {
        self.clear();
        self.bytes.push(0);
        put_varint(&mut self.bytes, manifest.base);
        put_varint(&mut self.bytes, manifest.segments.len() as u64);
        let mut before = 0;
        for (number, bytes) in &manifest.segments {
            put_varint(&mut self.bytes, number - before);
            put_varint(&mut self.bytes, *bytes);
            before = *number;
        }
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        put_varint(&mut self.bytes, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The whole frame, sealed for a place.
    pub(crate) fn seal(&mut self, place: Place, last: u64) -> &[u8] {
        if let Some((header, payload)) = self.bytes.split_first_chunk_mut::<FRAME_HEADER_BYTES>() {
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            let crc = place.checksum(length, last, payload);
            let fields = FRAME_MAGIC
                .into_iter()
                .chain(length.to_le_bytes())
                .chain(last.to_le_bytes())
                .chain(crc.to_le_bytes());
            for (byte, field) in header.iter_mut().zip(fields) {
                *byte = field;
            }
        }
        &self.bytes
    }
}

/// Which segments there are beside the one that says so, and what was committed before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The last sequence given out before the segment was made.
    pub(crate) base: u64,
    /// Numbers and lengths of all older segments.
    pub(crate) segments: BTreeMap<u64, u64>,
}

/// A change as it stands in the journal: counters are resolved, so that replay needs no earlier value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replayed<'a> {
    pub(crate) sequence: u64,
    pub(crate) key: &'a [u8],
    /// The value, and where it begins in the payload.
    pub(crate) value: Option<(&'a [u8], u64)>,
}

/// What a frame says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    /// Changes in their order.
    Changes(Vec<Replayed<'a>>),
    Manifest(Manifest),
}

/// What a payload says; `None` when it is not one.
pub(crate) fn decode_payload(payload: &[u8]) -> Option<Payload<'_>> {
    if payload.first() == Some(&0) {
        return decode_manifest(payload.get(1..)?).map(Payload::Manifest);
    }
    let mut cursor = Cursor(payload);
    let mut changes = Vec::new();
    while !cursor.0.is_empty() {
        let sequence = cursor.varint()?;
        for _ in 0..cursor.varint()? {
            let kind = cursor.u8()?;
            let key = cursor.block()?;
            let value = match kind {
                0 => None,
                1 => {
                    let value = cursor.block()?;
                    let at = payload.len() - cursor.0.len() - value.len();
                    Some((value, at as u64))
                }
                _ => return None,
            };
            changes.push(Replayed { sequence, key, value });
        }
    }
    Some(Payload::Changes(changes))
}

fn decode_manifest(bytes: &[u8]) -> Option<Manifest> {
    let mut cursor = Cursor(bytes);
    let base = cursor.varint()?;
    let mut segments = BTreeMap::new();
    let mut number = 0_u64;
    for _ in 0..cursor.varint()? {
        number = number.checked_add(cursor.varint()?)?;
        segments.insert(number, cursor.varint()?);
    }
    cursor.0.is_empty().then_some(Manifest { base, segments })
}

/// Appends an integer in LEB128.
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

/// Takes fields off the front.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    fn block(&mut self) -> Option<&'a [u8]> {
        let n = usize::try_from(self.varint()?).ok()?;
        self.take(n)
    }
}
