use super::*;
use crate::engine::ReadError;

#[test]
fn a_newer_format_is_refused_by_name_and_damage_is_no_panic() {
    let newer = decode::<DedupRecord>("dedup", &[9, 0, 0]).unwrap_err();
    assert!(newer.0.contains("has format 9") && newer.0.contains("start a newer one"), "{newer}");
    assert_eq!(
        decode::<DedupRecord>("dedup", &[]).unwrap_err(),
        ReadError("a dedup record is empty".to_owned())
    );
    for length in 0..12 {
        assert!(decode::<IdempotencyRecord<'_>>("claim", &vec![1; length]).is_err());
    }
}

#[test]
fn claims_keep_their_bytes() {
    let record = DedupRecord { id: [7; 16], expires_at: 300 };
    let bytes = encode(&record);
    assert_eq!(*bytes, [&[1][..], &[7; 16], &[0xac, 2]].concat());
    assert_eq!(decode::<DedupRecord>("dedup", &bytes), Ok(record));
}
