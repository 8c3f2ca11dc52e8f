//! What was committed and is not in the index yet: read first, written by the committer alone.
//!
//! Two maps: `active` takes new commits; `flushing` is the one that the indexer is writing, and does not change.
//! Both hold tombstones. When the index has made `flushing` durable, the map is dropped and `drops` grows by
//! one, under the same lock.
//!
//! `drops` is what makes an index lookup trustworthy. Say a lookup of a key was begun when `drops` stood at
//! `d`, and the committer, which alone publishes, now finds the key in neither map while `drops` is still
//! `d`. Let `w` be the last write of the key. `w` is not in the maps, so its map was dropped, and since `drops`
//! has not moved since the lookup began, it was dropped before. Dropped means in the index. So the lookup saw `w`.
//! If `drops` did move, the lookup is done again by the committer itself, which can't be overtaken.
//!
//! Values are kept until both maps hold more than the budget; beyond it only those small enough for the index
//! are, and of the others their place in the journal. The number of keys is bounded by the committer, which waits
//! when the indexer is far behind.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::index::INLINE_BYTES_MAX;
use super::journal::{Location, Position};
use crate::engine::{Direction, Key, Value, Version};

/// What the last commit of a key left there.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) version: Version,
    pub(crate) state: State,
}

/// A value, or that there is none any more.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Put { at: Location, value: Option<Value> },
    Gone,
}

impl Entry {
    /// What it adds to the index, nearly. A deletion adds nothing.
    fn index_bytes(&self, key_bytes: usize) -> u64 {
        match &self.state {
            State::Gone => 0,
            State::Put { at, .. } => {
                let inline = if at.length as usize <= INLINE_BYTES_MAX { at.length } else { 0 };
                (key_bytes + PLACE_BYTES) as u64 + u64::from(inline)
            }
        }
    }
}

/// A version and a place, at the most.
const PLACE_BYTES: usize = 32;

/// What the index has yet to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unindexed {
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

impl State {
    fn value_bytes(&self) -> usize {
        match self {
            Self::Put { value: Some(value), .. } => value.len(),
            Self::Put { value: None, .. } | Self::Gone => 0,
        }
    }
}

pub(crate) type Entries = BTreeMap<Key, Entry>;

/// What the deletions in a segment take up, and the newest of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tomb {
    pub(crate) bytes: u64,
    pub(crate) newest: u64,
}

/// The deletions in each segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tombs(pub(crate) BTreeMap<u64, Tomb>);

impl Tombs {
    pub(crate) fn add(&mut self, segment: u64, key_bytes: usize, sequence: u64) {
        self.merge(segment, Tomb { bytes: record_bytes(key_bytes, 0), newest: sequence });
    }

    fn merge(&mut self, segment: u64, more: Tomb) {
        let tomb = self.0.entry(segment).or_default();
        tomb.bytes += more.bytes;
        tomb.newest = tomb.newest.max(more.newest);
    }
}

/// What a record takes up in the journal, nearly.
pub(crate) fn record_bytes(key: usize, value: usize) -> u64 {
    (key + value + RECORD_OVERHEAD_BYTES) as u64
}

/// Kind, lengths, and its share of the transaction's and the frame's headers.
const RECORD_OVERHEAD_BYTES: usize = 8;

/// A map that the indexer writes.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) entries: Arc<Entries>,
    pub(crate) tombs: Tombs,
    pub(crate) covered: Position,
}

#[derive(Debug, Default)]
struct Maps {
    active: Entries,
    active_bytes: usize,
    active_index_bytes: u64,
    flushing: Arc<Entries>,
    flushing_bytes: usize,
    flushing_index_bytes: u64,
    tombs: Tombs,
    covered: Position,
    /// The map that the indexer writes; the same one until it is dropped, however often that fails.
    frozen: Option<Frozen>,
    handed_over: Position,
    drops: u64,
}

impl Maps {
    fn put(&mut self, key: Key, entry: Entry) {
        self.active_bytes += entry.state.value_bytes();
        let key_bytes = key.len();
        self.active_index_bytes += entry.index_bytes(key_bytes);
        if let Some(old) = self.active.insert(key, entry) {
            self.active_bytes -= old.state.value_bytes();
            self.active_index_bytes -= old.index_bytes(key_bytes);
        }
    }
}

/// The overlay.
#[derive(Debug)]
pub(crate) struct Overlay {
    maps: RwLock<Maps>,
    value_bytes_max: usize,
    /// What both maps have for the index, as of the last change: every commit asks before it is queued, and must not wait
    /// for the one that is being published.
    unindexed_keys: AtomicU64,
    unindexed_bytes: AtomicU64,
}

/// An entry, or that there is none and how many maps had been dropped then.
pub(crate) enum Seen {
    Here(Entry),
    Below { drops: u64 },
}

impl Overlay {
    pub(crate) fn new(value_bytes_max: usize, covered: Position) -> Self {
        let maps = RwLock::new(Maps { covered, handed_over: covered, ..Maps::default() });
        let (unindexed_keys, unindexed_bytes) = Default::default();
        Self { maps, value_bytes_max, unindexed_keys, unindexed_bytes }
    }

    /// No code of ours panics with the lock held; a map is whole between any two of its operations.
    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Seen {
        let maps = self.read();
        match maps.active.get(key).or_else(|| maps.flushing.get(key)) {
            Some(entry) => Seen::Here(entry.clone()),
            None => Seen::Below { drops: maps.drops },
        }
    }

    /// Those of `keys` that it does not hold, and how many maps had been dropped then.
    pub(crate) fn lacking<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> (Vec<Key>, u64) {
        let maps = self.read();
        let lacks = |key: &&Key| !maps.active.contains_key(*key) && !maps.flushing.contains_key(*key);
        (keys.filter(lacks).cloned().collect(), maps.drops)
    }

    /// Takes what a frame made durable, up to the journal's new end.
    pub(crate) fn publish(&self, entries: impl Iterator<Item = (Key, Entry)>, tombs: &Tombs, end: Position) {
        let mut maps = self.write();
        for (segment, tomb) in &tombs.0 {
            maps.tombs.merge(*segment, *tomb);
        }
        for (key, mut entry) in entries {
            if let State::Put { value, .. } = &mut entry.state {
                let crowded = maps.active_bytes + maps.flushing_bytes > self.value_bytes_max;
                if crowded && value.as_ref().is_some_and(|value| value.len() > INLINE_BYTES_MAX) {
                    *value = None;
                }
            }
            maps.put(key, entry);
        }
        maps.covered = end;
        self.note(&maps);
    }

    fn note(&self, maps: &Maps) {
        let keys = (maps.active.len() + maps.flushing.len()) as u64;
        self.unindexed_keys.store(keys, Ordering::Relaxed);
        self.unindexed_bytes.store(maps.active_index_bytes + maps.flushing_index_bytes, Ordering::Relaxed);
    }

    /// The position up to which everything was published.
    pub(crate) fn end(&self) -> Position {
        self.read().covered
    }

    /// What flushes have yet to write, the one under way included.
    pub(crate) fn unindexed(&self) -> Unindexed {
        let keys = self.unindexed_keys.load(Ordering::Relaxed);
        Unindexed { keys, bytes: self.unindexed_bytes.load(Ordering::Relaxed) }
    }

    /// Hands the active map to the indexer, with the position that it covers; `None` when there is nothing new. One that
    /// was handed over and not written is handed over again.
    pub(crate) fn freeze(&self) -> Option<Frozen> {
        let mut maps = self.write();
        if maps.frozen.is_some() {
            return maps.frozen.clone();
        }
        if maps.active.is_empty() && maps.covered == maps.handed_over {
            return None;
        }
        let entries = Arc::new(std::mem::take(&mut maps.active));
        maps.flushing = entries.clone();
        maps.flushing_bytes = std::mem::take(&mut maps.active_bytes);
        maps.flushing_index_bytes = std::mem::take(&mut maps.active_index_bytes);
        maps.handed_over = maps.covered;
        maps.frozen = Some(Frozen { entries, tombs: std::mem::take(&mut maps.tombs), covered: maps.covered });
        maps.frozen.clone()
    }

    /// Whether a map was handed over and not written.
    pub(crate) fn is_frozen(&self) -> bool {
        self.read().frozen.is_some()
    }

    /// Forgets the frozen map, which the index now holds.
    pub(crate) fn drop_frozen(&self) {
        let frozen = {
            let mut maps = self.write();
            maps.drops += 1;
            maps.flushing_bytes = 0;
            maps.flushing_index_bytes = 0;
            let dropped = (std::mem::take(&mut maps.flushing), maps.frozen.take());
            self.note(&maps);
            dropped
        };
        // Freeing many values takes a while, so it happens with the lock released.
        drop(frozen);
    }

    /// At most `limit` entries of a range, tombstones included, and whether these are all.
    pub(crate) fn page(
        &self,
        range: &Range<Key>,
        limit: usize,
        direction: Direction,
    ) -> (Vec<(Key, Entry)>, bool) {
        let maps = self.read();
        let bounds = (Bound::Included(range.start.as_slice()), Bound::Excluded(range.end.as_slice()));
        let active = maps.active.range::<[u8], _>(bounds);
        let flushing = maps.flushing.range::<[u8], _>(bounds);
        let mut page = Vec::new();
        match direction {
            Direction::Forward => merge(active.peekable(), flushing.peekable(), direction, limit, &mut page),
            Direction::Backward => {
                merge(active.rev().peekable(), flushing.rev().peekable(), direction, limit, &mut page);
            }
        }
        let complete = page.len() <= limit;
        page.truncate(limit);
        (page, complete)
    }
}

/// Whether `left` comes first in the direction of a scan.
pub(crate) fn before(left: &[u8], right: &[u8], direction: Direction) -> bool {
    match direction {
        Direction::Forward => left < right,
        Direction::Backward => left > right,
    }
}

/// Merges two ordered runs, the upper hiding the lower; collects one more than `limit`, to know whether there is.
fn merge<'a>(
    mut upper: Peekable<impl Iterator<Item = (&'a Key, &'a Entry)>>,
    mut lower: Peekable<impl Iterator<Item = (&'a Key, &'a Entry)>>,
    direction: Direction,
    limit: usize,
    page: &mut Vec<(Key, Entry)>,
) {
    while page.len() <= limit {
        let taken = match (upper.peek(), lower.peek()) {
            (Some((above, _)), Some((below, _))) if above == below => {
                lower.next();
                upper.next()
            }
            (Some((above, _)), Some((below, _))) if before(below, above, direction) => lower.next(),
            (Some(_), _) => upper.next(),
            (None, _) => lower.next(),
        };
        match taken {
            Some((key, entry)) => page.push((key.clone(), entry.clone())),
            None => return,
        }
    }
}
