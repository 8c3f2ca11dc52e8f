//! `POST /api/v1/notifications`, and what it shares with the batch: idempotency, waiting, the answer.
//!
//! Bounded by `server.notification_bytes`, by the submissions in flight (intake's), and by `server.waits_max` notifications
//! whose end is waited for; requests with further ones are answered at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use fanfare_model::digest::Digest;
use fanfare_model::json::canonical;
use fanfare_model::state::NotificationState;
use fanfare_model::time::Timestamp;
use fanfare_store::Cell;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::answer::{Answer, REPLAYED, json as to_json};
use super::body::ReadBody;
use super::problem::{Problem, code};
use super::query::Params;
use super::{Api, Shared, body, headers, view, wire};
use crate::config::Scope;
use crate::intake::{Draft, Idempotency, Submission, SubmitError, Submitted};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Larger bodies are parsed beside the executor. Ordinary ones are far below: handing them over would cost more than
/// parsing them.
const PARSED_AT_ONCE_BYTES_MAX: usize = 64 * 1_024;

/// What a refused client is asked to wait.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn one(State(api): State<Api>, request: Request) -> Response {
    let result = submit_one(&api, request).await;
    api.count_refusal(result)
}

async fn submit_one(api: &Api, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let who = api.admit(&parts.headers, Scope::Submit)?;
    Params::none(&parts.uri)?;
    body::require_json(&parts.headers)?;
    let read = api.bodies.read(&parts.headers, body, api.server.notification_bytes).await?;
    api.spend(&who, 1)?;
    let draft = api.parse(&read.bytes, |api, body| wire::notification(body, api.now())).await?;
    if let Err(refusal) = api.intake.check(&draft) {
        let kept = kept_answer(api, &parts.headers, who.key.as_deref(), &read.bytes).await?;
        return kept.ok_or_else(|| refusal.into());
    }
    // Of the moment at which it is made: what intake put off in between is routing by then, and not scheduled.
    let clock = Arc::clone(api);
    let make: Make = Arc::new(move |states: &[&NotificationState]| answer_one(states, clock.now()));
    let wait = headers::wait(&parts.headers, api.server.wait_max);
    submit(api, &parts.headers, who.key, vec![draft], read, make, wait).await
}

fn answer_one(states: &[&NotificationState], now: Timestamp) -> Answer {
    let state = states.first();
    Answer {
        status: StatusCode::ACCEPTED,
        location: state.map(|state| format!("/api/v1/notifications/{}", state.id)),
        json: state.map(|state| to_json(&view::accepted(state, now))).unwrap_or_default(),
    }
}

/// Makes the answer of what was accepted.
pub(super) type Make = Arc<dyn Fn(&[&NotificationState]) -> Answer + Send + Sync>;

async fn idempotency(
    api: &Api,
    headers: &HeaderMap,
    body: &Bytes,
    make: &Make,
) -> Result<Option<Idempotency>, Problem> {
    let Some(key) = headers::idempotency_key(headers)? else { return Ok(None) };
    let body = api.parse(body, |_, body| canonical_digest(body)).await?;
    let make = Arc::clone(make);
    let answer = Box::new(move |states: &[&NotificationState]| make(states).to_kept());
    Ok(Some(Idempotency { key, body, answer }))
}

/// Two spellings of one body are one request.
fn canonical_digest(body: &[u8]) -> Result<Digest, Problem> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| Problem::new(code::INVALID_JSON, error.to_string()))?;
    Ok(Digest::of(canonical(&value).as_bytes()))
}

fn replayed(kept: &[u8]) -> Result<Response, Problem> {
    let mut response = Answer::from_kept(kept)?.into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// The first answer to a request that would be refused if it came for the first time now.
pub(super) async fn kept_answer(
    api: &Api,
    headers: &HeaderMap,
    key: Option<&str>,
    body: &Bytes,
) -> Result<Option<Response>, Problem> {
    // Nothing is accepted here, so no answer is ever made.
    let make: Make = Arc::new(|_: &[&NotificationState]| Answer::default());
    let Some(idempotency) = idempotency(api, headers, body, &make).await? else { return Ok(None) };
    let kept = api.intake.kept_answer(key, idempotency).await.map_err(problem)?;
    kept.map(|kept| replayed(&kept)).transpose()
}

/// Submits, and answers as the client asked: at once, or when all has ended.
pub(super) async fn submit(
    api: &Api,
    headers: &HeaderMap,
    key: Option<String>,
    drafts: Vec<Draft>,
    body: ReadBody,
    make: Make,
    wait: Option<Duration>,
) -> Result<Response, Problem> {
    let idempotency = idempotency(api, headers, &body.bytes, &make).await?;
    // Its part of all bodies' memory is not held while a client waits.
    drop(body);
    let traceparent = Some(headers::traceparent(headers));
    let count = drafts.len();
    let submission = Submission { drafts, submitted_by: key, traceparent, idempotency };
    let (items, kept) = match api.intake.submit(submission).await.map_err(problem)? {
        Submitted::Replayed { answer } => return replayed(&answer),
        Submitted::Fresh { items, answer } => (items, answer),
    };
    api.metrics.accepted(count);
    // Nothing but the states is needed any more, and who waits for an end holds nothing else.
    let cells: Vec<Cell> = items.into_iter().map(|item| item.cell).collect();
    let applied = match wait {
        Some(wait) => wait_for(api, &cells, wait).await,
        None => None,
    };
    let answer = match (kept, cells.as_slice()) {
        (Some(kept), _) if applied.is_none() => Answer::from_kept(&kept)?,
        (_, [cell]) => cell.read(|state| make(&[state])),
        (_, cells) => {
            let states: Vec<NotificationState> = cells.iter().map(|cell| cell.read(Clone::clone)).collect();
            make(&states.iter().collect::<Vec<_>>())
        }
    };
    let mut response = answer.into_response();
    if let Some(applied) = applied {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// Waits until all of it has ended or the time is over, and says what was granted; none, at once, when too many are
/// waited for already.
async fn wait_for(api: &Api, cells: &[Cell], wait: Duration) -> Option<HeaderValue> {
    let seats = u32::try_from(cells.len()).ok()?;
    let _seats = api.waits.try_acquire_many(seats).ok()?;
    let ended = async {
        for cell in cells {
            api.desk.wait_until_terminal(cell, wait).await;
        }
    };
    tokio::select! {
        // One time for all of them.
        _ = tokio::time::timeout(wait, ended) => {}
        // It is accepted all the same, and a stop waits for nobody who only looks on.
        () = api.stopping.cancelled() => {}
    }
    HeaderValue::try_from(format!("wait={}", wait.as_secs())).ok()
}

#[allow(clippy::needless_pass_by_value, reason = "taken straight from map_err")]
fn problem(error: SubmitError) -> Problem {
    let detail = error.to_string();
    match error {
        SubmitError::IdempotencyMismatch => Problem::new(code::KEY_REUSED, detail),
        SubmitError::IdempotencyInFlight => Problem::new(code::IN_FLIGHT, detail).retry_after(PAUSE),
        SubmitError::Overloaded { retry_after } => {
            Problem::new(code::OVERLOADED, detail).retry_after(retry_after)
        }
        SubmitError::TooLarge(_) => Problem::new(code::TOO_LARGE, detail),
        SubmitError::StoreFull(_) => Problem::new(code::STORE_FULL, detail),
        SubmitError::StoreFailed(_) => Problem::new(code::STORE_FAILED, detail).retry_after(PAUSE),
        SubmitError::ShuttingDown => Problem::new(code::SHUTTING_DOWN, detail).retry_after(PAUSE),
    }
}

impl Shared {
    /// What `work` makes of a body: at once when it is small, else beside the executor, so that 16 MiB of JSON hold up
    /// nobody else's request.
    pub(super) async fn parse<T: Send + 'static>(
        self: &Arc<Self>,
        body: &Bytes,
        work: impl FnOnce(&Self, &[u8]) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        if body.len() <= PARSED_AT_ONCE_BYTES_MAX {
            return work(self, body);
        }
        let stopping = || Problem::new(code::SHUTTING_DOWN, "the gateway is stopping").retry_after(PAUSE);
        let place = Arc::clone(&self.parsers).acquire_owned().await.map_err(|_| stopping())?;
        let (api, body) = (Arc::clone(self), body.clone());
        let parsed = tokio::task::spawn_blocking(move || {
            let parsed = work(&api, &body);
            drop(place);
            parsed
        });
        match parsed.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(parsed) => parsed,
            // A bug of ours, as if there were no thread in between.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => Err(stopping()),
        }
    }

    pub(super) fn count_refusal(&self, result: Result<Response, Problem>) -> Response {
        result.unwrap_or_else(|problem| {
            self.metrics.refused(problem.code());
            // Not the detail: it quotes what the client sent, which may be a secret.
            tracing::info!(code = problem.code(), pointer = problem.pointer(), "submission refused");
            problem.into_response()
        })
    }
}

#[cfg(test)]
mod tests {
    use fanfare_store::engine::CommitError;

    use super::*;

    #[test]
    fn what_does_not_fit_one_transaction_is_too_large_and_not_a_failure_to_try_again() {
        let large = problem(CommitError::Invalid("its 40000000 bytes are over 33554432".to_owned()).into());
        assert_eq!((large.status(), large.code()), (StatusCode::PAYLOAD_TOO_LARGE, "request.too-large"));
        assert!(large.detail().contains("send it in smaller batches"), "{}", large.detail());
        let full = problem(CommitError::Full("1 MiB is free".to_owned()).into());
        assert_eq!(full.code(), "store.full");
    }
}
