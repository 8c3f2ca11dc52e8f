//! Components: install, list, show, remove; and the audit of everything that was done to plugins and channels.

use axum::extract::{Request, State};
use axum::response::Response;
use fanfare_store::plugins::{AuditEntry, Component, Slot};
use http::StatusCode;
use serde_json::{Value, json};

use super::acts::{bare, looks};
use super::answer::{json as to_json, json_response};
use super::problem::{Problem, code};
use super::query::Params;
use super::{Api, Segment, act_problem};
use crate::config::Scope;
use crate::embedded;
use crate::plugins::COMPONENT_BYTES_MAX;

/// Audit entries that one call brings at most.
const ENTRIES_MAX: usize = 1_000;

pub(super) async fn install(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let who = api.admit(&parts.headers, Scope::Admin)?;
    Params::parse(&parts.uri, &[])?;
    let read = api.uploads.read(&parts.headers, body, COMPONENT_BYTES_MAX).await?;
    if read.bytes.is_empty() {
        return Err(Problem::new(code::BAD_BODY, "the body is empty; send the bytes of a component"));
    }
    let (component, new) = api.plugins.install(read.bytes.to_vec(), who.name()).await.map_err(act_problem)?;
    drop(read);
    let users = users(&api).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json_response(status, to_json(&view(&component, &users))))
}

pub(super) async fn list(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    looks(&api, &request)?;
    let users = users(&api).await?;
    let components = api.plugins.components().await.map_err(act_problem)?;
    let installed = components.iter().filter(|component| embedded::name_of(component.digest).is_none());
    let installed: Vec<Value> = installed.map(|component| view(component, &users)).collect();
    let built_in: Vec<Value> = embedded::all()
        .map(|(name, bytes)| {
            let digest = fanfare_model::digest::Digest::of(bytes).to_string();
            json!({ "name": name, "bytes": bytes.len(), "used_by": used_by(&digest, &users), "digest": digest })
        })
        .collect();
    Ok(json_response(StatusCode::OK, to_json(&json!({ "items": installed, "built_in": built_in }))))
}

pub(super) async fn show(
    State(api): State<Api>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    looks(&api, &request)?;
    let component = api.plugins.component(&name).await.map_err(act_problem)?;
    let mut view = view(&component, &users(&api).await?);
    if let Some(members) = view.as_object_mut() {
        let subject = format!("plugin {}", component.name);
        let audit = api.plugins.audit(Some(&subject), 20).await.map_err(act_problem)?;
        members.insert("audit".to_owned(), audit.iter().map(entry).collect());
    }
    Ok(json_response(StatusCode::OK, to_json(&view)))
}

pub(super) async fn remove(
    State(api): State<Api>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let who = bare(&api, request).await?;
    let digest = api.plugins.remove(&name, who.name()).await.map_err(act_problem)?;
    Ok(json_response(StatusCode::OK, to_json(&json!({ "digest": digest.to_string(), "removed": true }))))
}

pub(super) async fn audit(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    api.admit(request.headers(), Scope::Admin)?;
    let params = Params::parse(request.uri(), &["subject", "limit"])?;
    let limit = match params.text("limit") {
        None => 50,
        Some(text) => {
            text.parse().ok().filter(|limit| (1..=ENTRIES_MAX).contains(limit)).ok_or_else(|| {
                Problem::new(code::BAD_QUERY, format!("limit is a number from 1 to {ENTRIES_MAX}"))
            })?
        }
    };
    let entries = api.plugins.audit(params.text("subject"), limit).await.map_err(act_problem)?;
    let items: Vec<Value> = entries.iter().map(entry).collect();
    Ok(json_response(StatusCode::OK, to_json(&json!({ "items": items }))))
}

/// One act.
pub(super) fn entry(entry: &AuditEntry) -> Value {
    json!({
        "at": entry.at.to_string(),
        "by": entry.by,
        "act": entry.act,
        "subject": entry.subject,
        "digest": entry.digest.map(|digest| digest.to_string()),
        "generation": entry.generation,
        "detail": entry.detail,
        "permissions_added": entry.added,
        "permissions_removed": entry.removed,
    })
}

/// Who uses which component now, as `(digest, "channel NAME, generation N")`.
async fn users(api: &Api) -> Result<Vec<(String, String)>, Problem> {
    let mut users = Vec::new();
    for (slot, usage) in api.plugins.uses().await.map_err(act_problem)? {
        if !is_configured(api, &slot) {
            continue;
        }
        let candidate = usage.canary.map(|canary| canary.candidate);
        for number in [Some(usage.current), candidate].into_iter().flatten() {
            if let Some(generation) = api.plugins.generation(&slot, number).await.map_err(act_problem)? {
                users.push((generation.plugin.to_string(), format!("{slot}, generation {number}")));
            }
        }
    }
    Ok(users)
}

fn is_configured(api: &Api, slot: &Slot) -> bool {
    let setup = api.plugins.setup();
    match slot {
        Slot::Channel(name) => setup.channels.contains_key(name),
        Slot::Router(_) => setup.router.is_some(),
    }
}

fn used_by(digest: &str, users: &[(String, String)]) -> Vec<String> {
    users.iter().filter(|(of, _)| of == digest).map(|(_, who)| who.clone()).collect()
}

fn view(component: &Component, users: &[(String, String)]) -> Value {
    let digest = component.digest.to_string();
    json!({
        "name": component.name,
        "version": component.version,
        "kind": component.kind,
        "description": component.description,
        "bytes": component.bytes,
        "permissions": component.asked.lines(),
        "installed_at": component.installed_at.to_string(),
        "installed_by": component.installed_by,
        "used_by": used_by(&digest, users),
        "digest": digest,
    })
}
