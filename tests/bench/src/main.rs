//! `fanfare-bench`: the gateway beside its limits, in one run on loopback, as ratios.
//!
//! Everything that is measured runs in a process of its own, so that its CPU time and memory are its own; this one
//! makes the load. Nothing is compared across runs: disks and machines swing too much for that.

mod client;
mod figure;
mod figures;
mod gateway;
mod journal;
mod load;
mod options;
mod plugin;
mod process;
mod rounds;
mod servers;
mod sink;
mod store;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::options::Common;

/// The gateway's own, so that stores are measured in the surroundings that one has there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "fanfare-bench", about = "Measures the gateway beside its limits, in one run.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// From the socket to the receiver: submits, deliveries, latency, CPU, memory, start.
    E2e(Common),
    /// The embedded engine beside the bare append and other stores: commits, a notification's life, queues, starts.
    Store(store::Options),
    /// What the sandbox costs, beside a native client and an empty guest.
    Plugin(Common),
    /// Swaps a channel again and again, and waits for a line twice.
    #[command(hide = true)]
    PluginSwaps {
        /// Where compiled components are.
        cache: std::path::PathBuf,
        /// Where the channel posts to.
        sink: SocketAddr,
        /// The first stop.
        few: u64,
        /// The last.
        many: u64,
    },
    /// Fills a store for later, says so, and waits to be killed.
    #[command(hide = true)]
    StoreFill {
        /// The store.
        dir: std::path::PathBuf,
        /// So many notifications.
        count: u64,
    },
    /// The load alone, on a gateway that runs already with a channel `hook`: for profiling it.
    Load {
        /// Where the gateway listens.
        gateway: SocketAddr,
        /// Notifications for later: what is loaded is acceptance alone.
        #[arg(long)]
        later: bool,
        /// How long.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Takes deliveries and says how old they are.
    #[command(hide = true)]
    Sink {
        /// Take requests and never answer them.
        #[arg(long)]
        stall: bool,
    },
    /// Limit (a): answers 202.
    #[command(hide = true)]
    LimitAccept,
    /// Limit (b): appends with group fdatasync, then answers 202.
    #[command(hide = true)]
    LimitDurable {
        /// The file appended to.
        journal: std::path::PathBuf,
    },
    /// Limit (c): posts to the sink in a loop.
    #[command(hide = true)]
    LimitPost {
        /// Where the sink listens.
        sink: SocketAddr,
        /// How long.
        seconds: u64,
    },
    /// Limit (d): as (b), and posts to the sink what was accepted.
    #[command(hide = true)]
    LimitRelay {
        /// The file appended to.
        journal: std::path::PathBuf,
        /// Where the sink listens.
        sink: SocketAddr,
    },
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(Cli::parse().command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::E2e(options) => {
            let rounds = rounds::measure(options.duration(), options.rounds).await?;
            let figures = figures::figures(&rounds);
            figure::print(&figures, options.json)
        }
        Command::Store(options) => figure::print(&store::measure(&options).await?, options.common.json),
        Command::Plugin(options) => figure::print(&plugin::measure(options).await?, options.json),
        Command::PluginSwaps { cache, sink, few, many } => {
            plugin::swap_and_wait(&cache, sink, few, many).await
        }
        Command::StoreFill { dir, count } => store::fill_and_wait(&dir, count).await,
        Command::Load { gateway, later, seconds } => load_alone(gateway, later, seconds).await,
        Command::Sink { stall } => sink::serve(stall).await,
        Command::LimitAccept => servers::accept().await,
        Command::LimitDurable { journal } => servers::durable(&journal).await,
        Command::LimitPost { sink, seconds } => {
            let target = load::Target::deliver(sink);
            load::closed(&target, Duration::from_secs(seconds)).await.map(|_| ())
        }
        Command::LimitRelay { journal, sink } => servers::relay(&journal, sink).await,
    }
}

async fn load_alone(gateway: SocketAddr, later: bool, seconds: u64) -> anyhow::Result<()> {
    let target = if later { load::Target::submit_for_later(gateway)? } else { load::Target::submit(gateway) };
    let load = load::closed(&target, Duration::from_secs(seconds)).await?;
    let (p50, p99) = (load.quantile_us(0.5), load.quantile_us(0.99));
    println!(
        "{} accepted, {} refused, {:.0}/s, p50 {p50} us, p99 {p99} us",
        load.accepted,
        load.refused,
        load.per_second()
    );
    Ok(())
}
