//! What each stable code means and what to do about it, at the address that a problem's `type` gives.
//!
//! Made from the two tables, of answers and of faults, and open to everyone who gets in at all: whoever is refused for
//! want of a key can read why.

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::Segment;
use super::answer::{json as to_json, json_response};
use super::codes::{self, Entry, PLACE};
use super::faults::{self, FaultEntry};
use super::problem::Problem;
use super::query::Params;

/// A code on its page.
#[derive(Serialize)]
struct Page<'a> {
    r#type: String,
    code: &'a str,
    /// Of the answer; a fault of a delivery has none.
    status: Option<u16>,
    title: &'a str,
    meaning: &'a str,
    remedy: &'a str,
}

impl<'a> Page<'a> {
    fn of_answer(entry: &'a Entry) -> Self {
        let Entry { code, status, title, meaning, remedy } = entry;
        Self { r#type: format!("{PLACE}{code}"), code, status: Some(status.as_u16()), title, meaning, remedy }
    }

    fn of_fault(entry: &'a FaultEntry, code: &'a str) -> Self {
        let FaultEntry { title, meaning, remedy, .. } = entry;
        Self { r#type: format!("{PLACE}{code}"), code, status: None, title, meaning, remedy }
    }
}

pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    Params::parse(request.uri(), &[])?;
    let faults = faults::TABLE.iter().chain([faults::OF_PLUGINS]);
    let pages = codes::TABLE.iter().map(|entry| Page::of_answer(entry));
    let pages: Vec<_> = pages.chain(faults.map(|entry| Page::of_fault(entry, entry.code))).collect();
    Ok(json_response(StatusCode::OK, to_json(&json!({ "items": pages, "next_cursor": null }))))
}

pub(super) async fn get(Segment(code): Segment) -> Result<Response, Problem> {
    let page = match (codes::entry(&code), faults::entry(&code)) {
        (Some(entry), _) => Page::of_answer(entry),
        (None, Some(entry)) => Page::of_fault(entry, &code),
        (None, None) => {
            let code: String = code.chars().take(80).collect();
            let detail = format!("{code:?} is no code of ours; /problems lists all of them");
            return Err(Problem::new(codes::code::NOT_FOUND, detail));
        }
    };
    Ok(json_response(StatusCode::OK, to_json(&page)))
}
