//! Commits that wait for the committer, in the order of the calls.
//!
//! Pushing never blocks. The queue is bounded for new work: over [`INTAKE_BYTES_MAX`] it is refused at once.
//! Settling is bounded by dispatch, which has at most 4,096 outstanding.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::index::Indexed;
use crate::engine::{Class, CommitError, Key, Transaction, Value, Version};

/// New work that may wait: several of the largest batches.
const INTAKE_BYTES_MAX: usize = 128 << 20;

/// A group is not made longer than this, so that one sync is not held up by many large commits.
const GROUP_BYTES: usize = 4 << 20;

pub(crate) type Results = Vec<Result<Version, CommitError>>;

/// A record that reclaim writes again, under the sequence that it has. It is written only while it is still needed:
/// a value while it is the key's current one, a deletion while the key is absent.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) sequence: u64,
    pub(crate) key: Key,
    pub(crate) value: Option<Value>,
}

/// What the committer is asked for.
#[derive(Debug)]
pub(crate) enum Work {
    /// Those that broke a rule are refused already, and keep their place in the answer.
    Commit(Vec<Result<Transaction, CommitError>>),
    Copy(Vec<Copied>),
    /// Segments whose files may go once it answers.
    Drop(Vec<u64>),
    /// A new segment, so that the newest one can be reclaimed.
    Rotate,
}

/// One call of `commit`, or something that reclaim wants done in its turn; that has one answer.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) class: Class,
    pub(crate) work: Work,
    pub(crate) bytes: usize,
    pub(crate) lookups: Option<Arc<Lookups>>,
    pub(crate) reply: oneshot::Sender<Results>,
}

/// Keys that the overlay did not hold when a commit was queued, being read while it waits for its turn.
#[derive(Debug)]
pub(crate) struct Lookups {
    /// How many overlay maps had been dropped when the reading began; see [`super::overlay`].
    pub(crate) drops: u64,
    found: Mutex<Option<HashMap<Key, Option<Indexed>>>>,
    ready: Condvar,
}

impl Lookups {
    pub(crate) fn begun_at(drops: u64) -> Arc<Self> {
        Arc::new(Self { drops, found: Mutex::new(None), ready: Condvar::new() })
    }

    pub(crate) fn done(drops: u64, found: HashMap<Key, Option<Indexed>>) -> Arc<Self> {
        Arc::new(Self { drops, found: Mutex::new(Some(found)), ready: Condvar::new() })
    }

    /// What was not found out is left out; the committer reads it itself.
    pub(crate) fn finish(&self, found: HashMap<Key, Option<Indexed>>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        self.ready.notify_all();
    }

    /// Waits until the reading is done.
    pub(crate) fn get(&self, key: &Key) -> Option<Option<Indexed>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = found.as_ref() {
                return found.get(key).cloned();
            }
            found = self.ready.wait(found).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    submissions: VecDeque<Submission>,
    intake_bytes: usize,
    closed: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a submission, or gives it back with the reason.
    pub(crate) fn push(&self, submission: Submission) -> Result<(), (Submission, CommitError)> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err((submission, CommitError::Fatal("it is closed".to_owned())));
        }
        if submission.class == Class::Intake {
            if waiting.intake_bytes > INTAKE_BYTES_MAX {
                let text = format!("{} MiB wait to be written", waiting.intake_bytes >> 20);
                return Err((submission, CommitError::Full(text)));
            }
            waiting.intake_bytes += submission.bytes;
        }
        let was_empty = waiting.submissions.is_empty();
        waiting.submissions.push_back(submission);
        drop(waiting);
        // The committer sleeps only when it found nothing.
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for work and takes what makes one group; `None` when it is closed and empty.
    pub(crate) fn take_group(&self, group: &mut Vec<Submission>) -> Option<()> {
        let mut waiting = self.lock();
        while waiting.submissions.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        while bytes < GROUP_BYTES {
            let Some(submission) = waiting.submissions.pop_front() else { break };
            if submission.class == Class::Intake {
                waiting.intake_bytes -= submission.bytes;
            }
            bytes += submission.bytes;
            group.push(submission);
        }
        Some(())
    }

    /// Takes no more, and what waits is dropped, which tells those who wait for it.
    pub(crate) fn abandon(&self) {
        let dropped = {
            let mut waiting = self.lock();
            waiting.closed = true;
            std::mem::take(&mut waiting.submissions)
        };
        self.filled.notify_all();
        drop(dropped);
    }

    /// Takes no more; what waits is still committed.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }
}
