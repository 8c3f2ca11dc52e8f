//! The rounds: in each, every limit and the gateway itself, one after the other, on an otherwise idle machine.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use http::Method;

use crate::client::Connection;
use crate::gateway::Gateway;
use crate::load::{self, Outcome, Target, now_ns};
use crate::process::Process;
use crate::sink;

/// Once the load is over, what was accepted has so long to reach the sink.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A start leaves work behind; memory at rest is looked at after this.
const SETTLE: Duration = Duration::from_secs(1);

const QUEUED: usize = 100_000;
const BATCH: usize = 1_000;

/// One load end to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndToEnd {
    pub(crate) deliveries_per_s: f64,
    pub(crate) cpu_us: f64,
    pub(crate) full: Latencies,
    pub(crate) at_100: Latencies,
    pub(crate) at_1000: Latencies,
    pub(crate) peak_mib: f64,
}

/// Latencies of one load, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latencies {
    pub(crate) submit_p50: u64,
    pub(crate) submit_p99: u64,
    pub(crate) sink_p50: u64,
    pub(crate) sink_p99: u64,
}

/// Everything of one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) accept_per_s: f64,
    pub(crate) durable_per_s: f64,
    pub(crate) post_per_s: f64,
    pub(crate) relay: EndToEnd,
    pub(crate) submits_per_s: f64,
    pub(crate) gateway: EndToEnd,
    pub(crate) idle_mib: f64,
    pub(crate) queued_mib: f64,
    pub(crate) first_served_s: f64,
}

/// Measures `count` rounds; says on standard error how far it is.
pub(crate) async fn measure(duration: Duration, count: u64) -> anyhow::Result<Vec<Round>> {
    let mut rounds = Vec::new();
    for nth in 1..=count {
        eprintln!("round {nth} of {count}");
        rounds.push(round(duration).await?);
    }
    Ok(rounds)
}

async fn round(duration: Duration) -> anyhow::Result<Round> {
    let (_sink, sink) = Process::server(&["sink"].map(OsStr::new))?;
    let dir = tempfile::tempdir()?;
    let journal = dir.path().join("durable");

    let accept_per_s = submits_to_limit(&["limit-accept"].map(OsStr::new), duration).await?;
    let durable = [OsStr::new("limit-durable"), journal.as_os_str()];
    let durable_per_s = submits_to_limit(&durable, duration).await?;
    let (submits_per_s, idle_mib, first_served_s) = submits_to_gateway(sink, duration).await?;
    let post_per_s = posts(sink, duration).await?;
    let relay = {
        let (journal, sink_text) = (dir.path().join("relay"), sink.to_string());
        let args = [OsStr::new("limit-relay"), journal.as_os_str(), OsStr::new(&sink_text)];
        let (process, address) = Process::server(&args)?;
        end_to_end(&process, address, sink, duration).await?
    };
    let gateway = {
        let gateway = Gateway::start(sink).await?;
        end_to_end(&gateway.process, gateway.address, sink, duration).await?
    };
    let queued_mib = memory_with_queue().await?;
    Ok(Round {
        accept_per_s,
        durable_per_s,
        post_per_s,
        relay,
        submits_per_s,
        gateway,
        idle_mib,
        queued_mib,
        first_served_s,
    })
}

async fn submits_to_limit(args: &[&OsStr], duration: Duration) -> anyhow::Result<f64> {
    let (_process, address) = Process::server(args)?;
    Ok(load::closed(&Target::submit(address), duration).await?.per_second())
}

/// Submits a second, memory at rest, and seconds to the first served request of a warm start.
async fn submits_to_gateway(sink: SocketAddr, duration: Duration) -> anyhow::Result<(f64, f64, f64)> {
    let gateway = Gateway::start(sink).await?.restart(sink).await?;
    tokio::time::sleep(SETTLE).await;
    let idle_mib = gateway.process.memory_mib("VmRSS")?;
    let submits = load::closed(&Target::submit_for_later(gateway.address)?, duration).await?;
    note_refusals(&submits);
    Ok((submits.per_second(), idle_mib, gateway.served_after.as_secs_f64()))
}

/// Limit (c): posts a second.
async fn posts(sink: SocketAddr, duration: Duration) -> anyhow::Result<f64> {
    sink::take(sink).await?;
    let (address, seconds) = (sink.to_string(), duration.as_secs().to_string());
    Process::own(&["limit-post", &address, &seconds].map(OsStr::new))?.wait().await?;
    let taken = sink::take(sink).await?;
    Ok(taken.count as f64 / duration.as_secs_f64())
}

/// The full load and what it drains to, then the open loops.
async fn end_to_end(
    process: &Process,
    address: SocketAddr,
    sink: SocketAddr,
    duration: Duration,
) -> anyhow::Result<EndToEnd> {
    let target = Target::submit(address);
    sink::take(sink).await?;
    let cpu = process.cpu()?;
    let load = load::closed(&target, duration).await?;
    note_refusals(&load);
    let taken = drained(&load, sink).await?;
    let cpu = process.cpu()? - cpu;
    let elapsed_s = taken.last_ns.saturating_sub(load.started_ns) as f64 / 1e9;
    let full = latencies(&load, &taken);
    let at_100 = open(&target, 100, sink, duration).await?;
    let at_1000 = open(&target, 1_000, sink, duration).await?;
    Ok(EndToEnd {
        deliveries_per_s: taken.count as f64 / elapsed_s,
        cpu_us: cpu.as_secs_f64() * 1e6 / taken.count as f64,
        full,
        at_100,
        at_1000,
        peak_mib: process.memory_mib("VmHWM")?,
    })
}

/// An open loop, until the sink has all of it.
pub(crate) async fn open(
    target: &Target,
    rate: u32,
    sink: SocketAddr,
    duration: Duration,
) -> anyhow::Result<Latencies> {
    let count = rate * u32::try_from(duration.as_secs())?;
    let load = load::open(target, rate, count).await?;
    note_refusals(&load);
    Ok(latencies(&load, &drained(&load, sink).await?))
}

/// Waits until the sink has all that was accepted.
async fn drained(load: &Outcome, sink: SocketAddr) -> anyhow::Result<sink::Taken> {
    let started = Instant::now();
    loop {
        let count = sink::count(sink).await?;
        if count >= load.accepted {
            break;
        }
        let accepted = load.accepted;
        ensure!(started.elapsed() < DRAIN_TIMEOUT, "of {accepted} accepted, the sink has only {count}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let taken = sink::take(sink).await?;
    if taken.count > load.accepted {
        eprintln!("  the sink took {} of {} accepted: some twice", taken.count, load.accepted);
    }
    Ok(taken)
}

/// Memory with [`QUEUED`] deliveries that are due, while their receiver takes requests and never answers.
async fn memory_with_queue() -> anyhow::Result<f64> {
    let (_sink, sink) = Process::server(&["sink", "--stall"].map(OsStr::new))?;
    let gateway = Gateway::start(sink).await?;
    let target = Target::submit(gateway.address);
    let mut connection = Connection::open(gateway.address).await?;
    for _ in 0..QUEUED / BATCH {
        let mut batch = vec![b'['];
        for nth in 0..BATCH {
            if nth > 0 {
                batch.push(b',');
            }
            batch.extend_from_slice(&target.body(now_ns()));
        }
        batch.push(b']');
        let (status, answer) =
            connection.call(Method::POST, "/api/v1/notifications/batch", Bytes::from(batch)).await?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(status == http::StatusCode::ACCEPTED, "a batch was answered {status}: {answer}");
    }
    tokio::time::sleep(SETTLE).await;
    gateway.process.memory_mib("VmRSS")
}

fn latencies(load: &Outcome, taken: &sink::Taken) -> Latencies {
    Latencies {
        submit_p50: load.quantile_us(0.5),
        submit_p99: load.quantile_us(0.99),
        sink_p50: taken.p50_us,
        sink_p99: taken.p99_us,
    }
}

fn note_refusals(load: &Outcome) {
    if load.refused > 0 {
        eprintln!("  {} of {} submits were refused as overload", load.refused, load.accepted + load.refused);
    }
}
