//! A small disk, filled and freed again and again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::files::{File, Room};
use super::super::{EmbeddedEngine, EmbeddedOptions};
use super::hooked::{Hooked, Hooks};
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

impl Hooks for SmallDisk {
    fn write(&self, file: &dyn File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.free() < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, offset)
    }

    fn room(&self, _: &Path) -> io::Result<Room> {
        Ok(Room { free: self.free(), total: self.total })
    }
}

fn on_small_disk(directory: &Path, total: u64) -> (EmbeddedOptions, Arc<SmallDisk>) {
    let disk = Arc::new(SmallDisk { directory: directory.to_owned(), total, elsewhere: AtomicU64::new(0) });
    let settings = EmbeddedOptions {
        files: Arc::new(Hooked(disk.clone())),
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
        // The room comes back by itself; how soon is the machine's affair.
        while disk.free() < disk.total / 2 {
            tokio::task::yield_now().await;
        }
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
