//! The plain engine: a map behind a lock, lost with the process.
//!
//! It is what the embedded engine is compared with, and what the layers are tested on. Nothing bounds it
//! but the memory of the machine, and it is never short of space. It refuses what every engine refuses
//! ([`Transaction::validate`]).

use std::collections::BTreeMap;
use std::future::ready;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::{
    Ceilings, Change, Class, CommitError, Direction, Durability, Engine, Key, Page, Pending, Precondition,
    ReadError, Record, Transaction, Value, Version, counter,
};

const CEILINGS: Ceilings = Ceilings::common(Durability::Memory);

/// An engine in memory.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<Key, Record>,
    version: u64,
    closed: bool,
}

impl MemoryEngine {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing panics while it holds the lock half-way through a change, so poison is no news.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn commit(&mut self, transaction: Transaction) -> Result<Version, CommitError> {
        if self.closed {
            return Err(CommitError::Fatal("it is closed".to_owned()));
        }
        transaction.validate(&CEILINGS)?;
        if !transaction.preconditions.iter().all(|condition| self.holds(condition)) {
            return Err(CommitError::Conflict);
        }
        let changes: Vec<_> = transaction
            .changes
            .into_iter()
            .map(|change| self.resolve(change))
            .collect::<Result<_, CommitError>>()?;
        self.version += 1;
        let version = Version(self.version);
        for (key, value) in changes {
            match value {
                Some(value) => self.records.insert(key, Record { value, version }),
                None => self.records.remove(&key),
            };
        }
        Ok(version)
    }

    fn holds(&self, condition: &Precondition) -> bool {
        match condition {
            Precondition::Absent(key) => !self.records.contains_key(key),
            Precondition::Unchanged(key, version) => {
                self.records.get(key).is_some_and(|record| record.version == *version)
            }
        }
    }

    /// The key's value after the change; none of them is written before all are known to work.
    fn resolve(&self, change: Change) -> Result<(Key, Option<Value>), CommitError> {
        match change {
            Change::Put(key, value) => Ok((key, Some(value))),
            Change::Delete(key) => Ok((key, None)),
            Change::Add(key, n) => {
                let now = counter(self.records.get(&key).map(|record| &*record.value))?;
                let value = Arc::from(now.saturating_add(n).to_le_bytes());
                Ok((key, Some(value)))
            }
        }
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: Key) -> Pending<Result<Option<Record>, ReadError>> {
        let record = self.state().records.get(&key).cloned();
        Box::pin(ready(Ok(record)))
    }

    fn get_many(&self, keys: Vec<Key>) -> Pending<Result<Vec<Option<Record>>, ReadError>> {
        let state = self.state();
        let records = keys.iter().map(|key| state.records.get(key).cloned()).collect();
        Box::pin(ready(Ok(records)))
    }

    fn scan(
        &self,
        range: Range<Key>,
        limit: usize,
        direction: Direction,
    ) -> Pending<Result<Page, ReadError>> {
        if range.start >= range.end {
            return Box::pin(ready(Ok(Page::new())));
        }
        let state = self.state();
        let found = state.records.range(range);
        let owned = |(key, record): (&Key, &Record)| (key.clone(), record.clone());
        let page = match direction {
            Direction::Forward => found.take(limit).map(owned).collect(),
            Direction::Backward => found.rev().take(limit).map(owned).collect(),
        };
        Box::pin(ready(Ok(page)))
    }

    fn commit(&self, _: Class, transactions: Vec<Transaction>) -> Pending<Vec<Result<Version, CommitError>>> {
        let mut state = self.state();
        let results = transactions.into_iter().map(|transaction| state.commit(transaction)).collect();
        Box::pin(ready(results))
    }

    fn ceilings(&self) -> Ceilings {
        CEILINGS
    }

    fn refusal(&self) -> Option<CommitError> {
        self.state().closed.then(|| CommitError::Fatal("it is closed".to_owned()))
    }

    fn close(&self) -> Pending<Result<(), CommitError>> {
        self.state().closed = true;
        Box::pin(ready(Ok(())))
    }
}
