//! The gateway under measurement: the `fanfare` binary that was built beside this one, with a configuration and a store
//! in a temporary folder.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use http::StatusCode;
use tempfile::TempDir;

use crate::client::Connection;
use crate::load::{Target, now_ns};
use crate::process::Process;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A running gateway with one channel, `hook`, which posts to a sink.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// From the start of the process to the first answered request.
    pub(crate) served_after: Duration,
    dir: TempDir,
}

impl Gateway {
    /// Starts one on an empty store.
    pub(crate) async fn start(sink: SocketAddr) -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, sink).await
    }

    /// Ends it and starts it again on the same store, with plugins compiled already.
    pub(crate) async fn restart(self, sink: SocketAddr) -> anyhow::Result<Self> {
        self.process.stop().await?;
        Self::start_in(self.dir, sink).await
    }

    async fn start_in(dir: TempDir, sink: SocketAddr) -> anyhow::Result<Self> {
        let program = program()?;
        let address = free_address()?;
        let file = dir.path().join("fanfare.toml");
        std::fs::write(&file, config(address, sink))?;
        let started = Instant::now();
        let args = ["serve", "--config"].map(OsStr::new);
        let args = [args.as_slice(), &[file.as_os_str()]].concat();
        let mut process = Process::start(&program, &args, dir.path())?;
        await_served(&mut process, address).await?;
        Ok(Self { process, address, served_after: started.elapsed(), dir })
    }
}

fn config(address: SocketAddr, sink: SocketAddr) -> String {
    format!(
        "[server]\nlisten = \"{address}\"\n\n[store]\npath = \"data\"\n\n[channels.hook]\nplugin = \"webhook\"\n\
         settings = {{ url = \"http://{sink}/hook\" }}\ngrants = {{ http = [\"http://{sink}\"] }}\n"
    )
}

/// The port may be taken by another program until the gateway listens; then it says so and the run ends.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("fanfare");
    if !program.exists() {
        let release = if cfg!(debug_assertions) { "" } else { " --release" };
        bail!("{} is missing; build it first: cargo build{release} -p fanfare-gateway", program.display());
    }
    Ok(program)
}

/// Submits until it is accepted: what counts is the first request that is served. It is for later, so that the sink
/// sees nothing of it.
async fn await_served(process: &mut Process, address: SocketAddr) -> anyhow::Result<()> {
    let target = Target::submit_for_later(address)?;
    let started = Instant::now();
    while started.elapsed() < START_TIMEOUT {
        if let Ok(mut connection) = Connection::open(address).await {
            let status = connection.post(target.path, target.body(now_ns())).await?;
            if status == StatusCode::ACCEPTED {
                return Ok(());
            }
        }
        if let Some(status) = process.ended()? {
            bail!("the gateway ended with {status}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("the gateway was not ready in time")
}
