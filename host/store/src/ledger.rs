//! The ledger: the one copy in memory of each notification that somebody works on.
//!
//! All changes of a notification go through its [`Cell`]. This process owns the shard, so nothing needs a
//! precondition. A change that does not fit on the disk stays in memory and is tried again until it does
//! (`flight`); should the commit of a change fail for good, memory and disk differ, so the ledger refuses whatever
//! comes later, changes and intake alike, until a restart reads the disk again.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use fanfare_model::clock::Clock;
use fanfare_model::id::NotificationId;
use fanfare_model::state::NotificationState;

use crate::cell::{Cell, Inner};
use crate::engine::{Class, CommitError, Direction, Engine, ReadError, Record};
use crate::keys;
use crate::observe::Observer;
use crate::records;

/// Loads of the same notification queue at one of these, so that there is never a second copy.
const LOADING_DOORS: usize = 64;

/// More records than a state can have: 1,000 deliveries and a fan-out of 5,000, 16 in each.
const CHUNKS_MAX: usize = 512;

/// Reads of a state that changes while it is read, before it counts as damaged.
const READS_MAX: usize = 4;

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) engine: Arc<dyn Engine>,
    cells: Mutex<HashMap<NotificationId, Weak<Inner>>>,
    loading: Vec<tokio::sync::Mutex<()>>,
    failed: OnceLock<CommitError>,
    /// Notifications whose changes wait for space, and what the engine said last.
    stuck: AtomicUsize,
    short_of: Mutex<Option<CommitError>>,
    clock: Arc<dyn Clock>,
    observer: OnceLock<Arc<dyn Observer>>,
}

/// Which of the doors a notification's load queues at.
fn door_of(id: &NotificationId) -> usize {
    usize::from(id.to_bytes()[15]) % LOADING_DOORS
}

impl Ledger {
    pub(crate) fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>) -> Self {
        let loading = std::iter::repeat_with(|| tokio::sync::Mutex::new(())).take(LOADING_DOORS).collect();
        Self {
            engine,
            cells: Mutex::default(),
            loading,
            failed: OnceLock::new(),
            stuck: AtomicUsize::new(0),
            short_of: Mutex::default(),
            clock,
            observer: OnceLock::new(),
        }
    }

    fn cells(&self) -> MutexGuard<'_, HashMap<NotificationId, Weak<Inner>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, id: NotificationId) -> Option<Cell> {
        self.cells().get(&id).and_then(Weak::upgrade).map(Cell::from)
    }

    /// Puts a state into memory; nobody else may know its id yet, or may load it meanwhile.
    pub(crate) fn insert(self: &Arc<Self>, state: NotificationState) -> Cell {
        let id = state.id;
        let inner = Arc::new(Inner::new(state, Arc::clone(self)));
        self.cells().insert(id, Arc::downgrade(&inner));
        Cell::from(inner)
    }

    pub(crate) async fn cell(self: &Arc<Self>, id: NotificationId) -> Result<Option<Cell>, ReadError> {
        if let Some(cell) = self.open(id) {
            return Ok(Some(cell));
        }
        let Some(door) = self.loading.get(door_of(&id)) else { return Ok(None) };
        let _held = door.lock().await;
        // Whoever was here before may have loaded it.
        if let Some(cell) = self.open(id) {
            return Ok(Some(cell));
        }
        Ok(self.read(id).await?.map(|state| self.insert(state)))
    }

    /// While the answer is held, none of these can be put into memory; those that are there already stay.
    pub(crate) async fn shut(&self, ids: &[NotificationId]) -> Vec<tokio::sync::MutexGuard<'_, ()>> {
        let doors: BTreeSet<usize> = ids.iter().map(door_of).collect();
        let mut held = Vec::with_capacity(doors.len());
        // In their order, so that two who do this can't wait for each other.
        for door in doors {
            if let Some(door) = self.loading.get(door) {
                held.push(door.lock().await);
            }
        }
        held
    }

    /// Whether somebody works on it.
    pub(crate) fn is_open(&self, id: NotificationId) -> bool {
        self.open(id).is_some()
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

    pub(crate) fn fail(&self, error: &CommitError) {
        if self.failed.set(error.clone()).is_ok() {
            tracing::error!(error = %error, "a change could not be stored; nothing more is taken until a restart");
        }
    }

    /// Why changes are not stored at the moment and are tried again; `None` when they are.
    pub(crate) fn shortage(&self) -> Option<CommitError> {
        if self.stuck() == 0 {
            return None;
        }
        self.short_of().clone()
    }

    /// Notifications whose changes wait for space.
    pub(crate) fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    fn short_of(&self) -> MutexGuard<'_, Option<CommitError>> {
        self.short_of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) {
        let _ = self.observer.set(observer);
    }

    /// When a commit begins, by the monotonic clock.
    pub(crate) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Tells of a commit that began at `began`.
    pub(crate) fn tell(&self, class: Class, began: Duration, error: Option<&CommitError>) {
        if let Some(observer) = self.observer.get() {
            observer.commit(class, self.now().saturating_sub(began), error.into());
        }
    }

    /// Whether every change is on disk.
    #[cfg(test)]
    pub(crate) fn is_quiet(&self) -> bool {
        let cells: Vec<Cell> = self.cells().values().filter_map(Weak::upgrade).map(Cell::from).collect();
        cells.iter().all(|cell| cell.book().flight.is_none())
    }

    /// Forgets a cell that nobody holds any more.
    pub(crate) fn close(&self, id: NotificationId) {
        let mut cells = self.cells();
        if cells.get(&id).is_some_and(|cell| cell.strong_count() == 0) {
            cells.remove(&id);
        }
    }
}

/// Counts one notification whose changes wait for space, from the first refusal until they are on disk.
#[derive(Debug)]
pub(crate) struct Stuck {
    ledger: Arc<Ledger>,
}

impl Stuck {
    pub(crate) fn new(ledger: &Arc<Ledger>, error: &CommitError) -> Self {
        *ledger.short_of() = Some(error.clone());
        if ledger.stuck.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(error = %error, "outcomes do not fit on the disk; they are kept in memory and tried again");
        }
        Self { ledger: Arc::clone(ledger) }
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        if self.ledger.stuck.fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::info!("no outcome waits for disk space any more");
        }
    }
}
