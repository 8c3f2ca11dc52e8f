//! Looking at notifications, and cancelling them.

use axum::extract::{Request, State};
use axum::response::Response;
use fanfare_model::id::NotificationId;
use fanfare_model::state::NotificationStatus;
use fanfare_store::{Cell, ListFilter};
use http::StatusCode;
use serde_json::json;

use super::answer::{json as to_json, json_response};
use super::pages::{DeliveryCursor, StepCursor};
use super::problem::{Problem, code};
use super::query::{LIMIT_MAX, Params, bad_cursor};
use super::{Api, Segment, desk_problem, read_problem, trace, view};
use crate::config::Scope;

pub(super) async fn list(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    api.admit(request.headers(), Scope::Read)?;
    let known = ["userId", "type", "status", "channel", "since", "cursor", "limit"];
    let params = Params::parse(request.uri(), &known)?;
    let filter = ListFilter {
        user: params.value("userId")?,
        event_type: params.value("type")?,
        status: params.word("status", &NotificationStatus::ALL, NotificationStatus::as_str)?,
        channel: params.value("channel")?,
        since: params.value("since")?,
    };
    let cursor = params.cursor()?;
    if cursor.as_ref().is_some_and(|cursor| !cursor.is_of_notifications()) {
        return Err(bad_cursor());
    }
    let page =
        api.desk.store().list(&filter, cursor.as_ref(), params.limit()?).await.map_err(read_problem)?;
    let now = api.now();
    let items: Vec<_> = page.items.iter().map(|state| view::listed(state, now, &api.desk)).collect();
    let next = page.next.map(|cursor| cursor.to_string());
    Ok(json_response(StatusCode::OK, to_json(&json!({ "items": items, "next_cursor": next }))))
}

pub(super) async fn get(
    State(api): State<Api>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Problem> {
    api.admit(request.headers(), Scope::Read)?;
    let params = Params::parse(request.uri(), &["cursor"])?;
    let id = parse(&id)?;
    let after = params.text("cursor").map(|text| DeliveryCursor::parse(text, id)).transpose()?;
    let cell = find(&api, id).await?;
    let body = api.desk.store().notification(cell.id()).await.map_err(read_problem)?;
    let state = cell.read(Clone::clone);
    let view = view::notification(&state, body.as_deref(), after, api.now(), &api.desk);
    Ok(json_response(StatusCode::OK, to_json(&view)))
}

pub(super) async fn trace(
    State(api): State<Api>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Problem> {
    api.admit(request.headers(), Scope::Read)?;
    let params = Params::parse(request.uri(), &["cursor", "limit"])?;
    let id = parse(&id)?;
    let after = params.text("cursor").map(|text| StepCursor::parse(text, id)).transpose()?;
    let limit = params.limit_or(LIMIT_MAX)?;
    let state = find(&api, id).await?.read(Clone::clone);
    Ok(json_response(StatusCode::OK, to_json(&trace::page(&state, api.now(), after, limit))))
}

pub(super) async fn cancel(
    State(api): State<Api>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Problem> {
    api.admit(request.headers(), Scope::Submit)?;
    Params::none(request.uri())?;
    let done = api
        .desk
        .cancel(parse(&id)?)
        .await
        .map_err(|error| desk_problem(error, code::NOTIFICATION_UNKNOWN))?;
    let view = json!({
        "id": done.state.id.to_string(),
        "status": done.state.status(api.now()).as_str(),
        "cancelled": done.cancelled,
        "under_way": done.under_way,
    });
    Ok(json_response(StatusCode::OK, to_json(&view)))
}

fn parse(id: &str) -> Result<NotificationId, Problem> {
    id.parse().map_err(|error: fanfare_model::id::BadId| Problem::new(code::BAD_ID, error.to_string()))
}

async fn find(api: &Api, id: NotificationId) -> Result<Cell, Problem> {
    let cell = api.desk.store().cell(id).await.map_err(read_problem)?;
    cell.ok_or_else(|| Problem::new(code::NOTIFICATION_UNKNOWN, format!("there is no notification {id}")))
}
