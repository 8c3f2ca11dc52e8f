//! Stores that earlier versions wrote, in `tests/golden`: they are read, whatever this version writes itself.
//!
//! Each is what `fanfare serve` left: three notifications delivered to the console under idempotency keys, and two
//! with dedup keys that wait for 2027. `store-N` is of journal format N. A format that changes gets a new one; those
//! that are there never change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fanfare_model::clock::ManualClock;
use fanfare_model::delivery::Phase;
use fanfare_model::id::NotificationId;
use fanfare_model::time::Timestamp;

use super::super::format::{BadHeader, FORMAT, HEADER_BYTES, SegmentHeader};
use super::super::index::Index;
use super::super::tools::{self, IndexState};
use super::super::{EmbeddedEngine, EmbeddedOptions, OpenError};
use super::recovery::segments;
use super::{copy, options};
use crate::Store;

fn golden(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/golden/store-{format}"))
}

/// A copy to work on; `git` keeps no empty files, and sled makes those again.
fn unpacked(format: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy(&golden(format), directory.path());
    directory
}

fn ids(format: u32) -> Vec<NotificationId> {
    let text = fs::read_to_string(golden(format).with_extension("txt")).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn usual(path: &Path) -> EmbeddedOptions {
    EmbeddedOptions { segment_bytes: EmbeddedOptions::new(path).segment_bytes, ..options(path) }
}

#[tokio::test]
async fn every_format_that_was_ever_written_is_read_and_gone_on_with() {
    for format in 1..=FORMAT {
        for index_is_there in [true, false] {
            let directory = unpacked(format);
            if !index_is_there {
                fs::remove_dir_all(directory.path().join("index")).unwrap();
            }
            let header = fs::read(&segments(directory.path())[0]).unwrap();
            let header = SegmentHeader::decode(&header[..HEADER_BYTES]).unwrap();
            assert_eq!(header.format, format);
            let report = tools::check(&usual(directory.path())).unwrap();
            assert!(report.whole, "format {format}: {report:#?}");
            assert_eq!(
                (report.kinds["body"].records, report.kinds["due"].records),
                (5, 2),
                "format {format}"
            );
            for _ in 0..2 {
                let engine = Arc::new(EmbeddedEngine::open(usual(directory.path())).unwrap());
                let clock = Arc::new(ManualClock::at(Timestamp::from_ms(1_800_000_000_000)));
                let store = Store::open(engine.clone(), clock).await.unwrap();
                for (place, id) in ids(format).into_iter().enumerate() {
                    let notification = store.notification(id).await.unwrap().unwrap();
                    assert_eq!(notification.title.as_deref(), Some(format!("Golden {}", place + 1).as_str()));
                    let ended = store.cell(id).await.unwrap().unwrap().read(|state| {
                        state
                            .deliveries
                            .iter()
                            .all(|delivery| !matches!(delivery.phase, Phase::Waiting { .. }))
                    });
                    assert_eq!(ended, place < 3, "format {format}, {id}");
                }
                let more = crate::contract::change(vec![crate::contract::put("more", "1")]);
                crate::contract::commit(&*engine, more).await.unwrap();
                store.close().await.unwrap();
            }
            let report = tools::check(&usual(directory.path())).unwrap();
            assert!(matches!(report.index, IndexState::Agrees { .. }), "format {format}: {report:#?}");
        }
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name_and_nothing_is_changed() {
    let directory = unpacked(FORMAT);
    let file = segments(directory.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    let crc = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&bytes[..HEADER_BYTES]), Err(BadHeader::Newer(FORMAT + 1)));
    fs::write(&file, &bytes).unwrap();
    let errors = [
        EmbeddedEngine::open(usual(directory.path())).map(drop).unwrap_err(),
        tools::check(&usual(directory.path())).map(drop).unwrap_err(),
        tools::repair(&usual(directory.path())).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, OpenError::NewerFormat { found, known: FORMAT, .. } if found == FORMAT + 1));
        assert!(error.to_string().contains(&format!("has format {}", FORMAT + 1)), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn an_index_of_a_newer_format_is_refused_by_name() {
    let directory = unpacked(FORMAT);
    let (index, _) = Index::open(&directory.path().join("index")).unwrap();
    index.pretend_format(Index::format() + 1);
    index.close().unwrap();
    let error = EmbeddedEngine::open(usual(directory.path())).unwrap_err();
    assert!(
        matches!(&error, OpenError::NewerFormat { found, path, .. } if *found == Index::format() + 1 && path.ends_with("index")),
        "{error}"
    );
}
