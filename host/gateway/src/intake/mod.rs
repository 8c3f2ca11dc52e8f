//! Intake: makes an accepted notification of a draft. The only way into the store.
//!
//! `parse (api) -> check -> route, when due -> one transaction -> hand over to dispatch`. Bounded by the requests
//! in flight; beyond that it answers [`SubmitError::Overloaded`] at once rather than queue. An accepted
//! submission runs on a task of its own, so that a client that hangs up can't leave it half done.

mod draft;
pub mod routing;

use std::sync::Arc;
use std::time::Duration;

use fanfare_model::digest::Digest;
use fanfare_model::name::ChannelName;
use fanfare_model::notification::{Notification, Target};
use fanfare_model::state::{NotificationState, Planned};
use fanfare_model::time::Timestamp;
use fanfare_store::engine::CommitError;
use fanfare_store::{
    AcceptError, Acceptance, AcceptedItem, DedupClaim, IdempotencyClaim, NewNotification, Store,
};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

pub use self::draft::{Answer, Draft, Idempotency, Submission};
use crate::dispatch::Dispatch;
use crate::registry::Setup;

/// Routing of one request's drafts takes no longer in all; what is left is routed by dispatch.
const ROUTING_BUDGET: Duration = Duration::from_secs(2);

/// What a client is asked to wait when too many requests are in flight.
const OVERLOAD_PAUSE: Duration = Duration::from_secs(1);

/// What intake needs.
#[derive(Debug)]
pub struct Options {
    /// Where accepted work goes.
    pub store: Store,
    /// Who is told of it.
    pub dispatch: Dispatch,
    /// Channels, router and users.
    pub setup: watch::Receiver<Arc<Setup>>,
    /// Submissions that may be under way at once.
    pub in_flight_max: usize,
    /// How long an idempotency key is remembered.
    pub idempotency_window: Duration,
}

/// A handle on intake; cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// A draft that can't be accepted, and what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: &'static str,
    /// A sentence that says what to change.
    pub message: String,
    /// Where in the body, as a JSON pointer.
    pub pointer: Option<String>,
}

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// It is on disk.
    Fresh {
        /// One for each draft, in order.
        items: Vec<AcceptedItem>,
        /// The answer that was kept, when there was an idempotency key.
        answer: Option<Vec<u8>>,
    },
    /// The same request was accepted before.
    Replayed {
        /// Its answer.
        answer: Vec<u8>,
    },
}

/// Why a submission was not accepted; nothing of it was stored.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SubmitError {
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used before with another body")]
    IdempotencyMismatch,
    /// A request with this idempotency key is under way.
    #[error("a request with this idempotency key is still under way")]
    IdempotencyInFlight,
    /// Too many requests are in flight.
    #[error("too many requests are in flight")]
    Overloaded {
        /// When to come again.
        retry_after: Duration,
    },
    /// What would be stored is more than one transaction takes.
    #[error("it is too large to be stored as one: {0}; send it in smaller batches")]
    TooLarge(String),
    /// The disk is short of space.
    #[error("the store is short of disk space: {0}")]
    StoreFull(String),
    /// The store failed.
    #[error("the store failed: {0}")]
    StoreFailed(String),
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    ShuttingDown,
}

impl From<CommitError> for SubmitError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Full(detail) => Self::StoreFull(detail),
            CommitError::Invalid(detail) => Self::TooLarge(detail),
            other => Self::StoreFailed(other.to_string()),
        }
    }
}

impl From<AcceptError> for SubmitError {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::IdempotencyMismatch => Self::IdempotencyMismatch,
            AcceptError::IdempotencyInFlight => Self::IdempotencyInFlight,
            AcceptError::Commit(error) => error.into(),
            AcceptError::Read(error) => Self::StoreFailed(error.to_string()),
        }
    }
}

impl Intake {
    /// Begins to take submissions.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let slots = Arc::new(Semaphore::new(options.in_flight_max.max(1)));
        Self { shared: Arc::new(Shared { options, slots, tasks: TaskTracker::new() }) }
    }

    /// Whether the draft can be accepted as things stand; to be asked before [`Self::submit`].
    ///
    /// # Errors
    /// [`Refusal`], with what to change.
    pub fn check(&self, draft: &Draft) -> Result<(), Refusal> {
        let setup = self.shared.options.setup.borrow().clone();
        let now = self.shared.options.store.clock().now();
        check_times(draft, now)?;
        for (place, target) in draft.to.iter().enumerate() {
            check_target(&setup, place, target)?;
        }
        Ok(())
    }

    /// Accepts all drafts or none; once it answers, they are on disk.
    ///
    /// # Errors
    /// [`SubmitError`]; then nothing was stored.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, SubmitError> {
        if self.shared.slots.is_closed() {
            return Err(SubmitError::ShuttingDown);
        }
        let slot = Arc::clone(&self.shared.slots).try_acquire_owned();
        let slot = slot.map_err(|_| SubmitError::Overloaded { retry_after: OVERLOAD_PAUSE })?;
        let shared = Arc::clone(&self.shared);
        // A task of its own: were it dropped with the request, what is on disk might never reach its lane.
        let task = self.shared.tasks.spawn(async move {
            let submitted = accept(&shared.options, submission).await;
            drop(slot);
            submitted
        });
        task.await.unwrap_or_else(|error| match error.try_into_panic() {
            // The request's bug, as if there were no task in between: caught, counted and answered above.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(SubmitError::StoreFailed(error.to_string())),
        })
    }

    /// The answer to the same request, if it was accepted before: a repetition gets it although it would be refused
    /// now, because its `expires_at` passed or its channel went.
    ///
    /// # Errors
    /// [`SubmitError::IdempotencyMismatch`], or the store's.
    pub async fn kept_answer(
        &self,
        submitted_by: Option<&str>,
        idempotency: Idempotency,
    ) -> Result<Option<Vec<u8>>, SubmitError> {
        let options = &self.shared.options;
        let claim = claim(options, submitted_by.unwrap_or_default(), idempotency);
        Ok(options.store.kept_answer(&claim).await?)
    }

    /// Takes nothing more, and waits for what is under way.
    pub async fn close(&self) {
        self.shared.slots.close();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

fn check_times(draft: &Draft, now: Timestamp) -> Result<(), Refusal> {
    let Some(expires_at) = draft.expires_at else { return Ok(()) };
    let due_at = draft.send_at.unwrap_or(now).max(now);
    if expires_at > due_at {
        return Ok(());
    }
    let message =
        format!("expires_at is {expires_at}, but it can't be sent before {due_at}; give a later time");
    Err(Refusal { code: "notification.expired", message, pointer: Some("/expires_at".to_owned()) })
}

fn check_target(setup: &Setup, place: usize, target: &Target) -> Result<(), Refusal> {
    match target {
        Target::Channel { channel, .. } if !setup.channels.contains_key(channel) => Err(Refusal {
            code: "channel.unknown",
            message: format!("no channel {channel:?} is configured; {}", known_channels(setup)),
            pointer: Some(format!("/to/{place}/channel")),
        }),
        Target::User { user } if !setup.users.contains_key(user) => Err(Refusal {
            code: "user.unknown",
            message: format!("no user {user:?} is configured; add a [users] section for them"),
            pointer: Some(format!("/to/{place}/user")),
        }),
        _ => Ok(()),
    }
}

fn known_channels(setup: &Setup) -> String {
    let mut names: Vec<&str> = setup.channels.keys().map(ChannelName::as_str).collect();
    names.sort_unstable();
    if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) }
}

async fn accept(options: &Options, submission: Submission) -> Result<Submitted, SubmitError> {
    let setup = options.setup.borrow().clone();
    let by = submission.submitted_by.unwrap_or_default();
    let started = options.store.clock().elapsed();
    let mut items = Vec::with_capacity(submission.drafts.len());
    for draft in submission.drafts {
        let now = options.store.clock().now();
        let dedup = draft.dedup.as_ref().map(|dedup| DedupClaim {
            key: Digest::of_parts(&[b"dedup", by.as_bytes(), dedup.key.as_bytes()]),
            window: dedup.window,
        });
        let notification = Arc::new(notification(options, draft, &by, submission.traceparent.clone(), now));
        let spent = options.store.clock().elapsed().saturating_sub(started);
        let state = plan(&setup, &notification, now, spent < ROUTING_BUDGET).await;
        items.push(NewNotification { notification, state, dedup });
    }
    let claim = submission.idempotency.map(|idempotency| claim(options, &by, idempotency));
    match options.store.accept(items, claim).await? {
        Acceptance::Replayed { answer } => Ok(Submitted::Replayed { answer }),
        Acceptance::Fresh { items, answer } => {
            for item in &items {
                options.dispatch.offer(&item.cell, Some(&item.notification));
            }
            Ok(Submitted::Fresh { items, answer })
        }
    }
}

fn claim(options: &Options, by: &str, idempotency: Idempotency) -> IdempotencyClaim {
    IdempotencyClaim {
        key: Digest::of_parts(&[b"idempotency", by.as_bytes(), idempotency.key.as_bytes()]),
        body: idempotency.body,
        keep: options.idempotency_window,
        answer: idempotency.answer,
    }
}

fn notification(
    options: &Options,
    draft: Draft,
    by: &str,
    traceparent: Option<String>,
    now: Timestamp,
) -> Notification {
    Notification {
        id: options.store.next_id(),
        event_type: draft.event_type,
        created_at: now,
        to: draft.to,
        title: draft.title,
        body: draft.body,
        data: draft.data,
        priority: draft.priority,
        send_at: draft.send_at,
        expires_at: draft.expires_at,
        dedup: draft.dedup,
        metadata: draft.metadata,
        traceparent,
        submitted_by: (!by.is_empty()).then(|| by.to_owned()),
        alert_about: None,
    }
}

/// The state of a notification that is about to be accepted: its direct deliveries, and those of the router
/// when it is due now.
pub(crate) async fn plan(
    setup: &Setup,
    notification: &Arc<Notification>,
    now: Timestamp,
    route_now: bool,
) -> NotificationState {
    let mut state = NotificationState::accepted(notification);
    let due_at = notification.due_at();
    let direct = notification.to.iter().filter_map(|target| match target {
        Target::User { .. } => None,
        Target::Channel { channel, address } => Some(Planned {
            channel: channel.clone(),
            user: None,
            address: address.clone(),
            due_at,
            fallback_order: 0,
            reason: "named in to".to_owned(),
        }),
    });
    let direct = direct.collect();
    // The wire type admits no more targets than a notification may have deliveries.
    let planned = state.plan(direct, now);
    debug_assert!(planned.is_ok());
    if !notification.needs_routing() {
        return state;
    }
    if due_at > now {
        state.defer_routing(due_at, now, "it is routed when it is due");
        return state;
    }
    if !route_now {
        state.defer_routing(now, now, "the request's time for routing was used up");
        return state;
    }
    match routing::route(setup, notification, now).await {
        Err(fault) => state.defer_routing(now, now, &format!("{}: {}", fault.code, fault.message)),
        Ok(routed) => settle_plan(&mut state, routed, now),
    }
    state
}

fn settle_plan(state: &mut NotificationState, routed: routing::Routed, now: Timestamp) {
    use fanfare_model::fault::{Fault, code};
    if let Err(misfit) = state.plan(routed.planned, now) {
        state.defer_routing(now, now, &misfit.to_string());
        return;
    }
    state.routed(now, routed.detail.as_str());
    if state.deliveries.is_empty() {
        state.suppress(Fault::new(code::ROUTE_EMPTY, routed.detail), None, now);
    }
}
