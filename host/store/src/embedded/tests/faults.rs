//! A disk that fails or fills up, played by a file system of the tests' own.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::files::{Disk, File, Files, Mode, Room};
use super::super::{EmbeddedEngine, EmbeddedOptions};
use super::options;
use crate::contract::{change, commit, key, put, text};
use crate::engine::{Change, Class, CommitError, Engine, Precondition, Transaction};

#[derive(Debug, Default)]
struct Switches {
    fail_sync: AtomicBool,
    fail_sync_once: AtomicBool,
    fail_write: AtomicBool,
    free: AtomicU64,
}

#[derive(Debug)]
struct Faulty(Arc<Switches>);

#[derive(Debug)]
struct FaultyFile(Arc<dyn File>, Arc<Switches>);

impl Files for Faulty {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(FaultyFile(Disk.open(path, mode)?, self.0.clone())))
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        Disk.list(directory)
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        Disk.create_directory(path)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        Disk.sync_directory(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn exists(&self, path: &Path) -> bool {
        Disk.exists(path)
    }
    fn room(&self, _: &Path) -> io::Result<Room> {
        Ok(Room { free: self.0.free.load(Ordering::SeqCst), total: 1 << 30 })
    }
}

impl File for FaultyFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.1.fail_write.load(Ordering::SeqCst) {
            self.0.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write_all_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.1.fail_sync.load(Ordering::SeqCst) || self.1.fail_sync_once.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("the disk said no"));
        }
        self.0.sync_data()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

fn faulty(path: &Path) -> (EmbeddedOptions, Arc<Switches>) {
    let switches = Arc::new(Switches { free: AtomicU64::new(1 << 29), ..Switches::default() });
    let files = Arc::new(Faulty(switches.clone()));
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
    // It is followed by another segment, whose start reads only that one.
    commit(&engine, change(vec![put("next", &"y".repeat(1_900))])).await.unwrap();
    drop(engine);
    let file = directory.path().join("journal").join(super::super::journal::segment_name(1));
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() - 10;
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let engine = super::open(directory.path());
    let error = engine.get(key("large")).await.unwrap_err();
    assert!(error.to_string().contains("0000000000000001.journal at offset"), "{error}");
}
