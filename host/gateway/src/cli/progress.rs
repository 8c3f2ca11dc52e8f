//! How far a long reading of the store is, with the time that it will still take.
//!
//! Nothing is shown of what takes less than [`SHOWN_AFTER`]. A terminal gets a bar; elsewhere a line comes every
//! [`LINE_EVERY`], to the log when a service starts, and to standard error when a command runs.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fanfare_store::embedded::progress::Progress;
use indicatif::{ProgressBar, ProgressStyle};

const SHOWN_AFTER: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Where it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Terminal,
    StandardError,
    Log,
}

/// Tells a person how far the store's work is.
#[derive(Debug)]
pub(crate) struct Telling {
    to: To,
    work: Mutex<Option<Work>>,
}

#[derive(Debug)]
struct Work {
    what: String,
    bytes_total: u64,
    begun: Instant,
    told: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Telling {
    /// For a command: a bar on a terminal.
    pub(crate) fn for_command() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self::new(if terminal { To::Terminal } else { To::StandardError })
    }

    /// For a service: lines in its log, and a bar where somebody looks at a terminal.
    pub(crate) fn for_service() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self::new(if terminal { To::Terminal } else { To::Log })
    }

    fn new(to: To) -> Self {
        Self { to, work: Mutex::new(None) }
    }

    /// Work of another process, which says itself what it is.
    pub(crate) fn begin_named(&self, what: String, bytes_total: u64) {
        self.end();
        let work = Work { what, bytes_total, begun: Instant::now(), told: None, bar: None };
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
    }
}

impl Progress for Telling {
    fn begin(&self, what: &'static str, bytes_total: u64) {
        self.begin_named(what.to_owned(), bytes_total);
    }

    fn reached(&self, bytes: u64) {
        if let Some(work) = &mut *self.work.lock().unwrap_or_else(PoisonError::into_inner) {
            work.reached(self.to, bytes);
        }
    }

    fn end(&self) {
        let ended = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Work { bar: Some(bar), .. }) = ended {
            bar.finish_and_clear();
        }
    }
}

impl Work {
    fn reached(&mut self, to: To, bytes: u64) {
        let elapsed = self.begun.elapsed();
        if elapsed < SHOWN_AFTER {
            return;
        }
        if to == To::Terminal {
            self.bar.get_or_insert_with(|| bar(&self.what, self.bytes_total, elapsed)).set_position(bytes);
            return;
        }
        if self.told.is_some_and(|told| told.elapsed() < LINE_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let (percent, left_s) = estimate(bytes, self.bytes_total, elapsed);
        if to == To::Log {
            tracing::info!(what = %self.what, percent, left_s, "store is being read");
        } else {
            eprintln!("{}: {percent} %, {left_s} s left", self.what);
        }
    }
}

fn bar(what: &str, bytes_total: u64, elapsed: Duration) -> ProgressBar {
    let template = "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes_total)
        .with_style(style.progress_chars("=> "))
        .with_message(what.to_owned())
        .with_elapsed(elapsed)
}

/// Percent done, and the seconds that are left if it goes on at the same speed.
fn estimate(bytes: u64, total: u64, elapsed: Duration) -> (u64, u64) {
    let (bytes, total) = (u128::from(bytes), u128::from(total.max(1)));
    let percent = (bytes * 100 / total).min(100);
    let left_ms = elapsed.as_millis() * total.saturating_sub(bytes) / bytes.max(1);
    let narrow = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
    (narrow(percent), narrow(left_ms.div_ceil(1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_the_speed_so_far() {
        assert_eq!(estimate(25, 100, Duration::from_secs(2)), (25, 6));
        assert_eq!(estimate(100, 100, Duration::from_secs(2)), (100, 0));
        assert_eq!(estimate(120, 100, Duration::from_secs(2)), (100, 0));
        assert_eq!(estimate(0, 0, Duration::from_secs(2)), (0, 2));
    }
}
