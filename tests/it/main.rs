//! Whole-system tests: the real binary, real sockets, real signals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it did not expect has failed"
)]

mod access;
mod alert;
mod author;
mod canaries;
mod child;
mod cli;
mod command;
mod contracts;
mod email;
mod examples;
mod fallback;
mod fan_out;
mod full;
mod hook;
mod hostile;
mod house;
mod http2;
mod idempotency;
mod kill;
mod limits;
mod mailbox;
mod operate;
mod pages;
mod plugins;
mod readme;
mod routers;
mod stop;
mod store;
mod surface;
mod waiting;
