//! Callers: as fast as they are answered, or at a given rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use fanfare_model::notification::Notification;
use fanfare_runtime::ChannelGeneration;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

use super::guests;

/// Posts a second of a pooled native client.
pub(super) async fn native(
    sink: SocketAddr,
    callers: usize,
    bytes: usize,
    duration: Duration,
) -> anyhow::Result<f64> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let body = Bytes::from("x".repeat(bytes));
    let uri: http::Uri = format!("http://{sink}/hook").parse()?;
    let post = move || {
        let request = Request::post(uri.clone()).body(Full::new(body.clone()));
        let client = client.clone();
        async move {
            let response = client.request(request?).await?;
            ensure!(response.status().is_success(), "the sink answered {}", response.status());
            response.into_body().collect().await?;
            anyhow::Ok(())
        }
    };
    as_fast(callers, duration, post).await
}

/// Attempts a second.
pub(super) async fn closed(
    generation: &Arc<ChannelGeneration>,
    about: &Arc<Notification>,
    callers: usize,
    duration: Duration,
) -> anyhow::Result<f64> {
    let (generation, about) = (Arc::clone(generation), Arc::clone(about));
    let send = move || {
        let (generation, about) = (Arc::clone(&generation), Arc::clone(&about));
        async move { guests::deliver(&generation, &about).await }
    };
    as_fast(callers, duration, send).await
}

async fn as_fast<C, F>(callers: usize, duration: Duration, call: C) -> anyhow::Result<f64>
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let begun = Instant::now();
    let mut running: JoinSet<anyhow::Result<u64>> = JoinSet::new();
    for _ in 0..callers {
        let call = call.clone();
        running.spawn(async move {
            let mut count = 0;
            while begun.elapsed() < duration {
                call().await?;
                count += 1;
            }
            Ok(count)
        });
    }
    let mut count = 0;
    while let Some(done) = running.join_next().await {
        count += done??;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// The p99 in microseconds at `per_second` in all; each counts from when it was due.
pub(super) async fn open(
    generation: &Arc<ChannelGeneration>,
    about: &Arc<Notification>,
    callers: usize,
    per_second: f64,
    duration: Duration,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    let apart = Duration::from_secs_f64(1.0 / per_second);
    let total = (per_second * duration.as_secs_f64()) as u32;
    let mut running: JoinSet<anyhow::Result<Vec<u64>>> = JoinSet::new();
    for nth in 0..callers {
        let (generation, about) = (Arc::clone(generation), Arc::clone(about));
        running.spawn(async move {
            let mut latencies = Vec::new();
            for slot in (u32::try_from(nth)?..total).step_by(callers) {
                let due = start + apart * slot;
                tokio::time::sleep_until(due.into()).await;
                guests::deliver(&generation, &about).await?;
                latencies.push(u64::try_from(due.elapsed().as_micros())?);
            }
            Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies.append(&mut done??);
    }
    latencies.sort_unstable();
    Ok(crate::load::quantile(&latencies, 0.99) as f64)
}
