//! The configuration: one TOML file, or the built-in default, with the environment's overrides laid over it.
//!
//! Parsed once, here, into values that can't be wrong: text, then a tree with places, then [`Config`]. Every fault of
//! a file is told at once, with its place, key and remedy. The file is 1 MiB at most. Nothing here knows the
//! runtime: grants and settings stay plain data, and whether a plugin exists is asked elsewhere.

mod channels;
pub mod environment;
mod error;
mod keys;
mod plugin;
mod read;
mod routers;
mod secrets;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod users;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fanfare_model::name::{ChannelName, UserId};

pub use self::channels::{ChannelConfig, GrantsConfig, LimitsConfig};
pub use self::environment::{Environment, ProcessEnvironment};
pub use self::error::{ConfigError, ConfigErrors, Place};
pub use self::keys::{BadScope, KeyConfig, Scope};
pub use self::plugin::PluginRef;
pub use self::routers::RouterConfig;
pub use self::secrets::{BadSecret, SecretText, resolve_secret};
pub use self::server::{LogConfig, LogFormat, RuntimeConfig, ServerConfig, StoreConfig};
pub use self::users::{ContactConfig, UserConfig};

use self::error::Faults;
use self::read::section::Section;
use self::read::tree::{self, Table, Value};
use self::secrets::Sources;

/// The commented default, which serves when no file is given: `fanfare config default` prints it.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// How the default names itself in errors.
const DEFAULT_NAME: &str = "(built-in default)";

const FILE_BYTES_MAX: usize = 1 << 20;

/// Everything that one file says, resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file; none for the built-in default.
    pub source: Option<PathBuf>,
    /// Where it listens and what one client may take.
    pub server: ServerConfig,
    /// Where accepted notifications are.
    pub store: StoreConfig,
    /// Who may come in. None: only this machine, and everything is allowed.
    pub keys: Vec<KeyConfig>,
    /// Channels by name.
    pub channels: BTreeMap<ChannelName, ChannelConfig>,
    /// The router, if one is configured.
    pub router: Option<RouterConfig>,
    /// The directory of users.
    pub users: BTreeMap<UserId, UserConfig>,
    /// What is logged, and how.
    pub log: LogConfig,
    /// How much of the machine plugins get.
    pub runtime: RuntimeConfig,
    places: BTreeMap<String, Place>,
    whole: Place,
}

impl Config {
    /// Reads the file at `path`, or the built-in default.
    ///
    /// # Errors
    /// Every fault of the file and of the variables that override it.
    pub fn load(path: Option<&Path>, environment: &dyn Environment) -> Result<Self, ConfigErrors> {
        let Some(path) = path else { return Self::read(None, DEFAULT_TOML, environment) };
        let text = read_file(path).map_err(|wrong| {
            let place = Place::WholeFile(Arc::from(path.display().to_string()));
            let remedy =
                "give the path of a configuration; `fanfare config default > fanfare.toml` writes one"
                    .to_owned();
            ConfigErrors::one(ConfigError { place, key: String::new(), wrong, remedy })
        })?;
        Self::read(Some(path), &text, environment)
    }

    /// Reads `text` as if it stood in the file at `path`, without looking for that file.
    ///
    /// # Errors
    /// Every fault of the text and of the variables that override it.
    pub fn read(
        path: Option<&Path>,
        text: &str,
        environment: &dyn Environment,
    ) -> Result<Self, ConfigErrors> {
        let file: Arc<str> =
            Arc::from(path.map_or(DEFAULT_NAME.to_owned(), |path| path.display().to_string()));
        let syntax = Faults::default();
        let mut root = tree::parse(&file, text, &syntax);
        // What follows from a broken line would only hide it.
        syntax.into_result()?;
        let faults = Faults::default();
        read::overrides::apply(&mut root, environment, &faults);
        let folder = path.and_then(Path::parent).unwrap_or(Path::new(""));
        let whole = Place::WholeFile(file);
        let mut config = resolve(&root, &whole, Sources { folder, environment }, &faults);
        faults.into_result()?;
        config.source = path.map(Path::to_path_buf);
        Ok(config)
    }

    /// Where relative paths begin: the folder of the file, or the working directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.source.as_deref().and_then(Path::parent).unwrap_or(Path::new(""))
    }

    /// Where a section stands, such as `channels.ops-hook.grants`, or the nearest one around it.
    #[must_use]
    pub fn place_of(&self, section: &str) -> &Place {
        let mut section = section;
        loop {
            if let Some(place) = self.places.get(section) {
                return place;
            }
            match section.rsplit_once('.') {
                Some((outer, _)) => section = outer,
                None => return &self.whole,
            }
        }
    }

    /// The sections that differ in `next` and count from the next start only.
    #[must_use]
    pub fn needs_restart_for(&self, next: &Self) -> Vec<&'static str> {
        let sections = [
            ("server", self.server != next.server),
            ("store", self.store != next.store),
            ("log", self.log != next.log),
            ("runtime", self.runtime != next.runtime),
        ];
        sections.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path);
    let read = opened.and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err("is larger than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "is no UTF-8 text".to_owned())
}

fn resolve(root: &Table, whole: &Place, sources: Sources<'_>, faults: &Faults) -> Config {
    let mut file = Section::root(root, whole.clone(), faults);
    let (server, listen) = server::server(file.section("server"));
    let store = server::store(file.section("store"), sources.folder);
    let entry = file.take("keys");
    let keys = keys::keys(entry.as_ref());
    // Keys with a fault of their own are not "no keys".
    if entry.is_none_or(|entry| matches!(entry.value(), Value::List(items) if items.is_empty())) {
        keys::check_open_mode(&keys, &listen, whole, faults);
    }
    let (channels, names) = channels::channels(file.section("channels"), sources);
    let router = routers::router(file.section("routers"), sources.folder, &names);
    let users = users::users(file.section("users"), &names);
    let log = server::log(file.section("log"));
    let runtime = server::runtime(file.section("runtime"));
    file.finish();
    let mut places = BTreeMap::new();
    note_places(root, "", &mut places);
    let whole = whole.clone();
    Config { source: None, server, store, keys, channels, router, users, log, runtime, places, whole }
}

/// Sections down to `channels.NAME.grants`; the rest is looked up by its section.
fn note_places(table: &Table, above: &str, places: &mut BTreeMap<String, Place>) {
    for (name, node) in table {
        let key = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        if let Value::Table(inner) = &node.value
            && key.matches('.').count() < 2
        {
            note_places(inner, &key, places);
        }
        places.insert(key, node.place.clone());
    }
}
