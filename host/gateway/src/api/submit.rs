//! `POST /api/v1/notifications` and its batch.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use fanfare_model::digest::Digest;
use fanfare_model::json::canonical;
use fanfare_model::state::NotificationState;
use fanfare_model::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::answer::{Answer, REPLAYED, json as to_json};
use super::batch_items::{BATCH_MAX, Items};
use super::problem::{Problem, code};
use super::{Api, Shared, body, headers, view, wire};
use crate::config::Scope;
use crate::intake::{Draft, Idempotency, Submission, SubmitError, Submitted};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a refused client is asked to wait.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn one(State(api): State<Api>, request: Request) -> Response {
    let result = submit_one(&api, request).await;
    api.count_refusal(result)
}

async fn submit_one(api: &Api, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let who = api.admit(&parts.headers, Scope::Submit)?;
    body::require_json(&parts.headers)?;
    let read = api.bodies.read(&parts.headers, body, api.server.notification_bytes).await?;
    let draft = wire::notification(&read.bytes, api.now())?;
    if let Err(refusal) = api.intake.check(&draft) {
        let kept = kept_answer(api, &parts.headers, who.key.as_deref(), &read.bytes).await?;
        return kept.ok_or_else(|| refusal.into());
    }
    let now = api.now();
    let make = move |states: &[&NotificationState]| answer_one(states, now);
    let wait = headers::wait(&parts.headers, api.server.wait_max);
    let make: Make = Arc::new(make);
    submit(api, &parts.headers, who.key, vec![draft], &read.bytes, make, wait).await
}

fn answer_one(states: &[&NotificationState], now: Timestamp) -> Answer {
    let state = states.first();
    Answer {
        status: StatusCode::ACCEPTED,
        location: state.map(|state| format!("/api/v1/notifications/{}", state.id)),
        json: state.map(|state| to_json(&view::accepted(state, now))).unwrap_or_default(),
    }
}

pub(super) async fn batch(State(api): State<Api>, request: Request) -> Response {
    let result = submit_batch(&api, request).await;
    api.count_refusal(result)
}

async fn submit_batch(api: &Api, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let who = api.admit(&parts.headers, Scope::Submit)?;
    body::require_json(&parts.headers)?;
    let read = api.bodies.read(&parts.headers, body, api.server.batch_bytes).await?;
    let items: Items<'_> = serde_json::from_slice(&read.bytes).map_err(|error| {
        Problem::new(code::INVALID_JSON, format!("a batch is a JSON array of notifications: {error}"))
    })?;
    match items.count {
        0 => return Err(Problem::new(code::EMPTY_BATCH, "the array holds no notification")),
        count if count > BATCH_MAX => {
            let detail = format!("a batch holds at most {BATCH_MAX} notifications; this one has {count}");
            return Err(Problem::new(code::TOO_LARGE, detail));
        }
        _ => {}
    }
    let mut drafts = Vec::with_capacity(items.count);
    let mut refusals: Vec<Option<Value>> = Vec::with_capacity(items.count);
    for item in items.kept {
        match parse_item(api, item.get()) {
            Ok(draft) => {
                drafts.push(draft);
                refusals.push(None);
            }
            Err(problem) => refusals.push(Some(refused(&problem))),
        }
    }
    if drafts.is_empty() {
        let kept = kept_answer(api, &parts.headers, who.key.as_deref(), &read.bytes).await?;
        if let Some(kept) = kept {
            return Ok(kept);
        }
        return Ok(answer_batch(&refusals, &[]).into_response());
    }
    let make: Make = Arc::new(move |states: &[&NotificationState]| answer_batch(&refusals, states));
    submit(api, &parts.headers, who.key, drafts, &read.bytes, make, None).await
}

fn parse_item(api: &Api, text: &str) -> Result<Draft, Problem> {
    if text.len() > api.server.notification_bytes {
        let detail = format!("a notification has at most {} bytes", api.server.notification_bytes);
        return Err(Problem::new(code::TOO_LARGE, detail));
    }
    let draft = wire::notification(text.as_bytes(), api.now())?;
    api.intake.check(&draft)?;
    Ok(draft)
}

fn refused(problem: &Problem) -> Value {
    json!({
        "status": problem.status().as_u16(),
        "code": problem.code(),
        "detail": problem.detail(),
        "pointer": problem.pointer(),
    })
}

fn answer_batch(refusals: &[Option<Value>], states: &[&NotificationState]) -> Answer {
    let mut states = states.iter();
    let result = |refusal: &Option<Value>| match refusal {
        Some(refusal) => refusal.clone(),
        None => json!({ "status": 202, "id": states.next().map(|state| state.id.to_string()) }),
    };
    let results: Vec<Value> = refusals.iter().map(result).collect();
    let whole = refusals.iter().all(Option::is_none);
    let status = if whole { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
    Answer { status, location: None, json: to_json(&json!({ "results": results })) }
}

type Make = Arc<dyn Fn(&[&NotificationState]) -> Answer + Send + Sync>;

fn idempotency(headers: &HeaderMap, body: &[u8], make: &Make) -> Result<Option<Idempotency>, Problem> {
    let Some(key) = headers::idempotency_key(headers)? else { return Ok(None) };
    // Two spellings of one body are one request.
    let value: Value =
        serde_json::from_slice(body).map_err(|error| Problem::new(code::INVALID_JSON, error.to_string()))?;
    let make = Arc::clone(make);
    let answer = Box::new(move |states: &[&NotificationState]| make(states).to_kept());
    Ok(Some(Idempotency { key, body: Digest::of(canonical(&value).as_bytes()), answer }))
}

fn replayed(kept: &[u8]) -> Result<Response, Problem> {
    let mut response = Answer::from_kept(kept)?.into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// The first answer to a request that would be refused if it came for the first time now.
async fn kept_answer(
    api: &Api,
    headers: &HeaderMap,
    key: Option<&str>,
    body: &[u8],
) -> Result<Option<Response>, Problem> {
    // Nothing is accepted here, so no answer is ever made.
    let make: Make = Arc::new(|_: &[&NotificationState]| answer_batch(&[], &[]));
    let Some(idempotency) = idempotency(headers, body, &make)? else { return Ok(None) };
    let kept = api.intake.kept_answer(key, idempotency).await.map_err(problem)?;
    kept.map(|kept| replayed(&kept)).transpose()
}

/// Submits, and answers as the client asked: at once, or when all has ended.
async fn submit(
    api: &Api,
    headers: &HeaderMap,
    key: Option<String>,
    drafts: Vec<Draft>,
    body: &[u8],
    make: Make,
    wait: Option<Duration>,
) -> Result<Response, Problem> {
    let idempotency = idempotency(headers, body, &make)?;
    let traceparent = Some(headers::traceparent(headers));
    let count = drafts.len();
    let submission = Submission { drafts, submitted_by: key, traceparent, idempotency };
    match api.intake.submit(submission).await.map_err(problem)? {
        Submitted::Replayed { answer } => replayed(&answer),
        Submitted::Fresh { items, answer } => {
            api.metrics.accepted(count);
            if let (Some(wait), [item]) = (wait, items.as_slice()) {
                api.desk.wait_until_terminal(&item.cell, wait).await;
                let now = api.now();
                let (view, ended) =
                    item.cell.read(|state| (answer_one(&[state], now), state.status(now).is_terminal()));
                let status = if ended { StatusCode::OK } else { StatusCode::ACCEPTED };
                let mut response = Answer { status, ..view }.into_response();
                let applied = HeaderValue::try_from(format!("wait={}", wait.as_secs()));
                if let Ok(applied) = applied {
                    response.headers_mut().insert(PREFERENCE_APPLIED, applied);
                }
                return Ok(response);
            }
            if let Some(kept) = answer {
                return Ok(Answer::from_kept(&kept)?.into_response());
            }
            let states: Vec<NotificationState> =
                items.iter().map(|item| item.cell.read(Clone::clone)).collect();
            Ok(make(&states.iter().collect::<Vec<_>>()).into_response())
        }
    }
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
    fn count_refusal(&self, result: Result<Response, Problem>) -> Response {
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
