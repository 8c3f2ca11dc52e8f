//! A walk over the whole journal: which stretches are whole, which are not, and what is torn.
//!
//! Which segments there must be, and how much of each counts, is said by the last manifest of the newest segment;
//! a journal that never had one has no gaps. Nothing is written. Problems are listed up to [`PROBLEMS_MAX`] and
//! counted beyond it.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use super::super::OpenError;
use super::super::format::{
    BadHeader, FORMAT, FORMAT_PLAIN, HEADER_BYTES, Manifest, Payload, decode_payload,
};
use super::super::journal::{Position, Segments, segment_name};
use super::super::progress::{Meter, Progress};
use super::super::shared::io_at;
use super::salt;
use super::walk::{self, Reader, Stretch};

/// More would not be read by anyone.
pub const PROBLEMS_MAX: usize = 1_000;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable, such as `frame.broken`.
    pub code: &'static str,
    /// The file in `journal`, where it concerns one.
    pub segment: Option<String>,
    /// The first byte that it concerns.
    pub from: Option<u64>,
    /// The first byte behind it.
    pub to: Option<u64>,
    /// For people.
    pub text: String,
}

impl Problem {
    pub(crate) fn of_stretch(code: &'static str, segment: u64, stretch: &Range<u64>, text: String) -> Self {
        let (from, to) = (Some(stretch.start), Some(stretch.end));
        Self { code, segment: Some(segment_name(segment)), from, to, text }
    }

    pub(crate) fn of_store(code: &'static str, text: String) -> Self {
        Self { code, segment: None, from: None, to: None, text }
    }
}

/// A bounded list of them.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) listed: Vec<Problem>,
    pub(crate) total: u64,
}

impl Problems {
    pub(crate) fn add(&mut self, problem: Problem) {
        self.total += 1;
        if self.listed.len() < PROBLEMS_MAX {
            self.listed.push(problem);
        }
    }
}

/// What one number stands for.
#[derive(Debug)]
pub(crate) struct Surveyed {
    pub(crate) number: u64,
    /// None when the file is missing, or nothing in it can be told from noise.
    pub(crate) reader: Option<Reader>,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    /// The last sequence given out before it, and in it.
    pub(crate) sequences: (u64, u64),
    pub(crate) broken: Vec<Range<u64>>,
    pub(crate) missing: bool,
    pub(crate) header_broken: bool,
}

impl Surveyed {
    fn new(number: u64, reader: Option<Reader>, bytes: u64) -> Self {
        Self {
            number,
            reader,
            bytes,
            frames: 0,
            sequences: (0, 0),
            broken: Vec::new(),
            missing: false,
            header_broken: false,
        }
    }

    /// Whether anything in it must be mended before a start.
    pub(crate) fn is_damaged(&self) -> bool {
        self.missing || self.header_broken || !self.broken.is_empty()
    }
}

/// The journal.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) segments: Vec<Surveyed>,
    pub(crate) problems: Problems,
    /// The end of the newest segment that is no whole frame, with none after it.
    pub(crate) torn: Option<(u64, Range<u64>)>,
    pub(crate) end: Position,
    pub(crate) records: u64,
    /// The greatest number of a file, whether it counts or not.
    pub(crate) greatest: u64,
    /// Problems behind which no whole frame has come yet, by their place in the list.
    open: Vec<usize>,
}

/// A frame that is whole.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) segment: u64,
    pub(crate) at: u64,
    pub(crate) payload: &'a [u8],
    pub(crate) end: Position,
}

type Visit<'a> = &'a mut dyn FnMut(Frame<'_>, &mut Problems) -> Result<(), OpenError>;

/// Which segments there must be.
struct Expected {
    /// Numbers, and how much of each counts where that is known; the newest comes last.
    segments: BTreeMap<u64, Option<u64>>,
    newest: Option<u64>,
}

/// Walks over everything; `visit` takes each whole frame, in order.
pub(crate) fn survey(
    segments: &Segments,
    progress: &dyn Progress,
    what: &'static str,
    visit: Visit<'_>,
) -> Result<Survey, OpenError> {
    let numbers = segments.numbers().map_err(io_at(segments.directory()))?;
    let mut survey = Survey { greatest: numbers.last().copied().unwrap_or(0), ..Survey::default() };
    let expected = survey.expected(segments, &numbers)?;
    let mut total = 0;
    for number in expected.segments.keys() {
        total += segments.file(*number).and_then(|file| file.length()).unwrap_or(0);
    }
    let mut meter = Meter::begin(progress, what, total);
    for (number, counted) in expected.segments {
        if !numbers.contains(&number) {
            survey.missing(number);
            continue;
        }
        let is_newest = Some(number) == expected.newest;
        survey.segment(segments, number, counted, is_newest, &mut meter, visit)?;
    }
    Ok(survey)
}

impl Survey {
    pub(crate) fn is_damaged(&self) -> bool {
        self.segments.iter().any(Surveyed::is_damaged)
    }

    /// Asks the newest segment that was finished.
    fn expected(&mut self, segments: &Segments, numbers: &[u64]) -> Result<Expected, OpenError> {
        let mut numbers = numbers.to_vec();
        while let Some(newest) = numbers.last().copied() {
            let path = segments.path(newest);
            let io = io_at(&path);
            match walk::open(segments, newest).map_err(&io)? {
                Err(BadHeader::Newer(found)) => {
                    return Err(OpenError::NewerFormat { path: path.clone(), found, known: FORMAT });
                }
                Err(BadHeader::Broken) => {
                    let length = segments.file(newest).and_then(|file| file.length()).map_err(&io)?;
                    if length > HEADER_BYTES as u64 {
                        return Ok(all_of(numbers, newest));
                    }
                    self.torn = Some((newest, 0..length));
                }
                Ok(reader) if reader.header.format == FORMAT_PLAIN => {
                    return Ok(without_gaps(&numbers, newest));
                }
                Ok(reader) => match (last_manifest(&reader), reader.next(HEADER_BYTES as u64)) {
                    (Some(manifest), _) => {
                        let mut segments: BTreeMap<_, _> = manifest
                            .segments
                            .into_iter()
                            .map(|(number, bytes)| (number, Some(bytes)))
                            .collect();
                        segments.insert(newest, None);
                        return Ok(Expected { segments, newest: Some(newest) });
                    }
                    (None, Some(Stretch::Frame { .. } | Stretch::Broken { whole_after: true, .. })) => {
                        return Ok(all_of(numbers, newest));
                    }
                    // Header and manifest are synced before anything else is written: it was never finished.
                    (None, _) => self.torn = Some((newest, 0..reader.length)),
                },
            }
            numbers.pop();
        }
        Ok(Expected { segments: BTreeMap::new(), newest: None })
    }

    fn missing(&mut self, number: u64) {
        let text = "the file is missing: all that it held is lost".to_owned();
        self.lost(Problem::of_stretch("segment.missing", number, &(0..0), text));
        let sequences = (self.end.sequence, self.end.sequence);
        self.segments.push(Surveyed { missing: true, sequences, ..Surveyed::new(number, None, 0) });
    }

    /// A segment of which nothing is left, although it must have held something.
    pub(crate) fn lacks(&mut self, number: u64, has_file: bool) {
        let sequences = (self.end.sequence, self.end.sequence);
        let surveyed = Surveyed::new(number, None, 0);
        self.segments.push(Surveyed { missing: !has_file, header_broken: has_file, sequences, ..surveyed });
    }

    fn segment(
        &mut self,
        segments: &Segments,
        number: u64,
        counted: Option<u64>,
        is_newest: bool,
        meter: &mut Meter<'_>,
        visit: Visit<'_>,
    ) -> Result<(), OpenError> {
        let path = segments.path(number);
        let opened = walk::open(segments, number).map_err(io_at(&path))?;
        let length = segments.file(number).and_then(|file| file.length()).map_err(io_at(&path))?;
        let mut surveyed = match opened {
            Ok(reader) => Surveyed::new(number, Some(reader), length),
            Err(BadHeader::Newer(found)) => {
                return Err(OpenError::NewerFormat { path: path.clone(), found, known: FORMAT });
            }
            Err(BadHeader::Broken) => self.without_header(segments, number, length)?,
        };
        if let (Some(counted), Some(reader)) = (counted, &mut surveyed.reader) {
            reader.length = length.min(counted);
        }
        surveyed.sequences.0 = self.end.sequence;
        self.stretches(&mut surveyed, is_newest, meter, visit)?;
        surveyed.sequences.1 = self.end.sequence;
        if let Some(counted) = counted.filter(|counted| *counted > length) {
            let text = format!("{} bytes are missing at its end", counted - length);
            self.lost(Problem::of_stretch("segment.short", number, &(length..counted), text));
            surveyed.broken.push(length..counted);
        }
        self.segments.push(surveyed);
        Ok(())
    }

    fn without_header(
        &mut self,
        segments: &Segments,
        number: u64,
        length: u64,
    ) -> Result<Surveyed, OpenError> {
        let file = segments.file(number).map_err(io_at(&segments.path(number)))?;
        let reader = salt::recover(file, number, length);
        let text = match &reader {
            Some(_) => "the segment's header is broken; its frames prove what stood there".to_owned(),
            None => "the segment's header is broken, and no frame in it can be told from noise".to_owned(),
        };
        let stretch = 0..(HEADER_BYTES as u64).min(length);
        self.problems.add(Problem::of_stretch("segment.header", number, &stretch, text));
        let mut surveyed = Surveyed { header_broken: true, ..Surveyed::new(number, reader, length) };
        if surveyed.reader.is_none() {
            surveyed.broken.push(0..length);
            self.open.push(self.problems.listed.len().saturating_sub(1));
        }
        Ok(surveyed)
    }

    /// What it held is told by the next whole frame.
    fn lost(&mut self, problem: Problem) {
        self.open.push(self.problems.listed.len());
        self.problems.add(problem);
    }

    /// Says of the open problems which commits they hold, now that the one before and the one behind are known.
    pub(crate) fn close_open(&mut self, last: u64) {
        let first = self.end.sequence + 1;
        for place in std::mem::take(&mut self.open) {
            let Some(problem) = self.problems.listed.get_mut(place) else { continue };
            problem.text.push_str(&match last.checked_sub(first) {
                None => "; they held no commit of their own".to_owned(),
                Some(0) => format!("; they held commit {first}"),
                Some(_) => format!("; they held commits {first} to {last}"),
            });
        }
    }

    fn close_open_before(&mut self, last: u64, payload: &[u8]) {
        if self.open.is_empty() {
            return;
        }
        let changes = match decode_payload(payload) {
            Some(Payload::Changes(changes)) => changes,
            // It says what was given out before it.
            Some(Payload::Manifest(_)) => return self.close_open(last),
            None => return,
        };
        let new =
            changes.iter().map(|change| change.sequence).filter(|sequence| *sequence > self.end.sequence);
        let last = new.min().map_or(last, |first| first - 1);
        self.close_open(last);
    }

    fn stretches(
        &mut self,
        surveyed: &mut Surveyed,
        is_newest: bool,
        meter: &mut Meter<'_>,
        visit: Visit<'_>,
    ) -> Result<(), OpenError> {
        let number = surveyed.number;
        let mut offset = HEADER_BYTES as u64;
        meter.advance(offset.min(surveyed.bytes));
        let Some(reader) = surveyed.reader.take() else { return Ok(()) };
        while let Some(stretch) = reader.next(offset) {
            let from = offset;
            match stretch {
                // A start refuses it, for what is older would take the place of what is newer.
                Stretch::Frame { at, end, last, .. } if last < self.end.sequence => {
                    offset = end;
                    surveyed.broken.push(at..end);
                    let text =
                        "a whole frame is older than what stands before it: this is not its place".to_owned();
                    self.problems.add(Problem::of_stretch("frame.order", number, &(at..end), text));
                }
                Stretch::Frame { at, end, last, payload } => {
                    offset = end;
                    surveyed.frames += 1;
                    self.close_open_before(last, &payload);
                    if let Some(Payload::Changes(changes)) = decode_payload(&payload) {
                        self.records += changes.len() as u64;
                    }
                    let sequence = last.max(self.end.sequence);
                    self.end = Position { segment: number, offset: end, sequence };
                    let frame = Frame { segment: number, at, payload: &payload, end: self.end };
                    visit(frame, &mut self.problems)?;
                }
                Stretch::Broken { at, end, whole_after } => {
                    offset = end;
                    if is_newest && !whole_after {
                        self.torn = Some((number, at..end));
                    } else {
                        surveyed.broken.push(at..end);
                        let text = format!("{} bytes are no whole frame", end - at);
                        self.lost(Problem::of_stretch("frame.broken", number, &(at..end), text));
                    }
                }
            }
            meter.advance(offset - from);
        }
        surveyed.reader = Some(reader);
        Ok(())
    }
}

/// The manifest that counts, if the segment is the newest.
fn last_manifest(reader: &Reader) -> Option<Manifest> {
    let mut manifest = None;
    let mut offset = HEADER_BYTES as u64;
    while let Some(stretch) = reader.next(offset) {
        offset = match stretch {
            Stretch::Broken { end, .. } => end,
            Stretch::Frame { end, payload, .. } => {
                if let Some(Payload::Manifest(found)) = decode_payload(&payload) {
                    manifest = Some(found);
                }
                end
            }
        };
    }
    manifest
}

/// Where no manifest can be read, every file counts.
fn all_of(numbers: Vec<u64>, newest: u64) -> Expected {
    Expected { segments: numbers.into_iter().map(|number| (number, None)).collect(), newest: Some(newest) }
}

/// Before there were manifests, no segment was ever dropped.
fn without_gaps(numbers: &[u64], newest: u64) -> Expected {
    let first = numbers.first().copied().unwrap_or(newest);
    Expected { segments: (first..=newest).map(|number| (number, None)).collect(), newest: Some(newest) }
}
