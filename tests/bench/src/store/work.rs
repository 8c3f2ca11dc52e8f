//! What the writers commit: the transactions of notifications as the layers above the engine make them.
//!
//! Values are random bytes, so that a store that compresses gains nothing a real one would not; ids grow with time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fanfare_store::engine::{Change, Precondition, Transaction, Value, Version};

/// A notification as submitted.
pub(super) const BODY_BYTES: usize = 1_024;
/// Its head and one delivery, as accepted and with one attempt.
const STATE_BYTES: usize = 180;
const SETTLED_BYTES: usize = 260;
const DUE_BYTES: usize = 12;

const POOL: usize = 1 << 20;

/// Makes transactions; each notification has a number of its own.
#[derive(Debug)]
pub(super) struct Work {
    pool: Vec<u8>,
    next: AtomicU64,
}

impl Work {
    /// Begins with notification `first`.
    pub(super) fn from(first: u64) -> Arc<Self> {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut pool = Vec::with_capacity(POOL);
        while pool.len() < POOL {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            pool.extend_from_slice(&random.to_le_bytes());
        }
        Arc::new(Self { pool, next: AtomicU64::new(first) })
    }

    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// How many were begun, from zero.
    pub(super) fn begun(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    fn value(&self, nth: u64, bytes: usize) -> Value {
        let start = (nth.wrapping_mul(7_919) as usize) % (POOL - BODY_BYTES);
        self.pool.get(start..start + bytes).map(Arc::from).unwrap_or_default()
    }

    /// One value of [`BODY_BYTES`].
    pub(super) fn single(&self, nth: u64) -> Transaction {
        let put = Change::Put(key(b'B', nth), self.value(nth, BODY_BYTES));
        Transaction { preconditions: Vec::new(), changes: vec![put] }
    }

    /// A notification with one delivery: body, state, and its place in the schedule.
    pub(super) fn accept(&self, nth: u64) -> Transaction {
        let changes = vec![
            Change::Put(key(b'B', nth), self.value(nth, BODY_BYTES)),
            Change::Put(key(b'S', nth), self.value(nth, STATE_BYTES)),
            Change::Put(key(b'D', nth), self.value(nth, DUE_BYTES)),
        ];
        Transaction { preconditions: vec![Precondition::Absent(key(b'S', nth))], changes }
    }

    /// The same, delivered: its state changes, and it is due no more.
    pub(super) fn settle(&self, nth: u64, accepted: Version) -> Transaction {
        let changes =
            vec![Change::Put(key(b'S', nth), self.value(nth, SETTLED_BYTES)), Change::Delete(key(b'D', nth))];
        Transaction { preconditions: vec![Precondition::Unchanged(key(b'S', nth), accepted)], changes }
    }

    /// The bytes of the records of one accepted notification, with their keys.
    pub(super) fn accepted_bytes(&self) -> u64 {
        self.accept(0)
            .changes
            .iter()
            .map(|change| match change {
                Change::Put(key, value) => (key.len() + value.len()) as u64,
                Change::Delete(_) | Change::Add(..) => 0,
            })
            .sum()
    }
}

/// Shard, kind, and an id that grows with time.
pub(super) fn key(kind: u8, nth: u64) -> Vec<u8> {
    let mut key = vec![0, 0, kind];
    key.extend_from_slice(&u128::from(nth).to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use fanfare_store::engine::{Ceilings, Durability};

    use super::*;

    #[test]
    fn an_engine_takes_every_transaction_of_the_work() {
        let work = Work::from(3);
        let ceilings = Ceilings::common(Durability::Disk);
        let nth = work.next();
        for transaction in [work.single(nth), work.accept(nth), work.settle(nth, Version(1))] {
            transaction.validate(&ceilings).unwrap();
        }
        assert_eq!((nth, work.begun()), (3, 4));
        assert_eq!(work.accepted_bytes(), 3 * 19 + 1_024 + 180 + 12);
    }
}
