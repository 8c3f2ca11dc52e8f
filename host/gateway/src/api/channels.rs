//! Channels as operators see them: list, show, activate, roll back, pause, resume, test.

use axum::extract::{Request, State};
use axum::response::Response;
use fanfare_model::name::ChannelName;
use fanfare_runtime::{AttemptReport, Level, Totals};
use fanfare_store::plugins::{Canary, Generation, GrantLines, Score};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::acts::{BODY_BYTES_MAX, bare, from_json, looks, with_json};
use super::answer::{json as to_json, json_response};
use super::plugins::entry;
use super::problem::{Problem, code};
use super::query::Params;
use super::{Api, Segment, act_problem};
use crate::config::Scope;
use crate::plugins::{Activation, Record, Review, Trial, parse_share, percent};
use crate::registry::{Channel, Halt, State as ChannelState};

/// A candidate's rate of faults may be twice the other's, and 20 attempts tell. (The defaults.)
const RATIO: f64 = 2.0;
const ATTEMPTS_MIN: u32 = 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivationBody {
    plugin: String,
    settings: Option<Map<String, Value>>,
    secrets: Option<std::collections::BTreeMap<String, String>>,
    grants: Option<GrantsBody>,
    canary: Option<CanaryBody>,
    #[serde(default)]
    approve: bool,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GrantsBody {
    http: Vec<String>,
    smtp: Vec<String>,
    allow_private: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CanaryBody {
    share: String,
    ratio: Option<f64>,
    attempts_min: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TestBody {
    address: Option<String>,
}

pub(super) async fn list(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    looks(&api, &request)?;
    let setup = api.plugins.setup();
    let mut items = Vec::new();
    for (name, channel) in &setup.channels {
        let record = api.plugins.channel(name).await.map_err(act_problem)?;
        items.push(Value::Object(brief(name, channel, &record)));
    }
    Ok(json_response(StatusCode::OK, to_json(&json!({ "items": items }))))
}

pub(super) async fn show(
    State(api): State<Api>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    looks(&api, &request)?;
    shown(&api, &parse(&name)?, StatusCode::OK).await
}

pub(super) async fn activate(
    State(api): State<Api>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (who, wanted) = with_json::<ActivationBody>(&api, request).await?;
    let name = parse(&name)?;
    let mut activation = api.plugins.activation(&wanted.plugin).await.map_err(act_problem)?;
    activation.canary = wanted.canary.as_ref().map(trial).transpose()?;
    activation.settings = wanted.settings;
    activation.secrets = wanted.secrets;
    activation.grants = wanted.grants.map(|grants| GrantLines {
        http: grants.http,
        smtp: grants.smtp,
        allow_private: grants.allow_private,
    });
    activation.approve = wanted.approve;
    if wanted.dry_run {
        let review = api.plugins.review(&name, &activation).await.map_err(act_problem)?;
        let view = review_view(&activation, &review);
        return Ok(json_response(StatusCode::OK, to_json(&view)));
    }
    api.plugins.activate(&name, activation, who.name()).await.map_err(act_problem)?;
    shown(&api, &name, StatusCode::OK).await
}

pub(super) async fn rollback(
    State(api): State<Api>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (who, name) = (bare(&api, request).await?, parse(&name)?);
    api.plugins.rollback(&name, who.name()).await.map_err(act_problem)?;
    shown(&api, &name, StatusCode::OK).await
}

pub(super) async fn pause(
    State(api): State<Api>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (who, name) = (bare(&api, request).await?, parse(&name)?);
    api.plugins.pause(&name, who.name()).await.map_err(act_problem)?;
    shown(&api, &name, StatusCode::OK).await
}

pub(super) async fn resume(
    State(api): State<Api>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (who, name) = (bare(&api, request).await?, parse(&name)?);
    api.plugins.resume(&name, who.name()).await.map_err(act_problem)?;
    shown(&api, &name, StatusCode::OK).await
}

pub(super) async fn test(
    State(api): State<Api>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let who = api.admit(&parts.headers, Scope::Admin)?;
    Params::parse(&parts.uri, &[])?;
    let name = parse(&name)?;
    let read = api.bodies.read(&parts.headers, body, BODY_BYTES_MAX).await?;
    let wanted: TestBody = if read.bytes.is_empty() { TestBody::default() } else { from_json(&read.bytes)? };
    let id = api.desk.store().next_id();
    let (generation, report) =
        api.plugins.test(&name, id, wanted.address, who.name()).await.map_err(act_problem)?;
    let view = report_view(&name, generation, &report);
    Ok(json_response(StatusCode::OK, to_json(&view)))
}

fn parse(name: &str) -> Result<ChannelName, Problem> {
    name.parse()
        .map_err(|error: fanfare_model::name::BadName| Problem::new(code::CHANNEL_ABSENT, error.to_string()))
}

fn trial(canary: &CanaryBody) -> Result<Trial, Problem> {
    let share = parse_share(&canary.share)
        .map_err(|why| Problem::new(code::INVALID_FIELD, why).at("/canary/share"))?;
    let ratio = canary.ratio.unwrap_or(RATIO);
    if !(1.0..=100.0).contains(&ratio) {
        return Err(Problem::new(code::INVALID_FIELD, "ratio is a number from 1 to 100").at("/canary/ratio"));
    }
    let attempts_min = canary.attempts_min.unwrap_or(ATTEMPTS_MIN);
    if !(1..=1_000_000).contains(&attempts_min) {
        let why = "attempts_min is a number from 1 to 1000000";
        return Err(Problem::new(code::INVALID_FIELD, why).at("/canary/attempts_min"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 and 100")]
    let ratio_percent = (ratio * 100.0).round() as u32;
    Ok(Trial { share, ratio_percent, attempts_min })
}

/// What every view of a channel begins with.
fn brief(name: &ChannelName, channel: &Channel, record: &Record) -> Map<String, Value> {
    let current = record.generation(channel.generation);
    let (since, probe_at, probes) = match &channel.state {
        ChannelState::Open(_) => (None, None, None),
        ChannelState::Halted(Halt::Paused { at, .. }) => (Some(*at), None, None),
        ChannelState::Halted(Halt::Suspended { at, probe_at, probes, .. }) => {
            (Some(*at), Some(*probe_at), Some(*probes))
        }
    };
    let code = match &channel.state {
        ChannelState::Halted(Halt::Suspended { code, .. }) => Some(code.clone()),
        _ => None,
    };
    let view = json!({
        "channel": name.as_str(),
        "state": channel.word(),
        "since": since.map(|at| at.to_string()),
        "why": channel.why(),
        "code": code,
        "probe_at": probe_at.map(|at| at.to_string()),
        "probes_failed": probes,
        "generation": channel.generation,
        "plugin": channel.plugin,
        "digest": current.map(|current| current.plugin.to_string()),
        "made_by": current.map(|current| current.made_by.clone()),
        "canary": record.usage.canary.as_ref().map(|canary| canary_view(channel, canary, record)),
    });
    match view {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn canary_view(channel: &Channel, canary: &Canary, record: &Record) -> Value {
    let seen = channel.vigil.seen();
    let score = |score: Score| json!({ "attempts": score.attempts, "faults": score.faults });
    let candidate = record.generation(canary.candidate);
    json!({
        "generation": canary.candidate,
        "plugin": candidate.map(|one| format!("{} {}", one.plugin_name, one.plugin_version)),
        "digest": candidate.map(|one| one.plugin.to_string()),
        "share": percent(canary.share),
        "ratio": f64::from(canary.ratio_percent) / 100.0,
        "attempts_min": canary.attempts_min,
        "started_at": canary.started_at.to_string(),
        "candidate": score(seen.new),
        "serving": score(seen.old),
    })
}

async fn shown(api: &Api, name: &ChannelName, status: StatusCode) -> Result<Response, Problem> {
    // First: what serves is in the store already, so the record knows its generation.
    let setup = api.plugins.setup();
    let record = api.plugins.channel(name).await.map_err(act_problem)?;
    let Some(channel) = setup.channels.get(name) else {
        return Err(Problem::new(code::CHANNEL_ABSENT, format!("no channel {name} is configured")));
    };
    let mut view = brief(name, channel, &record);
    if let Some(current) = record.generation(channel.generation) {
        let requests = api.plugins.permissions(current).await;
        view.insert("settings".to_owned(), serde_json::from_str(&current.settings).unwrap_or_default());
        view.insert("secrets".to_owned(), json!(current.secrets));
        let grants = &current.grants;
        let grants =
            json!({ "http": grants.http, "smtp": grants.smtp, "allow_private": grants.allow_private });
        view.insert("grants".to_owned(), grants);
        view.insert("permissions".to_owned(), requests_view(&requests));
    }
    let generations: Vec<Value> =
        record.generations.iter().map(|generation| generation_view(generation, &record)).collect();
    view.insert("generations".to_owned(), generations.into());
    view.insert("usage".to_owned(), usage(api, name));
    let subject = format!("channel {name}");
    let audit = api.plugins.audit(Some(&subject), 10).await.map_err(act_problem)?;
    view.insert("audit".to_owned(), audit.iter().map(entry).collect());
    Ok(json_response(status, to_json(&Value::Object(view))))
}

pub(super) fn generation_view(generation: &Generation, record: &Record) -> Value {
    let candidate = record.usage.canary.map(|canary| canary.candidate);
    let state = if generation.number == record.usage.current {
        "serving"
    } else if Some(generation.number) == candidate {
        "candidate"
    } else {
        "kept"
    };
    json!({
        "generation": generation.number,
        "state": state,
        "plugin": format!("{} {}", generation.plugin_name, generation.plugin_version),
        "digest": generation.plugin.to_string(),
        "before": generation.before,
        "made_at": generation.made_at.to_string(),
        "made_by": generation.made_by,
        "why": generation.why,
    })
}

/// What its plugins used since the gateway started: all generations together, and each that still lives.
fn usage(api: &Api, name: &ChannelName) -> Value {
    let runtime = api.plugins.runtime();
    let generations: Vec<Value> = runtime
        .usage()
        .into_iter()
        .filter(|usage| usage.channel == name.as_str())
        .map(|usage| {
            let mut view = totals(&usage.totals);
            view.insert("generation".to_owned(), usage.generation.into());
            Value::Object(view)
        })
        .collect();
    let mut view = totals(&runtime.channel_usage(name).unwrap_or_default());
    view.insert("generations".to_owned(), generations.into());
    Value::Object(view)
}

fn totals(totals: &Totals) -> Map<String, Value> {
    let view = json!({
        "calls": totals.calls,
        "traps": totals.traps,
        "timeouts": totals.timeouts,
        "cpu_ms": totals.cpu.as_secs_f64() * 1_000.0,
        "wall_ms": totals.wall.as_secs_f64() * 1_000.0,
        "memory_bytes_peak": totals.memory_bytes_peak,
        "host_calls": totals.host_calls,
        "requests": totals.requests,
        "bytes_out": totals.bytes_out,
        "bytes_in": totals.bytes_in,
        "log_lines_dropped": totals.log_lines_dropped,
    });
    match view {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn requests_view(requests: &[fanfare_runtime::Request]) -> Value {
    requests
        .iter()
        .map(|request| json!({ "kind": request.kind, "requested": request.what, "granted": request.granted }))
        .collect()
}

fn review_view(activation: &Activation, review: &Review) -> Value {
    let (plugin, version, digest) = activation.plugin();
    json!({
        "plugin": format!("{plugin} {version}"),
        "digest": digest.to_string(),
        "permissions": requests_view(&review.requests),
        "needs_approval": review.beyond,
        "paste": review.paste,
    })
}

fn report_view(name: &ChannelName, generation: u64, report: &AttemptReport) -> Value {
    let fault = report.outcome.fault();
    let log: Vec<Value> = report
        .log
        .iter()
        .map(|line| {
            let level = match line.level {
                Level::Error => "error",
                Level::Warn => "warn",
                Level::Info => "info",
                Level::Debug => "debug",
            };
            json!({ "level": level, "message": line.message })
        })
        .collect();
    let requests: Vec<Value> = report
        .requests
        .iter()
        .map(|request| {
            json!({
                "method": request.method,
                "origin": request.origin,
                "status": request.status,
                "took_ms": request.took.as_secs_f64() * 1_000.0,
            })
        })
        .collect();
    json!({
        "channel": name.as_str(),
        "generation": generation,
        "outcome": report.outcome.as_str(),
        "fault": fault.map(|fault| json!({
            "code": fault.code.as_str(), "message": fault.message, "status": fault.status
        })),
        "requests": requests,
        "log": log,
        "cpu_ms": report.usage.cpu.as_secs_f64() * 1_000.0,
        "took_ms": report.usage.wall.as_secs_f64() * 1_000.0,
        "memory_bytes_peak": report.usage.memory_bytes_peak,
    })
}
