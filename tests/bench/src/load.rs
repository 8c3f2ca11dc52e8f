//! The load: closed (each connection waits for its answer) and open (at a given rate, late or not).
//!
//! Both run over [`CONNECTIONS`] connections with bodies of [`BODY_BYTES`]. A body carries when it was submitted.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use tokio::task::JoinSet;

use crate::client::Connection;

pub(crate) const CONNECTIONS: usize = 64;
pub(crate) const BODY_BYTES: usize = 1_024;

/// What precedes the time of submission in a body.
const STAMP: &[u8] = b"\"ns\":\"";
/// Digits of that time: enough until the year 2286.
const STAMP_DIGITS: usize = 19;
/// A connection that was refused waits so long; without it, refusals would crowd out the work.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// Where the load goes, and what it carries.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    pub(crate) path: &'static str,
    before: String,
    after: String,
}

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    /// Sorted.
    pub(crate) latencies_us: Vec<u64>,
    pub(crate) started_ns: u64,
    pub(crate) elapsed: Duration,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn quantile_us(&self, q: f64) -> u64 {
        quantile(&self.latencies_us, q)
    }
}

impl Target {
    /// Notifications for the channel `hook`, to be sent now.
    pub(crate) fn submit(address: SocketAddr) -> Self {
        Self::new(address, "/api/v1/notifications", "")
    }

    /// The same, to be sent in an hour: what is measured is acceptance alone.
    pub(crate) fn submit_for_later(address: SocketAddr) -> anyhow::Result<Self> {
        let at = i64::try_from(now_ns() / 1_000_000_000)? + 3_600;
        let at = jiff::Timestamp::from_second(at)?;
        Ok(Self::new(address, "/api/v1/notifications", &format!(r#""send_at":"{at}","#)))
    }

    /// The same bytes straight to a sink.
    pub(crate) fn deliver(address: SocketAddr) -> Self {
        Self::new(address, "/hook", "")
    }

    fn new(address: SocketAddr, path: &'static str, fields: &str) -> Self {
        let before = format!(r#"{{"type":"bench.tick",{fields}"to":[{{"channel":"hook"}}],"data":{{"ns":""#);
        let between = r#"","pad":""#;
        let used = before.len() + STAMP_DIGITS + between.len() + r#""}}"#.len();
        let pad = "x".repeat(BODY_BYTES.saturating_sub(used));
        Self { address, path, before, after: format!(r#"{between}{pad}"}}}}"#) }
    }

    /// One body, stamped.
    pub(crate) fn body(&self, at_ns: u64) -> Bytes {
        Bytes::from(format!("{}{at_ns:019}{}", self.before, self.after))
    }

    async fn send(
        &self,
        connection: &mut Connection,
        at_ns: u64,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let status = connection.post(self.path, self.body(at_ns)).await?;
        if status.is_success() {
            outcome.accepted += 1;
            outcome.latencies_us.push(now_ns().saturating_sub(at_ns) / 1_000);
            return Ok(());
        }
        let overloaded = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
        anyhow::ensure!(overloaded.contains(&status), "{} answered {status}", self.path);
        outcome.refused += 1;
        tokio::time::sleep(REFUSED_PAUSE).await;
        Ok(())
    }
}

/// As much as goes, for `duration`.
pub(crate) async fn closed(target: &Target, duration: Duration) -> anyhow::Result<Outcome> {
    over_connections(target, move |target, mut connection, _, start| async move {
        let mut outcome = Outcome::default();
        while start.elapsed() < duration {
            target.send(&mut connection, now_ns(), &mut outcome).await?;
        }
        Ok(outcome)
    })
    .await
}

/// `count` submits at `rate` a second. One that must wait for its connection counts from when it was due.
pub(crate) async fn open(target: &Target, rate: u32, count: u32) -> anyhow::Result<Outcome> {
    let apart = Duration::from_secs(1) / rate;
    over_connections(target, move |target, mut connection, nth, start| async move {
        let mut outcome = Outcome::default();
        for slot in (u32::try_from(nth)?..count).step_by(CONNECTIONS) {
            let due = start + apart * slot;
            let late = due.elapsed();
            if late.is_zero() {
                tokio::time::sleep_until(due.into()).await;
            }
            let at_ns = now_ns().saturating_sub(u64::try_from(late.as_nanos())?);
            target.send(&mut connection, at_ns, &mut outcome).await?;
        }
        Ok(outcome)
    })
    .await
}

async fn over_connections<F, W>(target: &Target, work: F) -> anyhow::Result<Outcome>
where
    F: Fn(Target, Connection, usize, Instant) -> W,
    W: Future<Output = anyhow::Result<Outcome>> + Send + 'static,
{
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(target.address).await?);
    }
    let mut all = Outcome { started_ns: now_ns(), ..Outcome::default() };
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (nth, connection) in connections.into_iter().enumerate() {
        tasks.spawn(work(target.clone(), connection, nth, start));
    }
    while let Some(done) = tasks.join_next().await {
        let mut done = done??;
        all.accepted += done.accepted;
        all.refused += done.refused;
        all.latencies_us.append(&mut done.latencies_us);
    }
    all.elapsed = start.elapsed();
    all.latencies_us.sort_unstable();
    Ok(all)
}

/// The value below which the share `q` of `sorted` lies; 0 for none.
pub(crate) fn quantile(sorted: &[u64], q: f64) -> u64 {
    let nth = (sorted.len() as f64 * q) as usize;
    sorted.get(nth.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// Nanoseconds since the epoch: the one clock that all the processes share.
pub(crate) fn now_ns() -> u64 {
    #[allow(
        clippy::disallowed_methods,
        reason = "a measurement wants the real time, and nothing here moves it"
    )]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// When `body` was submitted.
pub(crate) fn stamp_in(body: &[u8]) -> Option<u64> {
    let at = body.windows(STAMP.len()).position(|window| window == STAMP)? + STAMP.len();
    std::str::from_utf8(body.get(at..at + STAMP_DIGITS)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_size_is_json_and_carries_its_stamp() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        for target in [Target::submit(address), Target::submit_for_later(address).unwrap()] {
            let body = target.body(1_763_000_000_123_456_789);
            assert_eq!(body.len(), BODY_BYTES);
            serde_json::from_slice::<serde_json::Value>(&body).unwrap();
            assert_eq!(stamp_in(&body), Some(1_763_000_000_123_456_789));
        }
    }

    #[test]
    fn quantiles_stay_inside_the_list() {
        assert_eq!(quantile(&[], 0.99), 0);
        assert_eq!(quantile(&[7], 0.99), 7);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((quantile(&hundred, 0.5), quantile(&hundred, 0.99)), (51, 100));
    }
}
