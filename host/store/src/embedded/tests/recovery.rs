//! What a start makes of what the last run left.

use std::fs;
use std::path::PathBuf;

use super::super::format::{FORMAT, FRAME_HEADER_BYTES, HEADER_BYTES};
use super::super::progress::Progress;
use super::super::{EmbeddedEngine, EmbeddedOptions, OpenError};
use super::disk::Operation;
use super::hooked::{Hooked, Hooks};
use super::{crashed, flush, open, options};
use crate::contract::{change, commit, put, text};
use crate::engine::{Change, Class, Engine, Transaction};

pub(crate) fn segments(path: &std::path::Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path.join("journal")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_and_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let large = "x".repeat(900);
    commit(&engine, change(vec![put("a", "1"), put("large", &large), put("gone", "1")])).await.unwrap();
    flush(&engine);
    commit(&engine, change(vec![put("b", "2"), Change::Delete(crate::contract::key("gone"))])).await.unwrap();
    let crash = crashed(directory.path());
    drop(engine);
    for (path, replayed) in [(directory.path(), 0), (crash.path(), 1)] {
        let engine = open(path);
        assert_eq!(engine.recovery().frames_replayed, replayed);
        assert_eq!(text(&engine, "a").await.as_deref(), Some("1"));
        assert_eq!(text(&engine, "b").await.as_deref(), Some("2"));
        assert_eq!(text(&engine, "large").await.as_ref(), Some(&large));
        assert_eq!(text(&engine, "gone").await, None);
    }
}

#[tokio::test]
async fn versions_go_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let before = commit(&engine, change(vec![put("a", "1")])).await.unwrap();
    drop(engine);
    let engine = open(directory.path());
    assert!(commit(&engine, change(vec![put("a", "2")])).await.unwrap() > before);
}

#[tokio::test]
async fn a_last_frame_torn_at_any_byte_is_cut_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    commit(&engine, change(vec![put("first", "1")])).await.unwrap();
    let file = segments(directory.path()).pop().unwrap();
    let whole = fs::metadata(&file).unwrap().len();
    commit(&engine, change(vec![put("second", "2")])).await.unwrap();
    let crash = crashed(directory.path());
    let file = segments(crash.path()).pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    for end in usize::try_from(whole).unwrap()..bytes.len() {
        fs::write(&file, &bytes[..end]).unwrap();
        let copy = crashed(crash.path());
        let torn = open(copy.path());
        assert_eq!(torn.recovery().torn_bytes, end as u64 - whole);
        assert_eq!(text(&torn, "first").await.as_deref(), Some("1"));
        assert_eq!(text(&torn, "second").await, None);
        commit(&torn, change(vec![put("third", "3")])).await.unwrap();
        let again = crashed(copy.path());
        assert_eq!(text(&open(again.path()), "third").await.as_deref(), Some("3"));
    }
}

#[tokio::test]
async fn a_tail_of_zeros_or_noise_is_cut() {
    for noise in [[0_u8; 700], [0xf4; 700]] {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(directory.path());
        commit(&engine, change(vec![put("first", "1")])).await.unwrap();
        let crash = crashed(directory.path());
        let file = segments(crash.path()).pop().unwrap();
        let bytes = [fs::read(&file).unwrap(), noise.to_vec()].concat();
        fs::write(&file, bytes).unwrap();
        let engine = open(crash.path());
        assert_eq!(engine.recovery().torn_bytes, 700);
        assert_eq!(text(&engine, "first").await.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_segment_cut_short_while_it_was_made_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    commit(&engine, change(vec![put("first", "1")])).await.unwrap();
    let crash = crashed(directory.path());
    let next = crash.path().join("journal").join(super::super::journal::segment_name(2));
    fs::write(&next, b"FANF").unwrap();
    let engine = open(crash.path());
    for n in 0..40 {
        commit(&engine, change(vec![put(&format!("k{n}"), &"x".repeat(200))])).await.unwrap();
    }
    let again = crashed(crash.path());
    let engine = open(again.path());
    assert_eq!(text(&engine, "first").await.as_deref(), Some("1"));
    assert!(text(&engine, "k39").await.is_some());
}

/// Frames of one put each, over several segments, and where each begins.
async fn journal_of(directory: &std::path::Path) -> EmbeddedEngine {
    let engine = open(directory);
    for n in 0..40 {
        commit(&engine, change(vec![put(&format!("k{n}"), &"x".repeat(100))])).await.unwrap();
    }
    engine
}

#[tokio::test]
async fn a_flipped_byte_with_whole_frames_after_it_stops_the_start_and_names_the_place() {
    for covered_by_the_index in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let engine = journal_of(directory.path()).await;
        if covered_by_the_index {
            flush(&engine);
        }
        let crash = crashed(directory.path());
        drop(engine);
        let files = segments(crash.path());
        assert!(files.len() > 2);
        // In the first segment, and in the newest: in its manifest's header and length, and in its first frame's value.
        for file in [files.first().unwrap(), files.last().unwrap()] {
            let manifest = u64::from(fs::read(file).unwrap()[HEADER_BYTES + 4]) + FRAME_HEADER_BYTES as u64;
            for (at, broken) in [(0, 0), (5, 0), (90, manifest)] {
                let whole = flip(file, HEADER_BYTES + at);
                stops_at(crash.path(), file, HEADER_BYTES as u64 + broken);
                fs::write(file, whole).unwrap();
            }
        }
        open(crash.path());
    }
}

fn stops_at(store: &std::path::Path, file: &std::path::Path, at: u64) {
    let error = EmbeddedEngine::open(options(store)).unwrap_err();
    let name = file.file_name().unwrap().to_str().unwrap();
    match &error {
        OpenError::Damaged { segment, offset, .. } => assert_eq!((segment.as_str(), *offset), (name, at)),
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains("fanfare store repair"), "{error}");
    assert!(error.to_string().contains(name), "{error}");
}

/// Turns a bit of the file over; answers what it was.
pub(crate) fn flip(file: &std::path::Path, at: usize) -> Vec<u8> {
    let whole = fs::read(file).unwrap();
    let mut flipped = whole.clone();
    flipped[at] ^= 0x40;
    fs::write(file, flipped).unwrap();
    whole
}

/// What it does not look at is told by `fanfare store check`, and by a read of it.
#[tokio::test]
async fn of_what_the_index_covers_a_start_reads_the_newest_up_to_a_bound() {
    let directory = tempfile::tempdir().unwrap();
    let engine = journal_of(directory.path()).await;
    flush(&engine);
    drop(engine);
    let files = segments(directory.path());
    let [oldest, .., newest_sealed, _] = files.as_slice() else { panic!("{files:?}") };
    let bounded = |verify_bytes| EmbeddedOptions { verify_bytes, ..options(directory.path()) };
    flip(oldest, HEADER_BYTES + 90);
    EmbeddedEngine::open(bounded(1)).unwrap();
    flip(newest_sealed, HEADER_BYTES + 90);
    assert!(matches!(EmbeddedEngine::open(bounded(1)), Err(OpenError::Damaged { .. })));
    EmbeddedEngine::open(bounded(0)).unwrap();
}

#[tokio::test]
async fn a_journal_that_ends_before_what_the_index_covers_is_damage_and_is_not_cut() {
    let directory = tempfile::tempdir().unwrap();
    let engine = journal_of(directory.path()).await;
    flush(&engine);
    let crash = crashed(directory.path());
    let file = segments(crash.path()).pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    for _ in 0..2 {
        let error = EmbeddedEngine::open(options(crash.path())).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert_eq!(fs::metadata(&file).unwrap().len(), bytes.len() as u64 - 1);
    }
    fs::write(&file, &bytes).unwrap();
    open(crash.path());
}

#[tokio::test]
async fn a_missing_segment_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let engine = journal_of(directory.path()).await;
    let crash = crashed(directory.path());
    drop(engine);
    fs::remove_file(&segments(crash.path())[1]).unwrap();
    let error = EmbeddedEngine::open(options(crash.path())).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { offset: 0, .. }), "{error}");
    fs::remove_dir_all(directory.path().join("journal")).unwrap();
    let error = EmbeddedEngine::open(options(directory.path())).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_lost_index_is_built_again_from_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let engine = journal_of(directory.path()).await;
    commit(&engine, change(vec![Change::Delete(crate::contract::key("k7"))])).await.unwrap();
    drop(engine);
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    let mut small = options(directory.path());
    small.flush_bytes = 500;
    let engine = EmbeddedEngine::open(small).unwrap();
    assert_eq!(engine.recovery().frames_replayed, 41);
    for n in 0..40 {
        assert_eq!(text(&engine, &format!("k{n}")).await.is_some(), n != 7);
    }
}

#[derive(Debug, Default)]
struct Heard(std::sync::Mutex<Vec<(&'static str, u64, u64)>>);

impl Progress for Heard {
    fn begin(&self, what: &'static str, bytes_total: u64) {
        self.0.lock().unwrap().push((what, bytes_total, 0));
    }
    fn reached(&self, bytes: u64) {
        self.0.lock().unwrap().last_mut().unwrap().2 = bytes;
    }
    fn end(&self) {}
}

#[tokio::test]
async fn building_the_index_tells_how_far_it_is() {
    let directory = tempfile::tempdir().unwrap();
    drop(journal_of(directory.path()).await);
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    let heard = std::sync::Arc::new(Heard::default());
    EmbeddedEngine::open(EmbeddedOptions { progress: heard.clone(), ..options(directory.path()) }).unwrap();
    let frames = |file: &PathBuf| fs::metadata(file).unwrap().len() - HEADER_BYTES as u64;
    let bytes = segments(directory.path()).iter().map(frames).sum();
    assert_eq!(*heard.0.lock().unwrap(), [("building the index", bytes, bytes)]);
}

#[tokio::test]
async fn a_broken_index_is_moved_aside_and_built_again() {
    let directory = tempfile::tempdir().unwrap();
    drop(journal_of(directory.path()).await);
    for (round, byte) in [0x00, 0xff, 0x5a].into_iter().enumerate() {
        overwrite(&directory.path().join("index"), byte);
        let engine = open(directory.path());
        assert!(engine.recovery().index_moved_aside, "round {round}");
        assert!(text(&engine, "k0").await.is_some());
        assert!(text(&engine, "k39").await.is_some());
        drop(engine);
        assert!(directory.path().join("index.broken").is_dir());
    }
}

/// A disk on which a broken index can't be removed.
#[derive(Debug)]
struct Sticky;

impl Hooks for Sticky {
    fn before(&self, operation: Operation, path: &std::path::Path) -> std::io::Result<()> {
        let sticks = path.file_name().is_some_and(|name| name.to_str().unwrap().starts_with("index.broken"));
        let fails = operation == Operation::Remove && sticks && path.exists();
        if fails { Err(std::io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }
}

#[tokio::test]
async fn an_index_breaks_again_although_the_one_before_it_can_not_be_removed() {
    let directory = tempfile::tempdir().unwrap();
    drop(journal_of(directory.path()).await);
    for name in ["index.broken", "index.broken-2", "index.broken-3"] {
        overwrite(&directory.path().join("index"), 0x5a);
        let files = std::sync::Arc::new(Hooked(std::sync::Arc::new(Sticky)));
        let engine = EmbeddedEngine::open(EmbeddedOptions { files, ..options(directory.path()) }).unwrap();
        assert!(engine.recovery().index_moved_aside);
        assert!(text(&engine, "k39").await.is_some());
        drop(engine);
        assert!(directory.path().join(name).is_dir(), "{name}");
    }
}

#[test]
fn what_the_file_system_refuses_is_told_with_what_to_do() {
    for (kind, remedy) in [
        (std::io::ErrorKind::PermissionDenied, "user that runs fanfare"),
        (std::io::ErrorKind::StorageFull, "free some room"),
        (std::io::ErrorKind::ReadOnlyFilesystem, "mount"),
        (std::io::ErrorKind::IsADirectory, "move it away"),
    ] {
        let error = OpenError::Io { path: PathBuf::from("/data/journal"), source: kind.into() };
        assert!(
            error.to_string().starts_with("/data/journal: ") && error.to_string().contains(remedy),
            "{error}"
        );
    }
}

pub(crate) fn overwrite(directory: &std::path::Path, byte: u8) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            overwrite(&path, byte);
        } else {
            let length = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
            fs::write(&path, vec![byte; length]).unwrap();
        }
    }
}

#[tokio::test]
async fn an_index_that_failed_in_service_is_built_again_by_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    drop(journal_of(directory.path()).await);
    fs::write(directory.path().join("index.rebuild"), b"").unwrap();
    let engine = open(directory.path());
    assert!(engine.recovery().index_moved_aside);
    assert!(text(&engine, "k0").await.is_some());
    drop(engine);
    assert!(!open(directory.path()).recovery().index_moved_aside);
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let error = EmbeddedEngine::open(options(directory.path())).unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    engine.close().await.unwrap();
    open(directory.path());
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let engine = journal_of(directory.path()).await;
    let crash = crashed(directory.path());
    drop(engine);
    let file = segments(crash.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    let crc = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let error = EmbeddedEngine::open(options(crash.path())).unwrap_err();
    assert!(
        matches!(error, OpenError::NewerFormat { found, known: FORMAT, .. } if found == FORMAT + 1),
        "{error}"
    );
}

#[tokio::test]
async fn closing_commits_what_waits() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let calls: Vec<_> = (0..20)
        .map(|n| {
            engine
                .commit(Class::Intake, vec![change(vec![put(&format!("k{n}"), "1")]), Transaction::default()])
        })
        .collect();
    engine.close().await.unwrap();
    for call in calls {
        assert!(call.await.iter().all(Result::is_ok));
    }
    let engine = open(directory.path());
    assert!(text(&engine, "k19").await.is_some());
    assert_eq!(engine.recovery().frames_replayed, 0);
}
