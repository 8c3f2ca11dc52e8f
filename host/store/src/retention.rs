//! Retention: what ended long ago goes, a few notifications at a time.
//!
//! A body goes once its notification ended `bodies` ago, and the rest (state, trace, index entries, and the body where
//! it is still there) once that is `history` ago. The end is the latest thing that happened to it. What has not
//! ended stays whole, however old. A dead letter keeps its body until its history goes, because sending it again
//! needs it.
//!
//! Both sweeps walk their records from the oldest, stop at the first that is too young to have ended so long ago,
//! and begin again. Bounds: one step looks at no more notifications than it is told to, reads [`PAGE`] at a time, and
//! commits a page at once. A notification that somebody works on is left for the next round; while a page is
//! decided and committed, nobody can begin to.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_model::delivery::Phase;
use fanfare_model::id::{NotificationId, Shard};
use fanfare_model::state::NotificationState;
use fanfare_model::time::Timestamp;

use crate::engine::{Change, Class, CommitError, Direction, Key, Precondition, ReadError, Transaction};
use crate::keys::{self, Kind};
use crate::ledger::Ledger;
use crate::records::CHUNK;

/// Notifications that are decided and committed at once.
const PAGE: usize = 64;

/// How long after its end a notification is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// What was submitted.
    pub bodies: Duration,
    /// Everything else.
    pub history: Duration,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Bodies that were deleted and whose history stays.
    pub bodies: usize,
    /// Notifications of which nothing is left.
    pub histories: usize,
    /// Whether it stopped because it had looked at as many as it may, so that another step may find more.
    pub more: bool,
}

/// Why a step ended early.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The engine can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The engine can't be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Where the sweeps go on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    bodies: Option<Key>,
    history: Option<Key>,
}

/// Which of the two sweeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Body,
    Everything,
}

/// One step of both sweeps; each looks at up to `steps_max` notifications.
pub(crate) async fn step(
    ledger: &Ledger,
    places: &mut Places,
    retention: Retention,
    now: Timestamp,
    steps_max: usize,
) -> Result<Swept, SweepError> {
    let histories = walk(ledger, &mut places.history, What::Everything, retention.history, now, steps_max);
    let (histories, more_histories) = histories.await?;
    let bodies = walk(ledger, &mut places.bodies, What::Body, retention.bodies, now, steps_max);
    let (bodies, more_bodies) = bodies.await?;
    Ok(Swept { bodies, histories, more: more_histories || more_bodies })
}

/// Answers how many it deleted, and whether it stopped before the end.
async fn walk(
    ledger: &Ledger,
    place: &mut Option<Key>,
    what: What,
    keep: Duration,
    now: Timestamp,
    steps_max: usize,
) -> Result<(usize, bool), SweepError> {
    let kind = if what == What::Body { Kind::Body } else { Kind::State };
    let all = keys::all(Shard::EMBEDDED, kind);
    let ended_before = now.minus(keep);
    // Nothing that was accepted later can have ended before.
    let end = keys::floor(Shard::EMBEDDED, kind, ended_before.plus(Duration::from_millis(1)));
    let (mut left, mut deleted) = (steps_max, 0);
    while left > 0 {
        let limit = left.min(PAGE);
        let from = place.take().unwrap_or_else(|| all.start.clone());
        if from >= end {
            return Ok((deleted, false));
        }
        let page = ledger.engine.scan(from..end.clone(), limit, Direction::Forward).await?;
        let mut ids: Vec<NotificationId> = page.iter().filter_map(|(key, _)| keys::parse_id(key)).collect();
        ids.dedup();
        deleted += sweep(ledger, &ids, what, ended_before).await?;
        if page.len() < limit {
            return Ok((deleted, false));
        }
        // Behind the last one altogether: its further chunks are no notifications.
        *place = ids.last().map(|id| keys::behind(kind, *id));
        left -= limit;
    }
    Ok((deleted, true))
}

/// Decides about some notifications, and deletes in one commit.
async fn sweep(
    ledger: &Ledger,
    ids: &[NotificationId],
    what: What,
    ended_before: Timestamp,
) -> Result<usize, SweepError> {
    let _shut = ledger.shut(ids).await;
    let mut transactions = Vec::new();
    for id in ids.iter().filter(|id| !ledger.is_open(**id)) {
        let Some(head) = ledger.engine.get(keys::state(*id, 0)).await? else { continue };
        let Some(state) = ledger.complete(*id, &head).await? else { continue };
        if !is_over(&state, what, ended_before) {
            continue;
        }
        let changes = match what {
            What::Body => vec![Change::Delete(keys::body(*id))],
            What::Everything => everything(&state),
        };
        let unchanged = Precondition::Unchanged(keys::state(*id, 0), head.version);
        transactions.push(Transaction { preconditions: vec![unchanged], changes });
    }
    if transactions.is_empty() {
        return Ok(0);
    }
    let mut deleted = 0;
    for result in ledger.engine.commit(Class::Settle, transactions).await {
        match result {
            Ok(_) => deleted += 1,
            // It changed after all: the next round looks again.
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(deleted)
}

/// Whether it ended, and so long ago.
fn is_over(state: &NotificationState, what: What, ended_before: Timestamp) -> bool {
    let mut phases = state.deliveries.iter().map(|delivery| &delivery.phase);
    let stays =
        |phase: &Phase| !phase.is_terminal() || (what == What::Body && matches!(phase, Phase::Dead { .. }));
    !phases.any(stays) && last_event(state) <= ended_before
}

/// When the latest thing happened to it.
fn last_event(state: &NotificationState) -> Timestamp {
    let of_deliveries = state.deliveries.iter().flat_map(|delivery| {
        let ended = match &delivery.phase {
            Phase::Delivered { at }
            | Phase::Dead { at, .. }
            | Phase::Cancelled { at }
            | Phase::Expired { at }
            | Phase::Suppressed { at, .. } => Some(*at),
            Phase::Waiting { .. } | Phase::Held { .. } => None,
        };
        delivery.events.iter().map(|event| event.at).chain(ended)
    });
    let of_all = state.events.iter().map(|event| event.at).chain(of_deliveries);
    of_all.max().unwrap_or_else(|| state.id.created_at())
}

/// Every record and index entry of a notification that has ended.
fn everything(state: &NotificationState) -> Vec<Change> {
    let id = state.id;
    let chunks = state.deliveries.len().div_ceil(CHUNK).max(1);
    let chunks = (0..chunks).filter_map(|chunk| u16::try_from(chunk).ok());
    let mut gone: BTreeMap<Key, ()> = chunks.map(|chunk| (keys::state(id, chunk), ())).collect();
    gone.insert(keys::body(id), ());
    let of_deliveries = state.deliveries.iter().filter_map(|delivery| delivery.user.as_ref());
    gone.extend(of_deliveries.chain(&state.users).map(|user| (keys::user(user, id), ())));
    gone.extend(state.deliveries.iter().filter_map(|delivery| match &delivery.phase {
        Phase::Dead { at, .. } => Some((keys::dead(*at, delivery.id), ())),
        _ => None,
    }));
    gone.into_keys().map(Change::Delete).collect()
}
