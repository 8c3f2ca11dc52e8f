//! The decoders of everything that is read from disk, as functions of bytes that may be anything.
//!
//! `host/store/fuzz` runs them under libFuzzer; the tests below run them on the same seeds and on what proptest
//! makes of those, in every run. A decoder may refuse; it may not panic, and not ask for memory that its input
//! does not pay for. What it takes must read the same after it was written again.

use crate::embedded::decoders;
use crate::kinds;

/// A segment: its header, and the frames behind it.
pub fn frames(bytes: &[u8]) {
    decoders::segment(bytes);
    decoders::payload(bytes);
    decoders::indexed(bytes);
}

/// A record, after a byte that says of which kind, and a key.
pub fn records(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let (length, rest) = rest.split_first().unwrap_or((&0, &[]));
    let (key, value) = rest.split_at_checked(usize::from(*length)).unwrap_or((rest, &[]));
    let key = [&[0, 0, *kind], key].concat();
    let _ = kinds::notification(&key);
    let _ = kinds::verify(&key, value);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// The corpus that the fuzzer begins with.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 5, "the corpus of {target} is gone");
        files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
    }

    /// A seed with some bytes changed, taken out and put in, or anything at all.
    fn mutated(target: &str) -> impl Strategy<Value = Vec<u8>> {
        let seeds = seeds(target);
        let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..6);
        let edited = (prop::sample::select(seeds), edits).prop_map(|(mut bytes, edits)| {
            for (place, byte, edit) in edits {
                let at = place.index(bytes.len().max(1));
                match edit {
                    0 if at < bytes.len() => bytes[at] = byte,
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    _ => bytes.insert(at.min(bytes.len()), byte),
                }
            }
            bytes
        });
        prop_oneof![4 => edited, 1 => prop::collection::vec(any::<u8>(), 0..400)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn no_bytes_upset_the_decoders_of_the_journal_and_the_index(bytes in mutated("frames")) {
            frames(&bytes);
        }

        #[test]
        fn no_bytes_upset_the_decoders_of_records(bytes in mutated("records")) {
            records(&bytes);
        }
    }

    #[test]
    fn every_seed_is_taken_by_its_decoder() {
        for seed in seeds("records") {
            let key = [&[0, 0, seed[0]], &seed[2..2 + usize::from(seed[1])]].concat();
            kinds::verify(&key, &seed[2 + usize::from(seed[1])..]).unwrap();
        }
        let whole = seeds("frames").iter().filter(|seed| decoders::segment(seed) > 0).count();
        assert!(whole >= 2, "{whole}");
    }
}
