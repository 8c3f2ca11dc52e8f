//! The store: nothing that was accepted is lost.
//!
//! Below is the [`engine::Engine`]: an ordered key-value space with durable transactions. `embedded` is the
//! one inside the binary (a journal, and sled as its index), `memory` the plain one that tests compare it with.
//! Above it are the layers: queue, claims, dead letters, history, statistics.

mod accept;
mod cell;
mod claims;
#[cfg(test)]
mod contract;
mod cursor;
pub mod embedded;
pub mod engine;
mod flight;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod history;
mod keys;
mod kinds;
mod ledger;
pub mod memory;
mod observe;
pub mod plugins;
mod records;
mod retention;
mod store;
mod writes;

pub use accept::{
    AcceptError, Acceptance, AcceptedItem, DedupClaim, IdempotencyClaim, MakeAnswer, NewNotification,
};
pub use cell::{Cell, ChangeError, Changed, Ticket};
pub use cursor::{BadCursor, Cursor};
pub use flight::Durable;
pub use history::{DeadLetter, DeadLetterFilter, EXAMINED_MAX, ListFilter, Listing};
pub use keys::DueEntry;
pub use observe::{CommitEnd, Observer, StoreFigures};
pub use retention::{Retention, SweepError, Swept};
pub use store::Store;

#[cfg(test)]
mod tests;
