//! The gateway's parts over a store in memory, for tests that need more than one of them and no process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::clock::{Clock, SystemClock};
use fanfare_runtime::{Compiler, Concurrency, Limits, Runtime, RuntimeOptions};
use fanfare_store::Store;
use fanfare_store::engine::Engine;
use fanfare_store::memory::MemoryEngine;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::auth::Authenticator;
use crate::config::Config;
use crate::desk::Desk;
use crate::dispatch::{self, Dispatch};
use crate::intake::{self, Intake};
use crate::plugins::{self, Plugins};
use crate::telemetry::Metrics;

/// A runtime of a few instances that compiles in this process.
pub(crate) fn runtime(cache: &Path, clock: &Arc<dyn Clock>) -> Runtime {
    let options = RuntimeOptions {
        cache_dir: cache.to_owned(),
        compiler: Compiler::InProcess,
        concurrency: Concurrency { instances_max: 8, guest_threads: 2 },
        ceilings: Limits::default(),
        clock: Arc::clone(clock),
    };
    Runtime::start(options).unwrap()
}

/// Real plugins and a dispatch that runs, over an engine of the test's own.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) dispatch: Dispatch,
    config: Config,
    plugins: Plugins,
    metrics: Arc<Metrics>,
    running: JoinHandle<()>,
    _cache: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_over(Arc::new(MemoryEngine::new()), config).await
    }

    pub(crate) async fn start_over(engine: Arc<dyn Engine>, config: &str) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let runtime = runtime(cache.path(), &clock);
        let store = Store::open(engine, clock).await.unwrap();
        let environment = Arc::new(BTreeMap::<String, String>::new());
        let config = Config::read(None, config, &*environment).unwrap();
        let options = plugins::Options { runtime, store: store.clone(), environment };
        let plugins = Plugins::start(options, &config).await.unwrap();
        let metrics = Arc::new(Metrics::new(None));
        let dispatch = Dispatch::new(dispatch::Options {
            store: store.clone(),
            setup: plugins.subscribe(),
            metrics: Arc::clone(&metrics),
            slots_total: 8,
        });
        let running = dispatch.clone();
        let running = tokio::spawn(async move { running.run().await });
        Self { store, dispatch, config, plugins, metrics, running, _cache: cache }
    }

    /// What the HTTP surface needs.
    pub(crate) fn surface(&self) -> api::Options {
        let intake = Intake::new(intake::Options {
            store: self.store.clone(),
            dispatch: self.dispatch.clone(),
            setup: self.plugins.subscribe(),
            in_flight_max: self.config.server.requests_in_flight_max,
            idempotency_window: self.config.store.idempotency_window,
        });
        api::Options {
            server: self.config.server.clone(),
            intake,
            desk: Desk::new(self.store.clone(), self.dispatch.clone()),
            plugins: self.plugins.clone(),
            access: api::Access::new(Authenticator::new(&self.config.keys)),
            metrics: Arc::clone(&self.metrics),
            stopping: CancellationToken::new(),
        }
    }

    /// Waits until what is under way has ended.
    pub(crate) async fn stop(self) {
        self.dispatch.stop(Duration::MAX).await;
        self.running.await.unwrap();
        self.plugins.stop().await;
    }
}
