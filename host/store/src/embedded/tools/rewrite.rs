//! Making a damaged journal one that a start takes: what can be read stays where it is.
//!
//! A damaged segment is written again with its whole frames, under the same number, and renamed into its place; a
//! missing one comes to be empty. The file as it was is kept in `damaged-N` beside the journal. At the end comes a new
//! segment whose manifest names all others and how much of each counts. A repair that is cut off can be run again.

use std::io;
use std::path::{Path, PathBuf};

use super::super::OpenError;
use super::super::files::{Files, Mode, read_exact_at};
use super::super::format::{
    FORMAT, FORMAT_PLAIN, FrameBuilder, HEADER_BYTES, Manifest, Payload, Place, SegmentHeader, decode_payload,
};
use super::super::journal::{Segments, new_salt, segment_name};
use super::super::shared::io_at;
use super::survey::{Survey, Surveyed};
use super::walk::{Reader, Stretch};

/// What was broken is kept, whatever it is good for.
const KEPT_MAX: u32 = 10_000;

/// Answers where the damaged files are kept. `last` is the last sequence that was ever given out.
pub(crate) fn rewrite(
    files: &dyn Files,
    store: &Path,
    segments: &Segments,
    survey: &Survey,
    last: u64,
) -> Result<PathBuf, OpenError> {
    let aside = kept_in(files, store)?;
    let mut manifest = Manifest { base: last, ..Manifest::default() };
    for surveyed in &survey.segments {
        let number = surveyed.number;
        let path = segments.path(number);
        let bytes = if surveyed.is_damaged() {
            if !surveyed.missing {
                keep(files, &path, &aside.join(segment_name(number))).map_err(io_at(&path))?;
            }
            write_again(files, segments, surveyed).map_err(io_at(&path))?
        } else {
            counted(survey, surveyed)
        };
        manifest.segments.insert(number, bytes);
    }
    files.sync_directory(&aside).map_err(io_at(&aside))?;
    files.sync_directory(store).map_err(io_at(store))?;
    files.sync_directory(segments.directory()).map_err(io_at(segments.directory()))?;
    let number = survey.greatest + 1;
    segments.create(number, &manifest).map_err(io_at(&segments.path(number)))?;
    Ok(aside)
}

/// The bytes of a whole segment that count: without a torn end.
fn counted(survey: &Survey, surveyed: &Surveyed) -> u64 {
    let whole = surveyed.reader.as_ref().map_or(surveyed.bytes, |reader| reader.length);
    match &survey.torn {
        Some((number, torn)) if *number == surveyed.number => torn.start,
        _ => whole,
    }
}

fn kept_in(files: &dyn Files, store: &Path) -> Result<PathBuf, OpenError> {
    let free = (1..KEPT_MAX).map(|n| store.join(format!("damaged-{n}"))).find(|path| !files.exists(path));
    let path = free.unwrap_or_else(|| store.join("damaged"));
    files.create_directory(&path).map_err(io_at(&path))?;
    Ok(path)
}

/// A link where that is possible; the original's name is then taken by what is written anew.
fn keep(files: &dyn Files, from: &Path, to: &Path) -> io::Result<()> {
    if files.link(from, to).is_ok() {
        return Ok(());
    }
    let (source, target) = (files.open(from, Mode::Existing)?, files.open(to, Mode::New)?);
    let mut chunk = vec![0; 1 << 20];
    let (mut at, length) = (0, source.length()?);
    while at < length {
        let size = chunk.len().min(usize::try_from(length - at).unwrap_or(usize::MAX));
        let Some(part) = chunk.get_mut(..size) else { break };
        // What can't be read is kept as zeros.
        if read_exact_at(&*source, part, at).is_err() {
            part.fill(0);
        }
        target.write_all_at(part, at)?;
        at += size as u64;
    }
    target.sync_data()
}

/// Answers its new length.
fn write_again(files: &dyn Files, segments: &Segments, surveyed: &Surveyed) -> io::Result<u64> {
    let path = segments.path(surveyed.number);
    let new = path.with_extension("new");
    files.remove(&new)?;
    let format = surveyed.reader.as_ref().map_or(FORMAT, |reader| reader.header.format);
    let header = SegmentHeader { format, segment: surveyed.number, salt: new_salt() };
    let file = files.open(&new, Mode::New)?;
    file.write_all_at(&header.encode(), 0)?;
    let mut offset = HEADER_BYTES as u64;
    let mut frame = FrameBuilder::default();
    let mut write = |frame: &mut FrameBuilder, last: u64| {
        let bytes = frame.seal(Place { header, offset }, last);
        file.write_all_at(bytes, offset)?;
        offset += bytes.len() as u64;
        io::Result::Ok(())
    };
    if format > FORMAT_PLAIN && !surveyed.reader.as_ref().is_some_and(begins_with_manifest) {
        // As if it had been the first: then no deletion is taken for one that can go.
        frame.manifest(&Manifest::default());
        write(&mut frame, surveyed.sequences.0)?;
    }
    if let Some(reader) = &surveyed.reader {
        let mut at = HEADER_BYTES as u64;
        while let Some(stretch) = reader.next(at) {
            at = match stretch {
                Stretch::Broken { end, .. } => end,
                // Out of its place.
                Stretch::Frame { at, end, .. } if surveyed.broken.iter().any(|broken| broken.start == at) => {
                    end
                }
                Stretch::Frame { end, last, payload, .. } => {
                    frame.clear();
                    frame.raw(&payload);
                    write(&mut frame, last)?;
                    end
                }
            };
        }
    }
    file.sync_data()?;
    files.rename(&new, &path)?;
    segments.forget_open(surveyed.number);
    Ok(offset)
}

fn begins_with_manifest(reader: &Reader) -> bool {
    match reader.next(HEADER_BYTES as u64) {
        Some(Stretch::Frame { payload, .. }) => {
            matches!(decode_payload(&payload), Some(Payload::Manifest(_)))
        }
        _ => false,
    }
}
