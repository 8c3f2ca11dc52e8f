//! The router as operators see it: list, show, activate, roll back.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::acts::{bare, looks, with_json};
use super::answer::{json as to_json, json_response};
use super::channels::generation_view;
use super::plugins::entry;
use super::problem::{Problem, code};
use super::{Api, Segment, act_problem};
use crate::plugins::Record;
use crate::registry::Router;

/// A router is granted nothing, so there is neither a grant nor a secret to give.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivationBody {
    plugin: String,
    settings: Option<Map<String, Value>>,
}

pub(super) async fn list(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    looks(&api, &request)?;
    let mut items = Vec::new();
    if let Some(router) = &api.plugins.setup().router {
        let record = api.plugins.router(&router.name).await.map_err(act_problem)?;
        items.push(Value::Object(brief(router, &record)));
    }
    Ok(json_response(StatusCode::OK, to_json(&json!({ "items": items }))))
}

pub(super) async fn show(
    State(api): State<Api>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    looks(&api, &request)?;
    shown(&api, &name).await
}

pub(super) async fn activate(
    State(api): State<Api>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (who, wanted) = with_json::<ActivationBody>(&api, request).await?;
    let mut activation = api.plugins.activation(&wanted.plugin).await.map_err(act_problem)?;
    activation.settings = wanted.settings;
    api.plugins.activate_router(&name, activation, who.name()).await.map_err(act_problem)?;
    shown(&api, &name).await
}

pub(super) async fn rollback(
    State(api): State<Api>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let who = bare(&api, request).await?;
    api.plugins.rollback_router(&name, who.name()).await.map_err(act_problem)?;
    shown(&api, &name).await
}

/// What every view of a router begins with.
fn brief(router: &Router, record: &Record) -> Map<String, Value> {
    let current = record.generation(router.number);
    let halted = router.generation.as_ref().err();
    let view = json!({
        "router": router.name,
        "state": if halted.is_some() { "suspended" } else { "serving" },
        "code": halted.map(|halt| &halt.code),
        "why": halted.map(|halt| &halt.message),
        "generation": router.number,
        "plugin": router.plugin,
        "digest": current.map(|current| current.plugin.to_string()),
        "made_by": current.map(|current| current.made_by.clone()),
    });
    match view {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

async fn shown(api: &Api, name: &str) -> Result<Response, Problem> {
    // First: what serves is in the store already, so the record knows its generation.
    let setup = api.plugins.setup();
    let record = api.plugins.router(name).await.map_err(act_problem)?;
    let Some(router) = setup.router.as_ref().filter(|router| router.name == name) else {
        return Err(Problem::new(code::ROUTER_ABSENT, format!("no router {name:?} is configured")));
    };
    let mut view = brief(router, &record);
    if let Some(current) = record.generation(router.number) {
        view.insert("settings".to_owned(), serde_json::from_str(&current.settings).unwrap_or_default());
    }
    let generations: Vec<Value> =
        record.generations.iter().map(|generation| generation_view(generation, &record)).collect();
    view.insert("generations".to_owned(), generations.into());
    let audit = api.plugins.audit(Some(&format!("router {name}")), 10).await.map_err(act_problem)?;
    view.insert("audit".to_owned(), audit.iter().map(entry).collect());
    Ok(json_response(StatusCode::OK, to_json(&Value::Object(view))))
}
