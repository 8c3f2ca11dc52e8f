//! A disk that fails or fills up, played by a file system of the tests' own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::super::files::{File, Room};
use super::super::{EmbeddedEngine, EmbeddedOptions};
use super::disk::Operation;
use super::hooked::{Hooked, Hooks};
use super::options;
use crate::contract::{change, commit, key, put, text};
use crate::engine::{Change, Class, CommitError, Engine, Precondition, Transaction};

#[derive(Debug, Default)]
struct Switches {
    fail_sync: AtomicBool,
    fail_sync_once: AtomicBool,
    fail_write: AtomicBool,
    free: AtomicU64,
    /// What was done, and to which file.
    trail: Mutex<Vec<(Operation, PathBuf)>>,
}

impl Hooks for Switches {
    fn before(&self, operation: Operation, path: &Path) -> io::Result<()> {
        self.trail.lock().unwrap().push((operation, path.to_owned()));
        let fails = operation == Operation::Sync
            && (self.fail_sync.load(Ordering::SeqCst) || self.fail_sync_once.swap(false, Ordering::SeqCst));
        if fails { Err(io::Error::other("the disk said no")) } else { Ok(()) }
    }

    fn write(&self, file: &dyn File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.fail_write.load(Ordering::SeqCst) {
            file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, offset)
    }

    fn room(&self, _: &Path) -> io::Result<Room> {
        Ok(Room { free: self.free.load(Ordering::SeqCst), total: 1 << 30 })
    }
}

fn faulty(path: &Path) -> (EmbeddedOptions, Arc<Switches>) {
    let switches = Arc::new(Switches { free: AtomicU64::new(1 << 29), ..Switches::default() });
    let files = Arc::new(Hooked(switches.clone()));
    (EmbeddedOptions { files, reserve_bytes: None, ..options(path) }, switches)
}

#[tokio::test]
async fn a_sync_that_failed_is_never_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (options, switches) = faulty(directory.path());
    let engine = EmbeddedEngine::open(options).unwrap();
    commit(&engine, change(vec![put("a", "1")])).await.unwrap();
    switches.fail_sync.store(true, Ordering::SeqCst);
    let failed = commit(&engine, change(vec![put("a", "2")])).await;
    assert!(matches!(failed, Err(CommitError::Fatal(_))), "{failed:?}");
    switches.fail_sync.store(false, Ordering::SeqCst);
    let later = commit(&engine, change(vec![put("a", "3")])).await;
    assert!(matches!(later, Err(CommitError::Fatal(_))), "{later:?}");
    assert!(matches!(engine.refusal(), Some(CommitError::Fatal(_))));
    assert_eq!(text(&engine, "a").await.as_deref(), Some("1"));
    assert!(engine.close().await.is_err());
}

#[tokio::test]
async fn a_segment_whose_sync_failed_once_is_neither_synced_nor_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let (options, switches) = faulty(directory.path());
    let engine = EmbeddedEngine::open(options).unwrap();
    commit(&engine, change(vec![put("a", "1")])).await.unwrap();
    let first = directory.path().join("journal").join(super::super::journal::segment_name(1));
    switches.trail.lock().unwrap().clear();
    switches.fail_sync_once.store(true, Ordering::SeqCst);
    for n in 0..20 {
        commit(&engine, change(vec![put(&format!("b{n}"), &"2".repeat(300))])).await.unwrap();
    }
    engine.close().await.unwrap();
    let trail = switches.trail.lock().unwrap();
    let to_first = trail.iter().filter(|(operation, path)| *path == first && *operation != Operation::Read);
    let to_first: Vec<_> = to_first.map(|(operation, _)| *operation).collect();
    assert_eq!(to_first, [Operation::Write, Operation::Sync], "nothing follows the sync that failed");
    // What was acknowledged was synced elsewhere.
    let synced_elsewhere =
        trail.iter().any(|(operation, path)| *operation == Operation::Sync && *path != first);
    assert!(synced_elsewhere, "{trail:?}");
}

#[tokio::test]
async fn a_segment_whose_sync_failed_is_given_up_and_the_group_is_kept_in_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (options, switches) = faulty(directory.path());
    let engine = EmbeddedEngine::open(options).unwrap();
    commit(&engine, change(vec![put("a", "1")])).await.unwrap();
    switches.fail_sync_once.store(true, Ordering::SeqCst);
    commit(&engine, change(vec![put("b", "2")])).await.unwrap();
    commit(&engine, change(vec![Change::Delete(key("a"))])).await.unwrap();
    assert_eq!(engine.parts.shared.segments.sealed().len(), 1);
    // What of the failed frame is left in the first segment, in part or whole, does not count.
    let first = directory.path().join("journal").join(super::super::journal::segment_name(1));
    let length = std::fs::metadata(&first).unwrap().len();
    let counts = engine.parts.shared.segments.sealed()[&1];
    for kept in [length, length - 1, counts] {
        let crash = super::crashed(directory.path());
        let file = crash.path().join("journal").join(super::super::journal::segment_name(1));
        std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(kept).unwrap();
        let engine = super::open(crash.path());
        assert_eq!(text(&engine, "a").await, None);
        assert_eq!(text(&engine, "b").await.as_deref(), Some("2"));
    }
}

#[tokio::test]
async fn a_group_that_did_not_fit_changes_nothing_and_the_next_one_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (options, switches) = faulty(directory.path());
    let engine = EmbeddedEngine::open(options).unwrap();
    commit(&engine, change(vec![put("a", "1")])).await.unwrap();
    switches.fail_write.store(true, Ordering::SeqCst);
    let failed = commit(&engine, change(vec![put("a", &"2".repeat(300))])).await;
    assert!(matches!(failed, Err(CommitError::Full(_))), "{failed:?}");
    // Over the end of the segment: the new one can't be made either.
    let failed = commit(&engine, change(vec![put("a", &"2".repeat(3_000))])).await;
    assert!(matches!(failed, Err(CommitError::Full(_))), "{failed:?}");
    switches.fail_write.store(false, Ordering::SeqCst);
    assert_eq!(text(&engine, "a").await.as_deref(), Some("1"));
    commit(&engine, change(vec![put("b", "3")])).await.unwrap();
    let crash = super::crashed(directory.path());
    let engine = super::open(crash.path());
    assert_eq!(engine.recovery().torn_bytes, 0);
    assert_eq!(text(&engine, "a").await.as_deref(), Some("1"));
    assert_eq!(text(&engine, "b").await.as_deref(), Some("3"));
}

#[tokio::test]
async fn under_the_reserve_new_work_is_refused_and_accepted_work_is_settled() {
    let directory = tempfile::tempdir().unwrap();
    let (options, switches) = faulty(directory.path());
    switches.free.store(40 << 20, Ordering::SeqCst);
    let engine = EmbeddedEngine::open(options).unwrap();
    let refused = commit(&engine, change(vec![put("a", "1")])).await;
    assert!(
        matches!(&refused, Err(CommitError::Full(text)) if text.contains("40 MiB are free")),
        "{refused:?}"
    );
    let settled = engine.commit(Class::Settle, vec![change(vec![put("b", "1")])]).await;
    assert!(settled[0].is_ok());
}

#[tokio::test]
async fn conditions_and_counters_see_what_only_the_index_holds() {
    let directory = tempfile::tempdir().unwrap();
    let engine = super::open(directory.path());
    let first = commit(&engine, change(vec![put("k", "1"), Change::Add(key("n"), 4)])).await.unwrap();
    super::flush(&engine);
    let absent = |name| Transaction { preconditions: vec![Precondition::Absent(key(name))], changes: vec![] };
    assert_eq!(commit(&engine, absent("k")).await, Err(CommitError::Conflict));
    assert!(commit(&engine, absent("new")).await.is_ok());
    let unchanged = Transaction {
        preconditions: vec![Precondition::Unchanged(key("k"), first)],
        changes: vec![put("k", "2"), Change::Add(key("n"), 3)],
    };
    commit(&engine, unchanged.clone()).await.unwrap();
    super::flush(&engine);
    assert_eq!(commit(&engine, unchanged).await, Err(CommitError::Conflict));
    let sum = engine.get(key("n")).await.unwrap().unwrap();
    assert_eq!(*sum.value, 7_i64.to_le_bytes());
}

#[tokio::test]
async fn a_damaged_value_is_an_error_that_names_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let engine = super::open(directory.path());
    commit(&engine, change(vec![put("large", &"x".repeat(1_900))])).await.unwrap();
    // It is followed by another segment, and a start that reads only that one.
    commit(&engine, change(vec![put("next", &"y".repeat(1_900))])).await.unwrap();
    drop(engine);
    let file = directory.path().join("journal").join(super::super::journal::segment_name(1));
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() - 10;
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let unlooked = EmbeddedOptions { verify_bytes: 0, ..options(directory.path()) };
    let engine = EmbeddedEngine::open(unlooked).unwrap();
    let error = engine.get(key("large")).await.unwrap_err();
    assert!(error.to_string().contains("0000000000000001.journal at offset"), "{error}");
}
