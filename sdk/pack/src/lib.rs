//! Builds workspaces of plugins to WebAssembly components, and packs their manifests into them.
//!
//! For build scripts: the gateway's (first-party plugins) and the test components'. It owns the child `cargo`, which
//! has a target folder, a lock file and profiles of its own and never meets the outer build's flags; and the custom
//! section in which a component carries its manifest. It refuses to overwrite a manifest, to take a file that is no
//! component, and to go on when a child fails: the child's own words are in the error.

mod cargo;
mod section;
mod target;
mod workspace;

pub use cargo::BuildError;
pub use section::{PackError, SECTION, manifest, pack};
pub use workspace::{Built, Workspace, index};
