//! A job: one delivery that is to be attempted, light enough that a lane can hold thousands.

use std::sync::Arc;
use std::time::Duration;

use fanfare_model::notification::Notification;
use fanfare_model::time::Timestamp;
use fanfare_store::{Cell, DueEntry};

/// Where a delivery goes, as far as fairness is concerned: the host of an address that is a URL, else the
/// channel's own destination. A hash, because it is kept in the due index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination(u64);

impl Destination {
    pub(super) fn of_entry(entry: &DueEntry) -> Self {
        Self(entry.destination)
    }
}

/// One delivery that is to be attempted.
#[derive(Debug)]
pub(super) struct Job {
    /// Its place in the due index.
    pub(super) entry: DueEntry,
    /// Where it goes.
    pub(super) destination: Destination,
    /// What was just accepted, so that the store need not be read again.
    pub(super) hot: Option<Hot>,
}

/// A notification that is in memory already.
#[derive(Clone, Debug)]
pub(super) struct Hot {
    pub(super) cell: Cell,
    pub(super) notification: Arc<Notification>,
}

impl Job {
    pub(super) fn cold_from(entry: DueEntry) -> Self {
        let destination = Destination::of_entry(&entry);
        Self { entry, destination, hot: None }
    }

    pub(super) fn hot_from(entry: DueEntry, hot: Option<Hot>) -> Self {
        Self { hot, ..Self::cold_from(entry) }
    }

    /// The same delivery, due again at `due_at`.
    pub(super) fn for_retry(&self, due_at: Timestamp, delay: Duration) -> Self {
        let entry = DueEntry { due_at, delay: Some(delay), ..self.entry.clone() };
        Self { entry, destination: self.destination, hot: None }
    }

    /// The same job without what it holds in memory.
    pub(super) fn cold(self) -> Self {
        Self { hot: None, ..self }
    }
}
