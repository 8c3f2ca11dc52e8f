//! A cell: one notification's state in memory, and the only way to change it.
//!
//! What a change writes is the difference that it made to the records and indexes. Changes of one notification
//! reach the disk in their order, one commit at a time: those made while a commit is under way go into the next
//! one together (`flight`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_model::id::NotificationId;
use fanfare_model::state::NotificationState;

use crate::accept::{AcceptedItem, NewNotification};
use crate::engine::CommitError;
use crate::flight::{Durable, Flight};
use crate::keys::DueEntry;
use crate::ledger::Ledger;
use crate::writes::due_entry;

/// A handle on one notification's state; cheap to clone.
#[derive(Clone, Debug)]
pub struct Cell {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    id: NotificationId,
    book: Mutex<Book>,
    ledger: Arc<Ledger>,
}

/// The state, and what of it is on its way to the disk.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) state: NotificationState,
    pub(crate) flight: Option<Flight>,
    /// Flights so far.
    pub(crate) flights: u64,
}

/// What a change gave, and what is accepted in the same transaction.
#[derive(Debug)]
pub struct Changed<R> {
    /// For the caller.
    pub value: R,
    /// Notifications that are accepted with the change, or not at all. Their dedup claims are not looked at.
    pub alongside: Vec<NewNotification>,
}

impl<R> Changed<R> {
    /// A change that accepts nothing.
    pub fn only(value: R) -> Self {
        Self { value, alongside: Vec::new() }
    }
}

/// Why a state was not changed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChangeError<E> {
    /// The caller's own reason.
    #[error(transparent)]
    Refused(#[from] E),
    /// An earlier commit failed for good.
    #[error("{0}")]
    Store(CommitError),
}

/// A change that is queued.
#[derive(Debug)]
pub struct Ticket<R> {
    /// What the change gave.
    pub value: R,
    /// What was accepted with it.
    pub alongside: Vec<AcceptedItem>,
    /// Ready once it is on disk. It may be dropped: the commit goes on.
    pub durable: Durable,
}

impl Inner {
    pub(crate) fn new(state: NotificationState, ledger: Arc<Ledger>) -> Self {
        Self { id: state.id, book: Mutex::new(Book { state, flight: None, flights: 0 }), ledger }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ledger.close(self.id);
    }
}

impl From<Arc<Inner>> for Cell {
    fn from(inner: Arc<Inner>) -> Self {
        Self { inner }
    }
}

impl Cell {
    /// The notification it holds.
    #[must_use]
    pub fn id(&self) -> NotificationId {
        self.inner.id
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.ledger
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        // The model's transitions change nothing when they fail, and none of them panics half-way.
        self.inner.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state. The closure runs under the cell's lock, so it is short and never calls the cell.
    pub fn read<R>(&self, look: impl FnOnce(&NotificationState) -> R) -> R {
        look(&self.book().state)
    }

    /// The due entries of its deliveries that wait.
    #[must_use]
    pub fn due_entries(&self) -> Vec<DueEntry> {
        let book = self.book();
        let state = &book.state;
        state.deliveries.iter().filter_map(|delivery| due_entry(state, delivery)).collect()
    }

    /// Changes the state, and sees to it that the change becomes durable, in the order of the changes. A disk
    /// without room delays that and does not lose it.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] with the closure's own error, which must leave the state as it was: the
    /// model's transitions do. [`ChangeError::Store`] when an earlier commit failed for good.
    pub fn change<R, E>(
        &self,
        change: impl FnOnce(&mut NotificationState) -> Result<Changed<R>, E>,
    ) -> Result<Ticket<R>, ChangeError<E>> {
        let ledger = self.ledger();
        ledger.check().map_err(ChangeError::Store)?;
        let mut book = self.book();
        let before = book.before();
        let Changed { value, alongside } = change(&mut book.state).map_err(ChangeError::Refused)?;
        let accept = |new: NewNotification| AcceptedItem {
            cell: ledger.insert(new.state),
            notification: new.notification,
        };
        let alongside: Vec<AcceptedItem> = alongside.into_iter().map(accept).collect();
        // While the cell is locked: the order of changes is the order of commits.
        let durable = book.depart(self, before, &alongside);
        drop(book);
        Ok(Ticket { value, alongside, durable })
    }
}
