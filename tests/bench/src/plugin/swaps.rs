//! Memory over a thousand swaps, in a process of its own, with components that are compiled already.

use std::ffi::OsStr;
use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::guests;
use crate::process::Process;

const FEW: u64 = 10;
const MANY: u64 = 1_000;
/// As long as memory at rest is waited for elsewhere.
const SETTLE: Duration = Duration::from_secs(1);

/// Memory at rest after [`MANY`] swaps against memory at rest after [`FEW`].
pub(super) async fn growth(cache: &Path, sink: SocketAddr) -> anyhow::Result<f64> {
    let (few, many, sink) = (FEW.to_string(), MANY.to_string(), sink.to_string());
    let common = [OsStr::new("plugin-swaps"), cache.as_os_str(), OsStr::new(&sink)];
    let args: Vec<&OsStr> = common.into_iter().chain([&few, &many].map(OsStr::new)).collect();
    let (process, steps) = Process::steps(&args).await?;
    tokio::time::sleep(SETTLE).await;
    let early = process.memory_mib("VmRSS")?;
    let steps = steps.next().await?;
    tokio::time::sleep(SETTLE).await;
    let late = process.memory_mib("VmRSS")?;
    drop(steps);
    Ok(late / early)
}

/// Swaps a channel between two plugins, calling each new generation once; stops after `few` and after `many`, prints
/// `ready`, and waits for a line.
pub(crate) async fn swap_and_wait(cache: &Path, sink: SocketAddr, few: u64, many: u64) -> anyhow::Result<()> {
    // As the gateway does.
    fanfare_gateway::memory::give_back_regularly()?;
    let runtime = guests::runtime(cache)?;
    let about = guests::notification(1_024);
    let mut serving = None;
    for number in 1..=many {
        let name = if number.is_multiple_of(2) { "deliver" } else { "http_post" };
        let next = guests::channel(&runtime, "swapped", guests::component(name)?, sink, number).await?;
        guests::deliver(&next, &about).await?;
        // The one before goes here, as it does once its last attempt is over.
        serving = Some(next);
        if number == few || number == many {
            println!("ready");
            let line = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next());
            line.await?.transpose().context("standard input")?;
        }
    }
    drop(serving);
    Ok(())
}
