//! Dead letters: list, send again, discard.

use axum::extract::{Request, State};
use axum::response::Response;
use fanfare_model::id::DeliveryId;
use fanfare_store::DeadLetterFilter;
use http::StatusCode;
use serde_json::json;

use super::answer::{json as to_json, json_response};
use super::body::require_none;
use super::problem::{Problem, code};
use super::query::{Params, bad_cursor};
use super::{Api, Segment, acts, desk_problem, read_problem, view};
use crate::config::Scope;

const FILTERS: [&str; 4] = ["channel", "code", "type", "since"];

fn filter(params: &Params) -> Result<DeadLetterFilter, Problem> {
    Ok(DeadLetterFilter {
        channel: params.value("channel")?,
        code: params.text("code").map(str::to_owned),
        event_type: params.value("type")?,
        since: params.value("since")?,
    })
}

pub(super) async fn list(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    api.admit(request.headers(), Scope::Admin)?;
    let known = [&FILTERS[..], &["cursor", "limit"]].concat();
    let params = Params::parse(request.uri(), &known)?;
    let (filter, cursor) = (filter(&params)?, params.cursor()?);
    if cursor.as_ref().is_some_and(|cursor| !cursor.is_of_dead_letters()) {
        return Err(bad_cursor());
    }
    let store = api.desk.store();
    let page = store.dead_letters(&filter, cursor.as_ref(), params.limit()?).await.map_err(read_problem)?;
    let items: Vec<_> = page.items.iter().map(view::dead_letter).collect();
    let next = page.next.map(|cursor| cursor.to_string());
    Ok(json_response(StatusCode::OK, to_json(&json!({ "items": items, "next_cursor": next }))))
}

pub(super) async fn retry(
    State(api): State<Api>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let who = acts::bare(&api, request).await?;
    let id = parse(&id)?;
    api.desk.replay(id, who.name()).await.map_err(|error| desk_problem(error, code::DELIVERY_UNKNOWN))?;
    let view =
        json!({ "id": id.to_string(), "notification_id": id.notification.to_string(), "status": "queued" });
    Ok(json_response(StatusCode::ACCEPTED, to_json(&view)))
}

pub(super) async fn retry_all(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let who = api.admit(&parts.headers, Scope::Admin)?;
    let filter = filter(&Params::parse(&parts.uri, &FILTERS)?)?;
    require_none(&api.bodies, &parts.headers, body).await?;
    let replayed = api.desk.replay_all(&filter, who.name()).await;
    let replayed = replayed.map_err(|error| desk_problem(error, code::DELIVERY_UNKNOWN))?;
    Ok(json_response(StatusCode::ACCEPTED, to_json(&json!({ "retried": replayed }))))
}

pub(super) async fn discard(
    State(api): State<Api>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let who = acts::bare(&api, request).await?;
    let discarded = api.desk.discard(parse(&id)?, who.name()).await;
    discarded.map_err(|error| desk_problem(error, code::DELIVERY_UNKNOWN))?;
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn parse(id: &str) -> Result<DeliveryId, Problem> {
    id.parse().map_err(|fanfare_model::id::BadId(id)| {
        let detail = format!(
            "{id:?} is not the id of a delivery, which is its notification's with a number behind it, such as \
             019aa3b2-7c1e-7000-8000-0242ac120002-0"
        );
        Problem::new(code::BAD_ID, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_notification_is_told_from_the_id_of_a_delivery() {
        let delivery = "019aa3b2-7c1e-7000-8000-0242ac120002-0";
        assert_eq!(parse(delivery).unwrap().to_string(), delivery);
        for other in ["x", "019aa3b2-7c1e-7000-8000-0242ac120002", "019aa3b2-7c1e-7000-8000-0242ac120002-00"]
        {
            let problem = parse(other).unwrap_err();
            assert_eq!(problem.code(), "request.bad-id");
            assert!(problem.detail().contains("not the id of a delivery"), "{}", problem.detail());
        }
    }
}
