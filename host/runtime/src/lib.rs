//! Fanfare's plugin runtime.

mod bindings;
mod engine;
mod limits;
mod options;
