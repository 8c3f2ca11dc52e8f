//! `fanfare-bench store`: the embedded engine beside the bare append with group `fdatasync`, fjall 3 and sled 0.34.7.
//!
//! Within a round each is measured right after the other, in the same directory's file system, with the same
//! transactions and writers. The full queue is filled once, and then measured in turn with the short one.

mod load;
mod peer;
mod work;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use fanfare_store::embedded::EmbeddedEngine;
use fanfare_store::engine::Engine as _;
use tempfile::TempDir;

use crate::figure::{Figure, Target};
use crate::options::Common;
use crate::process::Process;
use load::Kind;
use peer::{Bare, Fjall, Grouped, Sled};
use work::Work;

const WRITERS: [usize; 2] = [64, 256];
const SHORT_QUEUE: u64 = 10_000;
/// What one queued notification takes on disk, index included, rounded up.
const QUEUED_BYTES: u64 = 1_500;

/// What is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The long queue, compared with one of 10,000; 0 leaves this figure out. 10 million take 15 GB of disk.
    #[arg(long, default_value_t = 10_000_000)]
    queued: u64,
    /// Live records of the start after `kill -9`; 0 leaves this figure out.
    #[arg(long, default_value_t = 1_000_000)]
    live: u64,
    /// Where the stores are put; by default the directory for temporary files.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Options {
    fn directory(&self) -> anyhow::Result<TempDir> {
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        tempfile::tempdir_in(&parent).with_context(|| format!("{} can't be used", parent.display()))
    }
}

/// One round with one number of writers.
#[derive(Debug)]
struct Round {
    bare: f64,
    single: f64,
    life: f64,
    fjall: f64,
    sled: f64,
    p99: f64,
    bare_p99: f64,
    written_per_byte: f64,
}

/// Measures; says on standard error how far it is.
pub(crate) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for writers in WRITERS {
        let mut rounds = Vec::new();
        for nth in 1..=options.common.rounds {
            eprintln!("{writers} writers, round {nth} of {}", options.common.rounds);
            rounds.push(round(options, writers).await?);
        }
        figures.extend(of_rounds(writers, &rounds));
    }
    if options.queued > 0 {
        figures.extend(queues(options).await?);
    }
    if options.live > 0 {
        let starts = starts(options).await?;
        let name = format!("start after kill -9 with {} live notifications", options.live);
        figures.push(Figure::new(&name, "s", Some(Target::AtMost(3.0)), starts));
    }
    Ok(figures)
}

async fn round(options: &Options, writers: usize) -> anyhow::Result<Round> {
    let duration = options.common.duration();
    let dir = options.directory()?;
    let at = |name: &str| -> anyhow::Result<PathBuf> {
        let path = dir.path().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    };

    let bare = Arc::new(Bare::create(&at("bare")?)?);
    let bare_rate = load::closed(&bare, &Work::from(0), Kind::Single, writers, duration).await?.per_second();
    let engine = Arc::new(peer::engine(&at("single")?).await?);
    let work = Work::from(0);
    let single = load::closed(&engine, &work, Kind::Single, writers, duration).await?.per_second();

    let half = single / 2.0;
    let p99 = load::open(&engine, &work, writers, half, duration).await?.p99_us();
    peer::close(&engine).await?;
    let bare_p99 = load::open(&bare, &Work::from(0), writers, half, duration).await?.p99_us();
    drop((bare, engine));

    let fjall = life(Fjall::create(&at("fjall")?)?, writers, duration).await?;
    let sled = life(Sled::create(&at("sled")?)?, writers, duration).await?;
    let (life, written_per_byte) = life_of_engine(&at("life")?, writers, duration).await?;
    Ok(Round { bare: bare_rate, single, life, fjall, sled, p99, bare_p99, written_per_byte })
}

/// Whole notifications a second through another store.
async fn life(peer: Grouped, writers: usize, duration: Duration) -> anyhow::Result<f64> {
    let done = load::closed(&Arc::new(peer), &Work::from(0), Kind::Life, writers, duration).await?;
    Ok(done.per_second())
}

/// The same through the engine, and the bytes that reached the disk for each byte accepted, the close included.
async fn life_of_engine(dir: &Path, writers: usize, duration: Duration) -> anyhow::Result<(f64, f64)> {
    let before = written_bytes()?;
    let engine = Arc::new(peer::engine(dir).await?);
    let work = Work::from(0);
    let done = load::closed(&engine, &work, Kind::Life, writers, duration).await?;
    peer::close(&engine).await?;
    let written = written_bytes()? - before;
    let accepted = done.count * work.accepted_bytes();
    Ok((done.per_second(), written as f64 / accepted as f64))
}

/// What this process has caused to be written to disks so far.
fn written_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io").context("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("/proc/self/io has no write_bytes")?.trim().parse()?)
}

fn of_rounds(writers: usize, rounds: &[Round]) -> Vec<Figure> {
    let figure = |name: &str, unit, target, of: &dyn Fn(&Round) -> f64| {
        let name = format!("{writers} writers: {name}");
        Figure::new(&name, unit, target, rounds.iter().map(of).collect())
    };
    let (at_least, at_most) = (|limit| Some(Target::AtLeast(limit)), |limit| Some(Target::AtMost(limit)));
    vec![
        figure("durable commits against the bare append", "x", at_least(0.6), &|r| r.single / r.bare),
        figure("accept and settle against fjall 3", "x", at_least(0.9), &|r| r.life / r.fjall),
        figure("accept and settle against sled 0.34.7", "x", at_least(1.8), &|r| r.life / r.sled),
        figure("p99 of a commit at half the full rate against the bare append's", "x", at_most(4.0), &|r| {
            r.p99 / r.bare_p99
        }),
        figure("bytes written for each byte accepted, over a life", "x", at_most(2.0), &|r| {
            r.written_per_byte
        }),
        figure("bare append", "/s", None, &|r| r.bare),
        figure("durable commits", "/s", None, &|r| r.single),
        figure("accept and settle", "/s", None, &|r| r.life),
        figure("accept and settle, fjall 3", "/s", None, &|r| r.fjall),
        figure("accept and settle, sled 0.34.7", "/s", None, &|r| r.sled),
        figure("p99 of a commit at half the full rate", "us", None, &|r| r.p99),
        figure("the bare append's p99 at that rate", "us", None, &|r| r.bare_p99),
    ]
}

/// Whole notifications a second beside a long queue and beside a short one, in turn.
async fn queues(options: &Options) -> anyhow::Result<Vec<Figure>> {
    const USED: usize = 256;
    let (long_dir, short_dir) = (options.directory()?, options.directory()?);
    has_room(long_dir.path(), options.queued)?;
    eprintln!("{} and {SHORT_QUEUE} notifications are queued", options.queued);
    let (long, long_work) = queue(long_dir.path(), options.queued).await?;
    let (short, short_work) = queue(short_dir.path(), SHORT_QUEUE).await?;
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for nth in 1..=options.common.rounds {
        eprintln!("queues, round {nth} of {}", options.common.rounds);
        let short_done =
            load::closed(&short, &short_work, Kind::Life, USED, options.common.duration()).await?;
        let long_done = load::closed(&long, &long_work, Kind::Life, USED, options.common.duration()).await?;
        ratios.push(long_done.per_second() / short_done.per_second());
        rates.push(long_done.per_second());
    }
    peer::close(&long).await?;
    peer::close(&short).await?;
    let name = format!("accept and settle with {} queued against {SHORT_QUEUE}", options.queued);
    let rate = format!("accept and settle with {} queued", options.queued);
    Ok(vec![
        Figure::new(&name, "x", Some(Target::AtLeast(0.8)), ratios),
        Figure::new(&rate, "/s", None, rates),
    ])
}

async fn queue(dir: &Path, count: u64) -> anyhow::Result<(Arc<EmbeddedEngine>, Arc<Work>)> {
    let engine = Arc::new(peer::engine(dir).await?);
    let work = Work::from(0);
    load::fill(&engine, &work, count).await?;
    Ok((engine, work))
}

fn has_room(dir: &Path, count: u64) -> anyhow::Result<()> {
    let space = rustix::fs::statvfs(dir)?;
    let (free, need) = (space.f_bavail * space.f_frsize, count * QUEUED_BYTES);
    ensure!(
        free > need,
        "{count} queued notifications need {} MiB in {}, and {} are free: give --dir, or a smaller --queued",
        need >> 20,
        dir.display(),
        free >> 20
    );
    Ok(())
}

/// Seconds from the open to the first read, after a process that had filled the store was killed.
async fn starts(options: &Options) -> anyhow::Result<Vec<f64>> {
    let mut seconds = Vec::new();
    for nth in 1..=options.common.rounds {
        eprintln!("start after kill -9, round {nth} of {}", options.common.rounds);
        let dir = options.directory()?;
        let count = options.live.to_string();
        let args = [OsStr::new("store-fill"), dir.path().as_os_str(), OsStr::new(&count)];
        let (filler, steps) = Process::steps(&args).await?;
        // Dropped, it is killed.
        drop((filler, steps));
        let begun = Instant::now();
        let engine = peer::engine(dir.path()).await?;
        let last = work::key(b'S', options.live - 1);
        ensure!(engine.get(last).await?.is_some(), "the last notification is gone");
        seconds.push(begun.elapsed().as_secs_f64());
        engine.close().await?;
    }
    Ok(seconds)
}

/// Queues `count` notifications in `dir`, prints `ready`, and waits for its end.
pub(crate) async fn fill_and_wait(dir: &Path, count: u64) -> anyhow::Result<()> {
    let (engine, _work) = queue(dir, count).await?;
    println!("ready");
    std::future::pending::<()>().await;
    drop(engine);
    Ok(())
}
