//! The store as its users see it: accept, change, look up, list.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fanfare_model::clock::Clock;
use fanfare_model::id::{IdGenerator, NotificationId, Shard};
use fanfare_model::name::ChannelName;
use fanfare_model::notification::Notification;
use fanfare_model::priority::Priority;
use fanfare_model::state::NotificationState;

use crate::accept::{self, AcceptError, Acceptance, IdempotencyClaim, InFlight, NewNotification};
use crate::cell::Cell;
use crate::claims;
use crate::cursor::Cursor;
use crate::engine::{
    Change, Class, CommitError, Direction, Engine, Key, Precondition, ReadError, Transaction, counter,
};
use crate::history::{self, DeadLetter, DeadLetterFilter, ListFilter, Listing};
use crate::keys::{self, DueEntry, Kind};
use crate::ledger::Ledger;
use crate::observe;
use crate::plugins::Plugins;
use crate::records;
use crate::retention::{self, Places, Retention, SweepError, Swept};

/// More lanes than anyone configures; what bounds a scan for them.
const LANES_MAX: usize = 100_000;

/// More counters than there are.
const COUNTERS_MAX: usize = 10_000;

/// Claims that the sweep reads at once: a long answer's parts are 128 KiB each.
const SWEEP_PAGE: usize = 64;

/// A handle on the store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    ids: IdGenerator,
    in_flight: InFlight,
    plugins: Plugins,
    /// Where the sweep of claims goes on.
    swept_to: Mutex<Option<Key>>,
    /// Where those of bodies and history go on; held during a step, so that there is one at a time.
    retained: tokio::sync::Mutex<Places>,
}

impl Store {
    /// The layers over `engine`. Ids continue after the newest one in it.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn open(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>) -> Result<Self, ReadError> {
        let states = keys::all(Shard::EMBEDDED, Kind::State);
        let newest = engine.scan(states, 1, Direction::Backward).await?;
        let newest = newest.first().and_then(|(key, _)| keys::parse_state(key)).map(|(id, _)| id);
        observe::count_letters(&engine).await?;
        let shared = Shared {
            plugins: Plugins::new(Arc::clone(&engine)),
            ledger: Arc::new(Ledger::new(engine, Arc::clone(&clock))),
            clock,
            ids: IdGenerator::after(newest),
            in_flight: InFlight::default(),
            swept_to: Mutex::default(),
            retained: tokio::sync::Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// An id for a notification that is about to be accepted.
    #[must_use]
    pub fn next_id(&self) -> NotificationId {
        self.shared.ids.next(Shard::EMBEDDED, self.shared.clock.now())
    }

    /// Components, generations and the audit.
    #[must_use]
    pub fn plugins(&self) -> Plugins {
        self.shared.plugins.clone()
    }

    /// The clock that the store goes by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Accepts all of `items` and the claim in one transaction, or nothing. Once it answers, they are on disk.
    /// It goes on to its end even when the future is dropped.
    ///
    /// # Errors
    /// [`AcceptError`]; then nothing was stored.
    pub async fn accept(
        &self,
        items: Vec<NewNotification>,
        claim: Option<IdempotencyClaim>,
    ) -> Result<Acceptance, AcceptError> {
        let shared = &self.shared;
        if claim.is_none() {
            return accept::accept(&shared.ledger, &shared.in_flight, shared.clock.now(), items, None).await;
        }
        // The key is held until the commit is resolved, so the commit must not be left to a dropped future.
        let shared = Arc::clone(shared);
        let task = tokio::spawn(async move {
            let now = shared.clock.now();
            accept::accept(&shared.ledger, &shared.in_flight, now, items, claim).await
        });
        task.await.unwrap_or_else(|error| Err(CommitError::Fatal(error.to_string()).into()))
    }

    /// The answer that is kept under `claim`, for a repetition that would not be accepted any more.
    ///
    /// # Errors
    /// [`AcceptError::IdempotencyMismatch`], or when the engine can't be read.
    pub async fn kept_answer(&self, claim: &IdempotencyClaim) -> Result<Option<Vec<u8>>, AcceptError> {
        accept::kept_answer(&self.shared.ledger, self.shared.clock.now(), claim).await
    }

    /// The state of a notification, for reading and changing.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn cell(&self, id: NotificationId) -> Result<Option<Cell>, ReadError> {
        self.shared.ledger.cell(id).await
    }

    /// What a client submitted.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn notification(&self, id: NotificationId) -> Result<Option<Arc<Notification>>, ReadError> {
        let Some(record) = self.shared.ledger.engine.get(keys::body(id)).await? else { return Ok(None) };
        Ok(Some(Arc::new(records::decode_notification(id, &record.value)?)))
    }

    /// At most `limit` due entries of a lane and priority, behind `after`, in the order in which they are due;
    /// those of the future included.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn due(
        &self,
        lane: &ChannelName,
        priority: Priority,
        after: Option<&DueEntry>,
        limit: usize,
    ) -> Result<Vec<DueEntry>, ReadError> {
        let mut range = keys::due_range(Shard::EMBEDDED, lane, priority);
        if let Some(after) = after {
            range.start = keys::after(after.key());
        }
        let page = self.shared.ledger.engine.scan(range, limit, Direction::Forward).await?;
        page.iter().map(|(key, record)| parse_due(key, &record.value)).collect()
    }

    /// Every lane in which something waits, now or later.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn lanes(&self) -> Result<Vec<ChannelName>, ReadError> {
        let mut range = keys::all(Shard::EMBEDDED, Kind::Due);
        let mut lanes = Vec::new();
        while lanes.len() < LANES_MAX {
            let page = self.shared.ledger.engine.scan(range.clone(), 1, Direction::Forward).await?;
            let Some((key, record)) = page.first() else { break };
            let entry = parse_due(key, &record.value)?;
            range.start = keys::behind_lane(Shard::EMBEDDED, &entry.lane);
            lanes.push(entry.lane);
        }
        Ok(lanes)
    }

    /// Dead letters, the latest death first.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Listing<DeadLetter>, ReadError> {
        history::dead_letters(&self.shared.ledger, filter, cursor, limit).await
    }

    /// How many dead letters each channel has, and whether there are more than were counted: the latest
    /// [`history::EXAMINED_MAX`] are.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn dead_by_channel(&self) -> Result<(BTreeMap<ChannelName, usize>, bool), ReadError> {
        history::dead_by_channel(&self.shared.ledger).await
    }

    /// Notifications, newest first.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn list(
        &self,
        filter: &ListFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Listing<NotificationState>, ReadError> {
        history::notifications(&self.shared.ledger, filter, cursor, limit, self.shared.clock.now()).await
    }

    /// Sums over the store's whole life, such as `delivered/ops-hook`.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn counters(&self) -> Result<Vec<(String, i64)>, ReadError> {
        let range = keys::all(Shard::EMBEDDED, Kind::Counter);
        let page = self.shared.ledger.engine.scan(range, COUNTERS_MAX, Direction::Forward).await?;
        let sum = |(key, record): &(Key, crate::engine::Record)| {
            let sum = counter(Some(&record.value)).map_err(|error| ReadError(error.to_string()))?;
            Ok((keys::parse_counter(key).unwrap_or_default(), sum))
        };
        page.iter().map(sum).collect()
    }

    /// Looks at up to `steps_max` claims, going on where it stopped, and deletes those whose time is over.
    /// Answers how many.
    ///
    /// # Errors
    /// When the engine can't be read or written.
    pub async fn sweep_claims(&self, steps_max: usize) -> Result<usize, AcceptError> {
        let (mut left, mut swept) = (steps_max, 0);
        while left > 0 {
            let limit = left.min(SWEEP_PAGE);
            let (looked_at, deleted) = self.sweep_page(limit).await?;
            swept += deleted;
            if looked_at < limit {
                break;
            }
            left -= limit;
        }
        Ok(swept)
    }

    /// Deletes what ended longer ago than `retention` says; looks at up to `steps_max` notifications for their
    /// bodies and as many for their history, going on where it stopped.
    ///
    /// # Errors
    /// When the engine can't be read or written; what was deleted before stays deleted.
    pub async fn sweep_ended(&self, retention: Retention, steps_max: usize) -> Result<Swept, SweepError> {
        let mut places = self.shared.retained.lock().await;
        let now = self.shared.clock.now();
        retention::step(&self.shared.ledger, &mut places, retention, now, steps_max).await
    }

    /// Answers how many claims it looked at, and how many of them it deleted.
    async fn sweep_page(&self, limit: usize) -> Result<(usize, usize), AcceptError> {
        let engine = &self.shared.ledger.engine;
        let start = keys::all(Shard::EMBEDDED, Kind::Idempotency).start;
        let end = keys::all(Shard::EMBEDDED, Kind::Dedup).end;
        let from = self.swept_to().take().unwrap_or(start);
        let page = engine.scan(from..end, limit, Direction::Forward).await?;
        let now = self.shared.clock.now().as_ms();
        let mut transaction = Transaction::default();
        for (key, record) in &page {
            if claims::expires_at(key, &record.value)?.is_some_and(|expires_at| expires_at <= now) {
                transaction.preconditions.push(Precondition::Unchanged(key.clone(), record.version));
                transaction.changes.push(Change::Delete(key.clone()));
            }
        }
        if page.len() == limit {
            *self.swept_to() = page.last().map(|(key, _)| keys::after(key.clone()));
        }
        let swept = transaction.changes.len();
        if swept == 0 {
            return Ok((page.len(), 0));
        }
        match engine.commit(Class::Settle, vec![transaction]).await.pop() {
            // One of them was claimed anew: the next round looks again.
            Some(Err(CommitError::Conflict)) | None => Ok((page.len(), 0)),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(_)) => Ok((page.len(), swept)),
        }
    }

    fn swept_to(&self) -> std::sync::MutexGuard<'_, Option<Key>> {
        self.shared.swept_to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing is accepted at the moment; `None` when it is.
    #[must_use]
    pub fn refusal(&self) -> Option<CommitError> {
        self.stagnation().or_else(|| self.shared.ledger.engine.refusal())
    }

    /// Why changes are not stored at the moment: for want of space, and then they are tried again until there is
    /// some, or for good. `None` when they are. Whoever can put a change off should, because until it is stored
    /// a crash undoes it.
    #[must_use]
    pub fn stagnation(&self) -> Option<CommitError> {
        let ledger = &self.shared.ledger;
        ledger.check().err().or_else(|| ledger.shortage())
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.shared.ledger
    }

    #[cfg(test)]
    pub(crate) fn is_quiet(&self) -> bool {
        self.shared.ledger.is_quiet()
    }

    /// Writes out what can be written, and takes nothing more.
    ///
    /// # Errors
    /// The engine's; what was acknowledged is durable all the same.
    pub async fn close(&self) -> Result<(), CommitError> {
        self.shared.ledger.engine.close().await
    }
}

fn parse_due(key: &[u8], value: &[u8]) -> Result<DueEntry, ReadError> {
    DueEntry::parse(key, value).ok_or_else(|| records::damaged("due", &format!("its key is {key:02x?}")))
}
