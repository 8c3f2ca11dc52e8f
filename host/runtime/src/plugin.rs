//! A plugin: a component that was inspected and compiled, and links against this host.

use std::fmt;

use fanfare_model::digest::Digest;
use wasmtime::component::{ComponentExportIndex, InstancePre};

use crate::bindings::channel::ChannelPre;
use crate::bindings::router::RouterPre;
use crate::guest::Guest;
use crate::manifest::{Kind, Manifest};

/// A loaded plugin; shared by the generations that use it.
pub struct Plugin {
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) pre: InstancePre<Guest>,
    pub(crate) exports: Exports,
}

/// Where a component's functions are: found once, so that a call looks up no names.
#[derive(Clone, Copy)]
pub(crate) struct Exports {
    pub(crate) check: ComponentExportIndex,
    /// `send` of a channel, `route` of a router.
    pub(crate) work: ComponentExportIndex,
}

impl Exports {
    fn of(kind: Kind, pre: &InstancePre<Guest>) -> wasmtime::Result<Self> {
        let (interface, work) = match kind {
            Kind::Channel => {
                ChannelPre::new(pre.clone())?;
                ("fanfare:channel/sender@1.0.0", "send")
            }
            Kind::Router => {
                RouterPre::new(pre.clone())?;
                ("fanfare:router/rules@1.0.0", "route")
            }
        };
        let component = pre.component();
        let missing = |name: &str| wasmtime::Error::msg(format!("it exports no {name}"));
        let within = component.get_export_index(None, interface).ok_or_else(|| missing(interface))?;
        let function =
            |name: &str| component.get_export_index(Some(&within), name).ok_or_else(|| missing(name));
        Ok(Self { check: function("check")?, work: function(work)? })
    }
}

impl Plugin {
    /// # Errors
    /// The exports are not those of its kind.
    pub(crate) fn new(digest: Digest, manifest: Manifest, pre: InstancePre<Guest>) -> wasmtime::Result<Self> {
        let exports = Exports::of(manifest.kind, &pre)?;
        Ok(Self { digest, manifest, pre, exports })
    }

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
