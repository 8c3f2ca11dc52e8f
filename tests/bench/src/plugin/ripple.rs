//! What whoever waits for a message feels of a swap: the whole gateway, 64 clients, windows without and with swaps in turn.
//!
//! In a window with swaps one activation follows the other for as long as it lasts, so every delivery of it is made during
//! one. Both plugins are the webhook, compiled already; what is compared is the p99 from the submit to the receiver.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::client::Connection;
use crate::figure::{Figure, Target};
use crate::gateway::Gateway;
use crate::load;
use crate::process::Process;
use crate::rounds::open;

/// Submits a second, over all clients: the machine has room, so what is late is late because of the swaps.
const RATE: u32 = 1_000;

const PLUGINS: &str = "/api/v1/admin/plugins";
const ACTIVATE: &str = "/api/v1/admin/channels/hook/activate";

/// One window of each kind.
#[derive(Debug)]
pub(super) struct Round {
    calm_us: u64,
    swapping_us: u64,
    swaps_per_s: f64,
}

/// Measures `count` windows of each kind on one gateway.
pub(super) async fn measure(duration: Duration, count: u64) -> anyhow::Result<Vec<Round>> {
    let (_sink, sink) = Process::server(&["sink"].map(OsStr::new))?;
    let gateway = Gateway::start(sink).await?;
    let digests = install(gateway.address).await?;
    let mut rounds = Vec::new();
    for nth in 1..=count {
        eprintln!("swaps under load, round {nth} of {count}");
        let target = load::Target::submit(gateway.address);
        let calm = open(&target, RATE, sink, duration).await?;
        let swaps = tokio::spawn(swap(gateway.address, digests.clone(), duration));
        let swapping = open(&target, RATE, sink, duration).await?;
        let swaps_per_s = swaps.await??;
        rounds.push(Round { calm_us: calm.sink_p99, swapping_us: swapping.sink_p99, swaps_per_s });
    }
    Ok(rounds)
}

/// The webhook twice, under two digests.
async fn install(gateway: SocketAddr) -> anyhow::Result<[String; 2]> {
    let webhook = fanfare_gateway::embedded::find("webhook").context("the webhook is not embedded")?;
    let mut connection = Connection::open(gateway).await?;
    let mut digests = [String::new(), String::new()];
    for (digest, tag) in digests.iter_mut().zip([1, 2]) {
        let mut component = webhook.to_vec();
        // A custom section of its own changes the digest and nothing else.
        component.extend([0, 3, 1, b'x', tag]);
        *digest = answer(&mut connection, PLUGINS, Bytes::from(component)).await?;
        // So that it is compiled before anything is measured.
        activate(&mut connection, digest).await?;
    }
    Ok(digests)
}

/// One swap after the other; answers how many a second.
async fn swap(gateway: SocketAddr, digests: [String; 2], duration: Duration) -> anyhow::Result<f64> {
    let mut connection = Connection::open(gateway).await?;
    let (begun, mut count) = (Instant::now(), 0_u32);
    for digest in digests.iter().cycle() {
        if begun.elapsed() >= duration {
            break;
        }
        activate(&mut connection, digest).await?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

async fn activate(connection: &mut Connection, digest: &str) -> anyhow::Result<()> {
    let body = Bytes::from(json!({ "plugin": digest }).to_string());
    let serves = answer(connection, ACTIVATE, body).await?;
    ensure!(serves == digest, "after the activation of {digest}, {serves} serves");
    Ok(())
}

/// The digest of which the answer tells.
async fn answer(connection: &mut Connection, path: &str, body: Bytes) -> anyhow::Result<String> {
    let (status, answer) = connection.call(Method::POST, path, body).await?;
    ensure!(status.is_success(), "{path} answered {status}: {}", String::from_utf8_lossy(&answer));
    let answer: Value = serde_json::from_slice(&answer)?;
    Ok(answer.get("digest").and_then(Value::as_str).context("no digest")?.to_owned())
}

/// The figure with a target.
pub(super) fn ratio(rounds: &[Round]) -> Figure {
    let values = rounds.iter().map(|round| round.swapping_us as f64 / round.calm_us as f64).collect();
    let name = "64 clients at 1,000/s: submit to sink p99 while one swap follows the other, against before";
    Figure::new(name, "x", Some(Target::AtMost(2.0)), values)
}

/// What it is made of.
pub(super) fn figures(rounds: &[Round]) -> Vec<Figure> {
    let figure = |name: &str, unit, of: &dyn Fn(&Round) -> f64| {
        Figure::new(name, unit, None, rounds.iter().map(of).collect())
    };
    vec![
        figure("64 clients at 1,000/s: submit to sink p99", "ms", &|r| r.calm_us as f64 / 1e3),
        figure("the same while one swap follows the other", "ms", &|r| r.swapping_us as f64 / 1e3),
        figure("swaps of the whole gateway under this load", "/s", &|r| r.swaps_per_s),
    ]
}
