//! The gateway as one value: everything wired together, from a configuration to a serving socket.
//!
//! Start: lock and recover the store, load the plugins, bind, serve. Stop: take nothing more, let attempts end,
//! flush, unlock. Nothing is served before the store is recovered.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::clock::{Clock, SystemClock};
use fanfare_runtime::{Compiler, Concurrency, Limits, Runtime, RuntimeOptions};
use fanfare_store::embedded::{EmbeddedEngine, EmbeddedOptions, OpenError};
use fanfare_store::memory::MemoryEngine;
use fanfare_store::{Retention, Store};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::auth::Authenticator;
use crate::cli::progress::Telling;
use crate::config::{Config, Environment, ProcessEnvironment};
use crate::control;
use crate::desk::Desk;
use crate::dispatch::{self, Dispatch};
use crate::intake::{self, Intake};
use crate::plugins::{self, Plugins, Watch};
use crate::registry::SetupError;
use crate::telemetry::Metrics;

/// What is over is looked for this often, a bounded number at a time.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
const SWEEP_STEPS: usize = 1_000;
/// Claims lie in no order of time, so that many are looked at for each that goes: with 20,000 looked at a second, what has
/// expired stays below what has not up to 10,000 submissions with a key a second.
const CLAIM_STEPS: usize = 4_000;
/// While there is much to sweep, others get at the disk between two steps.
const SWEEP_PAUSE: Duration = Duration::from_millis(200);
/// Over a stretch of what is old and may not go, such as what still waits.
const SWEEP_ON: Duration = Duration::from_secs(1);

/// A plugin that takes longer to compile is refused.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    /// What it was started with.
    config: Config,
    plugins: Plugins,
    access: api::Access,
    desk: Desk,
    intake: Intake,
    dispatch: Dispatch,
    stopping: CancellationToken,
    serving: JoinHandle<()>,
    running: JoinHandle<()>,
    sweeping: JoinHandle<()>,
    controlling: JoinHandle<()>,
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store's directory can't be one.
    #[error("store.path: {source}; name a directory that is there or can be made, and that can be written")]
    Path {
        /// Where, and why.
        source: OpenError,
    },
    /// The store can't be read.
    #[error(transparent)]
    Read(#[from] fanfare_store::engine::ReadError),
    /// The plugin runtime can't start.
    #[error(transparent)]
    Runtime(#[from] fanfare_runtime::StartError),
    /// Sections of the configuration can't serve.
    #[error("{}", lines(.0))]
    Setup(Vec<SetupError>),
    /// The address can't be listened on.
    #[error("{address} can't be listened on: {source}; set server.listen to another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// The keys change with a reload and the address does not: without this, a file that goes back to loopback and to no keys
/// would open a socket that others reach.
fn stays_guarded(address: SocketAddr, config: &Config) -> Result<(), SetupError> {
    if !config.keys.is_empty() || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(SetupError {
        place: config.place_of("keys").to_string(),
        section: "keys".to_owned(),
        code: "config.keys".to_owned(),
        message: format!(
            "no key is configured, and the gateway listens on {address} until it is restarted, where others reach it: \
             restart it, or keep a key"
        ),
    })
}

fn lines(errors: &[SetupError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// How plugins are compiled: in a child process of this program, when there is one.
#[derive(Clone, Debug)]
pub enum CompileWith {
    /// `program args...` compiles from standard input to standard output.
    Child(PathBuf, Vec<OsString>),
    /// In this process.
    InProcess,
}

impl Gateway {
    /// Starts everything; once it answers, the gateway serves.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub async fn start(config: Config, compile: CompileWith) -> Result<Self, StartError> {
        Self::start_in(Arc::new(ProcessEnvironment), config, compile).await
    }

    /// The same, with secrets looked up in an environment that is not the process's own.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub async fn start_in(
        environment: Arc<dyn Environment>,
        config: Config,
        compile: CompileWith,
    ) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (store, engine) = open_store(&config, &clock).await?;
        let runtime = start_runtime(&config, compile, Arc::clone(&clock))?;
        let options = plugins::Options { runtime, store: store.clone(), environment };
        let plugins = Plugins::start(options, &config).await.map_err(StartError::Setup)?;
        let mut metrics = Metrics::new(Some(plugins.runtime()));
        metrics.tell_of(plugins.subscribe());
        let metrics = Arc::new(metrics);
        store.observe(Arc::<Metrics>::clone(&metrics));
        let dispatch = Dispatch::new(dispatch::Options {
            store: store.clone(),
            setup: plugins.subscribe(),
            metrics: Arc::clone(&metrics),
            slots_total: config.runtime.instances,
        });
        let intake = Intake::new(intake::Options {
            store: store.clone(),
            dispatch: dispatch.clone(),
            setup: plugins.subscribe(),
            in_flight_max: config.server.requests_in_flight_max,
            idempotency_window: config.store.idempotency_window,
        });
        dispatch.recover().await?;
        let desk = Desk::new(store.clone(), dispatch.clone());
        let (listener, address) = listen(config.server.listen).await?;
        let stopping = CancellationToken::new();
        let access = api::Access::new(Authenticator::new(&config.keys));
        let serving = tokio::spawn(api::serve(
            listener,
            api::Options {
                server: config.server.clone(),
                intake: intake.clone(),
                desk: desk.clone(),
                plugins: plugins.clone(),
                access: access.clone(),
                metrics,
                stopping: stopping.clone(),
            },
        ));
        let running = dispatch.clone();
        let running = tokio::spawn(async move { running.run().await });
        let retention = Retention { bodies: config.store.keep_bodies, history: config.store.keep_history };
        let sweeping = tokio::spawn(sweep(store, retention, stopping.clone()));
        let controlling = tokio::spawn(control::run(engine, config.store.path.clone(), stopping.clone()));
        Ok(Self {
            address,
            config,
            plugins,
            access,
            desk,
            intake,
            dispatch,
            stopping,
            serving,
            running,
            sweeping,
            controlling,
        })
    }

    /// Where it listens; with the port that the system chose, if the configuration said 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it serves.
    #[must_use]
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Swaps channels and the router when the components in `folder` change, until the gateway stops: for development.
    ///
    /// # Errors
    /// When the folder can't be watched.
    pub fn watch(&self, folder: &Path) -> Result<(), notify::Error> {
        let watch = Watch::new(self.plugins.clone(), folder)?;
        tokio::spawn(watch.run(self.stopping.clone()));
        Ok(())
    }

    /// Serves `config` in place of the present one, or keeps that. Address, store and runtime sizes take a
    /// restart; the answer names those that differ.
    ///
    /// # Errors
    /// Every section that can't serve; then nothing has changed.
    pub async fn reload(&self, config: Config) -> Result<Vec<&'static str>, Vec<SetupError>> {
        stays_guarded(self.address, &config).map_err(|error| vec![error])?;
        self.plugins.reload(config.clone()).await?;
        self.access.replace(Authenticator::new(&config.keys));
        // Compared with what the gateway was started with, for that is what still counts after any number of reloads.
        Ok(self.config.needs_restart_for(&config))
    }

    /// Takes nothing more, lets attempts end within the configured deadline, and writes out the store. Answers how
    /// many attempts were still under way; they are made again after the next start.
    ///
    /// # Errors
    /// The store's, when it could not be written out; what was acknowledged is in its journal all the same.
    pub async fn stop(self) -> Result<usize, fanfare_store::engine::CommitError> {
        self.stopping.cancel();
        let _ = self.serving.await;
        self.intake.close().await;
        let left = self.dispatch.stop(self.config.server.shutdown_deadline).await;
        let _ = self.running.await;
        let _ = self.sweeping.await;
        let _ = self.controlling.await;
        self.plugins.stop().await;
        let closed = self.desk.store().close().await;
        // Only now: the outcome of an attempt that is taken back must not count as one of its retries.
        self.plugins.runtime().stop(Duration::ZERO).await;
        closed?;
        Ok(left)
    }
}

/// Loads everything that `config` names, without a store and without serving. Answers what would serve.
///
/// # Errors
/// [`StartError::Setup`] with every section that can't serve.
pub async fn check(config: &Config, compile: CompileWith) -> Result<String, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let runtime = start_runtime(config, compile, Arc::clone(&clock))?;
    // Nothing of a check stays, and the store may be in use.
    let store = Store::open(Arc::new(MemoryEngine::new()), clock).await?;
    let mut config = config.clone();
    let all = config.channels.len() + usize::from(config.router.is_some());
    config.channels.retain(|_, section| !section.plugin.is_installed());
    let routed = config.router.is_some();
    config.router = config.router.filter(|section| !section.plugin.is_installed());
    let skipped = all - config.channels.len() - usize::from(config.router.is_some());
    let options = plugins::Options { runtime, store, environment: Arc::new(ProcessEnvironment) };
    let plugins = Plugins::start(options, &config).await.map_err(StartError::Setup)?;
    let setup = plugins.setup();
    plugins.stop().await;
    let router = if routed { "a router" } else { "no router" };
    let mut said = format!("{} channels, {router}, {} users", setup.channels.len(), setup.users.len());
    if skipped > 0 {
        said.push_str(&format!(
            "; installed plugins are looked up in the store, which only a start does: {skipped} are not checked"
        ));
    }
    Ok(said)
}

async fn open_store(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<(Store, Arc<EmbeddedEngine>), StartError> {
    let mut options = EmbeddedOptions::new(&config.store.path);
    options.progress = Arc::new(Telling::for_service());
    options.reclaim_share_percent = config.store.reclaim_percent;
    let opened = tokio::task::spawn_blocking(move || EmbeddedEngine::open(options)).await;
    let engine = match opened {
        Ok(Ok(engine)) => Arc::new(engine),
        Ok(Err(source)) if is_no_directory(&source) => return Err(StartError::Path { source }),
        Ok(Err(error)) => return Err(error.into()),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let store = Store::open(Arc::<EmbeddedEngine>::clone(&engine), Arc::clone(clock)).await?;
    Ok((store, engine))
}

/// Whether the file system says that there can be no store at this path.
fn is_no_directory(error: &OpenError) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    let OpenError::Io { source, .. } = error else { return false };
    matches!(source.kind(), NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem)
}

fn start_runtime(
    config: &Config,
    compile: CompileWith,
    clock: Arc<dyn Clock>,
) -> Result<Runtime, fanfare_runtime::StartError> {
    let compiler = match compile {
        CompileWith::Child(program, args) => Compiler::Child { program, args, timeout: COMPILE_TIMEOUT },
        CompileWith::InProcess => Compiler::InProcess,
    };
    let instances = u32::try_from(config.runtime.instances).unwrap_or(u32::MAX);
    let usual = Concurrency::default();
    let guest_threads = config.runtime.guest_threads.unwrap_or(usual.guest_threads);
    Runtime::start(RuntimeOptions {
        cache_dir: cache_dir(&config.store.path),
        compiler,
        concurrency: Concurrency { instances_max: instances, guest_threads },
        ceilings: Limits::default(),
        clock,
    })
}

/// Compiled plugins lie beside the store: they are this machine's, and may be deleted at any time.
fn cache_dir(store: &Path) -> PathBuf {
    store.join("compiled")
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

async fn sweep(store: Store, retention: Retention, stopping: CancellationToken) {
    let sweeps = async { tokio::join!(sweep_claims(&store), sweep_ended(&store, retention)) };
    stopping.run_until_cancelled(sweeps).await;
}

async fn sweep_claims(store: &Store) {
    let mut pause = SWEEP_EVERY;
    loop {
        tokio::time::sleep(pause).await;
        pause = match store.sweep_claims(CLAIM_STEPS).await {
            // Most of what is looked at stays: round again at once would be for little.
            Ok(swept) if swept < CLAIM_STEPS / 8 => SWEEP_EVERY,
            Ok(swept) => until_next(swept, false),
            Err(error) => {
                tracing::warn!(error = %error, "old claims could not be swept");
                SWEEP_EVERY
            }
        };
    }
}

async fn sweep_ended(store: &Store, retention: Retention) {
    let mut pause = SWEEP_EVERY;
    loop {
        tokio::time::sleep(pause).await;
        pause = match store.sweep_ended(retention, SWEEP_STEPS).await {
            // The end was reached, and what lies before it was looked at just now.
            Ok(swept) if !swept.more => SWEEP_EVERY,
            Ok(swept) => until_next(swept.bodies + swept.histories, swept.more),
            Err(error) => {
                tracing::warn!(error = %error, "what is over could not be swept");
                SWEEP_EVERY
            }
        };
    }
}

/// When to look again, after so many went and where there is more that is as old.
fn until_next(swept: usize, more: bool) -> Duration {
    match (swept, more) {
        (1.., _) => SWEEP_PAUSE,
        (0, true) => SWEEP_ON,
        (0, false) => SWEEP_EVERY,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_sweep_that_finds_something_goes_on_soon() {
        assert_eq!(until_next(1, false), SWEEP_PAUSE);
        assert_eq!(until_next(7, true), SWEEP_PAUSE);
        assert_eq!(until_next(0, true), SWEEP_ON);
        assert_eq!(until_next(0, false), SWEEP_EVERY);
    }

    #[test]
    fn a_reload_does_not_take_the_last_key_from_a_socket_that_others_reach() {
        let key = format!("[[keys]]\nname = \"ci\"\nsha256 = \"{}\"\nscopes = [\"read\"]\n", "0".repeat(64));
        let read = |text: &str| Config::read(None, text, &BTreeMap::<String, String>::new()).unwrap();
        for (address, text, allowed) in [
            ("127.0.0.1:80", "", true),
            ("[::1]:80", "", true),
            ("[::ffff:127.0.0.1]:80", "", true),
            ("0.0.0.0:80", "", false),
            ("[::]:80", "", false),
            ("192.0.2.1:80", "[server]\nlisten = \"127.0.0.1:80\"\n", false),
            ("0.0.0.0:80", key.as_str(), true),
        ] {
            let guarded = stays_guarded(address.parse().unwrap(), &read(text));
            assert_eq!(guarded.is_ok(), allowed, "{address}: {guarded:?}");
        }
        let refused = stays_guarded("0.0.0.0:80".parse().unwrap(), &read("")).unwrap_err();
        assert!(refused.message.contains("restart it, or keep a key"), "{refused}");
    }
}
