//! An engine whose commits wait for the test: queued at the call, as the trait promises, and done when told.

use std::future::ready;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::engine::{
    Ceilings, Class, CommitError, Direction, Engine, Key, Page, Pending, ReadError, Record, Transaction,
    Version,
};
use crate::memory::MemoryEngine;

type Results = Vec<Result<Version, CommitError>>;

type Waiting = (Class, Vec<Transaction>, oneshot::Sender<Results>);

#[derive(Debug, Default)]
pub(super) struct Gate {
    below: MemoryEngine,
    shut: Mutex<bool>,
    waiting: Mutex<Vec<Waiting>>,
    pub(super) commits: Mutex<Vec<Transaction>>,
    /// So many further settles find no room.
    refusals_left: Mutex<usize>,
}

impl Gate {
    pub(super) fn shut(&self) {
        *self.shut.lock().unwrap() = true;
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.lock().unwrap().len()
    }

    /// Lets everything through that waits, and all that follows.
    pub(super) async fn open(&self) {
        *self.shut.lock().unwrap() = false;
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        for (class, transactions, done) in waiting {
            let _ = done.send(self.below.commit(class, transactions).await);
        }
    }

    /// Fails everything that waits, and opens.
    pub(super) fn fail(&self, error: &CommitError) {
        *self.shut.lock().unwrap() = false;
        for (_, transactions, done) in std::mem::take(&mut *self.waiting.lock().unwrap()) {
            let _ = done.send(transactions.iter().map(|_| Err(error.clone())).collect());
        }
    }

    /// Refuses the next `count` settles for want of space.
    pub(super) fn fill(&self, count: usize) {
        *self.refusals_left.lock().unwrap() = count;
    }

    /// Whether this commit meets a full disk.
    fn is_full(&self, class: Class) -> bool {
        let mut left = self.refusals_left.lock().unwrap();
        let full = class == Class::Settle && *left > 0;
        *left -= usize::from(full);
        full
    }

    /// The keys of kind `kind` that the latest transaction wrote.
    pub(super) fn last_keys(&self, kind: u8) -> Vec<Key> {
        let commits = self.commits.lock().unwrap();
        let changes = commits.last().map(|last| last.changes.as_slice()).unwrap_or_default();
        changes.iter().map(|change| change.key().clone()).filter(|key| key[2] == kind).collect()
    }
}

impl Engine for Gate {
    fn get(&self, key: Key) -> Pending<Result<Option<Record>, ReadError>> {
        self.below.get(key)
    }

    fn get_many(&self, keys: Vec<Key>) -> Pending<Result<Vec<Option<Record>>, ReadError>> {
        self.below.get_many(keys)
    }

    fn scan(
        &self,
        range: Range<Key>,
        limit: usize,
        direction: Direction,
    ) -> Pending<Result<Page, ReadError>> {
        self.below.scan(range, limit, direction)
    }

    fn commit(&self, class: Class, transactions: Vec<Transaction>) -> Pending<Results> {
        if self.is_full(class) {
            let full = CommitError::Full("no room".to_owned());
            return Box::pin(ready(transactions.iter().map(|_| Err(full.clone())).collect()));
        }
        self.commits.lock().unwrap().extend(transactions.iter().cloned());
        if !*self.shut.lock().unwrap() {
            return self.below.commit(class, transactions);
        }
        let (done, result) = oneshot::channel();
        self.waiting.lock().unwrap().push((class, transactions, done));
        Box::pin(async { result.await.unwrap() })
    }

    fn ceilings(&self) -> Ceilings {
        self.below.ceilings()
    }

    fn refusal(&self) -> Option<CommitError> {
        self.below.refusal()
    }

    fn close(&self) -> Pending<Result<(), CommitError>> {
        self.below.close()
    }
}

/// A store over a gate, to be opened by its test.
pub(super) fn gated() -> Arc<Gate> {
    Arc::new(Gate::default())
}
