//! Watch mode, for development: when a component's file changes, the channels that use it are swapped.
//!
//! A channel uses a file when its section names it, or when it is served by a plugin of the name that the file's manifest says.
//! What the new file asks for beyond the old one is taken as approved; grants are not given. What can't be loaded or can't
//! serve changes nothing, and the log says why. Bounded by [`FILES_MAX`] files of the one folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::digest::Digest;
use fanfare_model::name::ChannelName;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::acts::Activation;
use super::shelf::{Found, read};
use super::{ActError, Plugins};
use crate::registry::Channel;

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
        self.look(|channel, path, _| is_named(channel, path)).await;
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
            self.look(|channel, path, name| is_named(channel, path) || is_called(channel, name)).await;
        }
    }

    async fn look(&mut self, uses: impl Fn(&Channel, &Path, &str) -> bool) {
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

    async fn swap(&self, path: &Path, found: &Found, uses: &impl Fn(&Channel, &Path, &str) -> bool) {
        let manifest = found.plugin.manifest();
        let digest = found.plugin.digest();
        let setup = self.plugins.setup();
        let old = |channel: &Channel| channel.ready.as_ref().map(|ready| ready.plugin().digest());
        let users: Vec<ChannelName> = setup
            .channels
            .iter()
            .filter(|(_, channel)| uses(channel, path, &manifest.name) && old(channel) != Some(digest))
            .map(|(name, _)| name.clone())
            .collect();
        for name in users {
            let activation = Activation {
                found: found.clone(),
                settings: None,
                secrets: None,
                grants: None,
                canary: None,
                approve: true,
            };
            match self.plugins.activate(&name, activation, WATCH).await {
                Ok(()) => tracing::info!(channel = %name, digest = digest.short(), "swapped"),
                Err(ActError::Stopping) => return,
                Err(error) => {
                    tracing::warn!(channel = %name, error = %error, "not swapped: what serves goes on");
                }
            }
        }
    }
}

/// Whether the channel's section names the file.
fn is_named(channel: &Channel, path: &Path) -> bool {
    channel.file.as_ref().and_then(|file| file.canonicalize().ok()).is_some_and(|file| file == path)
}

/// Whether the channel is served by a plugin of this name.
fn is_called(channel: &Channel, name: &str) -> bool {
    channel.ready.as_ref().is_some_and(|ready| ready.plugin().manifest().name == name)
}
