//! The index: sled, behind one writer. What it holds can always be made again from the journal.
//!
//! One tree with 128 entries a leaf: key -> version and a small value, or the value's place in the journal.
//! Beside the keys, which begin with a shard below 4,096, lie two kinds of its own above `0xffff`: the journal
//! position that is covered, and the bytes of live records of each segment.
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

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::format::{Cursor, put_varint};
use super::journal::{Location, Position};
use super::overlay::{Entries, State};
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

const COVERED: &[u8] = b"\xff\xffcovered/1";
const LIVE: &[u8] = b"\xff\xfflive/";

type Db = sled::Db<128>;

/// sled failed; the text is for people.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the index failed: {0}")]
pub(crate) struct IndexError(pub(crate) String);

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

    fn decode(bytes: &[u8]) -> Option<Self> {
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

    /// The segment that must be kept for it, and the bytes of its value there.
    fn footprint(&self) -> (u64, i64) {
        match &self.value {
            Stored::Inline { segment, value } => (*segment, i64::try_from(value.len()).unwrap_or(i64::MAX)),
            Stored::At(at) => (at.segment, i64::from(at.length)),
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
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<Position>), IndexError> {
        let owned = path.to_owned();
        let opening = std::thread::Builder::new().name("fanfare-index-open".to_owned()).spawn(move || {
            guarded(|| {
                let db = open_db(&owned)?;
                let covered = db.get(COVERED)?;
                Ok((db, covered))
            })
        });
        let opening = opening.map_err(|error| IndexError(error.to_string()))?;
        let (db, covered) = opening.join().map_err(|_| IndexError("it panicked".to_owned()))??;
        let covered = match covered {
            None => None,
            Some(bytes) => Some(
                decode_position(&bytes).ok_or_else(|| IndexError("its position is unreadable".to_owned()))?,
            ),
        };
        let handles = Handles { first: Some(db), idle: Vec::new(), lent: 0, called_in: false };
        let index = Self {
            path: path.to_owned(),
            handles: Mutex::new(handles),
            returned: Condvar::new(),
            writes: AtomicU64::new(0),
        };
        Ok((index, covered))
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
        self.with(|db| {
            let found = db.range::<&[u8], _>(range.start.as_slice()..range.end.as_slice());
            match direction {
                Direction::Forward => found.take(limit).map(owned).collect(),
                Direction::Backward => found.rev().take(limit).map(owned).collect(),
            }
        })
    }

    /// Writes entries, and that the journal is covered up to `covered`; nothing is durable before [`Self::flush`].
    pub(crate) fn apply(&self, entries: &Entries, covered: Position) -> Result<(), IndexError> {
        self.writes.fetch_add(entries.len() as u64, Ordering::Relaxed);
        self.with(|db| {
            let mut live: BTreeMap<u64, i64> = BTreeMap::new();
            for (key, entry) in entries {
                let old = match &entry.state {
                    State::Put { at, value } => {
                        *live.entry(at.segment).or_default() += i64::from(at.length);
                        db.insert(key, Indexed::encode(entry.version, *at, value.as_ref()))?
                    }
                    State::Gone => db.remove(key)?,
                };
                if let Some(old) = old {
                    let (segment, bytes) = decoded(&old)?.footprint();
                    *live.entry(segment).or_default() -= bytes;
                }
            }
            for (segment, change) in live {
                let key = [LIVE, &segment.to_be_bytes()].concat();
                let now =
                    db.get(&key)?.and_then(|bytes| (*bytes).try_into().ok()).map_or(0, i64::from_le_bytes);
                db.insert(key, now.saturating_add(change).to_le_bytes().to_vec())?;
            }
            db.insert(COVERED, encode_position(covered))?;
            Ok(())
        })
    }

    /// Makes everything applied durable, as one.
    pub(crate) fn flush(&self) -> Result<(), IndexError> {
        self.with(|db| db.flush().map(|_| ()))
    }

    /// The bytes of values in a segment that are still current, as of the last flush.
    #[cfg(test)]
    pub(crate) fn live_bytes(&self, segment: u64) -> Result<i64, IndexError> {
        let key = [LIVE, &segment.to_be_bytes()].concat();
        self.with(|db| {
            Ok(db.get(key)?.and_then(|bytes| (*bytes).try_into().ok()).map_or(0, i64::from_le_bytes))
        })
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

    /// Lets go of sled without closing it: closing flushes, and after a failure sled ends the process if that
    /// fails too.
    #[allow(clippy::mem_forget, reason = "the engine failed, and the process is about to stop")]
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
        let first =
            Entries::from([(vec![0, 0, 1], entry(1, put(1, 500))), (vec![0, 0, 2], entry(1, put(1, 70)))]);
        index.apply(&first, Position::default()).unwrap();
        assert_eq!(index.live_bytes(1).unwrap(), 570);
        let second =
            Entries::from([(vec![0, 0, 1], entry(2, put(2, 900))), (vec![0, 0, 2], entry(2, State::Gone))]);
        index.apply(&second, Position::default()).unwrap();
        assert_eq!((index.live_bytes(1).unwrap(), index.live_bytes(2).unwrap()), (0, 900));
    }

    #[test]
    fn an_index_that_has_grown_is_opened_again_with_all_that_it_held() {
        let directory = tempfile::tempdir().unwrap();
        let (index, _) = Index::open(directory.path()).unwrap();
        let at = Location { segment: 1, offset: 40, length: 5, crc: 0 };
        let entry =
            super::super::overlay::Entry { version: Version(1), state: State::Put { at, value: None } };
        index.apply(&Entries::from([(vec![0, 0, 1], entry)]), Position::default()).unwrap();
        index.flush().unwrap();
        index.writes.store(WRITES_BEFORE_RECYCLING, Ordering::Relaxed);
        index.recycle_if_grown().unwrap();
        assert_eq!(index.writes.load(Ordering::Relaxed), 0);
        let expected = Indexed { version: Version(1), value: Stored::At(at) };
        assert_eq!(index.get(&[0, 0, 1]).unwrap(), Some(expected));
    }
}
