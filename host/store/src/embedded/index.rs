//! The index: sled, behind one writer. What it holds can always be made again from the journal.
//!
//! One tree with 128 entries a leaf: key -> version and a small value, or the value's place in the journal.
//! Beside the keys, which begin with a shard below 4,096, lie some of its own above `0xffff`: its format, the
//! journal position that is covered, and what each segment holds ([`Share`]).
//!
//! sled panics where it meets what it does not expect, so every call goes through [`guarded`]. A failure is not
//! repaired here: the engine stops, and the next start builds the index anew.
//!
//! sled's own flusher is given an interval that never ends rather than none: without one, sled flushes whenever
//! a handle is dropped, and each iterator is a handle, so that every scan would flush half of what is being
//! written. With it, only [`Index::flush`] does, and what lies between two flushes is durable as one.
//!
//! sled keeps some 80 bytes for each key that was written since it was opened, whatever its cache size; closing
//! and opening it gives them back, so that is done after [`WRITES_BEFORE_RECYCLING`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::format::{Cursor, put_varint};
use super::journal::{Location, Position};
use super::overlay::{Entries, Frozen, State, Tombs, record_bytes};
use crate::engine::{Direction, Key, Value, Version};

/// Values up to this size lie in the index itself, and a scan of them reads nothing else.
pub(crate) const INLINE_BYTES_MAX: usize = 128;

/// About 48 MiB of sled's memory.
const WRITES_BEFORE_RECYCLING: u64 = 600_000;

/// Clean leaves kept in memory.
const CACHE_BYTES: usize = 24 << 20;

/// A child process reaches its `exec` sooner.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);

/// About 285 years: sled's flusher sleeps until it is told to stop.
const NEVER_MS: usize = 9_000_000_000_000;

/// The format of what is in the tree. One of an older format is built anew.
const FORMAT: u32 = 2;
const FORMAT_KEY: &[u8] = b"\xff\xffformat";
const COVERED: &[u8] = b"\xff\xffcovered/1";
const SHARE: &[u8] = b"\xff\xffshare/";
const SHARES_END: &[u8] = b"\xff\xffshare0";

type Db = sled::Db<128>;

/// sled failed; the text is for people.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the index failed: {0}")]
pub(crate) struct IndexError(pub(crate) String);

/// Why an index could not be opened.
#[derive(Clone, Debug)]
pub(crate) enum Unopened {
    /// A newer version wrote it.
    Newer(u32),
    /// It can be built again.
    Unusable(IndexError),
}

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
    fn encode(version: Version, at: Location, value: Option<&Value>) -> Vec<u8> {
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
    fn place(&self) -> (u64, usize) {
        match &self.value {
            Stored::Inline { segment, value } => (*segment, value.len()),
            Stored::At(at) => (at.segment, at.length as usize),
        }
    }
}

/// The index.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    handles: Mutex<Handles>,
    returned: Condvar,
    writes: AtomicU64,
    shares: Mutex<Shares>,
    /// Segments that are gone, to be forgotten with the next batch.
    gone: Mutex<Vec<u64>>,
}

/// A handle of sled serves one thread at a time; they are lent, so that there are no more than threads, and so
/// that all can be called in.
#[derive(Debug)]
struct Handles {
    first: Option<Db>,
    idle: Vec<Db>,
    lent: usize,
    called_in: bool,
}

impl Index {
    /// Opens or creates it, and answers the position it covers; on a thread of its own, where a panic is an error.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<Position>), Unopened> {
        let owned = path.to_owned();
        let failed = |text: String| Unopened::Unusable(IndexError(text));
        let opening = std::thread::Builder::new().name("fanfare-index-open".to_owned()).spawn(move || {
            guarded(|| {
                let db = open_db(&owned)?;
                let (format, covered) = (db.get(FORMAT_KEY)?, db.get(COVERED)?);
                let shares = read_shares(&db)?;
                Ok((db, format, covered, shares))
            })
        });
        let opening = opening.map_err(|error| failed(error.to_string()))?;
        let opened = opening.join().map_err(|_| failed("it panicked".to_owned()))?;
        let (db, format, covered, of) = opened.map_err(Unopened::Unusable)?;
        let format = format.and_then(|bytes| (*bytes).try_into().ok()).map(u32::from_le_bytes);
        let covered = match (covered, format) {
            (None, _) => None,
            (Some(_), Some(newer)) if newer > FORMAT => return Err(Unopened::Newer(newer)),
            (Some(_), None | Some(..FORMAT)) => return Err(failed("it has an older format".to_owned())),
            (Some(bytes), Some(_)) => {
                let position = decode_position(&bytes);
                Some(position.ok_or_else(|| failed("its position is unreadable".to_owned()))?)
            }
        };
        let handles = Handles { first: Some(db), idle: Vec::new(), lent: 0, called_in: false };
        let index = Self {
            path: path.to_owned(),
            handles: Mutex::new(handles),
            returned: Condvar::new(),
            writes: AtomicU64::new(0),
            shares: Mutex::new(Shares { of, flushed: covered.unwrap_or_default() }),
            gone: Mutex::default(),
        };
        Ok((index, covered))
    }

    /// The newest format that is known here.
    pub(crate) fn format() -> u32 {
        FORMAT
    }

    /// Says that it has another format than it has.
    #[cfg(test)]
    pub(crate) fn pretend_format(&self, format: u32) {
        self.with(|db| db.insert(FORMAT_KEY, format.to_le_bytes().to_vec()).map(drop)).unwrap();
        self.with(|db| db.flush().map(drop)).unwrap();
    }

    /// What each segment holds, as of the last flush.
    pub(crate) fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what a dropped segment held.
    pub(crate) fn forget(&self, segments: &[u64]) {
        self.shares().of.retain(|segment, _| !segments.contains(segment));
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).extend(segments);
    }

    fn lock(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&Db) -> io::Result<T>) -> Result<T, IndexError> {
        let db = {
            let mut handles = self.lock();
            while handles.called_in {
                handles = self.returned.wait(handles).unwrap_or_else(PoisonError::into_inner);
            }
            let Some(db) = handles.idle.pop().or_else(|| handles.first.clone()) else {
                return Err(IndexError("it is closed".to_owned()));
            };
            handles.lent += 1;
            db
        };
        let result = guarded(|| work(&db));
        let mut handles = self.lock();
        handles.idle.push(db);
        handles.lent -= 1;
        if handles.called_in {
            self.returned.notify_all();
        }
        result
    }

    /// Calls all handles in and gives them to `work`; whoever needs one waits.
    fn alone<T>(&self, work: impl FnOnce(&mut Handles) -> T) -> T {
        let mut handles = self.lock();
        handles.called_in = true;
        while handles.lent > 0 {
            handles = self.returned.wait(handles).unwrap_or_else(PoisonError::into_inner);
        }
        let result = work(&mut handles);
        handles.called_in = false;
        drop(handles);
        self.returned.notify_all();
        result
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Indexed>, IndexError> {
        self.with(|db| db.get(key)?.map(|bytes| decoded(&bytes)).transpose())
    }

    /// At most `limit` entries of a range, in the order of `direction`.
    pub(crate) fn page(
        &self,
        range: &Range<Key>,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Indexed)>, IndexError> {
        let owned = |entry: io::Result<(sled::InlineArray, sled::InlineArray)>| {
            let (key, bytes) = entry?;
            Ok((key.to_vec(), decoded(&bytes)?))
        };
        self.with(|db| match direction {
            // sled's forward iterator does not stop at the end of its range: where that has fewer entries than
            // are asked for, it reads every leaf behind it. So it gets no end, and what it gives is looked at.
            Direction::Forward => {
                let inside = |entry: &io::Result<(sled::InlineArray, sled::InlineArray)>| {
                    entry.as_ref().map_or(true, |(key, _)| **key < *range.end)
                };
                db.range::<&[u8], _>(range.start.as_slice()..)
                    .take_while(inside)
                    .take(limit)
                    .map(owned)
                    .collect()
            }
            Direction::Backward => {
                let found = db.range::<&[u8], _>(range.start.as_slice()..range.end.as_slice());
                found.rev().take(limit).map(owned).collect()
            }
        })
    }

    /// Writes a map, and that the journal is covered up to its end; nothing is durable before [`Self::flush`].
    pub(crate) fn apply(&self, frozen: &Frozen) -> Result<(), IndexError> {
        self.writes.fetch_add(frozen.entries.len() as u64, Ordering::Relaxed);
        let gone = std::mem::take(&mut *self.gone.lock().unwrap_or_else(PoisonError::into_inner));
        let changes = self.with(|db| {
            let live = write_entries(db, &frozen.entries)?;
            for segment in gone {
                db.remove(share_key(segment))?;
            }
            db.insert(FORMAT_KEY, FORMAT.to_le_bytes().to_vec())?;
            db.insert(COVERED, encode_position(frozen.covered))?;
            Ok(live)
        })?;
        let changed = self.shares().change(&changes, &frozen.tombs);
        self.with(|db| {
            for (segment, share) in changed {
                db.insert(share_key(segment), share.encode())?;
            }
            Ok(())
        })
    }

    /// Makes everything applied durable, as one, up to `covered`.
    pub(crate) fn flush(&self, covered: Position) -> Result<(), IndexError> {
        self.with(|db| db.flush().map(|_| ()))?;
        self.shares().flushed = covered;
        Ok(())
    }

    /// Closes and opens sled when enough was written since it was opened; everything must be flushed.
    pub(crate) fn recycle_if_grown(&self) -> Result<(), IndexError> {
        if self.writes.load(Ordering::Relaxed) < WRITES_BEFORE_RECYCLING {
            return Ok(());
        }
        self.writes.store(0, Ordering::Relaxed);
        self.alone(|handles| {
            guarded(|| {
                handles.drop_all();
                handles.first = Some(open_db(&self.path)?);
                Ok(())
            })
        })
    }

    /// Closes it; everything must be flushed.
    pub(crate) fn close(&self) -> Result<(), IndexError> {
        self.alone(|handles| {
            guarded(|| {
                handles.drop_all();
                Ok(())
            })
        })
    }

    /// Lets go of sled without closing it: closing flushes, and sled ends the process if that fails, as it does on a
    /// full disk and after a failure. Opened again by this very process, the index is found locked, and built anew.
    #[allow(clippy::mem_forget, reason = "the engine ends, and the process is about to stop")]
    pub(crate) fn abandon(&self) {
        let mut handles = self.lock();
        std::mem::forget(handles.first.take());
        std::mem::forget(std::mem::take(&mut handles.idle));
    }
}

impl Handles {
    /// sled closes with its last handle.
    fn drop_all(&mut self) {
        self.idle.clear();
        self.first = None;
    }
}

impl Share {
    fn encode(self) -> Vec<u8> {
        [self.live.to_le_bytes(), self.tombs.to_le_bytes(), self.newest_tomb.to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let live = i64::from_le_bytes(*cursor.take(8)?.first_chunk()?);
        Some(Self { live, tombs: cursor.u64()?, newest_tomb: cursor.u64()? })
    }
}

impl Shares {
    /// Counts a batch, and answers what is said of the segments that it changed.
    fn change(&mut self, live: &BTreeMap<u64, i64>, tombs: &Tombs) -> Vec<(u64, Share)> {
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

/// Answers by how much the live bytes of segments changed.
fn write_entries(db: &Db, entries: &Entries) -> io::Result<BTreeMap<u64, i64>> {
    let mut live: BTreeMap<u64, i64> = BTreeMap::new();
    let mut count = |segment, key: &Key, value: usize, sign: i64| {
        let bytes = i64::try_from(record_bytes(key.len(), value)).unwrap_or(i64::MAX);
        *live.entry(segment).or_default() += sign * bytes;
    };
    for (key, entry) in entries {
        let old = match &entry.state {
            State::Put { at, value } => {
                count(at.segment, key, at.length as usize, 1);
                db.insert(key, Indexed::encode(entry.version, *at, value.as_ref()))?
            }
            State::Gone => db.remove(key)?,
        };
        if let Some(old) = old {
            let (segment, value) = decoded(&old)?.place();
            count(segment, key, value, -1);
        }
    }
    Ok(live)
}

fn share_key(segment: u64) -> Vec<u8> {
    [SHARE, &segment.to_be_bytes()].concat()
}

fn read_shares(db: &Db) -> io::Result<BTreeMap<u64, Share>> {
    let mut shares = BTreeMap::new();
    for entry in db.range::<&[u8], _>(SHARE..SHARES_END) {
        let (key, value) = entry?;
        let segment = key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        if let (Some(segment), Some(share)) = (segment, Share::decode(&value)) {
            shares.insert(segment, share);
        }
    }
    Ok(shares)
}

/// Opens sled. The store's own lock is held, so a lock on the index can only be the last handle's, copied into a
/// child process that has not reached its `exec` (sled itself starts `sync` when it opens): it goes in a moment.
fn open_db(path: &Path) -> io::Result<Db> {
    let config = sled::Config::new()
        .path(path)
        .flush_every_ms(Some(NEVER_MS))
        .cache_capacity_bytes(CACHE_BYTES)
        .zstd_compression_level(1);
    let started = Instant::now();
    loop {
        match config.open() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && started.elapsed() < LOCK_WAIT_MAX => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// Runs a call of sled, and makes a panic an error.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| IndexError(error.to_string())),
        Err(_) => Err(IndexError("it panicked".to_owned())),
    }
}

fn decoded(bytes: &[u8]) -> io::Result<Indexed> {
    Indexed::decode(bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an entry is unreadable"))
}

fn encode_position(position: Position) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24);
    for n in [position.segment, position.offset, position.sequence] {
        bytes.extend(n.to_le_bytes());
    }
    bytes
}

fn decode_position(bytes: &[u8]) -> Option<Position> {
    let mut cursor = Cursor(bytes);
    Some(Position { segment: cursor.u64()?, offset: cursor.u64()?, sequence: cursor.u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frozen(entries: Entries, tombs: Tombs) -> Frozen {
        Frozen { entries: std::sync::Arc::new(entries), tombs, covered: Position::default() }
    }

    #[test]
    fn entries_read_back_as_they_were_written() {
        let at = Location { segment: 3, offset: 300, length: 2, crc: 9 };
        let small = Value::from(*b"ab");
        let inline = Indexed::decode(&Indexed::encode(Version(7), at, Some(&small)));
        let value = Stored::Inline { segment: 3, value: small };
        assert_eq!(inline, Some(Indexed { version: Version(7), value }));
        let placed = Indexed::decode(&Indexed::encode(Version(7), at, None));
        assert_eq!(placed, Some(Indexed { version: Version(7), value: Stored::At(at) }));
    }

    #[test]
    fn the_live_bytes_of_each_segment_follow_what_is_replaced_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (index, _) = Index::open(directory.path()).unwrap();
        let put = |segment, length| State::Put {
            at: Location { segment, offset: 40, length, crc: 0 },
            value: None,
        };
        let entry = |n, state| super::super::overlay::Entry { version: Version(n), state };
        let live = |index: &Index, segment| index.shares().of.get(&segment).unwrap().live;
        let first = [(vec![0, 0, 1], entry(1, put(1, 500))), (vec![0, 0, 2], entry(1, put(1, 70)))];
        index.apply(&frozen(Entries::from(first), Tombs::default())).unwrap();
        assert_eq!(live(&index, 1), 570 + 2 * 11);
        let second = [(vec![0, 0, 1], entry(2, put(2, 900))), (vec![0, 0, 2], entry(2, State::Gone))];
        let mut tombs = Tombs::default();
        tombs.add(2, 3, 2);
        index.apply(&frozen(Entries::from(second), tombs)).unwrap();
        index.flush(Position::default()).unwrap();
        let of = index.shares().of.clone();
        assert_eq!(of[&1], Share::default());
        assert_eq!(of[&2], Share { live: 911, tombs: 11, newest_tomb: 2 });
        index.close().unwrap();
        let (again, _) = Index::open(directory.path()).unwrap();
        assert_eq!(again.shares().of, of);
    }

    #[test]
    fn a_page_of_a_short_range_reads_nothing_of_what_lies_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let (index, _) = Index::open(directory.path()).unwrap();
        let at = Location { segment: 1, offset: 40, length: 5, crc: 0 };
        let entry = |n: u32| {
            let entry =
                super::super::overlay::Entry { version: Version(1), state: State::Put { at, value: None } };
            ([vec![0, 0], n.to_be_bytes().to_vec()].concat(), entry)
        };
        index.apply(&frozen((0..6_400).map(entry).collect(), Tombs::default())).unwrap();
        index.flush(Position::default()).unwrap();
        let leaves_read = |index: &Index| {
            let stats = index.with(|db| Ok(db.stats().cache)).unwrap();
            stats.cache_hits + stats.cache_misses
        };
        let before = leaves_read(&index);
        for direction in [Direction::Forward, Direction::Backward] {
            let page = index.page(&(entry(10).0..entry(15).0), 1_000, direction).unwrap();
            assert_eq!(page.len(), 5);
        }
        let read = leaves_read(&index) - before;
        assert!(read < 10, "{read} leaves were read, of fifty and more");
    }

    #[test]
    fn an_index_that_has_grown_is_opened_again_with_all_that_it_held() {
        let directory = tempfile::tempdir().unwrap();
        let (index, _) = Index::open(directory.path()).unwrap();
        let at = Location { segment: 1, offset: 40, length: 5, crc: 0 };
        let entry =
            super::super::overlay::Entry { version: Version(1), state: State::Put { at, value: None } };
        index.apply(&frozen(Entries::from([(vec![0, 0, 1], entry)]), Tombs::default())).unwrap();
        index.flush(Position::default()).unwrap();
        index.writes.store(WRITES_BEFORE_RECYCLING, Ordering::Relaxed);
        index.recycle_if_grown().unwrap();
        assert_eq!(index.writes.load(Ordering::Relaxed), 0);
        let expected = Indexed { version: Version(1), value: Stored::At(at) };
        assert_eq!(index.get(&[0, 0, 1]).unwrap(), Some(expected));
    }
}
