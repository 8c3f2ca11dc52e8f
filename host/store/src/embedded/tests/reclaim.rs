//! Reclaim: what goes, what stays, and what a crash in the middle of it leaves.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::super::format::{FORMAT_PLAIN, FrameBuilder, HEADER_BYTES, Place, SegmentHeader};
use super::super::journal::{segment_name, segment_number};
use super::super::plan::Load;
use super::super::reclaim::Pass;
use super::super::{EmbeddedEngine, EmbeddedOptions, OpenError};
use super::disk::Operation;
use super::hooked::{Hooked, Hooks};
use super::recovery::flip;
use super::{copy, crashed, flush, open, options};
use crate::contract::{change, commit, key, put, text};
use crate::engine::{Change, Engine as _, Precondition, Transaction};

/// Reclaims once, as the thread does; on a thread, because it waits for the committer.
fn pass(engine: &EmbeddedEngine) -> Pass {
    let reclaim = engine.parts.reclaim.clone();
    std::thread::spawn(move || reclaim.pass(Load::Quiet).unwrap()).join().unwrap()
}

/// Reclaims until there is nothing to gain.
pub(crate) fn reclaim(engine: &EmbeddedEngine) {
    flush(engine);
    while pass(engine) != Pass::Idle {}
}

/// A segment that can't be read is left alone, and the others are neither copied for it again and again nor lost.
#[tokio::test]
async fn a_segment_that_can_not_be_read_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let model = live(&engine, 0, 100).await;
    flush(&engine);
    let first = numbers(directory.path())[0];
    flip(&directory.path().join("journal").join(segment_name(first)), HEADER_BYTES + 90);
    let mut failed = 0;
    loop {
        let reclaim = engine.parts.reclaim.clone();
        match std::thread::spawn(move || reclaim.pass(Load::Quiet)).join().unwrap() {
            Ok(Pass::Idle) => break,
            Ok(_) => {}
            Err(_) => failed += 1,
        }
    }
    assert_eq!(failed, 1);
    let (left, bytes) = (numbers(directory.path()), journal_bytes(directory.path()));
    assert!(left.contains(&first) && !left.contains(&(first + 1)), "{left:?}");
    assert_eq!(pass(&engine), Pass::Idle);
    assert_eq!(journal_bytes(directory.path()), bytes);
    // What was needed of it can't be read; everything else can.
    for n in 10..400 {
        let name = format!("k{n:04}");
        assert_eq!(text(&engine, &name).await.as_ref(), model.get(&name), "{name}");
    }
}

fn delete(name: &str) -> Change {
    Change::Delete(key(name))
}

fn numbers(directory: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(directory.join("journal")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut numbers: Vec<u64> = names.map(|name| segment_number(&name).unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn journal_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory.join("journal")).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

type Model = BTreeMap<String, String>;

/// A queue's life: each of `count` keys is written, written again, and all but every tenth deleted.
async fn live(engine: &EmbeddedEngine, from: usize, count: usize) -> Model {
    let mut model = Model::new();
    for n in from..from + count {
        let name = format!("k{n:04}");
        commit(engine, change(vec![put(&name, &"first ".repeat(20))])).await.unwrap();
        let value = format!("second {n} {}", "x".repeat(150));
        commit(engine, change(vec![put(&name, &value)])).await.unwrap();
        model.insert(name, value);
    }
    for n in (from..from + count).filter(|n| n % 10 != 0) {
        let name = format!("k{n:04}");
        commit(engine, change(vec![delete(&name)])).await.unwrap();
        model.remove(&name);
    }
    model
}

async fn holds(engine: &EmbeddedEngine, model: &Model) {
    for n in 0..400 {
        let name = format!("k{n:04}");
        assert_eq!(text(engine, &name).await.as_ref(), model.get(&name), "{name}");
    }
}

/// The directory without its index, opened: all that the journal knows.
fn rebuilt(directory: &Path) -> (TempDir, EmbeddedEngine) {
    let crash = crashed(directory);
    std::fs::remove_dir_all(crash.path().join("index")).unwrap();
    let engine = open(crash.path());
    (crash, engine)
}

#[tokio::test]
async fn after_a_drain_the_journal_is_at_most_twice_what_is_kept_and_holds_all_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let model = live(&engine, 0, 200).await;
    let before = journal_bytes(directory.path());
    reclaim(&engine);
    let kept: usize = model.iter().map(|(name, value)| name.len() + value.len()).sum();
    let after = journal_bytes(directory.path());
    // One segment of slack: the bound of a store of a few kilobytes is its last segment.
    assert!(after <= 2 * kept as u64 + 2_048, "{before} -> {after}, {kept} kept");
    holds(&engine, &model).await;
    drop(engine);
    holds(&open(directory.path()), &model).await;
}

#[tokio::test]
async fn an_index_that_is_built_again_after_reclaim_brings_nothing_settled_back() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let mut model = Model::new();
    for round in 0..3 {
        model.extend(live(&engine, round * 100, 100).await);
        reclaim(&engine);
        let (_crash, again) = rebuilt(directory.path());
        holds(&again, &model).await;
        // And it goes on being so when the rebuilt one reclaims too.
        reclaim(&again);
        holds(&rebuilt(_crash.path()).1, &model).await;
    }
    assert!(numbers(directory.path())[0] > 1);
}

#[tokio::test]
async fn a_deletion_outlives_its_segment_while_an_older_one_remains() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let large = "x".repeat(1_800);
    // The first segment holds the key, and is nearly all needed.
    commit(&engine, change(vec![put("settled", "1"), put("kept", &large)])).await.unwrap();
    let dead = "y".repeat(1_700);
    commit(&engine, change(vec![delete("settled"), put("dead", &dead)])).await.unwrap();
    for _ in 0..4 {
        commit(&engine, change(vec![put("dead", &dead)])).await.unwrap();
    }
    reclaim(&engine);
    let left = numbers(directory.path());
    assert!(left.contains(&1) && !left.contains(&2), "{left:?}");
    let (_crash, again) = rebuilt(directory.path());
    assert_eq!(text(&again, "settled").await, None);
    assert_eq!(text(&again, "kept").await, Some(large));
}

#[tokio::test]
async fn deletions_go_once_nothing_older_remains() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    for n in 0..60 {
        commit(&engine, change(vec![put(&format!("k{n}"), &"x".repeat(100))])).await.unwrap();
    }
    for n in 0..60 {
        commit(&engine, change(vec![delete(&format!("k{n}"))])).await.unwrap();
    }
    reclaim(&engine);
    assert!(journal_bytes(directory.path()) < 2_400, "{}", journal_bytes(directory.path()));
    let shares = engine.parts.shared.index.shares().of.clone();
    assert!(shares.values().all(|share| share.live == 0), "{shares:?}");
}

#[tokio::test]
async fn a_record_that_was_moved_keeps_its_version() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let version = commit(&engine, change(vec![put("kept", &"k".repeat(300))])).await.unwrap();
    for _ in 0..40 {
        commit(&engine, change(vec![put("dead", &"d".repeat(300))])).await.unwrap();
    }
    reclaim(&engine);
    assert!(!numbers(directory.path()).contains(&1));
    assert_eq!(engine.get(key("kept")).await.unwrap().unwrap().version, version);
    let (_crash, again) = rebuilt(directory.path());
    assert_eq!(again.get(key("kept")).await.unwrap().unwrap().version, version);
    let unchanged = Transaction {
        preconditions: vec![Precondition::Unchanged(key("kept"), version)],
        changes: vec![put("kept", "new")],
    };
    for engine in [&engine, &again] {
        commit(engine, unchanged.clone()).await.unwrap();
        assert_eq!(text(engine, "kept").await.as_deref(), Some("new"));
    }
}

#[tokio::test]
async fn a_segment_that_is_missing_after_reclaim_is_damage_and_a_gap_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let mut model = live(&engine, 0, 100).await;
    reclaim(&engine);
    // More that is kept, so that sealed segments are there.
    for n in 100..140 {
        let (name, value) = (format!("k{n:04}"), "z".repeat(180));
        commit(&engine, change(vec![put(&name, &value)])).await.unwrap();
        model.insert(name, value);
    }
    let crash = crashed(directory.path());
    holds(&open(crash.path()), &model).await;
    let left = numbers(directory.path());
    assert!(left.first() > Some(&1) && left.len() > 2, "{left:?}");
    for lost in &left[..left.len() - 1] {
        let crash = crashed(directory.path());
        std::fs::remove_file(crash.path().join("journal").join(segment_name(*lost))).unwrap();
        let error = EmbeddedEngine::open(options(crash.path())).unwrap_err();
        let OpenError::Damaged { segment, offset: 0, .. } = &error else { panic!("{error}") };
        assert_eq!(*segment, segment_name(*lost));
    }
}

#[tokio::test]
async fn an_old_copy_of_the_index_is_refused_and_built_again() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let mut model = live(&engine, 0, 50).await;
    flush(&engine);
    let old = crashed(directory.path());
    model.extend(live(&engine, 100, 100).await);
    reclaim(&engine);
    drop(engine);
    std::fs::remove_dir_all(directory.path().join("index")).unwrap();
    std::fs::create_dir(directory.path().join("index")).unwrap();
    copy(&old.path().join("index"), &directory.path().join("index"));
    let engine = open(directory.path());
    assert!(engine.recovery().index_moved_aside);
    holds(&engine, &model).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_or_misread_while_its_segment_is_reclaimed() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Arc::new(open(directory.path()));
    let model = Arc::new(live(&engine, 0, 150).await);
    flush(&engine);
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (engine, model, done) = (engine.clone(), model.clone(), done.clone());
        readers.spawn(async move {
            while !done.load(Ordering::SeqCst) {
                holds(&engine, &model).await;
            }
        });
    }
    reclaim(&engine);
    done.store(true, Ordering::SeqCst);
    for joined in readers.join_all().await {
        let () = joined;
    }
    assert!(!numbers(directory.path()).contains(&1));
}

/// Keeps a copy of the directory as it is before each change of it.
#[derive(Debug)]
struct Recorder {
    directory: PathBuf,
    recording: AtomicBool,
    copies: Mutex<Vec<TempDir>>,
}

impl Recorder {
    fn note(&self) {
        if self.recording.load(Ordering::SeqCst) {
            self.copies.lock().unwrap().push(crashed(&self.directory));
        }
    }
}

impl Hooks for Recorder {
    fn before(&self, operation: Operation, _: &Path) -> io::Result<()> {
        if matches!(operation, Operation::Create | Operation::Remove | Operation::Write) {
            self.note();
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_crash_at_any_step_of_reclaim_loses_nothing_and_brings_nothing_back() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder {
        directory: directory.path().to_owned(),
        recording: AtomicBool::new(false),
        copies: Mutex::default(),
    });
    let files = Arc::new(Hooked(recorder.clone()));
    let engine = EmbeddedEngine::open(EmbeddedOptions { files, ..options(directory.path()) }).unwrap();
    let model = live(&engine, 0, 40).await;
    flush(&engine);
    recorder.recording.store(true, Ordering::SeqCst);
    reclaim(&engine);
    recorder.recording.store(false, Ordering::SeqCst);
    let copies = std::mem::take(&mut *recorder.copies.lock().unwrap());
    assert!(copies.len() > 8, "{}", copies.len());
    for crash in &copies {
        let (_directory, again) = rebuilt(crash.path());
        holds(&again, &model).await;
        drop(again);
        let again = open(crash.path());
        holds(&again, &model).await;
        // What the crash interrupted is done now.
        reclaim(&again);
        holds(&again, &model).await;
        assert!(!numbers(crash.path()).contains(&1));
    }
}

/// A segment as the first version wrote it: no manifest.
fn plain(path: &Path, segment: u64, frames: &[(u64, &str, Option<&str>)]) {
    let header = SegmentHeader { format: FORMAT_PLAIN, segment, salt: 7 };
    let mut bytes = header.encode();
    assert_eq!(bytes.len(), HEADER_BYTES);
    for (sequence, name, value) in frames {
        let mut frame = FrameBuilder::default();
        frame.clear();
        frame.begin_transaction(*sequence, 1);
        match value {
            Some(value) => drop(frame.put(&key(name), value.as_bytes())),
            None => frame.delete(&key(name)),
        }
        let place = Place { header, offset: bytes.len() as u64 };
        bytes.extend_from_slice(frame.seal(place, *sequence));
    }
    std::fs::write(path.join("journal").join(segment_name(segment)), bytes).unwrap();
}

#[tokio::test]
async fn a_journal_of_the_first_format_is_read_continued_and_reclaimed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("journal")).unwrap();
    plain(directory.path(), 1, &[(1, "a", Some("old")), (2, "b", Some("2"))]);
    plain(directory.path(), 2, &[(3, "a", None), (4, "c", Some("4"))]);
    let engine = open(directory.path());
    let model = live(&engine, 0, 40).await;
    reclaim(&engine);
    assert!(!numbers(directory.path()).contains(&1));
    for engine in [&engine, &rebuilt(directory.path()).1] {
        assert_eq!(text(engine, "a").await, None);
        assert_eq!(text(engine, "b").await.as_deref(), Some("2"));
        assert_eq!(text(engine, "c").await.as_deref(), Some("4"));
        holds(engine, &model).await;
    }
}

#[tokio::test]
async fn reclaim_runs_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let settings = EmbeddedOptions {
        reclaim_share_percent: 100,
        flush_interval: std::time::Duration::from_millis(20),
        ..options(directory.path())
    };
    let engine = EmbeddedEngine::open(settings).unwrap();
    let model = live(&engine, 0, 100).await;
    while numbers(directory.path()).contains(&1) {
        holds(&engine, &model).await;
    }
    holds(&engine, &model).await;
    drop(engine);
    holds(&open(directory.path()), &model).await;
}
