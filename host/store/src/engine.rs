//! The engine: an ordered key-value space with atomic, conditional, durable transactions.
//!
//! Everything else in this crate is a layer above this trait, written once. An engine knows nothing of
//! notifications; a layer knows nothing of files.

use std::collections::HashSet;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use fanfare_model::id::Shard;

/// A key: ordered bytes, [`KEY_BYTES_MAX`] at most. The first two are the shard, big-endian.
pub type Key = Vec<u8>;

/// The longest key: what an index can take without slowing down.
pub const KEY_BYTES_MAX: usize = 1_024;

/// A value; shared, because the overlay, the committer and the reader hold it at once.
pub type Value = Arc<[u8]>;

/// The commit sequence of the transaction that wrote a key; grows with every commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

/// A value and the commit that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What was written.
    pub value: Value,
    /// By which commit.
    pub version: Version,
}

/// What must hold when a transaction commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The key has no value.
    Absent(Key),
    /// The key still has the value that was read at this version.
    Unchanged(Key, Version),
}

/// One change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write this value.
    Put(Key, Value),
    /// Remove the key; removing an absent one is no error.
    Delete(Key),
    /// Add to a counter: a key whose value is an `i64`, little-endian, absent meaning zero. It stops at the
    /// ends of `i64` instead of turning over.
    Add(Key, i64),
}

/// All of it or none, within one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// All must hold.
    pub preconditions: Vec<Precondition>,
    /// Applied in order; no key twice.
    pub changes: Vec<Change>,
}

impl Precondition {
    /// The key that it looks at.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Unchanged(key, _) => key,
        }
    }
}

impl Change {
    /// The key that it changes.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) | Self::Add(key, _) => key,
        }
    }

    /// Key and value together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key().len() + self.value_bytes()
    }

    /// What it carries, in bytes.
    fn value_bytes(&self) -> usize {
        match self {
            Self::Put(_, value) => value.len(),
            Self::Delete(_) => 0,
            Self::Add(_, _) => size_of::<i64>(),
        }
    }
}

impl Transaction {
    /// Its keys and values together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let conditions: usize = self.preconditions.iter().map(|condition| condition.key().len()).sum();
        let changes: usize = self.changes.iter().map(Change::bytes).sum();
        conditions + changes
    }

    /// Whether an engine with these ceilings can take it: every engine refuses the same with the same words.
    ///
    /// # Errors
    /// [`CommitError::Invalid`] names the first rule that it breaks.
    pub fn validate(&self, ceilings: &Ceilings) -> Result<(), CommitError> {
        let invalid = |text: String| Err(CommitError::Invalid(text));
        let mut shard = None;
        for key in self.keys() {
            let Some(of_key) =
                key.first_chunk::<2>().filter(|prefix| u16::from_be_bytes(**prefix) < Shard::COUNT)
            else {
                return invalid("a key does not begin with the two bytes of its shard".to_owned());
            };
            if key.len() > KEY_BYTES_MAX {
                return invalid(format!("a key of {} bytes is over {KEY_BYTES_MAX}", key.len()));
            }
            if *shard.get_or_insert(of_key) != of_key {
                return invalid("it touches two shards".to_owned());
            }
        }
        let largest = self.changes.iter().map(Change::value_bytes).max().unwrap_or(0);
        if largest > ceilings.value_bytes_max {
            return invalid(format!("a value of {largest} bytes is over {}", ceilings.value_bytes_max));
        }
        let bytes = self.bytes();
        if bytes > ceilings.transaction_bytes_max {
            return invalid(format!("its {bytes} bytes are over {}", ceilings.transaction_bytes_max));
        }
        if self.changes_a_key_twice() {
            return invalid("it changes a key twice".to_owned());
        }
        Ok(())
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.preconditions.iter().map(Precondition::key).chain(self.changes.iter().map(Change::key))
    }

    /// Nearly all transactions have a handful of changes, where comparing beats hashing.
    fn changes_a_key_twice(&self) -> bool {
        if self.changes.len() <= 8 {
            let mut rest = self.changes.as_slice();
            while let Some((first, others)) = rest.split_first() {
                if others.iter().any(|other| other.key() == first.key()) {
                    return true;
                }
                rest = others;
            }
            return false;
        }
        let mut seen = HashSet::with_capacity(self.changes.len());
        !self.changes.iter().all(|change| seen.insert(change.key()))
    }
}

/// What a counter stands at: absent is zero, and anything but eight bytes is no counter.
///
/// # Errors
/// [`CommitError::Invalid`] when the value is no counter.
pub fn counter(value: Option<&[u8]>) -> Result<i64, CommitError> {
    let Some(value) = value else { return Ok(0) };
    let no_counter = |_| CommitError::Invalid("it adds to a key whose value is no counter".to_owned());
    value.try_into().map(i64::from_le_bytes).map_err(no_counter)
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key up.
    Forward,
    /// From the greatest key down.
    Backward,
}

/// What an engine can take, and what it promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// The largest value, in bytes.
    pub value_bytes_max: usize,
    /// The largest transaction, keys and values together, in bytes.
    pub transaction_bytes_max: usize,
    /// What a commit that was acknowledged survives.
    pub durability: Durability,
}

impl Ceilings {
    /// The ceilings of both engines here: what fits the one that tests use fits the one that serves.
    #[must_use]
    pub const fn common(durability: Durability) -> Self {
        Self { value_bytes_max: 1 << 20, transaction_bytes_max: 32 << 20, durability }
    }
}

/// What an acknowledged commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: it is in memory.
    Memory,
    /// A crash of the process and of the machine: it is on disk.
    Disk,
}

/// Why a transaction did not commit. One that failed changed nothing.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommitError {
    /// A precondition did not hold; read again and decide anew.
    #[error("a key changed since it was read")]
    Conflict,
    /// The disk is nearly full; nothing that adds data is accepted until space returns.
    #[error("the store is short of disk space: {0}")]
    Full(String),
    /// The transaction breaks a ceiling or touches two shards: a fault of the caller.
    #[error("the transaction can't be stored: {0}")]
    Invalid(String),
    /// The engine can't write any more; the process must stop.
    #[error("the store failed and takes no more writes: {0}")]
    Fatal(String),
}

/// Why a read failed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the store could not be read: {0}")]
pub struct ReadError(pub String);

/// How much a transaction adds, so that settling goes on when accepting must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// New work: refused with [`CommitError::Full`] while space is short.
    Intake,
    /// The end of work that was accepted: uses the reserve.
    Settle,
}

/// A future of an engine.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// A page of a scan: keys with their records, in the order of the scan.
pub type Page = Vec<(Key, Record)>;

/// An ordered key-value space with atomic, conditional, durable transactions.
///
/// Reads see every transaction whose commit was acknowledged, and may see later ones.
pub trait Engine: Send + Sync + std::fmt::Debug + 'static {
    /// The record of a key.
    fn get(&self, key: Key) -> Pending<Result<Option<Record>, ReadError>>;

    /// The records of several keys, in their order.
    fn get_many(&self, keys: Vec<Key>) -> Pending<Result<Vec<Option<Record>>, ReadError>>;

    /// At most `limit` records with keys in `range`, in the order of `direction`.
    ///
    /// It is no snapshot: each key is seen as it was at some moment between the call and the answer.
    fn scan(&self, range: Range<Key>, limit: usize, direction: Direction)
    -> Pending<Result<Page, ReadError>>;

    /// Commits transactions; durable when the future is ready, with one result for each.
    ///
    /// They are queued in the order of the *calls*, before this returns and whether or not the future is
    /// polled; their preconditions are checked in that order, also against what the same group writes. All
    /// transactions of one call become durable together.
    fn commit(
        &self,
        class: Class,
        transactions: Vec<Transaction>,
    ) -> Pending<Vec<Result<Version, CommitError>>>;

    /// What it can take, and what it promises.
    fn ceilings(&self) -> Ceilings;

    /// Why it takes no intake at the moment, for readiness; `None` when it does.
    fn refusal(&self) -> Option<CommitError>;

    /// Writes out what can be written and stops; later commits fail.
    fn close(&self) -> Pending<Result<(), CommitError>>;
}
