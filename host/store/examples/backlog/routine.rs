//! Filling a store with notifications for later, and draining it, as intake and dispatch do it.
//!
//! Memory is bounded by [`CALLERS`] batches while it fills, and by one window of due entries while it drains.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_model::json::JsonObject;
use fanfare_model::name::ChannelName;
use fanfare_model::notification::Notification;
use fanfare_model::outcome::{Outcome, Receipt};
use fanfare_model::priority::Priority;
use fanfare_model::retry::RetryPolicy;
use fanfare_model::state::{NotificationState, Planned, Settlement};
use fanfare_store::{Changed, NewNotification, Store};

/// Batches that wait for the disk at once.
const CALLERS: usize = 16;
/// Notifications in a batch.
const BATCH: u64 = 100;
/// Due entries read at once, as a lane does.
const WINDOW: usize = 1_024;
/// Progress is told this often, in notifications.
const TELL_EVERY: u64 = 250_000;
/// All wait for this channel.
const CHANNEL: &str = "later";

type Failure = Box<dyn std::error::Error>;

/// Accepts `count` notifications that are due in a day; `tell` hears how many, and how many a second since the last.
pub(crate) async fn queue(
    store: &Store,
    count: u64,
    tell: &mut dyn FnMut(u64, f64),
) -> Result<Duration, Failure> {
    let started = Instant::now();
    let (mut given, mut done, mut told, mut told_at) = (0, 0, 0, started);
    let mut calls = tokio::task::JoinSet::new();
    while done < count {
        while given < count && calls.len() < CALLERS {
            let batch = BATCH.min(count - given);
            given += batch;
            let store = store.clone();
            calls.spawn(async move {
                let items = (0..batch).map(|_| later(&store)).collect::<Result<_, _>>()?;
                store.accept(items, None).await.map_err(|error| error.to_string())?;
                Ok::<u64, String>(batch)
            });
        }
        if let Some(call) = calls.join_next().await {
            done += call??;
        }
        if done - told >= TELL_EVERY {
            tell(done, (done - told) as f64 / told_at.elapsed().as_secs_f64());
            (told, told_at) = (done, Instant::now());
        }
    }
    Ok(started.elapsed())
}

/// One of about 1 KiB, to a destination of its own.
fn later(store: &Store) -> Result<NewNotification, String> {
    let id = store.next_id();
    let now = store.clock().now();
    let due_at = now.plus(Duration::from_secs(86_400));
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let notification = Notification {
        title: Some("Payment failed".to_owned()),
        body: Some(format!("{id} ").repeat(22)),
        data: JsonObject::parse(r#"{"amount":1042,"currency":"KRW"}"#).map_err(|error| text(&error))?,
        send_at: Some(due_at),
        ..Notification::new(id, "payment.failed".parse().map_err(|error| text(&error))?, now)
    };
    let mut state = NotificationState::accepted(&notification);
    let planned = Planned {
        channel: CHANNEL.parse().map_err(|error| text(&error))?,
        user: None,
        address: Some("https://receiver.example.org/hook".to_owned()),
        due_at,
        fallback_order: 0,
        reason: "named in to".to_owned(),
    };
    state.plan(vec![planned], now).map_err(|error| text(&error))?;
    Ok(NewNotification { notification: Arc::new(notification), state, dedup: None })
}

/// Reads due entries, bodies and states window by window, and settles each delivery as delivered.
pub(crate) async fn drain(store: &Store, count: u64) -> Result<Duration, Failure> {
    let started = Instant::now();
    let lane: ChannelName = CHANNEL.parse()?;
    let mut done = 0;
    while done < count {
        let window = store.due(&lane, Priority::Normal, None, WINDOW).await?;
        if window.is_empty() {
            return Err(format!("only {done} were waiting").into());
        }
        let mut settled = tokio::task::JoinSet::new();
        for entry in window {
            done += 1;
            let store = store.clone();
            settled.spawn(async move {
                let id = entry.delivery.notification;
                let missing = || format!("{id} is missing");
                let body = store.notification(id).await.map_err(|error| error.to_string())?;
                body.ok_or_else(missing)?;
                let cell = store.cell(id).await.map_err(|error| error.to_string())?.ok_or_else(missing)?;
                let now = store.clock().now();
                let outcome = Outcome::Delivered(Receipt::default());
                let policy = RetryPolicy::default();
                let took = Duration::from_millis(1);
                let settlement = Settlement {
                    started_at: now,
                    took,
                    generation: 1,
                    outcome: &outcome,
                    policy: &policy,
                    now,
                    chance: 0.5,
                };
                let ticket = cell
                    .change(|state| state.settle(entry.delivery.index, &settlement).map(Changed::only))
                    .map_err(|error| error.to_string())?;
                ticket.durable.await.map_err(|error| error.to_string())
            });
        }
        while let Some(one) = settled.join_next().await {
            one??;
        }
    }
    Ok(started.elapsed())
}

/// The resident memory now.
pub(crate) fn rss_mib() -> u64 {
    status_mib("VmRSS:")
}

/// Its greatest value since the start.
pub(crate) fn peak_rss_mib() -> u64 {
    status_mib("VmHWM:")
}

fn status_mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() >> 10
}
