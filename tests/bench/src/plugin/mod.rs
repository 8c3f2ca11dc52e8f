//! `fanfare-bench plugin`: what the sandbox costs, beside a native client and an empty guest.
//!
//! The runtime is the gateway's, egress and accounting included; the receiver is a process of its own. What is compared
//! runs in turn, round by round.

mod guests;
mod load;
mod ripple;
mod swaps;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_model::notification::Notification;
use fanfare_model::time::Timestamp;
use fanfare_runtime::{ChannelGeneration, Isolation, RouterGeneration, Runtime};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::figure::{Figure, Target};
use crate::options::Common;
use crate::process::Process;
pub(crate) use swaps::swap_and_wait;

const CALLERS: usize = 64;
const BODY_BYTES: usize = 1_024;

/// What is measured again and again.
struct Bed {
    duration: Duration,
    sink: SocketAddr,
    runtime: Runtime,
    poster: Arc<ChannelGeneration>,
    warm: Arc<ChannelGeneration>,
    empty: Arc<ChannelGeneration>,
    spinner: Arc<ChannelGeneration>,
    router: Arc<RouterGeneration>,
    about: Arc<Notification>,
    nothing: Arc<Notification>,
    cache: TempDir,
    _server: Process,
}

/// One round.
#[derive(Debug)]
struct Round {
    native: f64,
    fresh: f64,
    warm: f64,
    empty_us: f64,
    route_us: f64,
    calm_p99: f64,
    beside_spinner_p99: f64,
    swap_us: f64,
    call_us: f64,
}

/// Measures; says on standard error how far it is.
pub(crate) async fn measure(options: Common) -> anyhow::Result<Vec<Figure>> {
    let bed = Bed::make(options.duration()).await?;
    let mut rounds = Vec::new();
    for nth in 1..=options.rounds {
        eprintln!("round {nth} of {}", options.rounds);
        rounds.push(bed.round().await?);
    }
    let mut figures = of_rounds(&rounds);
    let mut growth = Vec::new();
    for nth in 1..=options.rounds {
        eprintln!("1,000 swaps, round {nth} of {}", options.rounds);
        growth.push(swaps::growth(bed.cache.path(), bed.sink).await?);
    }
    let ripples = ripple::measure(options.duration(), options.rounds).await?;
    let growth =
        Figure::new("RSS after 1,000 swaps against after 10", "x", Some(Target::AtMost(1.1)), growth);
    figures.insert(4, growth);
    figures.insert(5, ripple::ratio(&ripples));
    figures.extend(ripple::figures(&ripples));
    Ok(figures)
}

impl Bed {
    async fn make(duration: Duration) -> anyhow::Result<Self> {
        let (server, sink) = Process::server(&["limit-accept"].map(OsStr::new))?;
        let cache = tempfile::tempdir()?;
        let runtime = guests::runtime(cache.path())?;
        let poster = guests::channel(&runtime, "poster", guests::component("http_post")?, sink, 1).await?;
        let warm = guests::channel(&runtime, "warm", guests::component("http_post")?, sink, 1).await?;
        warm.set_isolation(Isolation::Warm);
        let empty = guests::channel(&runtime, "empty", guests::component("deliver")?, sink, 1).await?;
        let spinner = guests::channel(&runtime, "spinner", guests::component("spin")?, sink, 1).await?;
        let router = guests::router(&runtime).await?;
        Ok(Self {
            duration,
            sink,
            runtime,
            poster,
            warm,
            empty,
            spinner,
            router,
            about: guests::notification(BODY_BYTES),
            nothing: guests::notification(0),
            cache,
            _server: server,
        })
    }

    async fn round(&self) -> anyhow::Result<Round> {
        let native = load::native(self.sink, CALLERS, BODY_BYTES, self.duration).await?;
        let fresh = load::closed(&self.poster, &self.about, CALLERS, self.duration).await?;
        let warm = load::closed(&self.warm, &self.about, CALLERS, self.duration).await?;
        let empty_us = self.calls(|| guests::deliver(&self.empty, &self.nothing)).await?;
        let route_us = self.calls(|| self.route()).await?;
        let half = fresh / 2.0;
        let calm_p99 = load::open(&self.poster, &self.about, CALLERS, half, self.duration).await?;
        let beside_spinner_p99 = self.beside_spinner(half).await?;
        let (swap_us, call_us) = self.swap().await?;
        Ok(Round { native, fresh, warm, empty_us, route_us, calm_p99, beside_spinner_p99, swap_us, call_us })
    }

    /// The mean time of one call after the other, in microseconds.
    async fn calls<C, F>(&self, call: C) -> anyhow::Result<f64>
    where
        C: Fn() -> F,
        F: Future<Output = anyhow::Result<()>>,
    {
        let (begun, mut count) = (Instant::now(), 0_u32);
        while begun.elapsed() < self.duration {
            call().await?;
            count += 1;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(count))
    }

    async fn route(&self) -> anyhow::Result<()> {
        let report = self.router.decide(Arc::clone(&self.about), Vec::new(), Timestamp::EPOCH).await;
        let plan = report.result.map_err(|fault| anyhow::anyhow!("the router: {fault:?}"))?;
        anyhow::ensure!(plan.targets.len() == 1, "the router made {} targets", plan.targets.len());
        Ok(())
    }

    /// The neighbour's p99 while one channel spins until it is stopped, again and again.
    async fn beside_spinner(&self, per_second: f64) -> anyhow::Result<f64> {
        let enough = CancellationToken::new();
        let spins = tokio::spawn({
            let (spinner, about, enough) =
                (Arc::clone(&self.spinner), Arc::clone(&self.about), enough.clone());
            async move {
                while !enough.is_cancelled() {
                    let _stopped = spinner.send(guests::attempt(&about)).await;
                }
            }
        });
        let p99 = load::open(&self.poster, &self.about, CALLERS, per_second, self.duration).await;
        enough.cancel();
        spins.await?;
        p99
    }

    /// From the command to the end of the new one's first call, and a further call of it.
    async fn swap(&self) -> anyhow::Result<(f64, f64)> {
        let begun = Instant::now();
        let source = guests::component("deliver")?;
        let next = guests::channel(&self.runtime, "empty", source, self.sink, 2).await?;
        guests::deliver(&next, &self.about).await?;
        let swap_us = begun.elapsed().as_secs_f64() * 1e6;
        let call_us = self.calls(|| guests::deliver(&next, &self.about)).await?;
        Ok((swap_us, call_us))
    }
}

fn of_rounds(rounds: &[Round]) -> Vec<Figure> {
    let figure = |name: &str, unit, target, of: &dyn Fn(&Round) -> f64| {
        Figure::new(name, unit, target, rounds.iter().map(of).collect())
    };
    let (at_least, at_most) = (|limit| Some(Target::AtLeast(limit)), |limit| Some(Target::AtMost(limit)));
    vec![
        figure("64 callers, fresh instances, against a native client", "x", at_least(0.5), &|r| {
            r.fresh / r.native
        }),
        figure("64 callers, warm instances, against a native client", "x", at_least(0.7), &|r| {
            r.warm / r.native
        }),
        figure("fresh instance and route, against an empty guest's fresh call", "x", at_most(1.5), &|r| {
            r.route_us / r.empty_us
        }),
        figure("p99 beside a spinning neighbour at half load, against without", "x", at_most(2.0), &|r| {
            r.beside_spinner_p99 / r.calm_p99
        }),
        figure("swap to the first call of the new one, against one call", "x", None, &|r| {
            r.swap_us / r.call_us
        }),
        figure("native client", "/s", None, &|r| r.native),
        figure("fresh instances", "/s", None, &|r| r.fresh),
        figure("warm instances", "/s", None, &|r| r.warm),
        figure("an empty guest's fresh call", "us", None, &|r| r.empty_us),
        figure("fresh instance and route", "us", None, &|r| r.route_us),
        figure("p99 at half load", "us", None, &|r| r.calm_p99),
        figure("p99 at half load beside a spinning neighbour", "us", None, &|r| r.beside_spinner_p99),
        figure("swap to the first call of the new one", "us", None, &|r| r.swap_us),
    ]
}
