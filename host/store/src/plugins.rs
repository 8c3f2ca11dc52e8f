//! Plugins, their generations and the audit: a layer of its own above the engine.
//!
//! A component is kept under the SHA-256 of its bytes, in chunks of 256 KiB, and is visible once its last chunk is
//! on disk. What a channel or router uses is one record ([`Use`]) beside the numbered [`Generation`]s it had;
//! both change in one transaction with their audit entry. Bounded by [`COMPONENT_BYTES_MAX`], [`GENERATIONS_MAX`] of
//! each slot and [`AUDIT_MAX`] entries. Secrets stand here by reference only. It knows nothing of WebAssembly.

mod audit;
mod components;
mod keys;
mod records;
#[cfg(test)]
mod tests;
mod types;
mod verify;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

pub use self::types::{
    Asked, AuditEntry, Canary, Component, Generation, GrantLines, InstallError, Pause, Score, Slot,
    Suspension, Use,
};
pub(crate) use self::verify::verify;
use crate::engine::{Change, Class, CommitError, Direction, Engine, ReadError, Transaction};

/// Larger components are refused.
pub const COMPONENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Older generations of a slot make room for new ones.
pub const GENERATIONS_MAX: usize = 1_000;

/// Older entries make room for new ones.
pub const AUDIT_MAX: usize = 10_000;

/// More slots than anyone configures.
const SLOTS_MAX: usize = 100_000;

/// A handle on the layer; cheap to clone.
#[derive(Clone, Debug)]
pub struct Plugins {
    engine: Arc<dyn Engine>,
    /// Tells apart the audit entries of one millisecond.
    entries: Arc<AtomicU32>,
}

impl Plugins {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, entries: Arc::default() }
    }

    /// What every channel and router uses that ever was configured.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn uses(&self) -> Result<Vec<(Slot, Use)>, ReadError> {
        let page = self.engine.scan(keys::all(keys::Part::Use), SLOTS_MAX, Direction::Forward).await?;
        let read = |(key, record): &(Vec<u8>, crate::engine::Record)| {
            let slot = keys::parse_use(key)
                .ok_or_else(|| crate::records::damaged("use", &format!("its key is {key:02x?}")))?;
            Ok((slot, records::decode_use(&record.value)?))
        };
        page.iter().map(read).collect()
    }

    /// One generation of a slot.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn generation(&self, slot: &Slot, number: u64) -> Result<Option<Generation>, ReadError> {
        let record = self.engine.get(keys::generation(slot, number)).await?;
        record.map(|record| records::decode_generation(number, &record.value)).transpose()
    }

    /// Up to `limit` generations of a slot, the newest first.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn generations(&self, slot: &Slot, limit: usize) -> Result<Vec<Generation>, ReadError> {
        let page = self.engine.scan(keys::generations(slot), limit, Direction::Backward).await?;
        let read = |(key, record): &(Vec<u8>, crate::engine::Record)| {
            let number = keys::parse_generation(key)
                .ok_or_else(|| crate::records::damaged("generation", &format!("its key is {key:02x?}")))?;
            records::decode_generation(number, &record.value)
        };
        page.iter().map(read).collect()
    }

    /// Writes what a slot uses, with the generation that is new and the entry that says so: all of it or nothing,
    /// durable once it answers. Several slots at once are one transaction.
    ///
    /// # Errors
    /// The engine's; then nothing was written.
    pub async fn write(&self, moves: Vec<Move>) -> Result<(), CommitError> {
        let mut transaction = Transaction::default();
        for Move { slot, usage, generation, audit } in moves {
            transaction.changes.push(Change::Put(keys::usage(&slot), records::encode_use(&usage)));
            if let Some(generation) = generation {
                let key = keys::generation(&slot, generation.number);
                transaction.changes.push(Change::Put(key, records::encode_generation(&generation)));
                transaction.changes.extend(self.outdated(&slot, &usage, generation.number).await?);
            }
            if let Some(audit) = audit {
                transaction.changes.push(self.audit_change(&audit));
            }
        }
        if transaction.changes.is_empty() {
            return Ok(());
        }
        self.commit(Class::Settle, transaction).await
    }

    /// The oldest generation goes when there are too many, unless it serves.
    async fn outdated(&self, slot: &Slot, usage: &Use, newest: u64) -> Result<Option<Change>, CommitError> {
        if newest <= GENERATIONS_MAX as u64 {
            return Ok(None);
        }
        // One or two of the oldest may still serve.
        let scanned = self.engine.scan(keys::generations(slot), 3, Direction::Forward).await;
        let page = scanned.map_err(|error| CommitError::Fatal(error.to_string()))?;
        let idle = |number: &u64| {
            *number != usage.current && usage.canary.as_ref().is_none_or(|c| c.candidate != *number)
        };
        let old = |number: &u64| *number + (GENERATIONS_MAX as u64) <= newest;
        let numbers = page.iter().filter_map(|(key, _)| keys::parse_generation(key));
        let oldest = numbers.filter(old).find(idle);
        Ok(oldest.map(|number| Change::Delete(keys::generation(slot, number))))
    }

    async fn commit(&self, class: Class, transaction: Transaction) -> Result<(), CommitError> {
        let no_answer = || Err(CommitError::Fatal("the engine did not answer".to_owned()));
        self.engine.commit(class, vec![transaction]).await.pop().unwrap_or_else(no_answer).map(drop)
    }
}

/// One slot's change.
#[derive(Clone, Debug)]
pub struct Move {
    /// Whose.
    pub slot: Slot,
    /// What it uses from now on.
    pub usage: Use,
    /// The generation that is new.
    pub generation: Option<Generation>,
    /// Who did what.
    pub audit: Option<AuditEntry>,
}
