//! What the gateway tells about itself: log lines and metrics.

mod channels;
pub mod logging;
mod metrics;
mod plugins;

pub use metrics::{AttemptFacts, Metrics};
