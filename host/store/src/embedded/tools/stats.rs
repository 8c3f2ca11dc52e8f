//! `fanfare store stats`: the segments, how much of each is current, and how many records of each kind there are.
//!
//! One pass over the index, a page at a time. The owner of a store can make it while it serves: what was committed
//! in the meantime is counted or not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::super::index::{IndexError, Stored};
use super::super::journal::segment_name;
use super::super::overlay::record_bytes;
use super::super::progress::{Meter, Progress};
use super::super::shared::{Shared, io_at};
use super::super::{EmbeddedEngine, EmbeddedOptions, OpenError};
use super::check::KindCount;
use super::owner::Owned;
use super::scratch::{Walk, failed};
use crate::kinds;

/// A file of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentStats {
    /// The file in `journal`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Bytes of the records in it that are current.
    pub live_bytes: u64,
    /// The same, in percent of its length.
    pub live_percent: u64,
}

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatsReport {
    /// The directory.
    pub path: PathBuf,
    /// The files of the journal, oldest first.
    pub segments: Vec<SegmentStats>,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of records that are current.
    pub live_bytes: u64,
    /// The same, in percent.
    pub live_percent: u64,
    /// Current records by kind.
    pub kinds: BTreeMap<&'static str, KindCount>,
}

/// Looks at a store that nobody serves, after replaying what its index does not cover.
///
/// # Errors
/// When it is in use or not there, and what a start can meet.
pub fn stats(options: &EmbeddedOptions) -> Result<StatsReport, OpenError> {
    drop(Owned::take(options)?);
    let engine = EmbeddedEngine::open(options.clone())?;
    engine.stats(&*options.progress)
}

impl EmbeddedEngine {
    /// Counts what it holds. Blocks, for about a second a million records.
    ///
    /// # Errors
    /// When the index can't be read.
    pub fn stats(&self, progress: &dyn Progress) -> Result<StatsReport, OpenError> {
        if !self.parts.indexer.flush_now() {
            let reason =
                "it can't be written at present, so nothing can be counted: see whether the disk is full";
            return Err(OpenError::Index { path: self.path().join("index"), reason: reason.to_owned() });
        }
        count(&self.parts.shared, self.path(), progress)
    }
}

fn count(shared: &Shared, path: PathBuf, progress: &dyn Progress) -> Result<StatsReport, OpenError> {
    let failed = |error: IndexError| failed(&path.join("index"), &error);
    let expected: i64 = shared.index.shares().of.values().map(|share| share.live).sum();
    let mut meter = Meter::begin(progress, "counting", u64::try_from(expected).unwrap_or(0));
    let mut kinds: BTreeMap<&'static str, KindCount> = BTreeMap::new();
    let mut live: BTreeMap<u64, u64> = BTreeMap::new();
    let mut entries = Walk::new(&shared.index);
    while let Some((key, indexed)) = entries.next().map_err(failed)? {
        meter.go_on().map_err(io_at(&path))?;
        let count = kinds.entry(kinds::name(&key)).or_default();
        let value = indexed.value.bytes();
        count.records += 1;
        count.bytes += value;
        let segment = match &indexed.value {
            Stored::Inline { segment, .. } => *segment,
            Stored::At(at) => at.segment,
        };
        let bytes = record_bytes(key.len(), usize::try_from(value).unwrap_or(usize::MAX));
        *live.entry(segment).or_default() += bytes;
        meter.advance(bytes);
    }
    let io = io_at(shared.segments.directory());
    let mut segments = Vec::new();
    for number in shared.segments.numbers().map_err(&io)? {
        let bytes = match shared.segments.file(number).and_then(|file| file.length()) {
            Ok(bytes) => bytes,
            // Reclaim was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io(error)),
        };
        let live_bytes = live.get(&number).copied().unwrap_or(0).min(bytes);
        let live_percent = percent(live_bytes, bytes);
        segments.push(SegmentStats { name: segment_name(number), bytes, live_bytes, live_percent });
    }
    let bytes = segments.iter().map(|segment| segment.bytes).sum();
    let live_bytes = segments.iter().map(|segment| segment.live_bytes).sum();
    let live_percent = percent(live_bytes, bytes);
    Ok(StatsReport { path, segments, bytes, live_bytes, live_percent, kinds })
}

fn percent(part: u64, of: u64) -> u64 {
    part.saturating_mul(100).checked_div(of).unwrap_or(0)
}
