//! `fanfare store check`: every segment, frame and record, the index against the journal, and each delivery that
//! waits against its due entry. Changes nothing but its own scratch index.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::super::format::{FRAME_HEADER_BYTES, Payload, decode_payload};
use super::super::index::{Index, Indexed, Stored, Unopened, bring_home};
use super::super::journal::{Position, Segments};
use super::super::shared::io_at;
use super::super::{EmbeddedOptions, OpenError};
use super::links;
use super::owner::Owned;
use super::scratch::{Scratch, Walk, failed};
use super::survey::{Frame, Problem, Problems, Survey, survey};
use crate::engine::Key;
use crate::kinds;

/// How the index stands to the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum IndexState {
    /// It says what the journal says, up to the position that it covers.
    Agrees {
        /// Keys that were compared.
        keys: u64,
        /// Frames behind that position, which the next start replays.
        frames_behind: u64,
    },
    /// There is none, or it failed in the last run; the next start builds it.
    Absent,
    /// It can't be opened; the next start builds it anew.
    Unusable {
        /// What it said.
        reason: String,
    },
    /// It differs from the journal: see the problems.
    Differs,
    /// The journal is damaged before the position that it covers, so there is nothing to compare it with.
    NotCompared,
}

/// How many records of a kind are current, and the bytes of their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindCount {
    /// Records.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The directory.
    pub path: PathBuf,
    /// Whether nothing is wrong. An absent index or one that does not open is no damage.
    pub whole: bool,
    /// Files of the journal.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whole frames.
    pub frames: u64,
    /// Changes in them, each read as what its key says it is.
    pub records: u64,
    /// Bytes at the end that no start would take: a write that was never acknowledged.
    pub torn_bytes: u64,
    /// The index.
    pub index: IndexState,
    /// Current records by kind.
    pub kinds: BTreeMap<&'static str, KindCount>,
    /// The first of them, see [`super::PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// All of them.
    pub problems_total: u64,
}

/// The index that serves, as it was found.
pub(crate) enum Found {
    Absent,
    Unusable(String),
    Open(Box<Index>, Position),
}

/// Verifies a store that nobody serves.
///
/// # Errors
/// When it is in use, is not there, was written by a newer version, or the disk refuses.
pub fn check(options: &EmbeddedOptions) -> Result<CheckReport, OpenError> {
    let owned = Owned::take(options)?;
    let serving = Found::look(options)?;
    let covered = serving.covered();
    let mut scratch = Scratch::new(options.files.clone(), &options.path)?;
    let mut compared = None;
    let mut frames_behind = 0;
    let mut visit = |frame: Frame<'_>, problems: &mut Problems| {
        verify_records(&frame, problems);
        scratch.push_frame(&frame)?;
        let has_changes = matches!(decode_payload(frame.payload), Some(Payload::Changes(_)));
        frames_behind += u64::from(compared.is_some() && has_changes);
        if let Found::Open(index, covered) = &serving
            && (covered.segment, covered.offset) == (frame.end.segment, frame.end.offset)
        {
            scratch.write(frame.end)?;
            compared = Some(compare(index, &scratch.index, &owned.segments, problems)?);
        }
        Ok(())
    };
    let mut survey = survey(&owned.segments, &*options.progress, "checking", &mut visit)?;
    scratch.write(survey.end)?;
    acknowledged_but_torn(&mut survey, covered);
    let index = index_state(&mut survey, &serving, compared, frames_behind);
    if let Found::Open(index, _) = &serving {
        index.close().map_err(|error| failed(&options.path.join("index"), &error))?;
    }
    let kinds = if survey.is_damaged() {
        BTreeMap::new()
    } else {
        links::verify(&scratch.index, &owned.segments, &mut survey.problems)?
    };
    Ok(report(options, survey, index, kinds))
}

fn report(
    options: &EmbeddedOptions,
    survey: Survey,
    index: IndexState,
    kinds: BTreeMap<&'static str, KindCount>,
) -> CheckReport {
    let torn_bytes = survey.torn.as_ref().map_or(0, |(_, bytes)| bytes.end - bytes.start);
    CheckReport {
        path: options.path.clone(),
        whole: survey.problems.total == 0,
        segments: survey.segments.iter().filter(|segment| !segment.missing).count() as u64,
        bytes: survey.segments.iter().map(|segment| segment.bytes).sum(),
        frames: survey.segments.iter().map(|segment| segment.frames).sum(),
        records: survey.records,
        torn_bytes,
        index,
        kinds,
        problems: survey.problems.listed,
        problems_total: survey.problems.total,
    }
}

impl Found {
    /// Opening creates what is not there, so it is asked for first.
    pub(crate) fn look(options: &EmbeddedOptions) -> Result<Self, OpenError> {
        let path = options.path.join("index");
        bring_home(&path).map_err(io_at(&path))?;
        if !options.files.exists(&path) || options.files.exists(&options.path.join("index.rebuild")) {
            return Ok(Self::Absent);
        }
        Ok(match Index::open(&path) {
            Ok((index, Some(covered))) => Self::Open(Box::new(index), covered),
            Ok((_, None)) => Self::Absent,
            Err(Unopened::Unusable(error)) => Self::Unusable(error.to_string()),
            Err(Unopened::Newer(found)) => {
                return Err(OpenError::NewerFormat { path, found, known: Index::format() });
            }
        })
    }

    /// The position that it covers: what lies before was acknowledged.
    pub(crate) fn covered(&self) -> Option<Position> {
        match self {
            Self::Open(_, covered) => Some(*covered),
            Self::Absent | Self::Unusable(_) => None,
        }
    }
}

fn verify_records(frame: &Frame<'_>, problems: &mut Problems) {
    let Some(Payload::Changes(changes)) = decode_payload(frame.payload) else { return };
    for change in changes {
        let Some((value, at)) = change.value else { continue };
        if let Err(error) = kinds::verify(change.key, value) {
            let at = frame.at + FRAME_HEADER_BYTES as u64 + at;
            let text = format!("{error}, in a frame that is whole");
            let stretch = at..at + value.len() as u64;
            problems.add(Problem::of_stretch("record.unreadable", frame.segment, &stretch, text));
        }
    }
}

/// What the index covers was acknowledged, so a tail before that position is not torn but damaged.
pub(crate) fn acknowledged_but_torn(survey: &mut Survey, covered: Option<Position>) {
    let Some(covered) = covered else { return };
    let end = (survey.end.segment, survey.end.offset);
    if end >= (covered.segment, covered.offset) {
        return;
    }
    survey.close_open(covered.sequence);
    let torn = survey.torn.take();
    let has_file = torn.is_some();
    let (segment, stretch) = match torn {
        Some(torn) => torn,
        None if covered.segment == end.0 => (end.0, end.1..end.1),
        None => (covered.segment, 0..0),
    };
    let commits = match covered.sequence.checked_sub(survey.end.sequence) {
        Some(lost @ 1..) => format!(", {lost} commits of it from {} on", survey.end.sequence + 1),
        _ => String::new(),
    };
    let text = format!(
        "the journal ends here, and the index covers it up to segment {:016x} at offset {}: acknowledged work is lost{commits}",
        covered.segment, covered.offset
    );
    survey.problems.add(Problem::of_stretch("journal.short", segment, &stretch, text));
    survey.greatest = survey.greatest.max(segment);
    match survey.segments.iter_mut().find(|surveyed| surveyed.number == segment) {
        Some(surveyed) => surveyed.broken.push(stretch),
        None => survey.lacks(segment, has_file),
    }
}

fn index_state(
    survey: &mut Survey,
    serving: &Found,
    compared: Option<Compared>,
    frames_behind: u64,
) -> IndexState {
    match (serving, compared) {
        (Found::Absent, _) => IndexState::Absent,
        (Found::Unusable(reason), _) => IndexState::Unusable { reason: reason.clone() },
        (Found::Open(..), Some(Compared { keys, differ: 0 })) => IndexState::Agrees { keys, frames_behind },
        (Found::Open(..), Some(_)) => IndexState::Differs,
        (Found::Open(..), None) if survey.is_damaged() => IndexState::NotCompared,
        (Found::Open(_, covered), None) => {
            let text = format!(
                "the index says that it covers segment {:016x} up to offset {}, where no frame ends",
                covered.segment, covered.offset
            );
            survey.problems.add(Problem::of_store("index.position", text));
            IndexState::Differs
        }
    }
}

/// What came of a comparison.
struct Compared {
    keys: u64,
    differ: u64,
}

fn compare(
    serving: &Index,
    journal: &Index,
    segments: &Segments,
    problems: &mut Problems,
) -> Result<Compared, OpenError> {
    let io = |error| failed(segments.directory(), &error);
    let (mut left, mut right) = (Walk::new(serving), Walk::new(journal));
    let mut compared = Compared { keys: 0, differ: 0 };
    let (mut has, mut ought) = (left.next().map_err(io)?, right.next().map_err(io)?);
    loop {
        let order = match (&has, &ought) {
            (None, None) => return Ok(compared),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((has, _)), Some((ought, _))) => has.cmp(ought),
        };
        compared.keys += 1;
        let wrong = match (&has, &ought) {
            (Some((key, has)), Some((_, ought))) if order.is_eq() => {
                differs(has, ought, segments).map(|how| (key, how))
            }
            (Some((key, _)), _) if order.is_lt() => {
                Some((key, "is in the index, and the journal has no such record"))
            }
            (_, Some((key, _))) => Some((key, "is in the journal, and the index lacks it")),
            (_, None) => None,
        };
        if let Some((key, how)) = wrong {
            compared.differ += 1;
            problems.add(Problem::of_store("index.differs", format!("{} {how}", describe(key))));
        }
        if order.is_le() {
            has = left.next().map_err(io)?;
        }
        if order.is_ge() {
            ought = right.next().map_err(io)?;
        }
    }
}

fn differs(has: &Indexed, ought: &Indexed, segments: &Segments) -> Option<&'static str> {
    if has.version != ought.version {
        return Some("has another version in the index than in the journal");
    }
    match (&has.value, &ought.value) {
        (Stored::Inline { value: has, .. }, Stored::Inline { value: ought, .. }) if has == ought => None,
        (Stored::At(has), Stored::At(ought)) if has == ought => None,
        // A copy that reclaim made of the same record: good where it reads as the same bytes.
        (Stored::At(has), Stored::At(ought))
            if (has.length, has.crc) == (ought.length, ought.crc) && links::read(segments, *has).is_ok() =>
        {
            None
        }
        _ => Some("has another value in the index than in the journal"),
    }
}

/// A key for people.
pub(crate) fn describe(key: &Key) -> String {
    let kind = kinds::name(key);
    kinds::notification(key).map_or_else(
        || format!("a {kind} record ({})", key.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        |id| format!("the {kind} record of {id}"),
    )
}
