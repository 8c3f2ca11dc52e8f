//! The decoders of the journal and the index as functions of bytes, for fuzzing.

use super::format::{
    FRAME_HEADER_BYTES, FrameBuilder, FrameHeader, HEADER_BYTES, Payload, Place, SegmentHeader,
    decode_payload,
};
use super::index::Indexed;

/// Reads a segment as a start would, and answers how many whole frames it has. What is whole is sealed again, to
/// the same bytes.
pub(crate) fn segment(bytes: &[u8]) -> usize {
    let Some((head, _)) = bytes.split_at_checked(HEADER_BYTES) else { return 0 };
    let Ok(header) = SegmentHeader::decode(head) else { return 0 };
    assert_eq!(header.encode(), head);
    let mut frames = 0;
    let mut offset = HEADER_BYTES;
    while let Some(found) = bytes.get(offset..).and_then(FrameHeader::decode) {
        let start = offset + FRAME_HEADER_BYTES;
        let Some(payload) = bytes.get(start..).and_then(|rest| rest.get(..found.length as usize)) else {
            break;
        };
        let place = Place { header, offset: offset as u64 };
        if !found.holds(place, payload) {
            break;
        }
        self::payload(payload);
        let mut again = FrameBuilder::default();
        again.clear();
        again.raw(payload);
        let end = start + payload.len();
        assert_eq!(Some(again.seal(place, found.last)), bytes.get(offset..end));
        frames += 1;
        offset = end;
    }
    frames
}

/// What a frame says; it takes no more memory than its bytes pay for.
pub(crate) fn payload(bytes: &[u8]) {
    match decode_payload(bytes) {
        None => {}
        Some(Payload::Changes(changes)) => assert!(changes.len() <= bytes.len()),
        Some(Payload::Manifest(manifest)) => {
            assert!(manifest.segments.len() <= bytes.len());
            let mut again = FrameBuilder::default();
            again.manifest(&manifest);
            let header = SegmentHeader { format: super::format::FORMAT, segment: 1, salt: 0 };
            let sealed = again.seal(Place { header, offset: 0 }, 0);
            let read = sealed.get(FRAME_HEADER_BYTES..).and_then(decode_payload);
            assert_eq!(read, Some(Payload::Manifest(manifest)));
        }
    }
}

/// What the index says of a key.
pub(crate) fn indexed(bytes: &[u8]) {
    let _ = Indexed::decode(bytes);
}
