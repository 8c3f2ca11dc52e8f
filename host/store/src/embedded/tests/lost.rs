//! A disk that others fill: in the middle of a write of the index, and before a start.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::files::Room;
use super::super::index::IndexError;
use super::super::index::tests::NO_ROOM_TO_OPEN;
use super::super::{EmbeddedEngine, EmbeddedOptions, OpenError, indexer};
use super::hooked::{Hooked, Hooks};
use super::{crashed, flush, open, options, reclaim};
use crate::contract::{change, commit, key, put, text};
use crate::engine::{Change, Class, CommitError, Direction, Engine as _, Precondition, Transaction};

type Model = BTreeMap<String, String>;

/// Some keys written, written again, and deleted.
async fn live(engine: &EmbeddedEngine, model: &mut Model, from: usize) {
    for n in from..from + 40 {
        let (name, value) = (format!("k{n:03}"), format!("{n} {}", "v".repeat(n % 7 * 60)));
        commit(engine, change(vec![put(&name, "first"), Change::Add(key("sum"), 1)])).await.unwrap();
        commit(engine, change(vec![put(&name, &value)])).await.unwrap();
        if n % 3 == 0 {
            commit(engine, change(vec![Change::Delete(key(&name))])).await.unwrap();
        } else {
            model.insert(name, value);
        }
    }
}

async fn holds(engine: &EmbeddedEngine, model: &Model) {
    for n in 0..400 {
        let name = format!("k{n:03}");
        assert_eq!(text(engine, &name).await.as_ref(), model.get(&name), "{name}");
    }
    let all = engine.scan(key("k")..key("l"), usize::MAX, Direction::Forward).await.unwrap();
    assert_eq!(all.len(), model.len());
}

/// The flush under way finds the disk full.
fn fill_in_a_flush(engine: &EmbeddedEngine) {
    engine.parts.shared.index.before_flush(|| Err(io::ErrorKind::StorageFull.into()));
    let failed = indexer::flush(&engine.parts.shared);
    assert!(matches!(failed, Err(IndexError::NoRoom(_))), "{failed:?}");
    assert!(engine.parts.shared.index.is_lost());
}

#[tokio::test]
async fn an_index_whose_flush_found_the_disk_full_is_opened_again_and_lacks_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let mut model = Model::new();
    live(&engine, &mut model, 0).await;
    flush(&engine);
    for round in 1..4 {
        live(&engine, &mut model, round * 40).await;
        commit(&engine, change(vec![put(&format!("only{round}"), "1")])).await.unwrap();
        fill_in_a_flush(&engine);
        // What came since the last flush is read, and more is taken; what lies in the index waits, with its reason.
        let name = format!("k{:03}", round * 40 + 1);
        assert_eq!(text(&engine, &name).await, model.get(&name).cloned());
        let error = engine.get(key("k001")).await.unwrap_err();
        assert!(error.to_string().contains("no room"), "{error}");
        let depends = Transaction {
            preconditions: vec![Precondition::Absent(key("k001"))],
            changes: vec![put("no", "1")],
        };
        let waits = engine.commit(Class::Settle, vec![depends]).await.remove(0);
        assert!(matches!(waits, Err(CommitError::Full(_))), "{waits:?}");
        assert!(!matches!(engine.refusal(), Some(CommitError::Fatal(_))));
        commit(&engine, change(vec![put("meanwhile", &round.to_string())])).await.unwrap();
        flush(&engine);
        holds(&engine, &model).await;
        assert_eq!(text(&engine, "meanwhile").await, Some(round.to_string()));
        // What it says of the segments is what one says that is built anew.
        let anew = crashed(directory.path());
        for entry in fs::read_dir(anew.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.file_name().unwrap().to_str().unwrap().starts_with("index") {
                fs::remove_dir_all(entry).unwrap();
            }
        }
        let anew = open(anew.path());
        flush(&anew);
        let (found, expected) =
            (engine.parts.shared.index.shares().of.clone(), anew.parts.shared.index.shares().of.clone());
        assert_eq!(found, expected, "round {round}");
    }
    reclaim::reclaim(&engine);
    holds(&engine, &model).await;
    engine.close().await.unwrap();
    drop(engine);
    let engine = open(directory.path());
    assert_eq!(engine.recovery().frames_replayed, 0);
    assert!(!engine.recovery().index_moved_aside);
    holds(&engine, &model).await;
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_str().unwrap().starts_with("index.")), "{names:?}");
}

#[tokio::test]
async fn an_index_that_was_lost_comes_back_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let settings = EmbeddedOptions { flush_interval: Duration::from_millis(5), ..options(directory.path()) };
    let engine = EmbeddedEngine::open(settings).unwrap();
    let mut model = Model::new();
    live(&engine, &mut model, 0).await;
    let (strike, struck) = std::sync::mpsc::channel();
    engine.parts.shared.index.before_flush(move || {
        strike.send(()).unwrap();
        Err(io::ErrorKind::StorageFull.into())
    });
    live(&engine, &mut model, 40).await;
    struck.recv().unwrap();
    while !engine.parts.indexer.flush_now() {
        tokio::task::yield_now().await;
    }
    assert!(!engine.parts.shared.index.is_lost());
    holds(&engine, &model).await;
    engine.close().await.unwrap();
}

#[tokio::test]
async fn an_index_that_was_lost_before_it_held_anything_hides_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let mut model = Model::new();
    live(&engine, &mut model, 0).await;
    fill_in_a_flush(&engine);
    holds(&engine, &model).await;
    flush(&engine);
    holds(&engine, &model).await;
}

#[tokio::test]
async fn a_disk_that_is_full_in_the_middle_of_too_many_writes_takes_a_restart_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let mut model = Model::new();
    for round in 0..5 {
        live(&engine, &mut model, round * 40).await;
        fill_in_a_flush(&engine);
        if round < 4 {
            flush(&engine);
        }
    }
    let error = indexer::flush(&engine.parts.shared).unwrap_err();
    assert!(matches!(&error, IndexError::Failed(why) if why.contains("5 times")), "{error}");
    engine.parts.shared.health.index_failed(&error);
    assert!(engine.close().await.is_err());
    drop(engine);
    holds(&open(directory.path()), &model).await;
}

#[tokio::test]
async fn a_crash_while_an_index_is_moved_leaves_half_of_it_and_a_start_builds_it_again() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let mut model = Model::new();
    live(&engine, &mut model, 0).await;
    engine.close().await.unwrap();
    drop(engine);
    let (from, to) = (directory.path().join("index/metadata"), directory.path().join("index.1/metadata"));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(&from).unwrap().map(|entry| entry.unwrap()) {
        fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
    }
    fs::write(directory.path().join("index.rebuild"), b"").unwrap();
    let engine = open(directory.path());
    assert!(engine.recovery().index_moved_aside);
    holds(&engine, &model).await;
    assert!(!directory.path().join("index.1").exists());
}

/// A disk whose room the test says.
#[derive(Debug)]
struct Room64(AtomicU64);

impl Hooks for Room64 {
    fn room(&self, _: &Path) -> io::Result<Room> {
        Ok(Room { free: self.0.load(Ordering::SeqCst), total: 64 << 20 })
    }
}

fn on_full_disk(directory: &Path) -> (EmbeddedOptions, Arc<Room64>) {
    let room = Arc::new(Room64(AtomicU64::new(0)));
    let files = Arc::new(Hooked(room.clone()));
    (EmbeddedOptions { files, reserve_bytes: None, flush_bytes: 2_000, ..options(directory) }, room)
}

#[tokio::test]
async fn a_start_without_any_room_serves_reads_refuses_work_and_goes_on_when_there_is_some() {
    for spoilt in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(directory.path());
        let mut model = Model::new();
        live(&engine, &mut model, 0).await;
        flush(&engine);
        live(&engine, &mut model, 40).await;
        engine.close().await.unwrap();
        drop(engine);
        let (settings, room) = on_full_disk(directory.path());
        if spoilt {
            fs::write(directory.path().join("index.rebuild"), b"").unwrap();
        }
        NO_ROOM_TO_OPEN.set(true);
        let engine = EmbeddedEngine::open(settings).unwrap();
        assert!(engine.parts.shared.index.is_lost());
        holds(&engine, &model).await;
        let refused = engine.commit(Class::Intake, vec![change(vec![put("new", "1")])]).await.remove(0);
        assert!(matches!(refused, Err(CommitError::Full(_))), "{refused:?}");
        assert!(matches!(engine.refusal(), Some(CommitError::Full(_))));
        room.0.store(60 << 20, Ordering::SeqCst);
        while let Err(error) = commit(&engine, change(vec![put("new", "1")])).await {
            assert!(matches!(error, CommitError::Full(_)), "{error}");
            tokio::task::yield_now().await;
        }
        while !engine.parts.indexer.flush_now() {
            tokio::task::yield_now().await;
        }
        holds(&engine, &model).await;
        engine.close().await.unwrap();
        drop(engine);
        let engine = open(directory.path());
        assert_eq!((engine.recovery().frames_replayed, engine.recovery().index_moved_aside), (0, false));
        holds(&engine, &model).await;
    }
}

#[tokio::test]
async fn a_store_that_is_too_large_for_the_memory_does_not_start_without_room_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let mut model = Model::new();
    live(&engine, &mut model, 0).await;
    engine.close().await.unwrap();
    drop(engine);
    let (settings, _) = on_full_disk(directory.path());
    NO_ROOM_TO_OPEN.set(true);
    let error = EmbeddedEngine::open(EmbeddedOptions { unindexed_keys_max: 10, ..settings }).unwrap_err();
    assert!(matches!(error, OpenError::NoRoom { free_mib: 0, keys_max: 10, .. }), "{error}");
    assert!(error.to_string().contains("free at least 2 MiB, and start again"), "{error}");
    // With room it starts, and has lost nothing; not even its index.
    let engine = open(directory.path());
    assert_eq!(engine.recovery().frames_replayed, 0);
    holds(&engine, &model).await;
}
