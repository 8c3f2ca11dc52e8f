//! The committer: takes all that waits, decides, writes one frame, syncs once, and tells everyone.
//!
//! Preconditions are checked in the order of the calls, against, in this order: what the same group writes, the
//! overlay, and the index. The index was read for it by the reader threads while the commit waited
//! ([`super::queue::Lookups`]); that answer counts only while no overlay map was dropped since, and else it reads
//! the index itself (the reasoning is in [`super::overlay`]). The committer is the only one who publishes, so what
//! it finds can't change before it writes.
//!
//! `Unchanged(key, v)` holds when the key's current version is `v`; `Absent(key)` when it has none. A counter
//! is resolved here, and the journal carries its sum: replaying it twice changes nothing.
//!
//! Reclaim's copies pass here too, because only here it is certain whether a record is still needed. A copy keeps
//! its sequence, so nobody who reads the key sees that it moved.
//!
//! Whether there is room is decided here as well, when all that was accepted before is written: an earlier answer
//! can't know how much that will be.
//!
//! Nothing is visible before it is durable. A group that did not fit on the disk changed nothing at all; when the
//! journal can't be trusted any more, the engine takes no more writes.

use std::collections::HashMap;
use std::sync::Arc;

use super::format::FrameBuilder;
use super::index::{INLINE_BYTES_MAX, Stored};
use super::indexer::Indexer;
use super::journal::{AppendError, Journal, Location, Position};
use super::overlay::{Entry, Seen, State, Tombs};
use super::queue::{Copied, Lookups, Queue, Results, Submission, Work};
use super::shared::Shared;
use super::space::Purpose;
use crate::engine::{Change, CommitError, Key, Precondition, Transaction, Value, Version, counter};

/// Runs until the queue is closed and empty.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    indexer: Arc<Indexer>,
    journal: Journal,
    frame: FrameBuilder,
    sequence: u64,
    /// Keys written by the group at hand; values lie at their offset in the frame.
    written: HashMap<Key, Written>,
}

struct Written {
    version: Version,
    put: Option<(Value, u64)>,
}

/// What a key stands at.
struct Current {
    version: Version,
    /// Absent where it is too large to be a counter.
    value: Option<Value>,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, indexer: Arc<Indexer>, journal: Journal, sequence: u64) -> Self {
        Self { shared, indexer, journal, frame: FrameBuilder::default(), sequence, written: HashMap::new() }
    }

    pub(crate) fn run(mut self, queue: &Queue) {
        let mut group = Vec::new();
        while queue.take_group(&mut group).is_some() {
            self.indexer.wait_while_behind(&self.shared.health);
            self.commit(&mut group);
        }
    }

    fn commit(&mut self, group: &mut Vec<Submission>) {
        self.frame.clear();
        self.written.clear();
        let before = self.sequence;
        let mut answers = Vec::with_capacity(group.len());
        let mut chores = Vec::new();
        let room = self.shared.room();
        for Submission { class, work, bytes, lookups, reply } in group.drain(..) {
            // With what the group takes before it.
            let bytes = (self.frame.length() + bytes) as u64;
            let refusal = |purpose| room.refusal(purpose, bytes).map(|why| self.shared.space.full(&why));
            match work {
                Work::Commit(transactions) => {
                    let refusal = refusal(class.into());
                    let decide = |transaction: Result<Transaction, CommitError>| {
                        let transaction = transaction?;
                        refusal.clone().map_or_else(|| self.decide(transaction, lookups.as_deref()), Err)
                    };
                    let results: Results = transactions.into_iter().map(decide).collect();
                    answers.push((reply, results));
                }
                Work::Copy(records) => {
                    let refusal = refusal(Purpose::Copy);
                    let copied = refusal.map_or_else(|| self.copy(records, lookups.as_deref()), Err);
                    answers.push((reply, vec![copied.map(|()| Version(self.sequence))]));
                }
                Work::Drop(segments) => chores.push((reply, Some(segments))),
                Work::Rotate => chores.push((reply, None)),
            }
        }
        if !self.frame.is_empty()
            && let Err(error) = self.write()
        {
            self.sequence = before;
            for (_, results) in &mut answers {
                for result in results.iter_mut().filter(|result| result.is_ok()) {
                    *result = Err(error.clone());
                }
            }
        }
        for (reply, results) in answers {
            // A caller that went away does not want to know; its work is done all the same.
            let _ = reply.send(results);
        }
        for (reply, dropped) in chores {
            let done = self.tidy(dropped.as_deref());
            let _ = reply.send(vec![done.map(|()| Version(self.sequence))]);
        }
    }

    /// Writes again what is still needed of `records`.
    fn copy(&mut self, records: Vec<Copied>, lookups: Option<&Lookups>) -> Result<(), CommitError> {
        if let Some(failure) = self.shared.health.failure() {
            return Err(failure);
        }
        for Copied { sequence, key, value } in records {
            let current = self.current(&key, lookups)?;
            let version = Version(sequence);
            let put = match (current, value) {
                (Some(current), Some(value)) if current.version == version => {
                    self.frame.begin_transaction(sequence, 1);
                    let at = self.frame.put(&key, &value);
                    Some((value, at))
                }
                // Deleted in this very group: that deletion is newer and says the same.
                (None, None) if !self.written.contains_key(&key) => {
                    self.frame.begin_transaction(sequence, 1);
                    self.frame.delete(&key);
                    None
                }
                _ => continue,
            };
            self.written.insert(key, Written { version, put });
        }
        Ok(())
    }

    /// Drops segments, or begins the next one.
    fn tidy(&mut self, dropped: Option<&[u64]>) -> Result<(), CommitError> {
        if let Some(failure) = self.shared.health.failure() {
            return Err(failure);
        }
        let done = match dropped {
            Some(segments) => self.journal.forget(segments),
            None => self.journal.rotate(),
        };
        done.map_err(|error| self.failed(error))?;
        self.shared.overlay.publish(std::iter::empty(), &Tombs::default(), self.journal.end());
        self.indexer.committed(1);
        Ok(())
    }

    fn failed(&self, error: AppendError) -> CommitError {
        match error {
            AppendError::Full(error) => CommitError::Full(error.to_string()),
            AppendError::Fatal(error) => {
                self.shared.health.fail(format!("the journal can't be written: {error}"))
            }
        }
    }

    fn decide(
        &mut self,
        transaction: Transaction,
        lookups: Option<&Lookups>,
    ) -> Result<Version, CommitError> {
        if let Some(failure) = self.shared.health.failure() {
            return Err(failure);
        }
        for condition in &transaction.preconditions {
            let current = self.current(condition.key(), lookups)?;
            let holds = match condition {
                Precondition::Absent(_) => current.is_none(),
                Precondition::Unchanged(_, version) => {
                    current.is_some_and(|current| current.version == *version)
                }
            };
            if !holds {
                return Err(CommitError::Conflict);
            }
        }
        if transaction.changes.is_empty() {
            return Ok(Version(self.sequence));
        }
        // All sums are known before the first byte is written, so that a transaction can still fail whole.
        let mut changes = transaction.changes;
        for change in &mut changes {
            if let Change::Add(key, n) = change {
                let sum = self.sum(key, *n, lookups)?;
                *change = Change::Put(std::mem::take(key), sum);
            }
        }
        self.sequence += 1;
        let version = Version(self.sequence);
        self.frame.begin_transaction(version.0, changes.len());
        for change in changes {
            let (key, put) = match change {
                Change::Put(key, value) => {
                    let at = self.frame.put(&key, &value);
                    (key, Some((value, at)))
                }
                Change::Delete(key) | Change::Add(key, _) => {
                    self.frame.delete(&key);
                    (key, None)
                }
            };
            self.written.insert(key, Written { version, put });
        }
        Ok(version)
    }

    fn sum(&self, key: &Key, n: i64, lookups: Option<&Lookups>) -> Result<Value, CommitError> {
        let now = match self.current(key, lookups)? {
            None => 0,
            Some(current) => counter(Some(current.value.as_deref().unwrap_or_default()))?,
        };
        Ok(Value::from(now.saturating_add(n).to_le_bytes()))
    }

    fn current(&self, key: &Key, lookups: Option<&Lookups>) -> Result<Option<Current>, CommitError> {
        if let Some(Written { version, put }) = self.written.get(key) {
            return Ok(put
                .as_ref()
                .map(|(value, _)| Current { version: *version, value: Some(value.clone()) }));
        }
        let drops = match self.shared.overlay.get(key) {
            Seen::Here(Entry { state: State::Gone, .. }) => return Ok(None),
            Seen::Here(Entry { version, state: State::Put { value, .. } }) => {
                return Ok(Some(Current { version, value }));
            }
            Seen::Below { drops } => drops,
        };
        let looked_up = lookups.filter(|lookups| lookups.drops == drops).and_then(|lookups| lookups.get(key));
        let indexed = match looked_up {
            Some(indexed) => indexed,
            None => self.shared.index.get(key).map_err(|error| self.shared.index_error(&error))?,
        };
        Ok(indexed.map(|indexed| match indexed.value {
            Stored::Inline { value, .. } => Current { version: indexed.version, value: Some(value) },
            Stored::At(_) => Current { version: indexed.version, value: None },
        }))
    }

    /// Makes the group durable, then visible.
    fn write(&mut self) -> Result<(), CommitError> {
        let length = self.frame.length();
        let (segment, start, end) = match self.journal.append(&mut self.frame, self.sequence) {
            Ok(place) => place,
            Err(error) => return Err(self.failed(error)),
        };
        let mut tombs = Tombs::default();
        for (key, written) in self.written.iter().filter(|(_, written)| written.put.is_none()) {
            tombs.add(segment, key.len(), written.version.0);
        }
        let entries = self.written.drain().map(|(key, written)| {
            let state = match written.put {
                None => State::Gone,
                Some((value, at)) => {
                    State::Put { at: locate(segment, start + at, &value), value: Some(value) }
                }
            };
            (key, Entry { version: written.version, state })
        });
        let end = Position { segment, offset: end, sequence: self.sequence };
        self.shared.overlay.publish(entries, &tombs, end);
        self.indexer.committed(length as u64);
        Ok(())
    }
}

/// Small values are checked by the index's own checksums, where they lie.
fn locate(segment: u64, offset: u64, value: &Value) -> Location {
    let crc = if value.len() > INLINE_BYTES_MAX { crc32fast::hash(value) } else { 0 };
    Location { segment, offset, length: u32::try_from(value.len()).unwrap_or(u32::MAX), crc }
}
