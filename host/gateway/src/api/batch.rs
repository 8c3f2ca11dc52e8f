//! `POST /api/v1/notifications/batch`: many notifications, durable in one commit.
//!
//! Bounded by `server.batch_bytes`, [`BATCH_MAX`] notifications and `server.notification_bytes` for each. One that can't
//! be accepted is told so in its place, and the others are accepted; overload, a used up rate and a full disk refuse
//! the whole.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use fanfare_model::id::NotificationId;
use fanfare_model::state::NotificationState;
use http::StatusCode;
use serde::Serialize;
use serde_json::error::Category;

use super::answer::{Answer, json as to_json};
use super::batch_items::{BATCH_MAX, Items};
use super::problem::{Problem, code};
use super::query::Params;
use super::submit::{Make, kept_answer, submit};
use super::view::Text;
use super::{Api, Shared, body, headers, wire};
use crate::auth::Identity;
use crate::config::Scope;
use crate::intake::Draft;

pub(super) async fn batch(State(api): State<Api>, request: Request) -> Response {
    let result = submit_batch(&api, request).await;
    api.count_refusal(result)
}

async fn submit_batch(api: &Api, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let who = api.admit(&parts.headers, Scope::Submit)?;
    Params::none(&parts.uri)?;
    body::require_json(&parts.headers)?;
    let read = api.bodies.read(&parts.headers, body, api.server.batch_bytes).await?;
    let parsed = api.parse(&read.bytes, move |api, body| parse_batch(api, who, body)).await?;
    let Batch { who, drafts, refusals } = parsed;
    if drafts.is_empty() {
        let kept = kept_answer(api, &parts.headers, who.key.as_deref(), &read.bytes).await?;
        if let Some(kept) = kept {
            return Ok(kept);
        }
        return Ok(answer_batch(&refusals, &[]).into_response());
    }
    let make: Make = Arc::new(move |states: &[&NotificationState]| answer_batch(&refusals, states));
    let wait = headers::wait(&parts.headers, api.server.wait_max);
    submit(api, &parts.headers, who.key, drafts, read, make, wait).await
}

/// A batch's notifications, and in the places of those that can't be accepted why not.
struct Batch {
    who: Identity,
    drafts: Vec<Draft>,
    refusals: Vec<Option<Problem>>,
}

fn parse_batch(api: &Shared, who: Identity, body: &[u8]) -> Result<Batch, Problem> {
    let items: Result<Items<'_>, Problem> = serde_json::from_slice(body).map_err(|error| {
        if error.classify() == Category::Data {
            let detail =
                "a batch is a JSON array of notifications; send a single one to /api/v1/notifications";
            return Problem::new(code::INVALID_FIELD, detail).at("");
        }
        Problem::new(code::INVALID_JSON, format!("a batch is a JSON array of notifications: {error}"))
    });
    // What is no batch at all counts as one, or nonsense would be free.
    api.spend(&who, items.as_ref().map_or(1, |items| items.count.clamp(1, BATCH_MAX)))?;
    let items = items?;
    match items.count {
        0 => return Err(Problem::new(code::EMPTY_BATCH, "the array holds no notification")),
        count if count > BATCH_MAX => {
            let detail = format!("a batch holds at most {BATCH_MAX} notifications; this one has {count}");
            return Err(Problem::new(code::TOO_LARGE, detail));
        }
        _ => {}
    }
    let mut drafts = Vec::with_capacity(items.count);
    let mut refusals: Vec<Option<Problem>> = Vec::with_capacity(items.count);
    for item in items.kept {
        match parse_item(api, item.get()) {
            Ok(draft) => {
                drafts.push(draft);
                refusals.push(None);
            }
            Err(problem) => refusals.push(Some(problem)),
        }
    }
    Ok(Batch { who, drafts, refusals })
}

fn parse_item(api: &Shared, text: &str) -> Result<Draft, Problem> {
    if text.len() > api.server.notification_bytes {
        let detail = format!("a notification has at most {} bytes", api.server.notification_bytes);
        return Err(Problem::new(code::TOO_LARGE, detail));
    }
    let draft = wire::notification(text.as_bytes(), api.now())?;
    api.intake.check(&draft)?;
    Ok(draft)
}

/// What became of one notification of a batch.
#[derive(Serialize)]
#[serde(untagged)]
enum BatchResult<'a> {
    Accepted { status: u16, id: Text<NotificationId> },
    Refused { status: u16, code: &'a str, detail: &'a str, pointer: Option<&'a str> },
}

#[derive(Serialize)]
struct BatchAnswer<'a> {
    results: Vec<BatchResult<'a>>,
}

fn answer_batch(refusals: &[Option<Problem>], states: &[&NotificationState]) -> Answer {
    let mut states = states.iter();
    let mut results = Vec::with_capacity(refusals.len());
    for refusal in refusals {
        match refusal {
            Some(problem) => results.push(BatchResult::Refused {
                status: problem.status().as_u16(),
                code: problem.code(),
                detail: problem.detail(),
                pointer: problem.pointer(),
            }),
            // There is a state for each one that was not refused.
            None => {
                let accepted =
                    |state: &&NotificationState| BatchResult::Accepted { status: 202, id: Text(state.id) };
                results.extend(states.next().map(accepted));
            }
        }
    }
    let whole = refusals.iter().all(Option::is_none);
    let status = if whole { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
    Answer { status, location: None, json: to_json(&BatchAnswer { results }) }
}
