//! Fanfare's plugin runtime.

mod bindings;
mod engine;
mod limits;
mod options;
pub mod crypto;
pub mod egress;
pub mod secrets;
pub mod smtp;
