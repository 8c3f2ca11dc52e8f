//! The embedded engine under restarts, crashes, damage and faults of the disk.

mod faults;
mod recovery;

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{EmbeddedEngine, EmbeddedOptions, indexer};
use crate::contract::{self, Step};

/// Small bounds, so that a few commits meet all of them; the index is written only when a test says so.
fn options(path: &Path) -> EmbeddedOptions {
    EmbeddedOptions {
        flush_interval: Duration::from_secs(3_600),
        segment_bytes: 2_048,
        overlay_value_bytes: 400,
        reserve_bytes: Some(0),
        ..EmbeddedOptions::new(path)
    }
}

fn open(path: &Path) -> EmbeddedEngine {
    EmbeddedEngine::open(options(path)).unwrap()
}

/// What the indexer does when its time has come.
fn flush(engine: &EmbeddedEngine) {
    indexer::flush(&engine.parts.shared).unwrap();
}

/// The directory as a crash at this moment would leave it.
fn crashed(from: &Path) -> TempDir {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn it_agrees_with_a_map_through_flushes_restarts_and_crashes(history in contract::histories()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut directory = tempfile::tempdir().unwrap();
            let mut engine = open(directory.path());
            let mut model = std::collections::BTreeMap::new();
            for step in &history {
                match step {
                    Step::Disturb(n) if n % 4 == 0 => {
                        drop(engine);
                        engine = open(directory.path());
                    }
                    Step::Disturb(n) if n % 4 == 1 => {
                        let after = crashed(directory.path());
                        drop(engine);
                        engine = open(after.path());
                        directory = after;
                    }
                    Step::Disturb(_) => flush(&engine),
                    other => contract::step(&engine, &mut model, other).await,
                }
            }
            contract::same(&engine, &model).await;
        });
    }
}
