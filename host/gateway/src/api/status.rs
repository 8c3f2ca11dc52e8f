//! `GET /api/v1/admin/status`: one look that says how things are.
//!
//! What waits and what is dead is counted in the store, so that a backlog that is not in memory shows, too. Bounded: of a
//! channel [`COUNTED_MAX`] due entries are counted, of the dead letters the latest 10,000; then `waiting_capped` and
//! `dead_capped` say that there is more.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use fanfare_model::name::ChannelName;
use fanfare_model::priority::Priority;
use fanfare_store::Store;
use fanfare_store::engine::ReadError;
use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{json as to_json, json_response};
use super::problem::Problem;
use super::query::Params;
use super::{Api, read_problem, unready};
use crate::config::Scope;

/// Due entries of a channel are counted up to here.
const COUNTED_MAX: usize = 10_000;

/// Due entries that one read brings.
const PAGE: usize = 1_000;

/// What waits on one channel.
#[derive(Debug, Default)]
struct Waiting {
    queued: usize,
    scheduled: usize,
    retrying: usize,
    capped: bool,
}

pub(super) async fn status(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    api.admit(request.headers(), Scope::Admin)?;
    Params::parse(request.uri(), &[])?;
    let store = api.desk.store();
    let (channels, dead_capped) = channels(&api).await.map_err(read_problem)?;
    let totals: BTreeMap<String, i64> = store.counters().await.map_err(read_problem)?.into_iter().collect();
    let channels: Vec<Value> =
        channels.into_iter().map(|(name, view)| with_totals(&name, view, &totals)).collect();
    let reasons = unready(&api);
    let refusal = store.refusal().map(|refusal| refusal.to_string());
    let setup = api.desk.dispatch().setup();
    let router = setup.router.as_ref().map(|router| {
        let halted = router.generation.as_ref().err();
        json!({
            "plugin": router.plugin,
            "generation": router.number,
            "state": if halted.is_some() { "suspended" } else { "serving" },
            "code": halted.map(|halt| &halt.code),
            "why": halted.map(|halt| &halt.message),
        })
    });
    let view = json!({
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "version": env!("CARGO_PKG_VERSION"),
        "at": api.now().to_string(),
        "access": { "open": api.access.current().is_open() },
        "store": {
            "accepting": refusal.is_none(),
            "refusal": refusal,
            "accepted": totals.get("accepted").copied().unwrap_or(0),
        },
        "router": router,
        "users": setup.users.len(),
        "channels": channels,
        "dead_capped": dead_capped,
    });
    Ok(json_response(StatusCode::OK, to_json(&view)))
}

/// Every channel that is configured, or that something waits for, or on which something died.
async fn channels(api: &Api) -> Result<(BTreeMap<ChannelName, Value>, bool), ReadError> {
    let (store, dispatch) = (api.desk.store(), api.desk.dispatch());
    let setup = dispatch.setup();
    let (dead, dead_capped) = store.dead_by_channel().await?;
    let mut names: Vec<ChannelName> = setup.channels.keys().cloned().collect();
    names.extend(store.lanes().await?);
    names.extend(dead.keys().cloned());
    names.sort_unstable();
    names.dedup();
    let running: BTreeMap<ChannelName, usize> =
        dispatch.depths().into_iter().map(|depth| (depth.lane, depth.running)).collect();
    let mut views = BTreeMap::new();
    for name in names {
        let waiting = waiting(api, store, &name).await?;
        let channel = setup.channels.get(&name);
        let view = json!({
            "channel": name.as_str(),
            "state": match channel {
                Some(channel) => channel.word(),
                None if dispatch.is_parked(&name) => "parked",
                None => "serving",
            },
            "why": channel.and_then(|channel| channel.why()),
            "plugin": channel.map(|channel| &channel.plugin),
            "generation": channel.map(|channel| channel.generation),
            "queued": waiting.queued,
            "sending": running.get(&name).copied().unwrap_or(0),
            "retrying": waiting.retrying,
            "scheduled": waiting.scheduled,
            "waiting_capped": waiting.capped,
            "dead": dead.get(&name).copied().unwrap_or(0),
        });
        views.insert(name, view);
    }
    Ok((views, dead_capped))
}

async fn waiting(api: &Api, store: &Store, lane: &ChannelName) -> Result<Waiting, ReadError> {
    let (now, dispatch) = (api.now(), api.desk.dispatch());
    let (mut waiting, mut counted) = (Waiting::default(), 0);
    for priority in Priority::ALL {
        let mut after = None;
        loop {
            if counted >= COUNTED_MAX {
                waiting.capped = true;
                return Ok(waiting);
            }
            let page = store.due(lane, priority, after.as_ref(), PAGE.min(COUNTED_MAX - counted)).await?;
            counted += page.len();
            for entry in &page {
                // Under way, its entry stays until it is settled.
                if dispatch.is_sending(entry.delivery) {
                } else if entry.delay.is_some() {
                    waiting.retrying += 1;
                } else if entry.due_at > now {
                    waiting.scheduled += 1;
                } else {
                    waiting.queued += 1;
                }
            }
            if page.len() < PAGE {
                break;
            }
            after = page.into_iter().last();
        }
    }
    Ok(waiting)
}

/// With the sums over the store's life, which survive restarts and the removal of histories.
fn with_totals(name: &ChannelName, mut view: Value, totals: &BTreeMap<String, i64>) -> Value {
    if let Some(members) = view.as_object_mut() {
        let sum = totals.get(&format!("delivered/{name}")).copied().unwrap_or(0);
        members.insert("delivered".to_owned(), sum.into());
    }
    view
}
