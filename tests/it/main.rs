//! Whole-system tests: the real binary, real sockets, real signals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it did not expect has failed"
)]

mod child;
mod cli;
mod email;
mod examples;
mod fallback;
mod idempotency;
mod kill;
mod mailbox;
mod plugins;
mod surface;
