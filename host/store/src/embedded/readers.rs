//! Reads that can't be answered from the overlay: a few threads that may wait for the disk.
//!
//! Jobs wait in a queue that is as long as there are reads under way; each caller waits for its own.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use fanfare_model::text::of_panic;

use super::overlay::{Entry, before};
use super::shared::Shared;
use crate::engine::{Direction, Key, Page, ReadError, Record};

/// Overlay entries looked at beyond what a scan still needs, for the tombstones among them.
const SCAN_SLACK: usize = 64;

type Job = Box<dyn FnOnce(&Shared) + Send>;

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

/// The queue of the reader threads.
#[derive(Default)]
pub(crate) struct Readers {
    jobs: Mutex<Jobs>,
    filled: Condvar,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job; a closed queue drops it, and with it whatever its caller waits on.
    pub(crate) fn submit(&self, job: impl FnOnce(&Shared) + Send + 'static) {
        let mut jobs = self.lock();
        if !jobs.closed {
            jobs.waiting.push_back(Box::new(job));
            drop(jobs);
            self.filled.notify_one();
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Runs jobs until the queue is closed and empty. One that panics drops what its caller waits on, and harms no other.
    pub(crate) fn run(&self, shared: &Shared) {
        while let Some(job) = self.next() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(shared))) {
                tracing::error!(error = of_panic(&*panic), "a read panicked");
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = self.lock();
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            if jobs.closed {
                return None;
            }
            jobs = self.filled.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A scan: overlay and index merged, the overlay hiding what it replaces or has removed.
///
/// It goes in windows: so many overlay entries, then the index between their ends. One overlay entry hides at
/// most one of the index, so a window needs no more of the index than what is still wanted and those.
pub(crate) fn scan(
    shared: &Shared,
    mut range: Range<Key>,
    limit: usize,
    direction: Direction,
) -> Result<Page, ReadError> {
    let mut page = Page::new();
    while page.len() < limit && range.start < range.end {
        let wanted = limit - page.len();
        let (above, complete) = shared.overlay.page(&range, wanted.saturating_add(SCAN_SLACK), direction);
        let (window, rest) = match above.last().filter(|_| !complete) {
            Some((last, _)) => split(range, last, direction),
            None => (range, None),
        };
        merge(shared, &window, above, limit, direction, &mut page)?;
        match rest {
            Some(rest) => range = rest,
            None => break,
        }
    }
    Ok(page)
}

/// The part of a range up to and with `last`, and the rest, in the direction of the scan.
fn split(range: Range<Key>, last: &Key, direction: Direction) -> (Range<Key>, Option<Range<Key>>) {
    match direction {
        Direction::Forward => {
            let mut after = last.clone();
            after.push(0);
            (range.start..after.clone(), Some(after..range.end))
        }
        Direction::Backward => (last.clone()..range.end, Some(range.start..last.clone())),
    }
}

fn merge(
    shared: &Shared,
    window: &Range<Key>,
    above: Vec<(Key, Entry)>,
    limit: usize,
    direction: Direction,
    page: &mut Page,
) -> Result<(), ReadError> {
    let wanted = limit.saturating_sub(page.len()).saturating_add(above.len());
    let below = shared.index.page(window, wanted, direction).map_err(|error| shared.unreadable(&error))?;
    let mut above = above.into_iter().peekable();
    let mut below = below.into_iter().peekable();
    while page.len() < limit {
        let lower_first = match (above.peek(), below.peek()) {
            (None, None) => return Ok(()),
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (Some((upper, _)), Some((lower, _))) => before(lower, upper, direction),
        };
        if lower_first {
            if let Some((key, indexed)) = below.next() {
                let record = shared.read_found(&key, shared.load(indexed).map(Some))?;
                page.extend(record.map(|record| (key, record)));
            }
        } else if let Some((key, entry)) = above.next() {
            below.next_if(|(lower, _)| *lower == key);
            let record = shared.read_found(&key, shared.record_of(entry.version, entry.state))?;
            page.extend(record.map(|record: Record| (key, record)));
        }
    }
    Ok(())
}
