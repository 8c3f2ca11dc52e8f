//! A plugin: a component that was inspected and compiled, and links against this host.

use std::fmt;

use fanfare_model::digest::Digest;
use wasmtime::component::InstancePre;

use crate::guest::Guest;
use crate::manifest::{Kind, Manifest};

/// A loaded plugin; shared by the generations that use it.
pub struct Plugin {
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) pre: InstancePre<Guest>,
}

impl Plugin {
    /// The SHA-256 of its bytes, the manifest included.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.manifest.kind
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Manifest { name, version, .. } = &self.manifest;
        write!(f, "Plugin({name} {version} {})", self.digest.short())
    }
}
