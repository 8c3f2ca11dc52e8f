//! The one place that loads machine code.

#![allow(
    unsafe_code,
    reason = "wasmtime can't check machine code; the contract below is what makes it sound"
)]

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads machine code that this program made.
///
/// The contract: `code` came out of `Engine::precompile_component` of this program, or of a child running this very
/// program, and was not changed since. [`crate::compile`] is the only caller, and keeps it so: it compiles the
/// component itself, or reads a file that it wrote into the cache folder, whose name carries the component's
/// digest and the compatibility hash, and whose SHA-256 it has checked. Compiled code from outside is refused before
/// (`inspect`). wasmtime itself refuses code of another version or configuration. Whoever can write to the
/// cache folder can make the gateway run what they like, as whoever can write to the binary can.
pub(crate) fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: see the contract above.
    unsafe { Component::deserialize(engine, code) }
}
