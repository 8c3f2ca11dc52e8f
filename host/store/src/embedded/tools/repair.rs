//! `fanfare store repair`: a damaged store made one that starts, and the list of what was lost.
//!
//! The journal is rewritten without what can't be read, what the index still knows of it is committed again, and
//! the records are made to agree: a delivery that waits has its due entry, and one whose notification is gone is
//! given up. The index is built anew. On a store that is whole nothing is written but the index.

use std::path::PathBuf;

use serde::Serialize;

use super::super::shared::io_at;
use super::super::{EmbeddedEngine, EmbeddedOptions, OpenError};
use super::check::{Found, acknowledged_but_torn};
pub use super::mend::Lost;
use super::mend::Mends;
use super::owner::Owned;
use super::rebuild::close;
use super::rewrite::rewrite;
use super::scratch::{Scratch, failed};
use super::survey::{Frame, Problem, Problems, survey};

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// The directory.
    pub path: PathBuf,
    /// Whether anything had to be changed.
    pub repaired: bool,
    /// Where the damaged files are kept as they were.
    pub kept_in: Option<PathBuf>,
    /// What of the journal could not be read.
    pub damage: Vec<Problem>,
    /// Whether the index could say what that was. If not, only the commits are known.
    pub index_helped: bool,
    /// Records that were taken from the index, or from whole bytes in a broken frame.
    pub salvaged: u64,
    /// Deletions that were made again.
    pub deleted: u64,
    /// Due entries that were made or removed, so that every delivery that waits is sent.
    pub mended: u64,
    /// Everything that is known to be lost.
    pub lost: Vec<Lost>,
}

impl RepairReport {
    /// Whether everything is there that was, as far as that can be known.
    #[must_use]
    pub fn nothing_was_lost(&self) -> bool {
        self.lost.is_empty() && (self.damage.is_empty() || self.index_helped)
    }
}

/// Repairs a store that nobody serves.
///
/// # Errors
/// When it is in use, is not there, was written by a newer version, or the disk refuses.
pub fn repair(options: &EmbeddedOptions) -> Result<RepairReport, OpenError> {
    let owned = Owned::take(options)?;
    let serving = Found::look(options)?;
    let mut scratch = Scratch::new(options.files.clone(), &options.path)?;
    let mut visit = |frame: Frame<'_>, _: &mut Problems| scratch.push_frame(&frame);
    let mut survey = survey(&owned.segments, &*options.progress, "looking for damage", &mut visit)?;
    scratch.write(survey.end)?;
    acknowledged_but_torn(&mut survey, serving.covered());
    let mut mends = Mends::default();
    let mut kept_in = None;
    let mut index_helped = false;
    if survey.is_damaged() {
        if let Found::Open(index, covered) = &serving {
            mends.recall(index, *covered, &scratch.index, &owned.segments)?;
            index_helped = true;
        }
        // A sequence is never given out twice, not even one whose record is lost.
        let last = serving.covered().map_or(0, |covered| covered.sequence).max(survey.end.sequence);
        kept_in = Some(rewrite(&*options.files, &options.path, &owned.segments, &survey, last)?);
    }
    let index = options.path.join("index");
    if let Found::Open(serving, _) = &serving {
        serving.close().map_err(|error| failed(&index, &error))?;
    }
    options.files.remove(&index).map_err(io_at(&index))?;
    drop((scratch, owned));
    let engine = EmbeddedEngine::open(options.clone())?;
    mends.mend(&engine)?;
    close(&engine, options)?;
    let Mends { lost, salvaged, deleted, mended, .. } = mends;
    Ok(RepairReport {
        path: options.path.clone(),
        repaired: kept_in.is_some() || mended > 0 || !lost.is_empty(),
        kept_in,
        damage: survey.problems.listed,
        index_helped,
        salvaged,
        deleted,
        mended,
        lost,
    })
}
