//! The index: sled, behind one writer. What it holds can always be made again from the journal.
//!
//! One tree with 128 entries a leaf: key -> version and a small value, or the value's place in the journal.
//! Beside the keys, which begin with a shard below 4,096, lie some of its own above `0xffff`: its format, the
//! journal position that is covered, and what each segment holds ([`Share`]).
//!
//! sled panics where it meets what it does not expect, so every call goes through [`guarded`]. A failure is not
//! repaired here: the engine stops, and the next start builds the index anew. A disk that was filled is another matter
//! ([`IndexError::NoRoom`]): the index is *lost*, which takes nothing from what it had flushed, and once there is room it
//! is opened again ([`Index::revive`]). A sled that failed can't be closed, so each time one is left behind in memory,
//! with some 80 open files; after [`REVIVALS_MAX`] of them it takes a restart.
//!
//! sled's own flusher is given an interval that never ends rather than none: without one, sled flushes whenever
//! a handle is dropped, and each iterator is a handle, so that every scan would flush half of what is being
//! written. With it, only [`Index::flush`] does, and what lies between two flushes is durable as one.
//!
//! sled keeps some 80 bytes for each key that was written since it was opened, whatever its cache size; closing
//! and opening it gives them back, so that is done after [`WRITES_BEFORE_RECYCLING`].

mod entry;
mod place;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use entry::{INLINE_BYTES_MAX, Indexed, Share, Shares, Stored};
use entry::{decode_position, decoded, encode_position};
pub(crate) use place::bring_home;

use super::journal::{Position, is_full};
use super::overlay::{Entries, Frozen, State, record_bytes};
use crate::engine::{Direction, Key};

/// About 48 MiB of sled's memory.
const WRITES_BEFORE_RECYCLING: u64 = 600_000;

/// Clean leaves kept in memory.
const CACHE_BYTES: usize = 24 << 20;

/// How often it is opened again after it was lost.
const REVIVALS_MAX: u32 = 4;

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
pub(crate) enum IndexError {
    /// The disk was full. It is opened again when there is room.
    #[error("the index found no room on the disk ({0}); it is read and written again once there is some")]
    NoRoom(String),
    #[error("the index failed: {0}")]
    Failed(String),
}

/// Why an index could not be opened.
#[derive(Clone, Debug)]
pub(crate) enum Unopened {
    /// A newer version wrote it.
    Newer(u32),
    /// It can be built again.
    Unusable(IndexError),
}

/// The index.
#[derive(Debug)]
pub(crate) struct Index {
    home: PathBuf,
    handles: Mutex<Handles>,
    returned: Condvar,
    writes: AtomicU64,
    shares: Mutex<Shares>,
    /// Segments that are gone, to be forgotten with the next batch.
    gone: Mutex<Vec<u64>>,
    #[cfg(test)]
    before_flush: Mutex<Option<Hook>>,
}

/// A handle of sled serves one thread at a time; they are lent, so that there are no more than threads, and so
/// that all can be called in.
#[derive(Debug)]
struct Handles {
    state: Opening,
    first: Option<Db>,
    idle: Vec<Db>,
    lent: usize,
    called_in: bool,
    /// How often it was lost: a handle that was lent before is not taken back.
    losses: u32,
    /// How often what it wrote was moved on.
    moves: u32,
}

/// Whether there is a sled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Open,
    /// Not for now. One that failed may hold the locks on its directories still.
    Lost {
        locked: bool,
    },
    Closed,
}

/// What was found on the disk.
struct Found {
    db: Db,
    covered: Option<Position>,
    of: BTreeMap<u64, Share>,
}

impl Index {
    /// Opens or creates it, and answers the position it covers.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<Position>), Unopened> {
        let Found { db, covered, of } = find(path)?;
        let index = Self::with_state(path, Opening::Open, Some(db));
        *index.shares() = Shares { of, flushed: covered.unwrap_or_default() };
        Ok((index, covered))
    }

    /// One that can't be opened for want of room, and holds nothing. [`Self::revive`] begins it anew.
    pub(crate) fn absent(path: &Path) -> Self {
        Self::with_state(path, Opening::Lost { locked: false }, None)
    }

    fn with_state(path: &Path, state: Opening, first: Option<Db>) -> Self {
        let handles =
            Handles { state, first, idle: Vec::new(), lent: 0, called_in: false, losses: 0, moves: 0 };
        Self {
            home: path.to_owned(),
            handles: Mutex::new(handles),
            returned: Condvar::new(),
            writes: AtomicU64::new(0),
            shares: Mutex::default(),
            gone: Mutex::default(),
            #[cfg(test)]
            before_flush: Mutex::default(),
        }
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
        self.gone().extend(segments);
    }

    fn lock(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&Db) -> io::Result<T>) -> Result<T, IndexError> {
        let (db, losses) = {
            let mut handles = self.lock();
            while handles.called_in {
                handles = self.returned.wait(handles).unwrap_or_else(PoisonError::into_inner);
            }
            let Some(db) = handles.idle.pop().or_else(|| handles.first.clone()) else {
                return Err(handles.missing());
            };
            handles.lent += 1;
            (db, handles.losses)
        };
        let result = guarded(|| work(&db));
        let mut handles = self.lock();
        handles.lent -= 1;
        if handles.losses == losses {
            handles.idle.push(db);
        } else {
            leave(db);
        }
        if matches!(result, Err(IndexError::NoRoom(_))) && handles.losses == losses {
            handles.lose();
        }
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

    /// Whether it waits for room to be opened.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.lock().state, Opening::Lost { .. })
    }

    /// Where it lies at present.
    pub(crate) fn path(&self) -> PathBuf {
        place::moved(&self.home, self.lock().moves)
    }

    /// Whether there is nothing in it to be read: it was lost before its first flush.
    fn is_void(&self) -> bool {
        self.is_lost() && self.shares().flushed == Position::default()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Indexed>, IndexError> {
        if self.is_void() {
            return Ok(None);
        }
        self.with(|db| db.get(key)?.map(|bytes| decoded(&bytes)).transpose())
    }

    /// At most `limit` entries of a range, in the order of `direction`.
    pub(crate) fn page(
        &self,
        range: &Range<Key>,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Indexed)>, IndexError> {
        if self.is_void() {
            return Ok(Vec::new());
        }
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

    /// Whether it holds durably all that was committed up to there.
    pub(crate) fn covers(&self, position: Position) -> bool {
        self.shares().flushed == position
    }

    /// Makes a map durable, as one, and that the journal is covered up to its end.
    pub(crate) fn write(&self, frozen: &Frozen) -> Result<(), IndexError> {
        let gone = std::mem::take(&mut *self.gone());
        let written = self.apply(frozen, &gone).and_then(|()| self.flush());
        match &written {
            Ok(()) => self.shares().flushed = frozen.covered,
            Err(_) => self.gone().extend(gone),
        }
        written
    }

    fn apply(&self, frozen: &Frozen, gone: &[u64]) -> Result<(), IndexError> {
        self.writes.fetch_add(frozen.entries.len() as u64, Ordering::Relaxed);
        let changes = self.with(|db| {
            let live = write_entries(db, &frozen.entries)?;
            for segment in gone {
                db.remove(share_key(*segment))?;
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

    fn flush(&self) -> Result<(), IndexError> {
        self.with(|db| {
            #[cfg(test)]
            self.strike()?;
            db.flush().map(|_| ())
        })
    }

    fn gone(&self) -> MutexGuard<'_, Vec<u64>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes and opens sled when enough was written since it was opened; everything must be flushed.
    pub(crate) fn recycle_if_grown(&self) -> Result<(), IndexError> {
        if self.writes.load(Ordering::Relaxed) < WRITES_BEFORE_RECYCLING {
            return Ok(());
        }
        self.writes.store(0, Ordering::Relaxed);
        let path = self.path();
        self.alone(|handles| {
            let opened = guarded(|| {
                handles.drop_all();
                open_db(&path)
            });
            if matches!(opened, Err(IndexError::NoRoom(_))) {
                handles.state = Opening::Lost { locked: false };
            }
            handles.first = Some(opened?);
            Ok(())
        })
    }

    /// Opens it again after it was lost: as its last flush left it, or anew if there was none. For its one writer.
    pub(crate) fn revive(&self) -> Result<(), IndexError> {
        let (locked, losses) = match &*self.lock() {
            Handles { state: Opening::Lost { locked }, losses, .. } => (*locked, *losses),
            Handles { state: Opening::Open, .. } => return Ok(()),
            handles => return Err(handles.missing()),
        };
        if losses > REVIVALS_MAX {
            let text = format!("the disk was full in the middle of a write {losses} times");
            return Err(IndexError::Failed(text));
        }
        if locked {
            let (from, to) = (self.path(), place::moved(&self.home, self.lock().moves + 1));
            guarded(|| place::move_on(&from, &to))?;
            let mut handles = self.lock();
            handles.moves += 1;
            handles.state = Opening::Lost { locked: false };
        }
        let (path, before) = (self.path(), self.shares().flushed);
        if before == Position::default() {
            guarded(|| place::remove(&path))?;
        }
        let Found { db, covered, of } = find(&path).map_err(|error| match error {
            Unopened::Newer(_) => IndexError::Failed("another version wrote it".to_owned()),
            Unopened::Unusable(error) => error,
        })?;
        let flushed = covered.unwrap_or_default();
        if flushed < before {
            leave(db);
            return Err(IndexError::Failed("it lacks what it had flushed".to_owned()));
        }
        // The flush that failed may have come about all the same.
        *self.shares() = Shares { of, flushed };
        self.writes.store(0, Ordering::Relaxed);
        let mut handles = self.lock();
        handles.first = Some(db);
        handles.state = Opening::Open;
        Ok(())
    }

    /// Removes what lies there of one that holds nothing.
    pub(crate) fn clear_if_void(&self) -> Result<(), IndexError> {
        if self.is_void() { guarded(|| place::remove(&self.path())) } else { Ok(()) }
    }

    /// Closes it; everything must be flushed.
    pub(crate) fn close(&self) -> Result<(), IndexError> {
        self.alone(|handles| {
            handles.state = Opening::Closed;
            guarded(|| {
                handles.drop_all();
                Ok(())
            })
        })
    }

    /// Lets go of sled without closing it: closing flushes, and sled ends the process if that fails, as it does on a
    /// full disk and after a failure. Opened again by this very process, the index is found locked, and built anew.
    pub(crate) fn abandon(&self) {
        let mut handles = self.lock();
        handles.lose();
        handles.state = Opening::Closed;
    }

    /// Has something happen when sled is about to flush: an error, a panic, or a disk that fills up.
    #[cfg(test)]
    pub(crate) fn before_flush(&self, work: impl FnOnce() -> io::Result<()> + Send + 'static) {
        *self.before_flush.lock().unwrap() = Some(Hook(Box::new(work)));
    }

    #[cfg(test)]
    fn strike(&self) -> io::Result<()> {
        let hook = self.before_flush.lock().unwrap_or_else(PoisonError::into_inner).take();
        hook.map_or(Ok(()), |hook| (hook.0)())
    }
}

/// What a test has happen when sled is about to flush.
#[cfg(test)]
struct Hook(Box<dyn FnOnce() -> io::Result<()> + Send>);

#[cfg(test)]
impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

impl Handles {
    /// sled closes with its last handle.
    fn drop_all(&mut self) {
        self.idle.clear();
        self.first = None;
    }

    fn lose(&mut self) {
        self.first.take().into_iter().chain(self.idle.drain(..)).for_each(leave);
        self.state = Opening::Lost { locked: true };
        self.losses += 1;
    }

    /// Why there is no handle.
    fn missing(&self) -> IndexError {
        match self.state {
            Opening::Lost { .. } => IndexError::NoRoom("it is not open".to_owned()),
            Opening::Open | Opening::Closed => IndexError::Failed("it is closed".to_owned()),
        }
    }
}

/// Keeps a handle from closing sled, which would wait for ever, or end the process, after a failure.
#[allow(clippy::mem_forget, reason = "a sled that failed can't be closed; how many may be left is bounded")]
fn leave(db: Db) {
    std::mem::forget(db);
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

/// Opens what lies there, on a thread of its own, where a panic is an error.
fn find(path: &Path) -> Result<Found, Unopened> {
    let owned = path.to_owned();
    let failed = |text: &str| Unopened::Unusable(IndexError::Failed(text.to_owned()));
    #[cfg(test)]
    if tests::NO_ROOM_TO_OPEN.replace(false) {
        return Err(Unopened::Unusable(IndexError::NoRoom("says the test".to_owned())));
    }
    let opening = std::thread::Builder::new().name("fanfare-index-open".to_owned()).spawn(move || {
        guarded(|| {
            // Where something is amiss it is not closed: closing writes.
            let db = ManuallyDrop::new(open_db(&owned)?);
            let (format, covered) = (db.get(FORMAT_KEY)?, db.get(COVERED)?);
            let shares = read_shares(&db)?;
            Ok((ManuallyDrop::into_inner(db), format, covered, shares))
        })
    });
    let opening = opening.map_err(|error| failed(&error.to_string()))?;
    let opened = opening.join().map_err(|_| failed("it panicked"))?;
    let (db, format, covered, of) = opened.map_err(Unopened::Unusable)?;
    let format = format.and_then(|bytes| (*bytes).try_into().ok()).map(u32::from_le_bytes);
    let covered = match (covered, format) {
        (None, _) => None,
        (Some(_), Some(newer)) if newer > FORMAT => return Err(Unopened::Newer(newer)),
        (Some(_), None | Some(..FORMAT)) => return Err(failed("it has an older format")),
        (Some(bytes), Some(_)) => {
            Some(decode_position(&bytes).ok_or_else(|| failed("its position is unreadable"))?)
        }
    };
    Ok(Found { db, covered, of })
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
        Ok(result) => result.map_err(|error| {
            let text = error.to_string();
            if is_full(&error) { IndexError::NoRoom(text) } else { IndexError::Failed(text) }
        }),
        Err(_) => Err(IndexError::Failed("it panicked".to_owned())),
    }
}
