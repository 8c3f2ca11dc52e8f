//! Watch mode, for development: when a component's file changes, the channels and the router that use it are swapped.
//!
//! They use a file when their section names it, or when they are served by a plugin of the name that the file's manifest says.
//! What the new file asks for beyond the old one is taken as approved; grants are not given. What can't be loaded or can't
//! serve changes nothing, and the log says why. Bounded by [`FILES_MAX`] files of the one folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::digest::Digest;
use fanfare_model::name::ChannelName;
use fanfare_runtime::Plugin;
use fanfare_store::plugins::Slot;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::acts::Activation;
use super::shelf::{Found, read};
use super::{ActError, Plugins};
use crate::registry::{Channel, Router};

/// A file that is being written is left alone until nothing has happened for so long.
const QUIET: Duration = Duration::from_millis(150);

/// Files of a folder that are looked at.
const FILES_MAX: usize = 256;

/// Who swaps.
const WATCH: &str = "watch";

/// Watches one folder.
pub(crate) struct Watch {
    plugins: Plugins,
    folder: PathBuf,
    stirred: Arc<Notify>,
    /// Ends the events when it is dropped.
    _watcher: RecommendedWatcher,
    /// What each file was when it was looked at last.
    tried: BTreeMap<PathBuf, Digest>,
}

impl Watch {
    /// Begins to watch `folder`, and nothing below it.
    ///
    /// # Errors
    /// When the folder can't be watched.
    pub(crate) fn new(plugins: Plugins, folder: &Path) -> Result<Self, notify::Error> {
        let folder = folder.canonicalize()?;
        let stirred = Arc::new(Notify::new());
        let stirs = Arc::clone(&stirred);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event, too, and would never end.
            if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
                stirs.notify_one();
            }
        })?;
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        Ok(Self { plugins, folder, stirred, _watcher: watcher, tried: BTreeMap::new() })
    }

    /// Swaps until `stopping`.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        tracing::info!(folder = %self.folder.display(), "watching: a component that changes is swapped in");
        // What changed while nobody watched counts only where a section names the file.
        self.look(|user, path, _| user.is_named(path)).await;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.stirred.notified() => {}
            }
            while tokio::time::timeout(QUIET, self.stirred.notified()).await.is_ok() {
                if stopping.is_cancelled() {
                    return;
                }
            }
            self.look(|user, path, name| user.is_named(path) || user.is_called(name)).await;
        }
    }

    async fn look(&mut self, uses: impl Fn(&User, &Path, &str) -> bool) {
        for path in self.components().await {
            // What is gone or can't be read will be looked at when it changes again.
            let Ok(bytes) = read(&path).await else { continue };
            let digest = Digest::of(&bytes);
            if self.tried.insert(path.clone(), digest) == Some(digest) {
                continue;
            }
            let label = path.display().to_string();
            match self.plugins.shelf.load(&label, bytes.into()).await {
                Ok(found) => self.swap(&path, &found, &uses).await,
                Err(refused) => {
                    tracing::warn!(
                        code = refused.code,
                        message = refused.message,
                        "not swapped: what serves goes on"
                    );
                }
            }
        }
    }

    async fn components(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let Ok(mut entries) = tokio::fs::read_dir(&self.folder).await else { return found };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "wasm") {
                found.insert(path);
            }
            if found.len() >= FILES_MAX {
                tracing::warn!(files = FILES_MAX, "there are more files in the folder; they are not watched");
                break;
            }
        }
        found
    }

    async fn swap(&self, path: &Path, found: &Found, uses: &impl Fn(&User, &Path, &str) -> bool) {
        let (name, digest) = (&found.plugin.manifest().name, found.plugin.digest());
        let setup = self.plugins.setup();
        let users = setup.channels.iter().map(|(name, channel)| User::channel(name, channel));
        let users = users.chain(setup.router.iter().map(User::router));
        let is_old = |user: &User| user.plugin.as_ref().map(|plugin| plugin.digest()) != Some(digest);
        for user in users.filter(|user| uses(user, path, name) && is_old(user)) {
            let activation = Activation {
                found: found.clone(),
                settings: None,
                secrets: None,
                grants: None,
                canary: None,
                approve: true,
            };
            let slot = &user.slot;
            let swapped = match slot {
                Slot::Channel(name) => self.plugins.activate(name, activation, WATCH).await,
                Slot::Router(name) => self.plugins.activate_router(name, activation, WATCH).await,
            };
            match swapped {
                Ok(()) => tracing::info!(%slot, digest = digest.short(), "swapped"),
                Err(ActError::Stopping) => return,
                Err(error) => tracing::warn!(%slot, error = %error, "not swapped: what serves goes on"),
            }
        }
    }
}

/// A channel or router, and what it uses.
struct User {
    slot: Slot,
    file: Option<PathBuf>,
    plugin: Option<Arc<Plugin>>,
}

impl User {
    fn channel(name: &ChannelName, channel: &Arc<Channel>) -> Self {
        Self {
            slot: Slot::Channel(name.clone()),
            file: channel.file.clone(),
            plugin: channel.ready.as_ref().map(|ready| Arc::clone(ready.plugin())),
        }
    }

    fn router(router: &Router) -> Self {
        Self {
            slot: Slot::Router(router.name.clone()),
            file: router.file.clone(),
            plugin: router.generation.as_ref().ok().map(|ready| Arc::clone(ready.plugin())),
        }
    }

    /// Whether its section names the file.
    fn is_named(&self, path: &Path) -> bool {
        self.file.as_ref().and_then(|file| file.canonicalize().ok()).is_some_and(|file| file == path)
    }

    /// Whether it is served by a plugin of this name.
    fn is_called(&self, name: &str) -> bool {
        self.plugin.as_ref().is_some_and(|plugin| plugin.manifest().name == name)
    }
}
