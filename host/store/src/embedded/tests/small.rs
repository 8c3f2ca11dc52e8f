//! A small disk, filled and freed again and again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::files::{Disk, File, Files, Mode, Room};
use super::super::{EmbeddedEngine, EmbeddedOptions};
use super::{open, options};
use crate::contract::{change, key, put, text};
use crate::engine::{Change, Class, CommitError, Engine as _, Transaction};

/// A disk of its own size, on which everything in a directory lies, the index too.
#[derive(Debug)]
struct SmallDisk {
    directory: PathBuf,
    total: u64,
    /// What others have on it.
    elsewhere: AtomicU64,
}

#[derive(Debug)]
struct OnSmallDisk(Arc<SmallDisk>);

#[derive(Debug)]
struct SmallFile(Arc<dyn File>, Arc<SmallDisk>);

impl SmallDisk {
    fn free(&self) -> u64 {
        self.total.saturating_sub(bytes_below(&self.directory) + self.elsewhere.load(Ordering::SeqCst))
    }
}

fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        // sled's files are full of holes.
        Ok(metadata) => metadata.len().min(512 * std::os::unix::fs::MetadataExt::blocks(&metadata)),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

impl Files for OnSmallDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SmallFile(Disk.open(path, mode)?, self.0.clone())))
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
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.link(from, to)
    }
    fn exists(&self, path: &Path) -> bool {
        Disk.exists(path)
    }
    fn room(&self, _: &Path) -> io::Result<Room> {
        Ok(Room { free: self.0.free(), total: self.0.total })
    }
}

impl File for SmallFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.1.free() < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write_all_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

fn on_small_disk(directory: &Path, total: u64) -> (EmbeddedOptions, Arc<SmallDisk>) {
    let disk = Arc::new(SmallDisk { directory: directory.to_owned(), total, elsewhere: AtomicU64::new(0) });
    let settings = EmbeddedOptions {
        files: Arc::new(OnSmallDisk(disk.clone())),
        flush_interval: Duration::from_millis(50),
        segment_bytes: 64 << 20,
        reserve_bytes: None,
        reclaim_share_percent: 100,
        ..options(directory)
    };
    (settings, disk)
}

/// As a client does: again until it is taken.
async fn insist(engine: &EmbeddedEngine, class: Class, transaction: Transaction) {
    loop {
        match engine.commit(class, vec![transaction.clone()]).await.remove(0) {
            Ok(_) => return,
            Err(CommitError::Full(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

fn value(round: usize, n: usize) -> String {
    format!("{round} {n} {}", "v".repeat(16 << 10))
}

#[tokio::test]
async fn a_small_disk_is_filled_and_freed_again_and_again_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (settings, disk) = on_small_disk(directory.path(), 24 << 20);
    let engine = EmbeddedEngine::open(settings).unwrap();
    let mut kept = BTreeMap::new();
    for round in 0..3 {
        let mut accepted = Vec::new();
        // New work until there is no room for it.
        for n in 0.. {
            let name = format!("r{round}n{n:05}");
            let new = change(vec![put(&name, &value(round, n))]);
            match engine.commit(Class::Intake, vec![new]).await.remove(0) {
                Ok(_) => accepted.push((name, value(round, n))),
                Err(CommitError::Full(_)) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(accepted.len() > 100, "round {round}: {}", accepted.len());
        // What was accepted is settled: most of it goes, a little stays.
        for (place, (name, value)) in accepted.into_iter().enumerate() {
            let settled = if place % 40 == 0 {
                kept.insert(name.clone(), value.clone());
                put(&name, &value)
            } else {
                Change::Delete(key(&name))
            };
            insist(&engine, Class::Settle, change(vec![settled])).await;
        }
        insist(&engine, Class::Intake, change(vec![put("again", &round.to_string())])).await;
        assert!(disk.free() > 0);
    }
    for (name, value) in &kept {
        assert_eq!(text(&engine, name).await.as_ref(), Some(value));
    }
    engine.close().await.unwrap();
    std::fs::remove_dir_all(directory.path().join("index")).unwrap();
    let engine = open(directory.path());
    let all = engine.scan(key("r")..key("s"), usize::MAX, crate::engine::Direction::Forward).await.unwrap();
    assert_eq!(all.len(), kept.len());
    for (name, value) in &kept {
        assert_eq!(text(&engine, name).await.as_ref(), Some(value));
    }
}

#[tokio::test]
async fn a_disk_that_others_fill_stops_everything_and_everything_goes_on_when_they_leave() {
    let directory = tempfile::tempdir().unwrap();
    let (settings, disk) = on_small_disk(directory.path(), 64 << 20);
    let engine = EmbeddedEngine::open(settings).unwrap();
    for round in 0..3 {
        let name = format!("before{round}");
        insist(&engine, Class::Settle, change(vec![put(&name, "1")])).await;
        disk.elsewhere.store(64 << 20, Ordering::SeqCst);
        // The answer of a moment ago may be used once more; then there is none but this.
        let refused = loop {
            let more = change(vec![put(&format!("more{round}"), &"m".repeat(200))]);
            if let Err(error) = engine.commit(Class::Settle, vec![more]).await.remove(0) {
                break error;
            }
        };
        assert!(matches!(refused, CommitError::Full(_)), "{refused}");
        while engine.refusal().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(text(&engine, &name).await.as_deref(), Some("1"));
        disk.elsewhere.store(0, Ordering::SeqCst);
        insist(&engine, Class::Intake, change(vec![put(&format!("after{round}"), "2")])).await;
    }
    engine.close().await.unwrap();
    let engine = open(directory.path());
    for round in 0..3 {
        assert_eq!(text(&engine, &format!("before{round}")).await.as_deref(), Some("1"));
        assert_eq!(text(&engine, &format!("after{round}")).await.as_deref(), Some("2"));
    }
}

#[tokio::test]
async fn closing_on_a_full_disk_ends_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (settings, disk) = on_small_disk(directory.path(), 64 << 20);
    let engine =
        EmbeddedEngine::open(EmbeddedOptions { flush_interval: Duration::from_secs(3_600), ..settings })
            .unwrap();
    insist(&engine, Class::Settle, change(vec![put("a", "1")])).await;
    disk.elsewhere.store(64 << 20, Ordering::SeqCst);
    engine.close().await.unwrap();
    let engine = open(directory.path());
    assert_eq!(engine.recovery().frames_replayed, 1);
    assert_eq!(text(&engine, "a").await.as_deref(), Some("1"));
}

#[test]
fn segments_are_a_sixteenth_of_a_small_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (settings, _disk) = on_small_disk(directory.path(), 64 << 20);
    let engine = EmbeddedEngine::open(settings.clone()).unwrap();
    assert_eq!(engine.parts.shared.space.segment_bytes(), 4 << 20);
    drop(engine);
    let engine = EmbeddedEngine::open(EmbeddedOptions { segment_bytes: 2 << 20, ..settings }).unwrap();
    assert_eq!(engine.parts.shared.space.segment_bytes(), 2 << 20);
}
