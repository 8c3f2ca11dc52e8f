//! The audit: one entry for each act, written with what it tells of, in the order of time.

use std::sync::atomic::Ordering;

use fanfare_model::time::Timestamp;

use super::types::AuditEntry;
use super::{AUDIT_MAX, Plugins, keys, records};
use crate::engine::{Change, Class, CommitError, Direction, ReadError, Transaction};
use crate::records::damaged;

/// Entries that are removed in one transaction when there are too many.
const PRUNED_AT_ONCE: usize = 1_000;

impl Plugins {
    /// Up to `limit` entries, the latest first; about one subject, if one is named.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn audit(&self, subject: Option<&str>, limit: usize) -> Result<Vec<AuditEntry>, ReadError> {
        // A subject's entries may lie far apart; all of them together are bounded.
        let scanned = if subject.is_some() { AUDIT_MAX } else { limit };
        let page = self.engine.scan(keys::all(keys::Part::Audit), scanned, Direction::Backward).await?;
        let mut entries = Vec::new();
        for (key, record) in &page {
            let entry = records::decode_audit(at(key)?, &record.value)?;
            if subject.is_none_or(|subject| entry.subject == subject) {
                entries.push(entry);
            }
            if entries.len() == limit {
                break;
            }
        }
        Ok(entries)
    }

    /// Writes an entry about an act that changed nothing here.
    ///
    /// # Errors
    /// The engine's.
    pub async fn note(&self, entry: &AuditEntry) -> Result<(), CommitError> {
        let changes = vec![self.audit_change(entry)];
        self.commit(Class::Settle, Transaction { preconditions: Vec::new(), changes }).await
    }

    /// Removes the oldest entries over [`AUDIT_MAX`].
    ///
    /// # Errors
    /// The engine's.
    pub async fn prune_audit(&self) -> Result<usize, CommitError> {
        let all = keys::all(keys::Part::Audit);
        let scanned = self.engine.scan(all, AUDIT_MAX + PRUNED_AT_ONCE, Direction::Backward).await;
        let page = scanned.map_err(|error| CommitError::Fatal(error.to_string()))?;
        let over = page.into_iter().skip(AUDIT_MAX);
        let changes: Vec<Change> = over.map(|(key, _)| Change::Delete(key)).collect();
        let pruned = changes.len();
        if pruned > 0 {
            self.commit(Class::Settle, Transaction { preconditions: Vec::new(), changes }).await?;
        }
        Ok(pruned)
    }

    pub(super) fn audit_change(&self, entry: &AuditEntry) -> Change {
        let place = self.entries.fetch_add(1, Ordering::Relaxed);
        Change::Put(keys::audit(entry.at, place), records::encode_audit(entry))
    }
}

pub(super) fn at(key: &[u8]) -> Result<Timestamp, ReadError> {
    let at = key.get(4..).and_then(|rest| rest.first_chunk());
    let at = at.ok_or_else(|| damaged("audit", &format!("its key is {key:02x?}")))?;
    Ok(Timestamp::from_ms(u64::from_be_bytes(*at)))
}
