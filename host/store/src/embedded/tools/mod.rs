//! What looks at a store from outside: check, statistics, rebuilding, repair and backup.
//!
//! All but statistics and a backup while serving hold the store's lock, and are refused while a gateway has it. They
//! reach above the engine: they know the records of the layers, so that they can say which notification a byte
//! belonged to.

mod backup;
mod check;
mod links;
mod mend;
mod owner;
mod rebuild;
mod repair;
mod rewrite;
mod salt;
mod scratch;
mod stats;
mod survey;
#[cfg(test)]
mod tests;
mod walk;

pub use backup::{BackupReport, backup};
pub use check::{CheckReport, IndexState, KindCount, check};
pub use rebuild::{RebuildReport, rebuild};
pub use repair::{Lost, RepairReport, repair};
pub use stats::{SegmentStats, StatsReport, stats};
pub use survey::{PROBLEMS_MAX, Problem};
