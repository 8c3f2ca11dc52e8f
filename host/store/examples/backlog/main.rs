//! Queues notifications of 1 KiB for later through the store, drains some of them, and says what it took.
//!
//! `cargo run --release -p fanfare-store --example backlog -- DIR [COUNT] [DRAIN]`: 10,000,000 of them need about
//! 14 GB in DIR, which must be empty and is left as it is. It ends with 1 where the peak of the resident memory is
//! over its bound. The allocator is the binary's.

mod routine;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use fanfare_model::clock::SystemClock;
use fanfare_store::Store;
use fanfare_store::embedded::{EmbeddedEngine, EmbeddedOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What ten million queued notifications may take.
const RSS_MIB_MAX: u64 = 600;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let directory = args.next().ok_or("give an empty directory, and how many (10000000)")?;
    let count: u64 = args.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let drain: u64 = args.next().map_or(Ok(count.min(200_000)), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    runtime.block_on(run(Path::new(&directory), count, drain))
}

async fn run(directory: &Path, count: u64, drain: u64) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let store = open(directory).await?;
    let took = routine::queue(&store, count, &mut |done, rate| {
        println!(
            "{done} queued, {rate:.0}/s, RSS {} MiB, peak {} MiB",
            routine::rss_mib(),
            routine::peak_rss_mib()
        );
    })
    .await?;
    println!("queued {count} in {:.1} s, {:.0}/s", took.as_secs_f64(), count as f64 / took.as_secs_f64());
    drained(&store, drain).await?;
    store.close().await?;
    drop(store);
    let store = open(directory).await?;
    drained(&store, drain).await?;
    store.close().await?;
    let peak = routine::peak_rss_mib();
    println!("peak RSS {peak} MiB, at the end {} MiB; {RSS_MIB_MAX} are allowed", routine::rss_mib());
    Ok(if peak < RSS_MIB_MAX { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn drained(store: &Store, drain: u64) -> Result<(), Box<dyn std::error::Error>> {
    let took = routine::drain(store, drain).await?;
    println!("drained {drain} in {:.1} s, {:.0}/s", took.as_secs_f64(), drain as f64 / took.as_secs_f64());
    Ok(())
}

async fn open(directory: &Path) -> Result<Store, Box<dyn std::error::Error>> {
    let started = Instant::now();
    let engine = EmbeddedEngine::open(EmbeddedOptions::new(directory))?;
    let store = Store::open(Arc::new(engine), Arc::new(SystemClock::new())).await?;
    println!("opened in {:.2} s, RSS {} MiB", started.elapsed().as_secs_f64(), routine::rss_mib());
    Ok(store)
}
