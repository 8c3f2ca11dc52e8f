//! Components by digest, in chunks.
//!
//! An intent is written before the first chunk and goes with the record that makes the component visible, so that
//! an install which was cut off leaves nothing behind but what [`Plugins::sweep_components`] finds.

use fanfare_model::digest::Digest;

use super::types::{AuditEntry, Component, InstallError};
use super::{COMPONENT_BYTES_MAX, Plugins, keys, records};
use crate::engine::{Change, Class, CommitError, Direction, ReadError, Transaction, Value};
use crate::records::damaged;

/// What one record holds of a component.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// Chunks of one transaction or read: 4 MiB, well below what an engine takes at once.
const CHUNKS_AT_ONCE: usize = 16;

/// More than anyone installs.
const COMPONENTS_MAX: usize = 10_000;

impl Plugins {
    /// Stores a component and says so in the audit; the same bytes twice are one, and answer `false`.
    ///
    /// # Errors
    /// [`InstallError`]; then the component is not there.
    pub async fn install(
        &self,
        component: &Component,
        bytes: &[u8],
        audit: Option<&AuditEntry>,
    ) -> Result<bool, InstallError> {
        if bytes.len() > COMPONENT_BYTES_MAX {
            return Err(InstallError::TooLarge(bytes.len()));
        }
        let digest = component.digest;
        if self.component(digest).await?.is_some() {
            return Ok(false);
        }
        let intent = Change::Put(keys::intent(&digest), Value::from([]));
        self.commit(Class::Intake, only(vec![intent])).await?;
        let mut place = 0;
        for part in bytes.chunks(CHUNK_BYTES * CHUNKS_AT_ONCE) {
            let mut changes = Vec::with_capacity(CHUNKS_AT_ONCE);
            for chunk in part.chunks(CHUNK_BYTES) {
                changes.push(Change::Put(keys::chunk(&digest, place), Value::from(chunk)));
                place += 1;
            }
            self.commit(Class::Intake, only(changes)).await?;
        }
        let mut changes = vec![
            Change::Delete(keys::intent(&digest)),
            Change::Put(keys::component(&digest), records::encode_component(component)),
        ];
        changes.extend(audit.map(|entry| self.audit_change(entry)));
        self.commit(Class::Intake, only(changes)).await?;
        Ok(true)
    }

    /// What is known of a component.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn component(&self, digest: Digest) -> Result<Option<Component>, ReadError> {
        let record = self.engine.get(keys::component(&digest)).await?;
        record.map(|record| records::decode_component(digest, &record.value)).transpose()
    }

    /// All components, by digest.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn components(&self) -> Result<Vec<Component>, ReadError> {
        let all = keys::all(keys::Part::Component);
        let page = self.engine.scan(all, COMPONENTS_MAX, Direction::Forward).await?;
        let read = |(key, record): &(Vec<u8>, crate::engine::Record)| {
            let digest = keys::parse_digest(key)
                .ok_or_else(|| damaged("component", &format!("its key is {key:02x?}")))?;
            records::decode_component(digest, &record.value)
        };
        page.iter().map(read).collect()
    }

    /// A component's bytes, compared with its digest.
    ///
    /// # Errors
    /// When the engine can't be read, or the bytes are not those that were stored.
    pub async fn bytes(&self, digest: Digest) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(component) = self.component(digest).await? else { return Ok(None) };
        let mut bytes =
            Vec::with_capacity(usize::try_from(component.bytes).unwrap_or(0).min(COMPONENT_BYTES_MAX));
        let places: Vec<u16> = (0..chunks(component.bytes)).collect();
        for places in places.chunks(CHUNKS_AT_ONCE) {
            let keys = places.iter().map(|place| keys::chunk(&digest, *place)).collect();
            for record in self.engine.get_many(keys).await?.into_iter().flatten() {
                bytes.extend_from_slice(&record.value);
            }
        }
        if Digest::of(&bytes) != digest {
            let why = format!("its {} bytes do not have the digest {digest}; install it again", bytes.len());
            return Err(damaged("component", &why));
        }
        Ok(Some(bytes))
    }

    /// Removes a component and says so in the audit; answers whether it was there.
    ///
    /// # Errors
    /// When the engine can't be read or written.
    pub async fn remove(&self, digest: Digest, audit: &AuditEntry) -> Result<bool, InstallError> {
        let Some(component) = self.component(digest).await? else { return Ok(false) };
        let changes = vec![
            Change::Delete(keys::component(&digest)),
            Change::Put(keys::intent(&digest), Value::from([])),
            self.audit_change(audit),
        ];
        self.commit(Class::Settle, only(changes)).await?;
        self.remove_chunks(digest, chunks(component.bytes)).await?;
        Ok(true)
    }

    /// Removes what an install or a removal left when it was cut off; answers of how many components.
    ///
    /// # Errors
    /// When the engine can't be read or written.
    pub async fn sweep_components(&self) -> Result<usize, InstallError> {
        let intents = keys::all(keys::Part::Intent);
        let page = self.engine.scan(intents, COMPONENTS_MAX, Direction::Forward).await?;
        let mut swept = 0;
        for digest in page.iter().filter_map(|(key, _)| keys::parse_digest(key)) {
            self.remove_chunks(digest, chunks(COMPONENT_BYTES_MAX as u64)).await?;
            swept += 1;
        }
        Ok(swept)
    }

    async fn remove_chunks(&self, digest: Digest, count: u16) -> Result<(), CommitError> {
        let mut changes: Vec<Change> =
            (0..count).map(|place| Change::Delete(keys::chunk(&digest, place))).collect();
        changes.push(Change::Delete(keys::intent(&digest)));
        self.commit(Class::Settle, only(changes)).await
    }
}

fn only(changes: Vec<Change>) -> Transaction {
    Transaction { preconditions: Vec::new(), changes }
}

fn chunks(bytes: u64) -> u16 {
    u16::try_from(bytes.div_ceil(CHUNK_BYTES as u64)).unwrap_or(u16::MAX)
}
