//! The runtime: loads components once, and stages generations of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use fanfare_model::clock::Clock;
use fanfare_model::digest::Digest;
use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::channel::fanfare::host::{crypto, http, log, settings, smtp};
use crate::bindings::channel::fanfare::types::types;
use crate::call::Executor;
use crate::egress::{Door, DoorOptions, Grants};
use crate::engine::{compatibility, running_engine, start_ticks};
use crate::error::{LoadError, StageError};
use crate::generation::{ChannelGeneration, ChannelSpec, Common, RouterGeneration, RouterSpec};
use crate::guest::Guest;
use crate::inspect::inspect;
use crate::limits::Limits;
use crate::manifest::{Kind, Manifest};
use crate::options::{Compiler, RuntimeOptions, StartError};
use crate::plugin::Plugin;
use crate::rehearsal::Script;
use crate::secrets::{MarkedSettings, Secrets};
use crate::smtp::{Mailer, MailerOptions};
use crate::{compile, stage, trusted};

/// A component to load.
#[derive(Clone)]
pub struct Source {
    /// How errors name it.
    pub label: String,
    /// Its bytes.
    pub bytes: Cow<'static, [u8]>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}, {} bytes)", self.label, self.bytes.len())
    }
}

/// The runtime; cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

struct Shared {
    executor: Executor,
    /// Taken when the runtime ends, since threads can't be joined from one of them.
    guests: Option<tokio::runtime::Runtime>,
    compiler: Compiler,
    cache_dir: PathBuf,
    compatibility: String,
    ceilings: Limits,
    clock: Arc<dyn Clock>,
    rehearsed: bool,
    door: Door,
    mailer: Mailer,
    channel_linker: Linker<Guest>,
    router_linker: Linker<Guest>,
    loaded: Mutex<HashMap<Digest, Weak<Plugin>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(guests) = self.guests.take() {
            guests.shutdown_background();
        }
    }
}

impl Runtime {
    /// Starts the engine and the guests' threads.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(options: RuntimeOptions) -> Result<Self, StartError> {
        Self::start_with(options, None)
    }

    /// Starts a runtime that reaches nothing: the script answers, and guests' clocks and chance stand still.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn rehearse(options: RuntimeOptions, script: Arc<dyn Script>) -> Result<Self, StartError> {
        Self::start_with(options, Some(script))
    }

    fn start_with(options: RuntimeOptions, script: Option<Arc<dyn Script>>) -> Result<Self, StartError> {
        let RuntimeOptions { cache_dir, compiler, concurrency, ceilings, clock, .. } = options;
        std::fs::create_dir_all(&cache_dir)
            .map_err(|source| StartError::Cache { path: cache_dir.clone(), source })?;
        let engine = running_engine(concurrency.instances_max, ceilings)?;
        start_ticks(&engine)?;
        let guests = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(concurrency.guest_threads.max(1))
            .thread_name("fanfare-guest")
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let slots = usize::try_from(concurrency.instances_max.max(1)).unwrap_or(1);
        let executor = Executor {
            engine: engine.clone(),
            guests: guests.handle().clone(),
            slots: Arc::new(Semaphore::new(slots)),
        };
        let shared = Shared {
            compatibility: compatibility(&engine),
            channel_linker: linker(&engine, Kind::Channel).map_err(|e| StartError::Link(format!("{e:#}")))?,
            router_linker: linker(&engine, Kind::Router).map_err(|e| StartError::Link(format!("{e:#}")))?,
            executor,
            guests: Some(guests),
            compiler,
            cache_dir,
            ceilings,
            clock,
            rehearsed: script.is_some(),
            door: Door::new(DoorOptions { script: script.clone(), ..DoorOptions::default() }),
            mailer: Mailer::new(MailerOptions { script, ..MailerOptions::default() }),
            loaded: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Inspects and compiles a component; the same bytes are loaded once.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(&self, source: Source) -> Result<Arc<Plugin>, LoadError> {
        let shared = &self.shared;
        let digest = Digest::of(&source.bytes);
        if let Some(plugin) = shared.find(&digest) {
            return Ok(plugin);
        }
        let manifest = inspect(&source.label, &source.bytes)?;
        let failed = |why: String| LoadError::Compile { label: source.label.clone(), why };
        let compiled = compile::compiled(
            &shared.compiler,
            &shared.cache_dir,
            &shared.compatibility,
            &digest,
            &source.bytes,
        );
        let code = compiled.await.map_err(failed)?;
        let component =
            trusted::load(&shared.executor.engine, &code).map_err(|e| failed(format!("{e:#}")))?;
        let linker = match manifest.kind {
            Kind::Channel => &shared.channel_linker,
            Kind::Router => &shared.router_linker,
        };
        let pre = linker.instantiate_pre(&component).map_err(|error| LoadError::Invalid {
            label: source.label.clone(),
            why: format!(
                "it imports what this host does not give to a {}: {error:#}",
                manifest.kind.as_str()
            ),
        })?;
        let plugin = Arc::new(Plugin { digest, manifest, pre });
        shared.loaded().insert(digest, Arc::downgrade(&plugin));
        Ok(plugin)
    }

    /// Makes a channel's generation, and has it check itself. Nothing serves it yet.
    ///
    /// # Errors
    /// [`StageError`].
    pub async fn stage_channel(&self, spec: ChannelSpec) -> Result<Arc<ChannelGeneration>, StageError> {
        let manifest = &spec.plugin.manifest;
        stage::check_kind(manifest, Kind::Channel)?;
        stage::check_settings(manifest, &spec.settings)?;
        let grants = stage::check_grants(manifest, &spec.settings, spec.grants)?;
        let named = stage::named_secrets(&spec.settings);
        let secrets = stage::check_secrets(manifest, spec.secrets, &named)?;
        let settings = MarkedSettings::new(&spec.settings, &secrets)
            .map_err(|error| StageError::Secret(error.to_string()))?;
        let limits = self.limits(manifest, spec.limits);
        let generation = ChannelGeneration {
            name: spec.name,
            common: self.common(spec.number, spec.plugin, settings, limits),
            grants: Arc::new(grants),
            door: self.shared.door.clone(),
            mailer: self.shared.mailer.clone(),
        };
        generation.common.check(false).await?;
        Ok(Arc::new(generation))
    }

    /// Makes a router's generation, and has it check itself. Nothing serves it yet.
    ///
    /// # Errors
    /// [`StageError`].
    pub async fn stage_router(&self, spec: RouterSpec) -> Result<Arc<RouterGeneration>, StageError> {
        let manifest = &spec.plugin.manifest;
        stage::check_kind(manifest, Kind::Router)?;
        stage::check_settings(manifest, &spec.settings)?;
        stage::check_grants(manifest, &spec.settings, Grants::default())?;
        let settings = MarkedSettings::new(&spec.settings, &Secrets::default())
            .map_err(|error| StageError::Secret(error.to_string()))?;
        let limits = self.limits(manifest, spec.limits);
        let common = self.common(spec.number, spec.plugin, settings, limits);
        let generation = RouterGeneration { name: spec.name, common };
        generation.common.check(true).await?;
        Ok(Arc::new(generation))
    }

    fn limits(&self, manifest: &Manifest, asked: Limits) -> Limits {
        manifest.limits.below(asked.lower_of(self.shared.ceilings))
    }

    fn common(&self, number: u64, plugin: Arc<Plugin>, settings: MarkedSettings, limits: Limits) -> Common {
        Common {
            number,
            plugin,
            settings,
            limits,
            executor: self.shared.executor.clone(),
            clock: Arc::clone(&self.shared.clock),
            rehearsed: self.shared.rehearsed,
        }
    }
}

impl Shared {
    fn loaded(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Weak<Plugin>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Plugin>> {
        let mut loaded = self.loaded();
        loaded.retain(|_, plugin| plugin.strong_count() > 0);
        loaded.get(digest).and_then(Weak::upgrade)
    }
}

/// What guests of a kind may import. A router gets `log` and `settings` alone.
fn linker(engine: &wasmtime::Engine, kind: Kind) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    types::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    log::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    settings::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    if kind == Kind::Channel {
        http::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
        smtp::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
        crypto::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    }
    Ok(linker)
}
