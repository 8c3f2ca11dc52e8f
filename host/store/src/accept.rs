//! Acceptance: one transaction for all notifications of a request and its claims, or none.
//!
//! Claims: an idempotency key gives the first answer again; a dedup key suppresses repetitions. Both are looked up
//! first and guarded by preconditions, so that of two racing requests one sees the other. An expired
//! claim counts as absent, and is written over.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfare_model::digest::Digest;
use fanfare_model::notification::Notification;
use fanfare_model::state::NotificationState;
use fanfare_model::time::Timestamp;

use crate::cell::Cell;
use crate::claims::Claims;
use crate::engine::{Class, CommitError, Precondition, ReadError, Transaction};
use crate::ledger::Ledger;
use crate::writes::Writes;

/// Every conflict means that another request got its claim through, so only an engine that errs gets here.
const CONFLICTS_MAX: usize = 1_000;

/// A notification that is to be accepted, with its first state.
#[derive(Clone, Debug)]
pub struct NewNotification {
    /// What the client submitted.
    pub notification: Arc<Notification>,
    /// Its deliveries and trace.
    pub state: NotificationState,
    /// Set when repetitions are to be suppressed.
    pub dedup: Option<DedupClaim>,
}

/// A dedup key, digested together with the API key that it belongs to.
#[derive(Clone, Debug)]
pub struct DedupClaim {
    /// The digest.
    pub key: Digest,
    /// How long repetitions are suppressed.
    pub window: Duration,
}

/// Makes an answer of the states as they were accepted.
pub type MakeAnswer = Box<dyn Fn(&[&NotificationState]) -> Vec<u8> + Send + Sync>;

/// An idempotency key, digested together with the API key that it belongs to.
pub struct IdempotencyClaim {
    /// The digest.
    pub key: Digest,
    /// The digest of the request's body.
    pub body: Digest,
    /// How long the answer is kept.
    pub keep: Duration,
    /// Makes the answer that is kept.
    pub answer: MakeAnswer,
}

impl std::fmt::Debug for IdempotencyClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdempotencyClaim").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A notification that is on disk.
#[derive(Clone, Debug)]
pub struct AcceptedItem {
    /// Its state.
    pub cell: Cell,
    /// What was submitted.
    pub notification: Arc<Notification>,
}

/// What became of a request.
#[derive(Debug)]
pub enum Acceptance {
    /// It is on disk.
    Fresh {
        /// One for each notification, in order.
        items: Vec<AcceptedItem>,
        /// The answer that was kept, when there was an idempotency claim.
        answer: Option<Vec<u8>>,
    },
    /// The same request was accepted before.
    Replayed {
        /// Its answer.
        answer: Vec<u8>,
    },
}

/// Why a request was not accepted; nothing of it was stored.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AcceptError {
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    IdempotencyMismatch,
    /// A request with this idempotency key is under way.
    #[error("a request with this idempotency key is under way")]
    IdempotencyInFlight,
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The claims can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Idempotency keys of requests that are under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashSet<Digest>>>);

/// Lets go of the key. Acceptance runs to its end on a task of its own (`Store::accept`), so this is never
/// dropped before the commit is resolved.
struct Held(InFlight, Digest);

impl InFlight {
    fn hold(&self, key: Digest) -> Result<Held, AcceptError> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.insert(key) { Ok(Held(self.clone(), key)) } else { Err(AcceptError::IdempotencyInFlight) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Accepts all of `items`, or none.
pub(crate) async fn accept(
    ledger: &Arc<Ledger>,
    in_flight: &InFlight,
    now: Timestamp,
    items: Vec<NewNotification>,
    claim: Option<IdempotencyClaim>,
) -> Result<Acceptance, AcceptError> {
    ledger.check()?;
    if claim.is_none() && items.iter().all(|item| item.dedup.is_none()) {
        let (notifications, states): (Vec<_>, Vec<_>) =
            items.into_iter().map(|item| (item.notification, item.state)).unzip();
        let writes = Writes::new(&ledger.engine.ceilings());
        let items = store(ledger, &notifications, states, Vec::new(), writes).await?;
        return Ok(Acceptance::Fresh { items, answer: None });
    }
    let _held = claim.as_ref().map(|claim| in_flight.hold(claim.key)).transpose()?;
    let notifications: Vec<_> = items.iter().map(|item| Arc::clone(&item.notification)).collect();
    for _ in 0..CONFLICTS_MAX {
        let mut found = Claims::read(ledger, &items, claim.as_ref()).await?;
        if let Some(claim) = &claim
            && let Some(answer) = found.replay(ledger, claim, now).await?
        {
            return Ok(Acceptance::Replayed { answer });
        }
        let mut writes = Writes::new(&ledger.engine.ceilings());
        let states: Vec<NotificationState> =
            items.iter().map(|item| found.decide(item, now, &mut writes)).collect::<Result<_, _>>()?;
        let answer = claim.as_ref().map(|claim| {
            let answer = (claim.answer)(&states.iter().collect::<Vec<_>>());
            found.keep(claim, &answer, now, &mut writes);
            answer
        });
        match store(ledger, &notifications, states, found.preconditions, writes).await {
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
            Ok(items) => return Ok(Acceptance::Fresh { items, answer }),
        }
    }
    Err(CommitError::Conflict.into())
}

/// The answer that is kept under `claim`, if the same request was accepted before.
pub(crate) async fn kept_answer(
    ledger: &Ledger,
    now: Timestamp,
    claim: &IdempotencyClaim,
) -> Result<Option<Vec<u8>>, AcceptError> {
    Claims::read(ledger, &[], Some(claim)).await?.replay(ledger, claim, now).await
}

/// Commits notifications that were never stored, with what else their transaction writes.
async fn store(
    ledger: &Arc<Ledger>,
    notifications: &[Arc<Notification>],
    states: Vec<NotificationState>,
    preconditions: Vec<Precondition>,
    mut writes: Writes,
) -> Result<Vec<AcceptedItem>, CommitError> {
    for (notification, state) in notifications.iter().zip(&states) {
        writes.accept(notification, state);
    }
    let transaction = Transaction { preconditions, changes: writes.into_changes() };
    // In memory before the commit: from then on a list can name them, and nobody may load a second copy.
    let cells: Vec<Cell> = states.into_iter().map(|state| ledger.insert(state)).collect();
    let began = ledger.now();
    let committed = ledger.engine.commit(Class::Intake, vec![transaction]).await.pop();
    let committed = committed.unwrap_or(Err(CommitError::Fatal("it gave no answer".to_owned())));
    ledger.tell(Class::Intake, began, committed.as_ref().err());
    committed?;
    let accepted = notifications.iter().zip(cells);
    let item = |(notification, cell): (&Arc<Notification>, Cell)| AcceptedItem {
        cell,
        notification: Arc::clone(notification),
    };
    Ok(accepted.map(item).collect())
}
