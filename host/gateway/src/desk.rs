//! What people do to notifications that were accepted: look, wait, cancel, send again, discard.

use std::time::Duration;

use fanfare_model::delivery::{Delivery, DeliveryStatus};
use fanfare_model::id::{DeliveryId, NotificationId};
use fanfare_model::state::{Misfit, NotificationState};
use fanfare_store::engine::{CommitError, ReadError};
use fanfare_store::{Cell, ChangeError, Changed, DeadLetterFilter, Durable, Store};

use crate::dispatch::Dispatch;

/// Dead letters that one transaction-free pass of [`Desk::replay_all`] takes at once.
const REPLAY_PAGE: usize = 200;

/// Someone who waits for a change to be stored asks this often whether the disk is full.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A handle on accepted notifications; cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk {
    store: Store,
    dispatch: Dispatch,
}

/// Why nothing was done.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeskError {
    /// There is no such notification or delivery.
    #[error("there is no such notification or delivery")]
    NotFound,
    /// The delivery is no dead letter.
    #[error("the delivery is not a dead letter")]
    NotDead,
    /// All of it has ended already.
    #[error("it has ended already")]
    AlreadyEnded,
    /// The disk is short of space.
    #[error("the store is short of disk space: {0}")]
    StoreFull(String),
    /// The store failed.
    #[error("the store failed: {0}")]
    StoreFailed(String),
}

/// What a cancellation did.
#[derive(Clone, Debug)]
pub struct Cancelled {
    /// The notification afterwards.
    pub state: NotificationState,
    /// Deliveries that were cancelled.
    pub cancelled: usize,
    /// Deliveries whose attempt was under way: they end with it, and are not tried again.
    pub under_way: usize,
}

impl From<ReadError> for DeskError {
    fn from(error: ReadError) -> Self {
        Self::StoreFailed(error.to_string())
    }
}

impl From<CommitError> for DeskError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Full(detail) => Self::StoreFull(detail),
            other => Self::StoreFailed(other.to_string()),
        }
    }
}

impl From<Misfit> for DeskError {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::NoSuchDelivery => Self::NotFound,
            Misfit::NotDead => Self::NotDead,
            Misfit::NotWaiting | Misfit::TooManyDeliveries | Misfit::FanOutTooLarge => Self::AlreadyEnded,
        }
    }
}

impl From<ChangeError<DeskError>> for DeskError {
    fn from(error: ChangeError<Self>) -> Self {
        match error {
            ChangeError::Refused(error) => error,
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl Desk {
    /// A desk over `store`; what it sets free goes to `dispatch`.
    #[must_use]
    pub fn new(store: Store, dispatch: Dispatch) -> Self {
        Self { store, dispatch }
    }

    /// The store, for reading.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Dispatch, for looking.
    #[must_use]
    pub fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// The status of a delivery, with what only dispatch knows: whether it is being sent, or parked.
    #[must_use]
    pub fn delivery_status(&self, delivery: &Delivery) -> DeliveryStatus {
        let stored = delivery.status(self.store.clock().now());
        match stored {
            DeliveryStatus::Queued | DeliveryStatus::Retrying => {
                if self.dispatch.is_sending(delivery.id) {
                    DeliveryStatus::Sending
                } else if self.dispatch.is_parked(&delivery.channel) {
                    DeliveryStatus::Parked
                } else {
                    stored
                }
            }
            _ => stored,
        }
    }

    /// Waits until nothing of the notification is left to do, or `at_most` is over.
    pub async fn wait_until_terminal(&self, cell: &Cell, at_most: Duration) {
        self.dispatch.wait_until_terminal(cell, at_most).await;
    }

    /// Cancels what is not sent yet.
    ///
    /// # Errors
    /// [`DeskError::NotFound`]; [`DeskError::AlreadyEnded`] when nothing was left to cancel.
    pub async fn cancel(&self, id: NotificationId) -> Result<Cancelled, DeskError> {
        self.check_space()?;
        let cell = self.store.cell(id).await?.ok_or(DeskError::NotFound)?;
        let now = self.store.clock().now();
        let ticket = cell.change(|state| {
            if state.status(now).is_terminal() {
                return Err(DeskError::AlreadyEnded);
            }
            let sending = |index| self.dispatch.is_sending(DeliveryId { notification: id, index });
            let cancelled = state.cancel(now, sending);
            let under_way = state.deliveries.iter().filter(|d| !d.phase.is_terminal()).count();
            Ok(Changed::only(Cancelled { state: state.clone(), cancelled, under_way }))
        })?;
        let dispatch = self.dispatch.clone();
        self.stored(ticket.durable, move || dispatch.poke(id)).await?;
        tracing::info!(notification = %id, cancelled = ticket.value.cancelled, "cancelled by a client");
        Ok(ticket.value)
    }

    /// Sends a dead letter again, as a new chain of attempts.
    ///
    /// # Errors
    /// [`DeskError::NotFound`] or [`DeskError::NotDead`].
    pub async fn replay(&self, id: DeliveryId, by: &str) -> Result<(), DeskError> {
        self.check_space()?;
        let cell = self.store.cell(id.notification).await?.ok_or(DeskError::NotFound)?;
        // Without its body nothing can be sent.
        if self.store.notification(id.notification).await?.is_none() {
            return Err(DeskError::NotFound);
        }
        let now = self.store.clock().now();
        let ticket = cell.change(|state| -> Result<_, DeskError> {
            state.replay(id.index, now, by)?;
            Ok(Changed::only(()))
        })?;
        let dispatch = self.dispatch.clone();
        self.stored(ticket.durable, move || dispatch.offer(&cell, None)).await?;
        tracing::info!(delivery = %id, by, "dead letter sent again");
        Ok(())
    }

    /// Sends every dead letter that fits `filter` again; answers how many.
    ///
    /// # Errors
    /// The store's; some may have been sent again before.
    pub async fn replay_all(&self, filter: &DeadLetterFilter, by: &str) -> Result<usize, DeskError> {
        let (mut replayed, mut cursor) = (0, None);
        loop {
            let page = self.store.dead_letters(filter, cursor.as_ref(), REPLAY_PAGE).await?;
            for letter in page.items {
                match self.replay(letter.id, by).await {
                    Ok(()) => replayed += 1,
                    // Somebody else was faster, or its body is not kept any more.
                    Err(DeskError::NotDead | DeskError::NotFound | DeskError::AlreadyEnded) => {}
                    Err(error) => return Err(error),
                }
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(replayed),
            }
        }
    }

    /// Takes a dead letter out of the list for good; its history stays.
    ///
    /// # Errors
    /// [`DeskError::NotFound`] or [`DeskError::NotDead`].
    pub async fn discard(&self, id: DeliveryId, by: &str) -> Result<(), DeskError> {
        self.check_space()?;
        let cell = self.store.cell(id.notification).await?.ok_or(DeskError::NotFound)?;
        let now = self.store.clock().now();
        let ticket = cell.change(|state| -> Result<_, DeskError> {
            state.discard(id.index, now, by)?;
            Ok(Changed::only(()))
        })?;
        let dispatch = self.dispatch.clone();
        self.stored(ticket.durable, move || dispatch.poke(id.notification)).await?;
        tracing::info!(delivery = %id, by, "dead letter discarded");
        Ok(())
    }

    /// While changes wait for space, nothing is changed that a person asks for: a crash would undo it.
    fn check_space(&self) -> Result<(), DeskError> {
        self.store.stagnation().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Waits until a change is on disk, and lets `then` follow. Should it be the first to meet a full disk, the
    /// answer says so; it is stored all the same once there is room, and `then` follows it.
    async fn stored(&self, durable: Durable, then: impl FnOnce() + Send + 'static) -> Result<(), DeskError> {
        let mut task = tokio::spawn(async move {
            durable.await?;
            then();
            Ok::<_, CommitError>(())
        });
        loop {
            match tokio::time::timeout(LOOK_EVERY, &mut task).await {
                Ok(Ok(stored)) => return stored.map_err(DeskError::from),
                Ok(Err(error)) => return Err(DeskError::StoreFailed(error.to_string())),
                Err(_) => self.check_space()?,
            }
        }
    }
}
