//! What each stable code means and what to do about it, at the address that a problem's `type` gives.
//!
//! Made from the one table, and open to everyone who gets in at all: whoever is refused for want of a key can read why.

use axum::extract::{Path, Request};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{json as to_json, json_response};
use super::problem::{self, Entry, PLACE, Problem, TABLE};
use super::query::Params;

fn view(entry: &Entry) -> Value {
    json!({
        "type": format!("{PLACE}{}", entry.code),
        "code": entry.code,
        "status": entry.status.as_u16(),
        "title": entry.title,
        "meaning": entry.meaning,
        "remedy": entry.remedy,
    })
}

pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    Params::parse(request.uri(), &[])?;
    let items: Vec<Value> = TABLE.iter().map(|entry| view(entry)).collect();
    Ok(json_response(StatusCode::OK, to_json(&json!({ "items": items, "next_cursor": null }))))
}

pub(super) async fn get(Path(code): Path<String>) -> Result<Response, Problem> {
    let entry = problem::entry(&code).ok_or_else(|| {
        let code: String = code.chars().take(80).collect();
        Problem::new(
            problem::code::NOT_FOUND,
            format!("{code:?} is no code of ours; {PLACE} lists all of them"),
        )
    })?;
    Ok(json_response(StatusCode::OK, to_json(&view(entry))))
}
