//! What `check` finds, and what it leaves alone.

use std::fs;

use super::super::super::format::HEADER_BYTES;
use super::super::super::tests::crashed;
use super::super::super::{EmbeddedEngine, OpenError};
use super::super::{IndexState, check};
use super::{Served, filled, flip, name, options, segments};

#[tokio::test]
async fn a_whole_store_is_whole_and_its_records_are_counted_by_kind() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let report = check(&options(directory.path())).unwrap();
    assert!(report.whole, "{report:#?}");
    assert!(matches!(report.index, IndexState::Agrees { frames_behind: 0, .. }), "{report:#?}");
    let kinds: Vec<_> = report.kinds.iter().map(|(kind, count)| (*kind, count.records)).collect();
    assert_eq!(kinds, [("body", 20), ("counter", 2), ("due", 10), ("state", 20), ("user", 20)]);
    assert_eq!(report.segments, segments(directory.path()).len() as u64);
    assert!(!directory.path().join("index.check").exists());
}

#[tokio::test]
async fn a_journal_behind_the_index_is_compared_up_to_where_the_index_is() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::open(directory.path()).await;
    served.accept(1).await;
    super::super::super::indexer::flush(&served.engine.parts.shared).unwrap();
    let id = served.accept(40).await;
    served.settle(id).await;
    let crash = crashed(directory.path());
    let report = check(&options(crash.path())).unwrap();
    assert!(report.whole, "{report:#?}");
    assert!(matches!(report.index, IndexState::Agrees { frames_behind: 2, .. }), "{report:#?}");
    assert_eq!(report.kinds["due"].records, 40);
}

#[tokio::test]
async fn a_store_in_use_is_refused_with_its_owner_and_none_is_made_where_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::open(directory.path()).await;
    let error = check(&options(directory.path())).unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    served.close().await;
    let nowhere = directory.path().join("nowhere");
    let error = check(&options(&nowhere)).unwrap_err();
    assert!(matches!(error, OpenError::Absent { .. }), "{error}");
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn every_byte_of_the_journal_is_watched() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    let files = segments(directory.path());
    let file = &files[1];
    let length = fs::read(file).unwrap().len();
    for at in (0..HEADER_BYTES).chain((HEADER_BYTES..length).step_by(97)) {
        flip(file, at);
        let report = check(&options(directory.path())).unwrap();
        assert!(!report.whole, "byte {at}");
        assert!(report.problems.iter().all(|problem| problem.segment == Some(name(file))), "{report:#?}");
        let (from, to) = (report.problems[0].from.unwrap(), report.problems[0].to.unwrap());
        assert!(from <= at as u64 && (at as u64) < to, "byte {at}: {from}..{to}");
        flip(file, at);
    }
    assert!(check(&options(directory.path())).unwrap().whole);
}

#[tokio::test]
async fn a_torn_end_is_told_and_left_for_the_next_start_to_cut() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let file = segments(directory.path()).pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, [&bytes[..], &[0xf4; 70]].concat()).unwrap();
    let report = check(&options(directory.path())).unwrap();
    assert!(report.whole, "{report:#?}");
    assert_eq!(report.torn_bytes, 70);
    assert_eq!(fs::read(&file).unwrap().len(), bytes.len() + 70);
    // Cut into what the index has seen: that was acknowledged.
    fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
    let report = check(&options(directory.path())).unwrap();
    assert_eq!(report.problems[0].code, "journal.short", "{report:#?}");
    assert_eq!(report.index, IndexState::NotCompared);
}

#[tokio::test]
async fn what_is_missing_is_told_by_its_commits() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    for damage in [
        |file: &std::path::Path| fs::remove_file(file).unwrap(),
        |file: &std::path::Path| fs::File::options().write(true).open(file).unwrap().set_len(200).unwrap(),
        |file: &std::path::Path| fs::write(file, b"").unwrap(),
    ] {
        let crash = crashed(directory.path());
        fs::remove_dir_all(crash.path().join("index")).unwrap();
        damage(&segments(crash.path())[1]);
        let report = check(&options(crash.path())).unwrap();
        let texts: Vec<_> = report.problems.iter().map(|problem| problem.text.as_str()).collect();
        assert!(texts.iter().any(|text| text.contains("they held commit")), "{texts:?}");
        assert!(!texts.iter().any(|text| text.contains("no commit of their own")), "{texts:?}");
    }
}

#[tokio::test]
async fn a_missing_segment_is_named() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let file = segments(directory.path()).remove(1);
    fs::remove_file(&file).unwrap();
    let report = check(&options(directory.path())).unwrap();
    assert_eq!(
        (report.problems[0].code, &report.problems[0].segment),
        ("segment.missing", &Some(name(&file)))
    );
}

#[tokio::test]
async fn an_index_that_differs_from_the_journal_is_told_key_by_key() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    filled(other.path()).await;
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    fs::rename(other.path().join("index"), directory.path().join("index")).unwrap();
    let report = check(&options(directory.path())).unwrap();
    assert!(!report.whole);
    assert_eq!(report.index, IndexState::Differs, "{report:#?}");
    assert!(
        report.problems.iter().any(|problem| problem.text.contains("the state record of")),
        "{report:#?}"
    );
}

#[tokio::test]
async fn an_index_that_is_absent_or_unusable_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let index = directory.path().join("index");
    super::super::super::tests::recovery::overwrite(&index, 0x5a);
    let report = check(&options(directory.path())).unwrap();
    assert!(report.whole && matches!(report.index, IndexState::Unusable { .. }), "{report:#?}");
    fs::remove_dir_all(&index).unwrap();
    let report = check(&options(directory.path())).unwrap();
    assert!(report.whole && report.index == IndexState::Absent, "{report:#?}");
    assert!(!index.exists());
    EmbeddedEngine::open(options(directory.path())).unwrap();
}
