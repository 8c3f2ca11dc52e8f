//! What every measurement takes on the command line.

use std::time::Duration;

use clap::Args;

/// How long, how often, and how it is printed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Common {
    /// Print one JSON object a figure instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// How long each load lasts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Figures are medians of so many rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=99))]
    pub(crate) rounds: u64,
}

impl Common {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
