//! The engine's surface: what it answers at once, what it hands to a thread, and how it stops.

use std::collections::HashMap;
use std::future::ready;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::open::{Opened, Threads, open};
use super::overlay::{Seen, State};
use super::queue::{Lookups, Submission, Work};
use super::readers::scan;
use super::shared::Shared;
use super::{EmbeddedOptions, OpenError, Recovery};
use crate::engine::{
    Ceilings, Change, Class, CommitError, Direction, Durability, Engine, Key, Page, Pending, Precondition,
    ReadError, Record, Transaction, Version,
};

/// One call of `commit` at the most; a batch of notifications is 16 MiB.
const CALL_BYTES_MAX: usize = 48 << 20;

/// What the journal adds to a transaction or a change at the most.
const OVERHEAD_BYTES: usize = 24;

/// The first key after all shards.
const KEYS_END: [u8; 2] = fanfare_model::id::Shard::COUNT.to_be_bytes();

const CEILINGS: Ceilings = Ceilings::common(Durability::Disk);

/// The engine inside the binary. Dropping it closes it, and waits for its threads.
#[derive(Debug)]
pub struct EmbeddedEngine {
    pub(crate) parts: Arc<Parts>,
    path: PathBuf,
    recovery: Recovery,
}

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    queue: Arc<super::queue::Queue>,
    pub(crate) indexer: Arc<super::indexer::Indexer>,
    readers: Arc<super::readers::Readers>,
    pub(super) reclaim: Arc<super::reclaim::Reclaim>,
    threads: Mutex<Option<Threads>>,
}

impl EmbeddedEngine {
    /// Locks the directory, opens the index or builds it, replays the journal, and starts the threads. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what to do.
    #[allow(clippy::needless_pass_by_value, reason = "options are made for one engine")]
    pub fn open(options: EmbeddedOptions) -> Result<Self, OpenError> {
        let Opened { shared, queue, indexer, readers, reclaim, threads, recovery } = open(&options)?;
        let threads = Mutex::new(Some(threads));
        Ok(Self {
            parts: Arc::new(Parts { shared, queue, indexer, readers, reclaim, threads }),
            path: options.path,
            recovery,
        })
    }

    /// Its directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// What the start found.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Runs a read on a thread that may wait for the disk.
    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ReadError> + Send + 'static,
    ) -> Pending<Result<T, ReadError>> {
        let (reply, answer) = oneshot::channel();
        self.parts.readers.submit(move |shared| {
            let _ = reply.send(work(shared));
        });
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| Err(ReadError("it is closed, or the read panicked".to_owned())))
        })
    }

    /// The record, if no disk is needed to tell.
    fn at_hand(&self, key: &Key) -> Option<Option<Record>> {
        match self.parts.shared.overlay.get(key) {
            Seen::Here(entry) => match entry.state {
                State::Gone => Some(None),
                State::Put { value: Some(value), .. } => Some(Some(Record { value, version: entry.version })),
                State::Put { value: None, .. } => None,
            },
            Seen::Below { .. } => None,
        }
    }

    /// Begins to read what the committer will ask for and the overlay does not hold.
    fn look_up(&self, transactions: &[Result<Transaction, CommitError>]) -> Option<Arc<Lookups>> {
        let mut asked = transactions.iter().flatten().flat_map(asked).peekable();
        // Most ask for nothing, and must not wait for the commit that is being published.
        asked.peek()?;
        let (keys, drops) = self.parts.shared.overlay.lacking(asked);
        if keys.is_empty() {
            return None;
        }
        let lookups = Lookups::begun_at(drops);
        let mut pending =
            PendingLookups { lookups: lookups.clone(), found: HashMap::with_capacity(keys.len()) };
        self.parts.readers.submit(move |shared| {
            for key in keys {
                // On an error the committer asks again, and tells everyone.
                let Ok(indexed) = shared.index.get(&key) else { break };
                pending.found.insert(key, indexed);
            }
            drop(pending);
        });
        Some(lookups)
    }
}

/// Hands over what was found even when the job never ran: the committer waits for it.
struct PendingLookups {
    lookups: Arc<Lookups>,
    found: HashMap<Key, Option<super::index::Indexed>>,
}

impl Drop for PendingLookups {
    fn drop(&mut self) {
        self.lookups.finish(std::mem::take(&mut self.found));
    }
}

/// The keys whose state decides about a transaction.
fn asked(transaction: &Transaction) -> impl Iterator<Item = &Key> {
    let counters = transaction.changes.iter().filter_map(|change| match change {
        Change::Add(key, _) => Some(key),
        Change::Put(..) | Change::Delete(_) => None,
    });
    transaction.preconditions.iter().map(Precondition::key).chain(counters)
}

fn all_fail(count: usize, error: &CommitError) -> Pending<Vec<Result<Version, CommitError>>> {
    Box::pin(ready(vec![Err(error.clone()); count]))
}

impl Engine for EmbeddedEngine {
    fn get(&self, key: Key) -> Pending<Result<Option<Record>, ReadError>> {
        match self.at_hand(&key) {
            Some(record) => Box::pin(ready(Ok(record))),
            None => self.read(move |shared| shared.read(&key)),
        }
    }

    fn get_many(&self, keys: Vec<Key>) -> Pending<Result<Vec<Option<Record>>, ReadError>> {
        match keys.iter().map(|key| self.at_hand(key)).collect() {
            Some(records) => Box::pin(ready(Ok(records))),
            None => self.read(move |shared| keys.iter().map(|key| shared.read(key)).collect()),
        }
    }

    fn scan(
        &self,
        range: Range<Key>,
        limit: usize,
        direction: Direction,
    ) -> Pending<Result<Page, ReadError>> {
        // Above the shards lie the index's own keys.
        let end = range.end.min(KEYS_END.to_vec());
        let range = range.start..end;
        if range.start >= range.end || limit == 0 {
            return Box::pin(ready(Ok(Page::new())));
        }
        self.read(move |shared| scan(shared, range, limit, direction))
    }

    fn commit(
        &self,
        class: Class,
        transactions: Vec<Transaction>,
    ) -> Pending<Vec<Result<Version, CommitError>>> {
        let count = transactions.len();
        if let Some(error) = self.parts.shared.health.failure() {
            return all_fail(count, &error);
        }
        if let Some(error) = self.parts.shared.space.refusal(class, self.parts.shared.overlay.unindexed()) {
            return all_fail(count, &error);
        }
        let sizes = transactions.iter().map(|t| t.bytes() + OVERHEAD_BYTES * (1 + t.changes.len()));
        let bytes = sizes.sum();
        if bytes > CALL_BYTES_MAX {
            let text = format!("its call carries {bytes} bytes, and {CALL_BYTES_MAX} are the most");
            return all_fail(count, &CommitError::Invalid(text));
        }
        let transactions: Vec<_> =
            transactions.into_iter().map(|t| t.validate(&CEILINGS).map(|()| t)).collect();
        let lookups = self.look_up(&transactions);
        let (reply, answer) = oneshot::channel();
        match self.parts.queue.push(Submission {
            class,
            work: Work::Commit(transactions),
            bytes,
            lookups,
            reply,
        }) {
            Err((_, error)) => all_fail(count, &error),
            Ok(()) => Box::pin(async move {
                let gone = || CommitError::Fatal("the committer is gone".to_owned());
                answer.await.unwrap_or_else(|_| vec![Err(gone()); count])
            }),
        }
    }

    fn ceilings(&self) -> Ceilings {
        CEILINGS
    }

    fn refusal(&self) -> Option<CommitError> {
        let shared = &self.parts.shared;
        shared.health.failure().or_else(|| shared.space.refusal(Class::Intake, shared.overlay.unindexed()))
    }

    fn close(&self) -> Pending<Result<(), CommitError>> {
        let parts = self.parts.clone();
        let (reply, answer) = oneshot::channel();
        let closing = std::thread::Builder::new().name("fanfare-close".to_owned()).spawn(move || {
            let _ = reply.send(parts.shut_down());
        });
        if let Err(error) = closing {
            return Box::pin(ready(Err(CommitError::Fatal(error.to_string()))));
        }
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| Err(CommitError::Fatal("closing failed".to_owned())))
        })
    }
}

impl Drop for EmbeddedEngine {
    fn drop(&mut self) {
        if let Err(error) = self.parts.shut_down() {
            tracing::error!(error = %error, "store closed after a failure");
        }
    }
}

impl Parts {
    /// Commits what waits, writes the index, and lets the directory go. The second caller waits for the first.
    pub(crate) fn shut_down(&self) -> Result<(), CommitError> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Threads { committer, indexer, reclaim, readers, lock }) = threads.take() {
            let health = &self.shared.health;
            // Each is told to stop only when nobody who could give it work is left. One that panicked has said so
            // already, and is joined like any other.
            self.reclaim.close();
            let _ = reclaim.join();
            self.queue.close();
            let _ = committer.join();
            self.indexer.close();
            let _ = indexer.join();
            self.readers.close();
            for reader in readers {
                let _ = reader.join();
            }
            // sled writes when it is closed, and ends the process where it can't; all that it has is durable.
            let is_full = !self.shared.room().fits_index();
            if health.index_is_broken() || is_full {
                self.shared.index.abandon();
            } else if let Err(error) = self.shared.index.close() {
                health.index_failed(&error);
            }
            drop(lock);
        }
        self.shared.health.failure().map_or(Ok(()), Err)
    }
}
