//! The loads on a store: as much as goes, at a given rate, and a queue that is filled once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::peer::Peer;
use super::work::Work;

/// What a writer does again and again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// One value, one commit.
    Single,
    /// A notification's whole life: accepted, settled.
    Life,
}

/// What came of a load.
#[derive(Debug)]
pub(super) struct Done {
    /// Values, or whole notifications.
    pub(super) count: u64,
    pub(super) elapsed: Duration,
    /// Of each commit, sorted.
    pub(super) commits_us: Vec<u64>,
}

impl Done {
    pub(super) fn per_second(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }

    pub(super) fn p99_us(&self) -> f64 {
        crate::load::quantile(&self.commits_us, 0.99) as f64
    }
}

/// `writers` at once, each as fast as it is answered, for `duration`.
pub(super) async fn closed<P: Peer>(
    peer: &Arc<P>,
    work: &Arc<Work>,
    kind: Kind,
    writers: usize,
    duration: Duration,
) -> anyhow::Result<Done> {
    let start = Instant::now();
    let tasks = (0..writers).map(|_| {
        let (peer, work) = (Arc::clone(peer), Arc::clone(work));
        async move {
            let mut latencies = Vec::new();
            let mut count = 0;
            while start.elapsed() < duration {
                one(&*peer, &work, kind, &mut latencies).await?;
                count += 1;
            }
            anyhow::Ok((count, latencies))
        }
    });
    gather(tasks, start).await
}

/// `per_second` in all, whether or not earlier ones were answered in time; latency counts from when each was due.
pub(super) async fn open<P: Peer>(
    peer: &Arc<P>,
    work: &Arc<Work>,
    writers: usize,
    per_second: f64,
    duration: Duration,
) -> anyhow::Result<Done> {
    let start = Instant::now();
    let apart = Duration::from_secs_f64(1.0 / per_second);
    let total = (per_second * duration.as_secs_f64()) as u32;
    let tasks = (0..writers).map(|nth| {
        let (peer, work) = (Arc::clone(peer), Arc::clone(work));
        async move {
            let mut latencies = Vec::new();
            for slot in (u32::try_from(nth)?..total).step_by(writers) {
                let due = start + apart * slot;
                tokio::time::sleep_until(due.into()).await;
                peer.commit(work.single(work.next())).await?;
                latencies.push(micros(due.elapsed()));
            }
            anyhow::Ok((latencies.len() as u64, latencies))
        }
    });
    gather(tasks, start).await
}

/// Leaves `count` notifications for later.
pub(super) async fn fill<P: Peer>(peer: &Arc<P>, work: &Arc<Work>, count: u64) -> anyhow::Result<()> {
    const WRITERS: u64 = 512;
    let end = work.begun() + count;
    let start = Instant::now();
    let tasks = (0..WRITERS).map(|_| {
        let (peer, work) = (Arc::clone(peer), Arc::clone(work));
        async move {
            loop {
                let nth = work.next();
                if nth >= end {
                    return anyhow::Ok((0, Vec::new()));
                }
                peer.commit(work.accept(nth)).await?;
                if nth.is_multiple_of(1_000_000) && nth > 0 {
                    eprintln!("  {} million queued after {} s", nth / 1_000_000, start.elapsed().as_secs());
                }
            }
        }
    });
    gather(tasks, start).await.map(|_| ())
}

async fn one<P: Peer>(peer: &P, work: &Work, kind: Kind, latencies: &mut Vec<u64>) -> anyhow::Result<()> {
    let nth = work.next();
    let begun = Instant::now();
    let first = match kind {
        Kind::Single => work.single(nth),
        Kind::Life => work.accept(nth),
    };
    let version = peer.commit(first).await?;
    latencies.push(micros(begun.elapsed()));
    if matches!(kind, Kind::Life) {
        let begun = Instant::now();
        peer.commit(work.settle(nth, version)).await?;
        latencies.push(micros(begun.elapsed()));
    }
    Ok(())
}

async fn gather<F>(tasks: impl Iterator<Item = F>, start: Instant) -> anyhow::Result<Done>
where
    F: Future<Output = anyhow::Result<(u64, Vec<u64>)>> + Send + 'static,
{
    let mut running: JoinSet<_> = tasks.collect();
    let mut done = Done { count: 0, elapsed: Duration::ZERO, commits_us: Vec::new() };
    while let Some(writer) = running.join_next().await {
        let (count, mut latencies) = writer??;
        done.count += count;
        done.commits_us.append(&mut latencies);
    }
    done.elapsed = start.elapsed();
    done.commits_us.sort_unstable();
    Ok(done)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
