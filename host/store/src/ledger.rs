//! The ledger: the one copy in memory of each notification that somebody works on.
//!
//! All changes of a notification go through its [`Cell`]: the change and its place in the commit order are
//! decided under one lock, so nothing needs a precondition. What the indexes say is not written by hand: it is
//! the difference of what they ought to say before and after ([`Marks`]). This process owns the shard; should
//! a commit fail, memory and disk differ, so the ledger refuses every later change ([`ChangeError::Store`])
//! until a restart reads the disk again.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};

use fanfare_model::delivery::{Delivery, Phase};
use fanfare_model::destination::destination_key;
use fanfare_model::id::NotificationId;
use fanfare_model::notification::Notification;
use fanfare_model::state::NotificationState;
use fanfare_model::time::Timestamp;

use crate::accept::{AcceptedItem, NewNotification};
use crate::engine::{Change, Class, CommitError, Direction, Engine, Pending, ReadError, Transaction, Value};
use crate::keys::{self, DueEntry};
use crate::records::{self, CHUNK, DeadRecord};

/// Loads of the same notification queue at one of these, so that there is never a second copy.
const LOADING_DOORS: usize = 64;

/// A state has at most this many records: 1,000 deliveries, 16 in each.
const CHUNKS_MAX: usize = 4_096;

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
        let (mut state, total) = records::decode_head(id, &head.value)?;
        if usize::from(total) > state.deliveries.len() {
            let mut range = keys::chunks(id);
            range.start = keys::after(keys::state(id, 0));
            for (_, record) in self.engine.scan(range, CHUNKS_MAX, Direction::Forward).await? {
                let first = state.deliveries.len();
                state.deliveries.extend(records::decode_chunk(id, first, &record.value)?);
            }
        }
        if state.deliveries.len() != usize::from(total) {
            return Err(records::damaged(
                "state",
                &format!("{id} has {} of {total} deliveries", state.deliveries.len()),
            ));
        }
        Ok(Some(state))
    }

    fn check(&self) -> Result<(), CommitError> {
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
        let mut writes = Writes::default();
        writes.difference(&before, &state);
        let mut items = Vec::with_capacity(alongside.len());
        for new in alongside {
            writes.accept(&new.notification, &new.state);
            items.push(AcceptedItem { cell: ledger.insert(new.state), notification: new.notification });
        }
        let transaction = Transaction { preconditions: Vec::new(), changes: writes.into_changes() };
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

fn due_entry(state: &NotificationState, delivery: &Delivery) -> Option<DueEntry> {
    let Phase::Waiting { due_at, delay } = delivery.phase else { return None };
    Some(DueEntry {
        lane: delivery.channel.clone(),
        priority: state.priority,
        due_at,
        delivery: delivery.id,
        delay,
        destination: destination_key(delivery.address.as_deref()),
    })
}

/// What the indexes say about one delivery, and enough to see whether it changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    indexed: Indexed,
    chain: u32,
    attempts: u32,
    events: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Indexed {
    Due(Timestamp),
    Dead(Timestamp),
    No,
}

/// What the indexes say about one notification.
struct Marks {
    deliveries: Vec<Mark>,
    head: HeadMark,
}

/// Enough to see whether the head changed.
#[derive(PartialEq, Eq)]
struct HeadMark(usize, Option<Timestamp>, bool, usize);

impl Marks {
    fn of(state: &NotificationState) -> Self {
        Self { deliveries: state.deliveries.iter().map(Mark::of).collect(), head: HeadMark::of(state) }
    }
}

impl HeadMark {
    fn of(state: &NotificationState) -> Self {
        Self(state.events.len(), state.cancelled_at, state.suppressed.is_some(), state.deliveries.len())
    }
}

impl Mark {
    fn of(delivery: &Delivery) -> Self {
        let indexed = match &delivery.phase {
            Phase::Waiting { due_at, .. } => Indexed::Due(*due_at),
            Phase::Dead { at, .. } => Indexed::Dead(*at),
            _ => Indexed::No,
        };
        Self {
            indexed,
            chain: delivery.chain.number,
            attempts: delivery.attempts_total,
            events: delivery.events.len(),
        }
    }
}

/// The changes of one transaction, with counters added up, since no key may change twice.
#[derive(Default)]
pub(crate) struct Writes {
    changes: Vec<Change>,
    counters: BTreeMap<Vec<u8>, i64>,
}

impl Writes {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Value) {
        self.changes.push(Change::Put(key, value));
    }

    /// Everything of a notification that was never stored.
    pub(crate) fn accept(&mut self, notification: &Notification, state: &NotificationState) {
        self.put(keys::body(state.id), records::encode_notification(notification));
        self.put(keys::state(state.id, 0), records::encode_head(state));
        for (place, chunk) in state.deliveries.chunks(CHUNK).enumerate().skip(1) {
            self.put_chunk(state.id, place, chunk);
        }
        for delivery in &state.deliveries {
            self.index(state, delivery);
        }
        let mut users: Vec<_> = state.users.iter().collect();
        users.extend(state.deliveries.iter().filter_map(|delivery| delivery.user.as_ref()));
        users.sort_unstable();
        users.dedup();
        for user in users {
            self.put(keys::user(user, state.id), Arc::from([]));
        }
        self.count(state, "accepted");
    }

    fn put_chunk(&mut self, id: NotificationId, place: usize, deliveries: &[Delivery]) {
        let place = u16::try_from(place).unwrap_or(u16::MAX);
        self.put(keys::state(id, place), records::encode_chunk(deliveries));
    }

    fn index(&mut self, state: &NotificationState, delivery: &Delivery) {
        if let Some(entry) = due_entry(state, delivery) {
            self.put(entry.key(), Arc::from(entry.value()));
        }
        if let Phase::Dead { at, fault } = &delivery.phase {
            let record = DeadRecord {
                channel: delivery.channel.as_str(),
                code: fault.code.as_str(),
                event_type: state.event_type.as_str(),
            };
            self.put(keys::dead(*at, delivery.id), records::encode(&record));
        }
    }

    fn count(&mut self, state: &NotificationState, name: &str) {
        *self.counters.entry(keys::counter(state.id.shard(), name)).or_default() += 1;
    }

    fn difference(&mut self, before: &Marks, after: &NotificationState) {
        let mut changed_chunks = Vec::new();
        for (place, delivery) in after.deliveries.iter().enumerate() {
            let was = before.deliveries.get(place);
            let is = Mark::of(delivery);
            if was == Some(&is) {
                continue;
            }
            let chunk = place / CHUNK;
            if changed_chunks.last() != Some(&chunk) {
                changed_chunks.push(chunk);
            }
            if was.map(|was| was.indexed) != Some(is.indexed) {
                if let Some(was) = was {
                    self.unindex(after, delivery, was.indexed);
                }
                self.index(after, delivery);
                self.count_end(after, delivery);
            }
        }
        if before.head != HeadMark::of(after) || changed_chunks.first() == Some(&0) {
            self.put(keys::state(after.id, 0), records::encode_head(after));
        }
        for place in changed_chunks.into_iter().filter(|place| *place > 0) {
            if let Some(chunk) = after.deliveries.chunks(CHUNK).nth(place) {
                self.put_chunk(after.id, place, chunk);
            }
        }
    }

    fn unindex(&mut self, state: &NotificationState, delivery: &Delivery, was: Indexed) {
        match was {
            Indexed::Due(due_at) => {
                let entry = DueEntry {
                    lane: delivery.channel.clone(),
                    priority: state.priority,
                    due_at,
                    delivery: delivery.id,
                    delay: None,
                    destination: 0,
                };
                self.changes.push(Change::Delete(entry.key()));
            }
            Indexed::Dead(at) => self.changes.push(Change::Delete(keys::dead(at, delivery.id))),
            Indexed::No => {}
        }
    }

    fn count_end(&mut self, state: &NotificationState, delivery: &Delivery) {
        let end = match delivery.phase {
            Phase::Delivered { .. } => "delivered",
            Phase::Dead { .. } => "dead",
            Phase::Expired { .. } => "expired",
            Phase::Waiting { .. } | Phase::Cancelled { .. } | Phase::Suppressed { .. } => return,
        };
        self.count(state, &format!("{end}/{}", delivery.channel));
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        let counters = self.counters.into_iter().map(|(key, n)| Change::Add(key, n));
        self.changes.into_iter().chain(counters).collect()
    }
}
