//! The entries of a batch, cut out of its body without being parsed.
//!
//! Bounded: entries beyond [`BATCH_MAX`] are counted and not kept, because 16 MiB of `1,1,1` are millions of them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Notifications in one batch.
pub(super) const BATCH_MAX: usize = 1_000;

/// The first [`BATCH_MAX`] entries, and how many there are in all.
#[derive(Debug)]
pub(super) struct Items<'a> {
    pub(super) kept: Vec<&'a RawValue>,
    pub(super) count: usize,
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of notifications")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Items<'de>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < BATCH_MAX
            && let Some(entry) = entries.next_element()?
        {
            kept.push(entry);
        }
        let mut count = kept.len();
        while entries.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Items { kept, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_beyond_the_limit_are_counted_and_not_kept() {
        for (count, kept) in [(0, 0), (1, 1), (1_000, 1_000), (1_001, 1_000), (5_000, 1_000)] {
            let json = serde_json::to_string(&vec![1; count]).unwrap();
            let items: Items<'_> = serde_json::from_str(&json).unwrap();
            assert_eq!((items.count, items.kept.len()), (count, kept));
        }
    }

    #[test]
    fn what_is_no_array_is_refused() {
        for json in ["{}", "1", "[1,", "[1 2]", "null"] {
            assert!(serde_json::from_str::<Items<'_>>(json).is_err(), "{json}");
        }
    }
}
