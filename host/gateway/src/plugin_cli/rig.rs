//! The rehearsal of one component: loaded, staged and called as a gateway would, with a script in place of the network.
//!
//! What an operator would give is taken from the arguments, and made up where they are silent: settings that fit the
//! schema, secrets for each name, and grants for all that the manifest asks for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use fanfare_model::clock::ManualClock;
use fanfare_model::digest::Digest;
use fanfare_model::name::ChannelName;
use fanfare_runtime::egress::{Grants, OriginPattern};
use fanfare_runtime::secrets::{Secret, Secrets};
use fanfare_runtime::{
    ChannelGeneration, ChannelSpec, Compiler, Concurrency, Kind, Limits, Manifest, Plugin, RouterGeneration,
    RouterSpec, Runtime, RuntimeOptions, Source, StageError, review,
};
use serde_json::{Map, Value};

use super::failure::Failure;
use super::input::Input;
use super::sample;
use super::script::Replies;

/// A component, and what an operator would give it.
#[derive(Args, Clone, Debug)]
pub(super) struct Given {
    /// The component, such as `plugin build` leaves it.
    #[arg(value_name = "COMPONENT")]
    pub(super) component: PathBuf,
    /// The attempt and what belongs to it, a JSON file; every part may be left out.
    #[arg(long, value_name = "FILE")]
    pub(super) input: Option<PathBuf>,
    /// Settings, a JSON object or `@FILE`; they replace those of the input.
    #[arg(long, value_name = "JSON")]
    pub(super) settings: Option<String>,
    /// A secret; may be repeated. Made up where none is given, and masked in all that is shown.
    #[arg(long = "secret", value_name = "NAME=VALUE")]
    pub(super) secrets: Vec<String>,
    /// An origin to grant beside those that the manifest asks for; may be repeated.
    #[arg(long = "grant", value_name = "ORIGIN")]
    pub(super) grants: Vec<String>,
}

/// A staged generation.
#[derive(Debug)]
pub(super) enum Staged {
    Channel(Arc<ChannelGeneration>),
    Router(Arc<RouterGeneration>),
}

/// A loaded component, its scripted outside, and what it was given.
#[derive(Debug)]
pub(super) struct Rig {
    runtime: Runtime,
    pub(super) plugin: Arc<Plugin>,
    pub(super) script: Replies,
    pub(super) clock: Arc<ManualClock>,
    pub(super) input: Input,
    pub(super) settings: Map<String, Value>,
    /// The settings were made up.
    pub(super) guessed: bool,
    pub(super) bytes: usize,
    secrets: BTreeMap<String, String>,
    grants: Vec<String>,
    ceilings: Limits,
    /// Compiled code, for as long as the runtime may read it.
    _cache: tempfile::TempDir,
}

impl Given {
    /// The bytes of the component; for a folder, of the one component that lies in it.
    pub(super) fn bytes(&self) -> Result<(PathBuf, Vec<u8>), Failure> {
        let path =
            if self.component.is_dir() { only_component(&self.component)? } else { self.component.clone() };
        let bytes = std::fs::read(&path).map_err(|error| Failure::file(&path, &error))?;
        Ok((path, bytes))
    }

    fn input(&self) -> Result<Input, Failure> {
        let mut input = self.input.as_deref().map(Input::read).transpose()?.unwrap_or_default();
        if let Some(text) = &self.settings {
            input.settings = Some(settings(text)?);
        }
        for text in &self.secrets {
            let (name, value) = text.split_once('=').ok_or_else(|| {
                Failure::usage("input.secret", format!("{text:?} is no secret"), "write --secret NAME=VALUE")
            })?;
            input.secrets.insert(name.to_owned(), value.to_owned());
        }
        input.grants.extend(self.grants.iter().cloned());
        Ok(input)
    }

    /// Loads the component; no attempt gets more than `ceilings`.
    pub(super) async fn load(&self, ceilings: Limits) -> Result<Rig, Failure> {
        let (path, bytes) = self.bytes()?;
        let input = self.input()?;
        let failed = |error: &dyn std::fmt::Display| Failure::new("rehearsal.start", error.to_string(), "");
        let cache = tempfile::tempdir().map_err(|error| Failure::file(&std::env::temp_dir(), &error))?;
        let (script, clock) = (Replies::default(), Arc::new(ManualClock::at(input.now()?)));
        let options = RuntimeOptions {
            cache_dir: cache.path().to_owned(),
            compiler: Compiler::InProcess,
            concurrency: Concurrency { instances_max: 2, guest_threads: 1 },
            ceilings,
            clock: Arc::clone(&clock) as Arc<_>,
        };
        let runtime = Runtime::rehearse(options, Arc::new(script.clone())).map_err(|error| failed(&error))?;
        let length = bytes.len();
        let source = Source { label: path.display().to_string(), bytes: bytes.into() };
        let plugin = runtime.load(source).await?;
        let manifest = plugin.manifest();
        let guessed = input.settings.is_none();
        let settings = input.settings.clone().unwrap_or_else(|| {
            sample::settings(manifest.settings_schema.as_ref(), !manifest.permissions.smtp.is_empty())
        });
        let secrets = secrets(manifest, &settings, &input.secrets);
        let grants = input.grants.clone();
        Ok(Rig {
            runtime,
            plugin,
            script,
            clock,
            settings,
            guessed,
            bytes: length,
            secrets,
            grants,
            ceilings,
            input,
            _cache: cache,
        })
    }
}

impl Rig {
    pub(super) fn manifest(&self) -> &Manifest {
        self.plugin.manifest()
    }

    /// What an attempt may use.
    pub(super) fn limits(&self) -> Limits {
        self.manifest().limits.below(self.ceilings)
    }

    /// Makes a generation and has it check itself.
    pub(super) async fn stage(&self) -> Result<Staged, Failure> {
        self.stage_with(&self.settings).await.map_err(Failure::from)?
    }

    /// The same with other settings; the inner error is a mistake of the arguments.
    pub(super) async fn stage_with(
        &self,
        settings: &Map<String, Value>,
    ) -> Result<Result<Staged, Failure>, StageError> {
        let name = match self.input.channel() {
            Ok(name) => name,
            Err(failure) => return Ok(Err(failure)),
        };
        if self.plugin.kind() == Kind::Router {
            let spec = RouterSpec {
                name: name.to_string(),
                number: 1,
                plugin: Arc::clone(&self.plugin),
                settings: settings.clone(),
                limits: self.ceilings,
            };
            return Ok(Ok(Staged::Router(self.runtime.stage_router(spec).await?)));
        }
        match self.spec(name, settings) {
            Ok(spec) => Ok(Ok(Staged::Channel(self.runtime.stage_channel(spec).await?))),
            Err(failure) => Ok(Err(failure)),
        }
    }

    fn spec(&self, name: ChannelName, settings: &Map<String, Value>) -> Result<ChannelSpec, Failure> {
        let requests = review(&self.plugin, settings, &Grants::default(), &[]);
        let asked = |kind: &'static str| {
            let of_kind = requests.iter().filter(move |request| request.kind == kind);
            of_kind.map(|request| request.what.clone())
        };
        // A request that is no origin is left out here, and refused when the generation is staged.
        let origins = asked("http").filter(|origin| OriginPattern::parse(origin).is_ok());
        let http: Vec<String> = origins.chain(self.grants.iter().cloned()).collect();
        let grants = Grants::parse(&http, &asked("smtp").collect::<Vec<_>>(), false).map_err(|error| {
            Failure::usage("config.grant", error.to_string(), "correct it in --grant, or in the settings")
        })?;
        let mut secrets = Secrets::default();
        for (name, value) in &self.secrets {
            secrets.insert(name.clone(), Secret::new(value.clone()), None);
        }
        Ok(ChannelSpec {
            name,
            number: 1,
            plugin: Arc::clone(&self.plugin),
            settings: settings.clone(),
            secrets,
            grants,
            limits: self.ceilings,
        })
    }
}

/// Those that were given, and one made up for each name that is asked for. What is made up is good hexadecimal and
/// base64, since a key may have to be either.
fn secrets(
    manifest: &Manifest,
    settings: &Map<String, Value>,
    given: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let text = Value::Object(settings.clone()).to_string();
    let named = text.split("${secret:").skip(1).filter_map(|part| Some(part.split_once('}')?.0.to_owned()));
    let mut secrets = given.clone();
    for name in named.chain(manifest.permissions.secrets.iter().cloned()) {
        let made_up = || Digest::of(name.as_bytes()).to_string().chars().take(32).collect();
        secrets.entry(name.clone()).or_insert_with(made_up);
    }
    secrets
}

fn settings(text: &str) -> Result<Map<String, Value>, Failure> {
    let text = match text.strip_prefix('@') {
        Some(path) => {
            std::fs::read_to_string(path).map_err(|error| Failure::file(Path::new(path), &error))?
        }
        None => text.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| {
        Failure::usage(
            "input.settings",
            format!("the settings are no JSON object: {error}"),
            "write --settings '{\"url\": \"https://receiver.example/in\"}', or --settings @FILE",
        )
    })
}

fn only_component(folder: &Path) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| Failure::file(folder, &error))?;
    let components = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut components: Vec<PathBuf> =
        components.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")).collect();
    match (components.pop(), components.is_empty()) {
        (Some(path), true) => Ok(path),
        (Some(_), false) => Err(Failure::usage(
            "plugin.several",
            format!("{} holds several components", folder.display()),
            "name one of them",
        )),
        (None, _) => Err(Failure::usage(
            "plugin.none",
            format!("{} holds no component", folder.display()),
            format!("build it: fanfare plugin build {}", folder.display()),
        )),
    }
}
