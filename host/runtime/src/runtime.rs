//! The runtime: loads components once, and stages generations of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use fanfare_model::clock::Clock;
use fanfare_model::digest::Digest;
use fanfare_model::name::ChannelName;
use wasmtime::component::{HasSelf, Linker};

use crate::account::{Accounts, GenerationUsage, Totals};
use crate::bindings::channel::fanfare::host::{crypto, http, log, settings, smtp};
use crate::bindings::channel::fanfare::types::types;
use crate::call::{Callee, Executor};
use crate::egress::{Door, DoorOptions, Grants};
use crate::engine::{compatibility, running_engine, start_ticks};
use crate::error::{LoadError, StageError};
use crate::generation::{ChannelGeneration, ChannelSpec, Common, Live, RouterGeneration, RouterSpec};
use crate::guest::Guest;
use crate::guests::Guests;
use crate::inspect::inspect;
use crate::limits::Limits;
use crate::manifest::{Kind, Manifest};
use crate::options::{Compiler, RuntimeOptions, StartError};
use crate::plugin::Plugin;
use crate::rehearsal::Script;
use crate::secrets::Secrets;
use crate::smtp::{Mailer, MailerOptions};
use crate::warm::{Shelf, WarmPool};
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
    accounts: Accounts,
    shelf: Shelf,
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

impl Runtime {
    /// Starts the engine and the guests' threads.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(options: RuntimeOptions) -> Result<Self, StartError> {
        Self::start_with(options, None, DoorOptions::default())
    }

    /// Starts a runtime that reaches nothing: the script answers, and guests' clocks and chance stand still.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn rehearse(options: RuntimeOptions, script: Arc<dyn Script>) -> Result<Self, StartError> {
        Self::start_with(options, Some(script), DoorOptions::default())
    }

    pub(crate) fn start_with(
        options: RuntimeOptions,
        script: Option<Arc<dyn Script>>,
        door: DoorOptions,
    ) -> Result<Self, StartError> {
        let RuntimeOptions { cache_dir, compiler, concurrency, ceilings, clock, .. } = options;
        std::fs::create_dir_all(&cache_dir)
            .map_err(|source| StartError::Cache { path: cache_dir.clone(), source })?;
        let engine = running_engine(concurrency.instances_max, ceilings)?;
        let guests = Arc::new(Guests::start(concurrency)?);
        start_ticks(&engine, guests.watch())?;
        let executor = Executor { engine: engine.clone(), guests };
        let shared = Shared {
            compatibility: compatibility(&engine),
            channel_linker: linker(&engine, Kind::Channel).map_err(|e| StartError::Link(format!("{e:#}")))?,
            router_linker: linker(&engine, Kind::Router).map_err(|e| StartError::Link(format!("{e:#}")))?,
            executor,
            accounts: Accounts::default(),
            shelf: Shelf::default(),
            compiler,
            cache_dir,
            ceilings,
            clock,
            rehearsed: script.is_some(),
            door: Door::new(DoorOptions { script: script.clone(), ..door }),
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
        // Up to 64 MiB are hashed, parsed and linked: on threads that may be kept busy, and behind what is being delivered.
        let shared = Arc::clone(&self.shared);
        let label = source.label.clone();
        let (source, digest, manifest) = match self.aside(&label, move || shared.look(source)).await? {
            Looked::Known(plugin) => return Ok(plugin),
            Looked::New(source, digest, manifest) => (source, digest, manifest),
        };
        let shared = Arc::clone(&self.shared);
        let compiled = compile::compiled(
            &shared.executor.guests,
            &shared.compiler,
            &shared.cache_dir,
            &shared.compatibility,
            &digest,
            &source.bytes,
        );
        let code = compiled.await.map_err(|why| LoadError::Compile { label: label.clone(), why })?;
        self.aside(&label, move || shared.link(source.label, digest, *manifest, &code)).await
    }

    async fn aside<T: Send + 'static>(
        &self,
        label: &str,
        work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
    ) -> Result<T, LoadError> {
        let done = self.shared.executor.guests.aside(work).await;
        done.unwrap_or_else(|error| {
            Err(LoadError::Compile { label: label.to_owned(), why: error.to_string() })
        })
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
        let marked = stage::marked(manifest, &spec.settings, spec.secrets)?;
        let limits = self.limits(manifest, spec.limits);
        let account = (Some(spec.name.as_str()), spec.number);
        let callee = Callee::new(spec.plugin, WarmPool::new(self.shared.shelf.clone()));
        let generation = ChannelGeneration {
            common: self.common(account, callee, Live { settings: marked, limits }),
            name: spec.name,
            settings: spec.settings,
            grants: Arc::new(grants),
            door: self.shared.door.clone(),
            mailer: self.shared.mailer.clone(),
        };
        generation.common.check().await?;
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
        let settings = stage::marked(manifest, &spec.settings, Secrets::default())?;
        let limits = self.limits(manifest, spec.limits);
        let callee = Callee::new(spec.plugin, WarmPool::new(self.shared.shelf.clone()));
        let common = self.common((None, spec.number), callee, Live { settings, limits });
        let generation = RouterGeneration { name: spec.name, common };
        generation.common.check().await?;
        Ok(Arc::new(generation))
    }

    fn limits(&self, manifest: &Manifest, asked: Limits) -> Limits {
        manifest.limits.below(asked.lower_of(self.shared.ceilings))
    }

    /// `whose` is the channel, none for a router, and the generation's number.
    fn common(&self, whose: (Option<&str>, u64), callee: Callee, live: Live) -> Common {
        let (channel, number) = whose;
        Common {
            number,
            account: self.shared.accounts.open(channel, number, &callee.plugin.manifest.name),
            callee: Arc::new(callee),
            live: RwLock::new(Arc::new(live)),
            ceilings: self.shared.ceilings,
            executor: self.shared.executor.clone(),
            clock: Arc::clone(&self.shared.clock),
            rehearsed: self.shared.rehearsed,
        }
    }

    /// What each generation that lives used, by channel and number: those that serve, and those whose calls still run.
    #[must_use]
    pub fn usage(&self) -> Vec<GenerationUsage> {
        self.shared.accounts.generations()
    }

    /// What a channel used in this process, past generations included; none for one without a generation.
    #[must_use]
    pub fn channel_usage(&self, channel: &ChannelName) -> Option<Totals> {
        self.shared.accounts.channel(channel.as_str())
    }

    /// Takes no more calls, lets those under way end within `deadline`, and takes the others back with the code
    /// `host.stopping`. Answers how many those were. Without it calls go on for as long as their generation lives, even
    /// when the runtime is dropped.
    pub async fn stop(&self, deadline: Duration) -> u32 {
        self.shared.executor.guests.stop(deadline).await
    }
}

impl Shared {
    fn loaded(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Weak<Plugin>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a component that is loaded already, or inspects one that is not.
    fn look(&self, source: Source) -> Result<Looked, LoadError> {
        let digest = Digest::of(&source.bytes);
        if let Some(plugin) = self.find(&digest) {
            return Ok(Looked::Known(plugin));
        }
        let manifest = inspect(&source.label, &source.bytes)?;
        Ok(Looked::New(source, digest, Box::new(manifest)))
    }

    /// Makes a plugin of a component's machine code.
    fn link(
        &self,
        label: String,
        digest: Digest,
        manifest: Manifest,
        code: &[u8],
    ) -> Result<Arc<Plugin>, LoadError> {
        let component = trusted::load(&self.executor.engine, code)
            .map_err(|error| LoadError::Compile { label: label.clone(), why: format!("{error:#}") })?;
        let linker = match manifest.kind {
            Kind::Channel => &self.channel_linker,
            Kind::Router => &self.router_linker,
        };
        let kind = manifest.kind.as_str();
        let pre = linker.instantiate_pre(&component).map_err(|error| LoadError::Invalid {
            label: label.clone(),
            why: format!("it imports what this host does not give to a {kind}: {error:#}"),
        })?;
        let plugin = Plugin::new(digest, manifest, pre).map_err(|error| LoadError::Invalid {
            label,
            why: format!("its exports are not those of a {kind}: {error:#}"),
        })?;
        let plugin = Arc::new(plugin);
        self.loaded().insert(digest, Arc::downgrade(&plugin));
        Ok(plugin)
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Plugin>> {
        let mut loaded = self.loaded();
        loaded.retain(|_, plugin| plugin.strong_count() > 0);
        loaded.get(digest).and_then(Weak::upgrade)
    }
}

/// What the bytes of a component are.
enum Looked {
    /// Those of a plugin that is loaded.
    Known(Arc<Plugin>),
    /// Those of one that is to be compiled.
    New(Source, Digest, Box<Manifest>),
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
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    Ok(linker)
}
