//! Reclaim: what is still needed of mostly dead segments is written again at the journal's end, and they go.
//!
//! A *pass* takes some victims ([`super::plan`]), offers their records to the committer, which writes those that
//! are still needed, waits until the index covers the copies, says in the journal that the victims are dropped,
//! and removes their files. A crash at any moment leaves either the victims or a manifest without them; in both
//! cases nothing is lost and nothing comes back.
//!
//! A value is needed while it is its key's current one. A deletion is needed while its key is absent and a
//! segment remains that was begun before it: that one may still hold a value of the key, which would come back
//! when the index is built again.
//!
//! Bounds: copies are written in batches of [`BATCH_BYTES`]; a pass copies about one segment; after each batch it
//! rests, so that it takes no more than its share of the time (`reclaim_share_percent`); it does not while the disk is
//! short of room. It reads one frame at a time. It gives up, and tries again later, when the disk is full. A victim that
//! can't be read is left alone from then on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::format::{Payload, decode_payload};
use super::indexer::Indexer;
use super::overlay::{Seen, State, record_bytes};
use super::plan::{self, Load, Plan, Segment};
use super::queue::{Copied, Lookups, Queue, Submission, Work};
use super::segment::SegmentReader;
use super::shared::Shared;
use super::{EmbeddedOptions, OpenError};
use crate::engine::{Class, CommitError, Key, Value};

/// Records that are offered to the committer at once.
const BATCH_BYTES: u64 = 1 << 20;

/// The same, for small ones: each is looked up.
const BATCH_RECORDS: usize = 4_096;

/// It looks this often whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After a pass that failed or gained nothing.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Reclaim's own thread works on these.
#[derive(Debug)]
pub(crate) struct Reclaim {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    indexer: Arc<Indexer>,
    segment_bytes: u64,
    is_off: bool,
    share_percent: u32,
    closing: Mutex<bool>,
    changed: Condvar,
    /// The last sequence given out before each segment was made.
    bases: Mutex<BTreeMap<u64, u64>>,
    /// Segments that could not be read.
    unreadable: Mutex<BTreeSet<u64>>,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Nothing is dead enough.
    Idle,
    /// The newest segment was sealed, so that the next pass can take it.
    Sealed,
    /// So many bytes were dropped, and so many copied.
    Gained { dropped: u64, copied: u64 },
}

/// Why a pass ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("the store is closing")]
    Closing,
    #[error("{0}")]
    Commit(#[from] CommitError),
    #[error("{0}")]
    Unreadable(#[from] OpenError),
    #[error("the index could not be read or written")]
    Index,
}

/// Records on their way to the committer.
#[derive(Default)]
struct Batch {
    records: Vec<Copied>,
    bytes: u64,
}

impl Reclaim {
    pub(crate) fn new(
        shared: Arc<Shared>,
        queue: Arc<Queue>,
        indexer: Arc<Indexer>,
        options: &EmbeddedOptions,
        segment_bytes: u64,
    ) -> Self {
        Self {
            shared,
            queue,
            indexer,
            segment_bytes,
            is_off: options.reclaim_share_percent == 0,
            share_percent: options.reclaim_share_percent.clamp(1, 100),
            closing: Mutex::new(false),
            changed: Condvar::new(),
            bases: Mutex::default(),
            unreadable: Mutex::default(),
        }
    }

    /// Runs until it is closed, or until the engine fails.
    pub(crate) fn run(&self) {
        if self.is_off {
            return;
        }
        let mut seen = None;
        let mut rest = LOOK_EVERY;
        while self.rests(rest) && self.shared.health.failure().is_none() {
            let end = self.shared.overlay.end();
            let was_quiet = seen.replace(end) == Some(end);
            rest = match self.pass(self.load(was_quiet)) {
                Ok(Pass::Idle) => LOOK_EVERY,
                Ok(Pass::Gained { dropped, copied }) if copied >= dropped => REST_AFTER_FAILURE,
                Ok(Pass::Sealed | Pass::Gained { .. }) => {
                    // What it wrote itself does not make the store busy.
                    if was_quiet {
                        seen = Some(self.shared.overlay.end());
                    }
                    Duration::ZERO
                }
                Err(Stopped::Closing) => return,
                Err(error) => {
                    tracing::warn!(error = %error, "reclaim stopped; it is tried again soon");
                    // Room may come back at any time, and who waits for it waits for reclaim.
                    if self.shared.room_lately().is_short() { LOOK_EVERY } else { REST_AFTER_FAILURE }
                }
            };
        }
    }

    fn load(&self, was_quiet: bool) -> Load {
        if self.shared.room_lately().is_short() {
            // Only what the index knows counts as dead; left to itself, it would know in seconds. Without room for
            // it, what it knew before has to do.
            if self.shared.index.shares().flushed != self.shared.overlay.end() {
                self.indexer.flush_now();
            }
            Load::Short { copy_bytes_max: self.shared.room().copy_bytes_max() }
        } else if was_quiet {
            Load::Quiet
        } else {
            Load::Busy
        }
    }

    pub(crate) fn close(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; `false` when it is closing.
    fn rests(&self, time: Duration) -> bool {
        let closing = self.lock();
        let closing = self.changed.wait_timeout_while(closing, time, |closing| !*closing);
        !*closing.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Rests in proportion to what was worked, so that the share is kept.
    fn yields(&self, worked: Duration) -> Result<(), Stopped> {
        // Where the thread is off, a caller of `pass` is in no one's way.
        let is_urgent = self.is_off || self.shared.room_lately().is_short();
        let rest = if is_urgent { Duration::ZERO } else { rest_after(worked, self.share_percent) };
        if self.rests(rest) { Ok(()) } else { Err(Stopped::Closing) }
    }

    /// Reclaims once, if there is something to gain.
    pub(crate) fn pass(&self, load: Load) -> Result<Pass, Stopped> {
        let segments = self.segments()?;
        let victims = match plan::plan(&segments, self.segment_bytes, load) {
            Plan::Nothing => return Ok(Pass::Idle),
            Plan::Seal => {
                self.submit(Work::Rotate, 0, None)?;
                return Ok(Pass::Sealed);
            }
            Plan::Reclaim(victims) => victims,
        };
        // What holds back deletions stays until it is repaired.
        if victims.iter().any(|victim| self.unreadable().contains(victim)) {
            return Ok(Pass::Idle);
        }
        let remaining = segments.iter().filter(|segment| !victims.contains(&segment.number));
        let oldest_base = remaining.map(|segment| segment.base).min().unwrap_or(u64::MAX);
        let mut copied = 0;
        for victim in &victims {
            copied +=
                self.copy(*victim, oldest_base).inspect_err(|error| self.leave_alone(*victim, error))?;
        }
        if !self.indexer.flush_now() {
            return Err(Stopped::Index);
        }
        let flushed = self.shared.index.shares().flushed;
        if victims.contains(&flushed.segment) {
            return Ok(Pass::Gained { dropped: 0, copied });
        }
        self.submit(Work::Drop(victims.clone()), 0, None)?;
        self.remove(&victims);
        let dropped = segments.iter().filter(|segment| victims.contains(&segment.number));
        let dropped = dropped.map(|segment| segment.bytes).sum();
        tracing::debug!(segments = victims.len(), dropped, copied, "reclaimed");
        Ok(Pass::Gained { dropped, copied })
    }

    fn unreadable(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A segment that can't be read is never dropped, and tried again it would have the others copied again each time.
    fn leave_alone(&self, victim: u64, error: &Stopped) {
        if let Stopped::Unreadable(error) = error {
            self.unreadable().insert(victim);
            tracing::error!(segment = victim, error = %error, "segment is left alone by reclaim until a restart: it can't be read");
        }
    }

    /// All segments and what they hold; the newest comes last.
    fn segments(&self) -> Result<Vec<Segment>, Stopped> {
        let end = self.shared.overlay.end();
        let mut lengths: Vec<(u64, u64)> =
            self.shared.segments.sealed().iter().map(|(number, bytes)| (*number, *bytes)).collect();
        // One that was sealed between the two looks is in both.
        if end.segment > 0 && lengths.iter().all(|(number, _)| *number != end.segment) {
            lengths.push((end.segment, end.offset));
        }
        let shares = self.shared.index.shares().clone();
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.retain(|number, _| lengths.iter().any(|(other, _)| other == number));
        let mut segments = Vec::with_capacity(lengths.len());
        for (number, bytes) in lengths {
            let base = match bases.get(&number) {
                Some(base) => *base,
                None => SegmentReader::expect(&self.shared.segments, number)?.base()?,
            };
            bases.insert(number, base);
            let share = shares.of.get(&number).copied().unwrap_or_default();
            // What is not flushed yet is not counted yet, so it is taken for needed.
            let uncounted = if number > shares.flushed.segment {
                bytes
            } else if number == shares.flushed.segment {
                bytes.saturating_sub(shares.flushed.offset)
            } else {
                0
            };
            let live = u64::try_from(share.live).unwrap_or(0).saturating_add(uncounted).min(bytes);
            let live = if self.unreadable().contains(&number) { bytes } else { live };
            let tombs = share.tombs.min(bytes - live);
            segments.push(Segment { number, bytes, base, live, tombs, newest_tomb: share.newest_tomb });
        }
        Ok(segments)
    }

    /// Offers what a segment holds to the committer; answers the bytes that were offered.
    fn copy(&self, victim: u64, oldest_base: u64) -> Result<u64, Stopped> {
        let reader = SegmentReader::expect(&self.shared.segments, victim)?;
        let Some(end) = self.shared.segments.sealed().get(&victim).copied() else {
            return Ok(0);
        };
        let mut batch = Batch::default();
        let mut copied = 0;
        let mut since = Instant::now();
        for frame in reader.frames(super::format::HEADER_BYTES as u64, end) {
            let frame = frame?;
            let payload = decode_payload(&frame.payload).ok_or_else(|| reader.damaged(frame.offset))?;
            let Payload::Changes(changes) = payload else { continue };
            for change in changes {
                if change.value.is_none() && change.sequence <= oldest_base {
                    continue;
                }
                batch.add(change.sequence, change.key, change.value.map(|(value, _)| value));
                if batch.bytes >= BATCH_BYTES || batch.records.len() >= BATCH_RECORDS {
                    copied += self.offer(std::mem::take(&mut batch))?;
                    self.yields(since.elapsed())?;
                    since = Instant::now();
                }
            }
        }
        copied += self.offer(batch)?;
        self.yields(since.elapsed())?;
        Ok(copied)
    }

    /// Looks the records up, so that the committer need not wait for the index, and leaves out what is dead.
    fn offer(&self, batch: Batch) -> Result<u64, Stopped> {
        let overlay = &self.shared.overlay;
        let keys = batch.records.iter().map(|record| &record.key);
        let (lacking, drops) = overlay.lacking(keys);
        let mut found: HashMap<Key, Option<super::index::Indexed>> = HashMap::with_capacity(lacking.len());
        for key in lacking {
            let indexed = self.shared.index.get(&key).map_err(|error| self.shared.index_error(&error))?;
            found.insert(key, indexed);
        }
        let current = |key: &Key| match found.get(key) {
            Some(indexed) => indexed.as_ref().map(|indexed| indexed.version.0),
            None => match overlay.get(key) {
                Seen::Here(entry) => (!matches!(entry.state, State::Gone)).then_some(entry.version.0),
                // It moved into the index meanwhile: the committer will know.
                Seen::Below { .. } => Some(u64::MAX),
            },
        };
        let mut records = batch.records;
        records.retain(|record| match current(&record.key) {
            Some(u64::MAX) => true,
            version => version == record.value.as_ref().map(|_| record.sequence),
        });
        if records.is_empty() {
            return Ok(0);
        }
        let size =
            |record: &Copied| record_bytes(record.key.len(), record.value.as_ref().map_or(0, |v| v.len()));
        let bytes: u64 = records.iter().map(size).sum();
        self.submit(Work::Copy(records), bytes, Some(Lookups::done(drops, found)))?;
        Ok(bytes)
    }

    fn submit(&self, work: Work, bytes: u64, lookups: Option<Arc<Lookups>>) -> Result<(), Stopped> {
        let (reply, answer) = oneshot::channel();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let submission = Submission { class: Class::Settle, work, bytes, lookups, reply };
        self.queue.push(submission).map_err(|(_, error)| error)?;
        match answer.blocking_recv().unwrap_or_default().pop() {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(error.into()),
            None => Err(Stopped::Closing),
        }
    }

    /// The journal says that they are dropped: a file that stays is removed by the next start.
    fn remove(&self, victims: &[u64]) {
        for victim in victims {
            if let Err(error) = self.shared.segments.remove(*victim) {
                let path = self.shared.segments.path(*victim);
                tracing::warn!(error = %error, path = %path.display(), "dropped segment not removed");
            }
        }
        self.shared.index.forget(victims);
    }
}

/// So that of the time of both, `worked` is so many percent.
fn rest_after(worked: Duration, share_percent: u32) -> Duration {
    worked * (100 - share_percent) / share_percent
}

impl Batch {
    fn add(&mut self, sequence: u64, key: &[u8], value: Option<&[u8]>) {
        self.bytes += record_bytes(key.len(), value.map_or(0, <[u8]>::len));
        self.records.push(Copied { sequence, key: key.to_vec(), value: value.map(Value::from) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_works_is_its_share_of_the_time() {
        for (share, rests_ms) in [(100, 0), (50, 10), (25, 30), (1, 990)] {
            assert_eq!(rest_after(Duration::from_millis(10), share), Duration::from_millis(rests_ms));
        }
    }
}
