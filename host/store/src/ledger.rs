//! The ledger: the one copy in memory of each notification that somebody works on.
//!
//! All changes of a notification go through its [`Cell`]: the change and its place in the commit order are
//! decided under one lock, so nothing needs a precondition. What it writes is the difference that the change
//! made ([`Writes::difference`]). This process owns the shard; should the commit of a change fail, memory and
//! disk differ, so the ledger refuses whatever comes later, changes ([`ChangeError::Store`]) and intake alike,
//! until a restart reads the disk again.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};

use fanfare_model::id::NotificationId;
use fanfare_model::state::NotificationState;

use crate::accept::{AcceptedItem, NewNotification};
use crate::engine::{Class, CommitError, Direction, Engine, Pending, ReadError, Record, Transaction};
use crate::keys::{self, DueEntry};
use crate::records;
use crate::writes::{Marks, Writes, due_entry};

/// Loads of the same notification queue at one of these, so that there is never a second copy.
const LOADING_DOORS: usize = 64;

/// More records than a state can have: 1,000 deliveries, 16 in each.
const CHUNKS_MAX: usize = 128;

/// Reads of a state that changes while it is read, before it counts as damaged.
const READS_MAX: usize = 4;

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) engine: Arc<dyn Engine>,
    cells: Mutex<HashMap<NotificationId, Weak<Inner>>>,
    loading: Vec<tokio::sync::Mutex<()>>,
    failed: OnceLock<CommitError>,
}

/// A handle on one notification's state; cheap to clone.
#[derive(Clone, Debug)]
pub struct Cell {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: NotificationId,
    state: Mutex<NotificationState>,
    ledger: Arc<Ledger>,
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
    /// An earlier commit failed.
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

/// Ready once a change is on disk. Keeps the cell in memory until then, even when it is dropped: else a reader
/// could load what is about to be replaced.
pub struct Durable {
    commit: Option<Pending<Result<(), CommitError>>>,
}

impl std::fmt::Debug for Durable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Durable").field("ready", &self.commit.is_none()).finish()
    }
}

impl Future for Durable {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(commit) = &mut self.commit else { return Poll::Ready(Ok(())) };
        let result = std::task::ready!(commit.as_mut().poll(context));
        self.commit = None;
        Poll::Ready(result)
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        if let Some(commit) = self.commit.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(commit);
        }
    }
}

impl Ledger {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        let loading = std::iter::repeat_with(|| tokio::sync::Mutex::new(())).take(LOADING_DOORS).collect();
        Self { engine, cells: Mutex::default(), loading, failed: OnceLock::new() }
    }

    fn cells(&self) -> MutexGuard<'_, HashMap<NotificationId, Weak<Inner>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, id: NotificationId) -> Option<Cell> {
        self.cells().get(&id).and_then(Weak::upgrade).map(|inner| Cell { inner })
    }

    /// Puts a state into memory; nobody else may know its id yet, or may load it meanwhile.
    pub(crate) fn insert(self: &Arc<Self>, state: NotificationState) -> Cell {
        let id = state.id;
        let inner = Arc::new(Inner { id, state: Mutex::new(state), ledger: Arc::clone(self) });
        self.cells().insert(id, Arc::downgrade(&inner));
        Cell { inner }
    }

    pub(crate) async fn cell(self: &Arc<Self>, id: NotificationId) -> Result<Option<Cell>, ReadError> {
        if let Some(cell) = self.open(id) {
            return Ok(Some(cell));
        }
        let bytes = id.to_bytes();
        let door = usize::from(bytes[15]) % LOADING_DOORS;
        let Some(door) = self.loading.get(door) else { return Ok(None) };
        let _held = door.lock().await;
        // Whoever was here before may have loaded it.
        if let Some(cell) = self.open(id) {
            return Ok(Some(cell));
        }
        Ok(self.read(id).await?.map(|state| self.insert(state)))
    }

    /// The state on disk.
    pub(crate) async fn read(&self, id: NotificationId) -> Result<Option<NotificationState>, ReadError> {
        let Some(head) = self.engine.get(keys::state(id, 0)).await? else { return Ok(None) };
        self.complete(id, &head).await
    }

    /// The state whose head is at hand. A reader that has no cell can meet a change between two of its reads,
    /// and then reads again.
    pub(crate) async fn complete(
        &self,
        id: NotificationId,
        head: &Record,
    ) -> Result<Option<NotificationState>, ReadError> {
        let (mut state, mut total) = records::decode_head(id, &head.value)?;
        for _ in 0..READS_MAX {
            if usize::from(total) > state.deliveries.len() {
                self.read_chunks(&mut state).await?;
            }
            if state.deliveries.len() == usize::from(total) {
                return Ok(Some(state));
            }
            let Some(head) = self.engine.get(keys::state(id, 0)).await? else { return Ok(None) };
            (state, total) = records::decode_head(id, &head.value)?;
        }
        let found = state.deliveries.len();
        Err(records::damaged("state", &format!("{id} has {found} of {total} deliveries")))
    }

    async fn read_chunks(&self, state: &mut NotificationState) -> Result<(), ReadError> {
        let id = state.id;
        let mut range = keys::chunks(id);
        range.start = keys::after(keys::state(id, 0));
        for (_, record) in self.engine.scan(range, CHUNKS_MAX, Direction::Forward).await? {
            let first = state.deliveries.len();
            state.deliveries.extend(records::decode_chunk(id, first, &record.value)?);
        }
        Ok(())
    }

    /// Fails once the commit of a change has failed.
    pub(crate) fn check(&self) -> Result<(), CommitError> {
        self.failed.get().cloned().map_or(Ok(()), Err)
    }

    fn fail(&self, error: &CommitError) {
        if self.failed.set(error.clone()).is_ok() {
            tracing::error!(error = %error, "a change could not be stored; nothing more is taken until a restart");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut cells = self.ledger.cells();
        if cells.get(&self.id).is_some_and(|cell| cell.strong_count() == 0) {
            cells.remove(&self.id);
        }
    }
}

impl Cell {
    /// The notification it holds.
    #[must_use]
    pub fn id(&self) -> NotificationId {
        self.inner.id
    }

    fn state(&self) -> MutexGuard<'_, NotificationState> {
        // The model's transitions change nothing when they fail, and none of them panics half-way.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state. The closure runs under the cell's lock, so it is short and never calls the cell.
    pub fn read<R>(&self, look: impl FnOnce(&NotificationState) -> R) -> R {
        look(&self.state())
    }

    /// The due entries of its deliveries that wait.
    #[must_use]
    pub fn due_entries(&self) -> Vec<DueEntry> {
        let state = self.state();
        state.deliveries.iter().filter_map(|delivery| due_entry(&state, delivery)).collect()
    }

    /// Changes the state, and queues the transaction that makes it durable before anyone else can change it.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] with the closure's own error, which must leave the state as it was: the
    /// model's transitions do. [`ChangeError::Store`] when an earlier commit failed.
    pub fn change<R, E>(
        &self,
        change: impl FnOnce(&mut NotificationState) -> Result<Changed<R>, E>,
    ) -> Result<Ticket<R>, ChangeError<E>> {
        let ledger = &self.inner.ledger;
        ledger.check().map_err(ChangeError::Store)?;
        let mut state = self.state();
        let before = Marks::of(&state);
        let Changed { value, alongside } = change(&mut state).map_err(ChangeError::Refused)?;
        let mut writes = Writes::new(&ledger.engine.ceilings());
        writes.difference(&before, &state);
        let mut items = Vec::with_capacity(alongside.len());
        for new in alongside {
            writes.accept(&new.notification, &new.state);
            items.push(AcceptedItem { cell: ledger.insert(new.state), notification: new.notification });
        }
        let transaction = Transaction { preconditions: Vec::new(), changes: writes.into_changes() };
        // Queued while the cell is locked: the order of changes is the order of commits.
        let commit = ledger.engine.commit(Class::Settle, vec![transaction]);
        drop(state);
        let cell = self.clone();
        let commit = async move {
            let result =
                commit.await.pop().unwrap_or(Err(CommitError::Fatal("it gave no answer".to_owned())));
            result.map(drop).inspect_err(|error| cell.inner.ledger.fail(error))
        };
        Ok(Ticket { value, alongside: items, durable: Durable { commit: Some(Box::pin(commit)) } })
    }
}
