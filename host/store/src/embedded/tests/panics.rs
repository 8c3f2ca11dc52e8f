//! A panic, in sled or in a thread of the engine: it is told, nobody waits for ever, and the next start has it all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::files::{File, Room};
use super::super::index::{Index, Unopened};
use super::super::{EmbeddedEngine, EmbeddedOptions};
use super::disk::Operation;
use super::hooked::{Hooked, Hooks};
use super::{crashed, flush, open, options};
use crate::contract::{change, commit, key, put, text};
use crate::engine::{CommitError, Engine as _};

const KEYS: usize = 1_500;

fn name(n: usize) -> String {
    format!("k{n:05}")
}

/// A store of several leaves.
async fn fill(engine: &EmbeddedEngine) {
    for first in (0..KEYS).step_by(50) {
        let changes = (first..first + 50).map(|n| put(&name(n), &n.to_string())).collect();
        commit(engine, change(changes)).await.unwrap();
    }
}

async fn all_there(engine: &EmbeddedEngine) {
    for n in 0..KEYS {
        assert_eq!(text(engine, &name(n)).await, Some(n.to_string()));
    }
}

fn panics_when_opened(index: &Path) -> bool {
    match Index::open(index) {
        Ok((index, _)) => {
            index.close().unwrap();
            false
        }
        Err(Unopened::Unusable(error)) => error.to_string().contains("it panicked"),
        Err(Unopened::Newer(_)) => false,
    }
}

#[tokio::test]
async fn an_index_that_makes_sled_panic_when_it_is_opened_is_moved_aside_and_built_again() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    fill(&engine).await;
    engine.close().await.unwrap();
    for stray in ["log_", "log_of something else altogether", "snapshot_of something else altogether"] {
        let index = directory.path().join("index");
        fs::write(index.join("metadata").join(stray), b"").unwrap();
        assert!(panics_when_opened(&index), "{stray}");
        let engine = open(directory.path());
        assert!(engine.recovery().index_moved_aside);
        all_there(&engine).await;
        engine.close().await.unwrap();
        assert!(directory.path().join("index.broken/metadata").join(stray).exists());
        let engine = open(directory.path());
        assert!(!engine.recovery().index_moved_aside, "once is enough");
        engine.close().await.unwrap();
    }
}

/// The slots of sled's leaves: file, and where it begins and ends in it.
fn slots(index: &Path) -> Vec<(PathBuf, usize, usize)> {
    let mut slots = Vec::new();
    for file in fs::read_dir(index.join("slabs")).unwrap() {
        let path = file.unwrap().path();
        let size: usize = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let length = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
        slots.extend((0..length / size).map(|n| (path.clone(), n * size, (n + 1) * size)));
    }
    slots
}

/// Fills a slot with what is no leaf, under a checksum that is right.
fn spoil((file, from, to): &(PathBuf, usize, usize)) {
    let mut bytes = fs::read(file).unwrap();
    let slot = &mut bytes[*from..*to];
    let end = slot.len() - 8;
    slot[..end].fill(0xa5);
    let sum = slot.len() - 4;
    let crc = crc32fast::hash(&slot[..sum]) ^ 0xaf;
    slot[sum..].copy_from_slice(&crc.to_le_bytes());
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_panic_of_sled_in_a_read_stops_the_engine_with_its_reason_and_the_next_start_builds_the_index() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    fill(&engine).await;
    engine.close().await.unwrap();
    let mut met = [0, 0];
    for number in 0..slots(&directory.path().join("index")).len() {
        let copy = crashed(directory.path());
        spoil(&slots(&copy.path().join("index"))[number]);
        let engine = open(copy.path());
        let mut failed = None;
        for n in 0..KEYS {
            match engine.get(key(&name(n))).await {
                Ok(found) => assert_eq!(*found.unwrap().value, *n.to_string().as_bytes()),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        met[usize::from(failed.is_some())] += 1;
        let Some(error) = failed else { continue };
        assert!(error.to_string().contains("it panicked; the next start builds it again"), "{error}");
        assert!(matches!(engine.refusal(), Some(CommitError::Fatal(_))));
        let refused = commit(&engine, change(vec![put("new", "1")])).await;
        assert!(matches!(refused, Err(CommitError::Fatal(_))), "{refused:?}");
        assert!(engine.close().await.is_err());
        drop(engine);
        let engine = open(copy.path());
        assert!(engine.recovery().index_moved_aside);
        all_there(&engine).await;
    }
    assert!(met[1] > 0, "no leaf made sled panic in a read: {met:?}");
}

#[tokio::test]
async fn a_panic_of_sled_in_a_flush_lets_everyone_go_and_the_next_start_has_all_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let settings = EmbeddedOptions { flush_bytes: 2_000, ..options(directory.path()) };
    let engine = EmbeddedEngine::open(settings).unwrap();
    fill(&engine).await;
    engine.parts.shared.index.before_flush(|| panic!("as sled does"));
    // The committer waits for the indexer when that is far behind; it must not wait for one that is no more.
    let mut acknowledged = 0;
    let refused = loop {
        let value = "x".repeat(900);
        match commit(&engine, change(vec![put(&format!("n{acknowledged}"), &value)])).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, CommitError::Fatal(why) if why.contains("it panicked")), "{refused:?}");
    assert!(matches!(engine.refusal(), Some(CommitError::Fatal(_))));
    assert!(!engine.parts.indexer.flush_now());
    assert!(engine.close().await.is_err());
    drop(engine);
    let engine = open(directory.path());
    assert!(engine.recovery().index_moved_aside);
    all_there(&engine).await;
    for n in 0..acknowledged {
        assert!(text(&engine, &format!("n{n}")).await.is_some());
    }
}

/// One thread of the engine panics when it next asks the disk for something.
#[derive(Debug)]
struct Panics {
    thread: &'static str,
    armed: AtomicBool,
}

impl Panics {
    fn strike(&self) {
        let is_it = std::thread::current().name() == Some(self.thread);
        assert!(!(is_it && self.armed.swap(false, Ordering::SeqCst)), "the test says so");
    }
}

impl Hooks for Panics {
    fn before(&self, operation: Operation, _: &Path) -> io::Result<()> {
        if operation == Operation::Read {
            self.strike();
        }
        Ok(())
    }

    fn write(&self, file: &dyn File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.strike();
        file.write_all_at(bytes, offset)
    }

    fn room(&self, _: &Path) -> io::Result<Room> {
        if self.thread == "fanfare-index" {
            self.strike();
        }
        Ok(Room { free: 1 << 40, total: 1 << 40 })
    }
}

fn panicking(directory: &Path, thread: &'static str) -> (EmbeddedEngine, Arc<Panics>) {
    let panics = Arc::new(Panics { thread, armed: AtomicBool::new(false) });
    let files = Arc::new(Hooked(panics.clone()));
    let engine = EmbeddedEngine::open(EmbeddedOptions { files, readers: 1, ..options(directory) }).unwrap();
    (engine, panics)
}

#[tokio::test]
async fn a_panic_of_the_committer_answers_those_who_wait_and_those_who_come() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, panics) = panicking(directory.path(), "fanfare-commit");
    commit(&engine, change(vec![put("a", "1")])).await.unwrap();
    panics.armed.store(true, Ordering::SeqCst);
    let waiting: Vec<_> = (0..8).map(|n| commit(&engine, change(vec![put(&format!("b{n}"), "2")]))).collect();
    for answer in waiting {
        let answer = answer.await;
        assert!(matches!(answer, Err(CommitError::Fatal(_))), "{answer:?}");
    }
    let refusal = loop {
        if let Some(refusal) = engine.refusal() {
            break refusal;
        }
    };
    assert!(refusal.to_string().contains("fanfare-commit panicked (the test says so)"), "{refusal}");
    let later = commit(&engine, change(vec![put("c", "3")])).await;
    assert!(matches!(later, Err(CommitError::Fatal(_))), "{later:?}");
    assert_eq!(text(&engine, "a").await.as_deref(), Some("1"), "what is there is read");
    assert!(engine.close().await.is_err());
    drop(engine);
    assert_eq!(text(&open(directory.path()), "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_panic_of_the_indexer_lets_go_of_those_who_wait_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, panics) = panicking(directory.path(), "fanfare-index");
    commit(&engine, change(vec![put("a", "1")])).await.unwrap();
    panics.armed.store(true, Ordering::SeqCst);
    assert!(!engine.parts.indexer.flush_now());
    let refused = commit(&engine, change(vec![put("b", "2")])).await;
    assert!(
        matches!(&refused, Err(CommitError::Fatal(why)) if why.contains("fanfare-index panicked")),
        "{refused:?}"
    );
    assert!(engine.close().await.is_err());
    drop(engine);
    assert_eq!(text(&open(directory.path()), "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_read_that_panics_is_an_error_of_that_read_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, panics) = panicking(directory.path(), "fanfare-read");
    let large = "x".repeat(700);
    commit(&engine, change(vec![put("large", &large)])).await.unwrap();
    flush(&engine);
    panics.armed.store(true, Ordering::SeqCst);
    let error = engine.get(key("large")).await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    assert_eq!(text(&engine, "large").await, Some(large));
    assert_eq!(engine.refusal(), None);
}
