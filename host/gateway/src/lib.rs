//! Fanfare's gateway: in over HTTP, out through sandboxed channels, nothing lost.
//!
//! `api -> intake -> store`, then `store -> dispatch -> runtime`, and the outcome goes back to the store. Only
//! [`intake`] and [`dispatch`] see both the store and the runtime.

pub mod api;
pub mod auth;
pub mod cli;
mod client;
pub mod config;
mod control;
mod demo;
pub mod desk;
pub mod dispatch;
pub mod embedded;
pub mod gateway;
pub mod intake;
pub mod memory;
mod plugin_cli;
pub mod plugins;
pub mod registry;
mod serve;
pub mod telemetry;
#[cfg(test)]
mod testing;

pub use gateway::Gateway;
