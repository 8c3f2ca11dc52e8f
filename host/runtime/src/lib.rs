//! Fanfare's plugin runtime: loading, limits, host capabilities, egress, generations.
//!
//! A [`Runtime`] loads components ([`Runtime::load`]) and stages generations of them; a generation makes attempts or
//! decides routes, each in a fresh instance inside every limit. Nothing here knows the store or HTTP serving.

mod account;
mod bindings;
mod call;
mod compile;
mod convert;
pub mod crypto;
pub mod egress;
mod engine;
mod error;
mod generation;
mod guest;
mod guests;
mod inert;
mod inspect;
mod limits;
mod manifest;
mod meter;
mod options;
mod output;
mod plugin;
mod priority;
pub mod rehearsal;
mod report;
mod review;
mod runtime;
pub mod secrets;
pub mod smtp;
mod stage;
mod trusted;
mod warm;
mod web;

pub use account::{GenerationUsage, Totals};
pub use compile::compile_stdio;
pub use error::{LoadError, StageError};
pub use generation::{ChannelGeneration, ChannelSpec, Renewal, RouterGeneration, RouterSpec};
pub use inspect::{COMPONENT_BYTES_MAX, Examination, contract_served, examine, inspect, mismatch};
pub use limits::Limits;
pub use manifest::{Kind, Manifest, ManifestLimits, Permissions, SECTION};
pub use options::{Compiler, Concurrency, RuntimeOptions, StartError};
pub use plugin::Plugin;
pub use report::{
    AttemptInput, AttemptReport, CallEnd, Contact, Cut, Level, LogLine, Person, Plan, PlanTarget,
    RecipientInfo, RequestSummary, RouteReport, Usage,
};
pub use review::{Request, review};
pub use runtime::{Runtime, Source};
pub use warm::{Isolation, UnknownIsolation};

#[cfg(test)]
mod tests;
