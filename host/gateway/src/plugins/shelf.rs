//! The shelf: components by reference or digest, from the binary, a file or the store, as plugins that are loaded.
//!
//! What serves is in the store, so that a restart or a rollback finds it when the binary or the file has changed.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use fanfare_model::clock::Clock;
use fanfare_model::digest::Digest;
use fanfare_runtime::{COMPONENT_BYTES_MAX, Kind, Manifest, Plugin, Request, Runtime, Source, review};
use fanfare_store::plugins::{Asked, AuditEntry, Component, Generation, InstallError};

use super::error::{ActError, Refused};
use super::stage::{Recipe, grants};
use crate::config::PluginRef;
use crate::embedded;

/// A beginning of a digest that is as good as all of it, when only one plugin has it.
const SHORT_DIGEST: usize = 8;

/// Brought what came with the binary.
pub(super) const BUILT_IN: &str = "(built in)";

/// Finds, loads and keeps components; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) runtime: Runtime,
    pub(super) store: fanfare_store::plugins::Plugins,
    pub(super) clock: Arc<dyn Clock>,
}

/// A plugin and its bytes.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) plugin: Arc<Plugin>,
    pub(super) bytes: Cow<'static, [u8]>,
}

impl Shelf {
    /// What a section of the configuration names.
    pub(super) async fn named(&self, reference: &PluginRef) -> Result<Found, Refused> {
        let bytes = match reference {
            PluginRef::Embedded(name) => Cow::Borrowed(built_in(name)?),
            PluginRef::File(path) => Cow::Owned(read(path).await?),
            PluginRef::Installed(digest) => self.bytes(*digest).await?,
        };
        self.load(&reference.to_string(), bytes).await
    }

    /// The plugin with this digest, wherever it is.
    pub(super) async fn by_digest(&self, digest: Digest) -> Result<Arc<Plugin>, Refused> {
        Ok(self.found(digest).await?.plugin)
    }

    /// The same with its bytes.
    pub(super) async fn found(&self, digest: Digest) -> Result<Found, Refused> {
        let bytes = self.bytes(digest).await?;
        self.load(&digest.short(), bytes).await
    }

    async fn bytes(&self, digest: Digest) -> Result<Cow<'static, [u8]>, Refused> {
        if let Some(bytes) = embedded::name_of(digest).and_then(embedded::find) {
            return Ok(Cow::Borrowed(bytes));
        }
        match self.store.bytes(digest).await {
            Ok(Some(bytes)) => Ok(Cow::Owned(bytes)),
            Ok(None) => Err(Refused::new(
                "plugin.unknown",
                format!(
                    "no plugin with the digest {digest} is installed; install it with `fanfare plugin install`"
                ),
            )),
            Err(error) => Err(Refused::new("plugin.unreadable", error.to_string())),
        }
    }

    /// Inspects, compiles and links.
    pub(super) async fn load(&self, label: &str, bytes: Cow<'static, [u8]>) -> Result<Found, Refused> {
        let source = Source { label: label.to_owned(), bytes: bytes.clone() };
        let loaded = self.runtime.load(source).await;
        let plugin = loaded.map_err(|error| Refused::new(error.code(), error.to_string()))?;
        Ok(Found { plugin, bytes })
    }

    /// What a person calls a plugin: its digest, the beginning of one, the name of an installed one, of which the latest
    /// counts, or of one that is built in.
    pub(super) async fn find(&self, text: &str) -> Result<Digest, ActError> {
        let bare = text.strip_prefix("sha256:").unwrap_or(text);
        let hex = bare.len() >= SHORT_DIGEST && bare.chars().all(|c| c.is_ascii_hexdigit());
        let components = self.store.components().await?;
        let built_in = embedded::digests();
        if hex {
            let bare = bare.to_ascii_lowercase();
            let all = components.iter().map(|component| component.digest);
            let all = all.chain(built_in.iter().map(|(_, digest)| *digest));
            let mut fits: Vec<Digest> = all.filter(|digest| digest.to_string().starts_with(&bare)).collect();
            fits.sort_unstable_by_key(|digest| *digest.as_bytes());
            fits.dedup();
            match fits.as_slice() {
                [one] => return Ok(*one),
                [] => {}
                _ => {
                    let why = format!(
                        "{} plugins have a digest that begins with {bare}; write more of it",
                        fits.len()
                    );
                    return Err(ActError::Absent(Refused::new("plugin.unknown", why)));
                }
            }
        }
        let named = components.iter().filter(|component| component.name == text);
        let brought = named.filter(|component| component.installed_by != BUILT_IN);
        if let Some(latest) = brought.max_by_key(|component| component.installed_at) {
            return Ok(latest.digest);
        }
        let found = built_in.iter().find(|(name, _)| *name == text).map(|(_, digest)| *digest);
        found.ok_or_else(|| {
            let short: String = text.chars().take(80).collect();
            let why = format!(
                "no plugin {short:?} is installed or built in; see `fanfare plugin list`, install one with `fanfare plugin install FILE`"
            );
            ActError::Absent(Refused::new("plugin.unknown", why))
        })
    }

    /// Puts a plugin that is to serve into the store, if it is not there.
    pub(super) async fn keep(&self, found: &Found, by: &str) -> Result<(), InstallError> {
        // The next binary may bring another one under the name: this copy is for what serves now.
        let by = if embedded::name_of(found.plugin.digest()).is_some() { BUILT_IN } else { by };
        let component = self.component(&found.plugin, found.bytes.len(), by);
        self.store.install(&component, &found.bytes, None).await.map(drop)
    }

    /// Installs a component that somebody brought; `false` when it was there already.
    pub(super) async fn install(&self, bytes: Vec<u8>, by: &str) -> Result<(Component, bool), ActError> {
        let found = self.load("the component", Cow::Owned(bytes)).await.map_err(ActError::Refused)?;
        let component = self.component(&found.plugin, found.bytes.len(), by);
        let detail = format!("{} {}, {} bytes", component.name, component.version, component.bytes);
        let subject = format!("plugin {}", component.name);
        let mut audit = AuditEntry::new(component.installed_at, by, "install", subject, detail);
        (audit.digest, audit.added) = (Some(component.digest), component.asked.lines());
        let new = self.store.install(&component, &found.bytes, Some(&audit)).await?;
        let component = self.store.component(component.digest).await?.unwrap_or(component);
        Ok((component, new))
    }

    /// What a generation's plugin asks for, and what of it is granted.
    pub(super) async fn permissions(&self, generation: &Generation) -> Result<Vec<Request>, Refused> {
        let plugin = self.by_digest(generation.plugin).await?;
        let recipe = Recipe::of(generation);
        let secrets: Vec<String> = recipe.secrets.keys().cloned().collect();
        Ok(review(&plugin, &recipe.settings, &grants(&recipe.grants)?, &secrets))
    }

    pub(super) fn component(&self, plugin: &Plugin, bytes: usize, by: &str) -> Component {
        let manifest = plugin.manifest();
        Component {
            digest: plugin.digest(),
            bytes: bytes as u64,
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            kind: manifest.kind.as_str().to_owned(),
            description: manifest.description.clone(),
            asked: asked(manifest),
            installed_at: self.clock.now(),
            installed_by: by.to_owned(),
        }
    }
}

/// What a manifest asks for.
pub(super) fn asked(manifest: &Manifest) -> Asked {
    let permissions = &manifest.permissions;
    Asked {
        http: permissions.http.clone(),
        smtp: permissions.smtp.clone(),
        secrets: permissions.secrets.clone(),
        secrets_in_body: permissions.secrets_in_body,
    }
}

/// Whether a plugin of this kind serves a channel.
pub(super) fn is_channel(plugin: &Plugin) -> bool {
    plugin.kind() == Kind::Channel
}

fn built_in(name: &str) -> Result<&'static [u8], Refused> {
    embedded::find(name).ok_or_else(|| {
        let names: Vec<&str> = embedded::all().map(|(name, _)| name).collect();
        let message = format!(
            "no plugin {name:?} is built in; built in are {}; for a file give its path, such as ./{name}.wasm",
            names.join(", ")
        );
        Refused::new("plugin.unknown", message)
    })
}

/// Reads a component's file, and no more of it than a component may have.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, Refused> {
    use tokio::io::AsyncReadExt as _;
    let failed = |error: std::io::Error| {
        let message = format!("{} can't be read: {error}; give the path of a component", path.display());
        Refused::new("plugin.unreadable", message)
    };
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    // One byte more, so that what is too large is told from what just fits.
    file.take(COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    Ok(bytes)
}
