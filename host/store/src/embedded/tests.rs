//! The embedded engine under restarts, crashes, damage and faults of the disk.

mod disk;
mod every_fault;
mod faults;
mod full;
mod golden;
mod group;
mod hooked;
mod lost;
mod panics;
mod power;
mod reclaim;
pub(crate) mod recovery;
mod shutdown;
mod small;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{EmbeddedEngine, EmbeddedOptions, indexer};
use crate::contract::{self, Step};
use crate::engine::{Change, Class, CommitError, Engine as _, Precondition, Transaction};

/// Small bounds, so that a few commits meet all of them; the index is written only when a test says so.
fn options(path: &Path) -> EmbeddedOptions {
    EmbeddedOptions {
        flush_interval: Duration::from_secs(3_600),
        segment_bytes: 2_048,
        overlay_value_bytes: 400,
        reserve_bytes: Some(0),
        reclaim_share_percent: 0,
        ..EmbeddedOptions::new(path)
    }
}

fn open(path: &Path) -> EmbeddedEngine {
    EmbeddedEngine::open(options(path)).unwrap()
}

/// Past the test harness, which keeps what a test that passes prints.
fn say_skipped(why: &str) {
    let line = format!("\n*** SKIPPED: {why}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

/// What the indexer does when its time has come.
fn flush(engine: &EmbeddedEngine) {
    indexer::flush(&engine.parts.shared).unwrap();
}

/// The directory as a crash at this moment would leave it.
pub(crate) fn crashed(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn the_embedded_engine_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    contract::examples(|| {
        count.set(count.get() + 1);
        open(&directory.path().join(count.get().to_string()))
    })
    .await;
}

/// Raises a number by reading, adding one and writing under the condition that nobody else did.
async fn raise(engine: &EmbeddedEngine, name: &str) {
    loop {
        let read = engine.get(contract::key(name)).await.unwrap();
        let (now, condition) = match &read {
            None => (0, Precondition::Absent(contract::key(name))),
            Some(record) => {
                let now = String::from_utf8(record.value.to_vec()).unwrap().parse::<u32>().unwrap();
                (now, Precondition::Unchanged(contract::key(name), record.version))
            }
        };
        let changes = vec![contract::put(name, &(now + 1).to_string()), Change::Add(contract::key("all"), 1)];
        let transaction = Transaction { preconditions: vec![condition], changes };
        match engine.commit(Class::Settle, vec![transaction]).await.remove(0) {
            Ok(_) => return,
            Err(error) => assert_eq!(error, CommitError::Conflict),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_missed_while_the_overlay_moves_into_the_index() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Arc::new(open(directory.path()));
    let done = Arc::new(AtomicBool::new(false));
    let flusher = std::thread::spawn({
        let (engine, done) = (engine.clone(), done.clone());
        move || {
            while !done.load(Ordering::SeqCst) {
                flush(&engine);
            }
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let engine = engine.clone();
        tasks.spawn(async move {
            for n in 0..60 {
                raise(&engine, &format!("n{}", (task + n) % 3)).await;
            }
        });
    }
    tasks.join_all().await;
    done.store(true, Ordering::SeqCst);
    flusher.join().unwrap();
    let mut sum = 0;
    for name in ["n0", "n1", "n2"] {
        sum += contract::text(&*engine, name).await.unwrap().parse::<u32>().unwrap();
    }
    assert_eq!(sum, 480);
    let counted = engine.get(contract::key("all")).await.unwrap().unwrap();
    assert_eq!(*counted.value, 480_i64.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn it_agrees_with_a_map_through_flushes_restarts_crashes_index_loss_and_reclaim(history in contract::histories()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut directory = tempfile::tempdir().unwrap();
            let mut engine = open(directory.path());
            let mut model = std::collections::BTreeMap::new();
            for step in &history {
                match step {
                    Step::Disturb(n) if n % 8 == 0 => {
                        drop(engine);
                        engine = open(directory.path());
                    }
                    Step::Disturb(n) if n % 8 < 4 => {
                        let after = crashed(directory.path());
                        drop(engine);
                        if n % 8 == 2 {
                            fs::remove_dir_all(after.path().join("index")).unwrap();
                        }
                        engine = open(after.path());
                        directory = after;
                    }
                    Step::Disturb(n) if n % 8 < 6 => reclaim::reclaim(&engine),
                    Step::Disturb(_) => flush(&engine),
                    other => contract::step(&engine, &mut model, other).await,
                }
            }
            contract::same(&engine, &model).await;
        });
    }
}
