//! What stood in a segment's header, found out from the frames behind it.
//!
//! A frame's checksum begins with the salt. CRC-32 is linear: of the salt's 64 bits only the 32 bits of state that
//! they leave behind matter, so some salt below 2^32 makes the same checksums as the lost one, and one frame
//! determines it. A second frame proves it, without which nothing is believed.

use std::sync::Arc;

use super::super::files::File;
use super::super::format::{
    FORMAT, FORMAT_PLAIN, HEADER_BYTES, Payload, Place, SegmentHeader, decode_payload,
};
use super::walk::{Reader, Stretch};

/// Frames that begin as one should and are tried; a header lost with much of what follows is past help.
const TRIED_MAX: usize = 64;

/// A reader with a salt that at least two frames prove.
pub(crate) fn recover(file: Arc<dyn File>, segment: u64, length: u64) -> Option<Reader> {
    let mut reader = Reader { file, header: SegmentHeader { format: FORMAT, segment, salt: 0 }, length };
    let mut places = Vec::new();
    reader.candidates_after(0, &mut |at| {
        places.push(at);
        places.len() == TRIED_MAX
    });
    for (tried, at) in places.iter().enumerate() {
        let Some(salt) = solve(&reader, *at) else { continue };
        reader.header.salt = salt;
        let proves = |at: &u64| {
            reader.bytes_of_frame(*at).is_some_and(|(header, payload)| {
                header.holds(Place { header: reader.header, offset: *at }, &payload)
            })
        };
        if places.iter().skip(tried + 1).any(proves) {
            if !begins_with_manifest(&reader) {
                reader.header.format = FORMAT_PLAIN;
            }
            return Some(reader);
        }
    }
    None
}

/// The checksum does not cover the format, but only segments with a manifest at their beginning have the newer one.
fn begins_with_manifest(reader: &Reader) -> bool {
    match reader.next(HEADER_BYTES as u64) {
        Some(Stretch::Frame { payload, .. }) => {
            matches!(decode_payload(&payload), Some(Payload::Manifest(_)))
        }
        // Its first frame is gone as well: repair gives it a manifest.
        _ => true,
    }
}

/// The salt below 2^32 with which the frame at `at` holds, by Gaussian elimination over its bits.
fn solve(reader: &Reader, at: u64) -> Option<u64> {
    let (frame, payload) = reader.bytes_of_frame(at)?;
    let checksum = |salt: u64| {
        let header = SegmentHeader { salt, ..reader.header };
        frame.checksum_at(Place { header, offset: at }, &payload)
    };
    let zero = checksum(0);
    let mut wanted = zero ^ frame.stated_checksum();
    let mut salt = 0_u64;
    // Rows with a leading bit of their own: what a set of salt bits does to the checksum, and which bits.
    let mut rows: Vec<(u32, u64)> = Vec::with_capacity(32);
    for bit in 0..32 {
        let (mut effect, mut bits) = (checksum(1 << bit) ^ zero, 1_u64 << bit);
        for (other, others) in &rows {
            if effect & leading(*other) != 0 {
                effect ^= other;
                bits ^= others;
            }
        }
        if effect != 0 {
            rows.push((effect, bits));
        }
    }
    for (effect, bits) in &rows {
        if wanted & leading(*effect) != 0 {
            wanted ^= effect;
            salt ^= bits;
        }
    }
    (wanted == 0).then_some(salt)
}

fn leading(n: u32) -> u32 {
    n.checked_ilog2().map_or(0, |bit| 1 << bit)
}
