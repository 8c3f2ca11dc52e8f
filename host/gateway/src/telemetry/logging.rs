//! The log: structured lines on standard error, as text or JSON.
//!
//! Lines are written by a thread of their own, many in one write while many come; none is left out. Who writes faster than
//! standard error takes waits at `LINES_WAITING_MAX`.

use std::io::{BufWriter, IsTerminal as _};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Lines that wait to be written, at the most.
const LINES_WAITING_MAX: usize = 8 * 1024;

/// Sets up the log of this process. What is written after the guard is gone may be lost.
///
/// # Errors
/// When the filter can't be understood or a log is set up already.
pub fn init(config: &LogConfig) -> Result<WorkerGuard, Box<dyn std::error::Error + Send + Sync>> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let (lines, guard) = NonBlockingBuilder::default()
        .lossy(false)
        .buffered_lines_limit(LINES_WAITING_MAX)
        .thread_name("fanfare-log")
        .finish(BufWriter::new(std::io::stderr()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    match config.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).try_init()?,
    }
    Ok(guard)
}
