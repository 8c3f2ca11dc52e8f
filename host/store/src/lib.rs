//! The store: nothing that was accepted is lost.
//!
//! Below is the [`engine::Engine`]: an ordered key-value space with durable transactions. `embedded` is the
//! one inside the binary (a journal, and sled as its index), `memory` the plain one that tests compare it with.
//! Above it are the layers: queue, claims, dead letters, history, statistics.

pub mod engine;
pub mod memory;
