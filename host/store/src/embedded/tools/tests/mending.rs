//! What `repair`, `rebuild`, `backup` and `stats` leave behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fanfare_model::delivery::Phase;

use super::super::super::format::HEADER_BYTES;
use super::super::super::plan::Load;
use super::super::super::progress::Quiet;
use super::super::super::tests::{crashed, recovery};
use super::super::super::{EmbeddedEngine, OpenError};
use super::super::{IndexState, backup, check, rebuild, repair, stats};
use super::{Served, filled, flip, name, options, segments};
use crate::engine::Engine as _;

/// The ids whose delivery waits, by asking a store that serves.
async fn waiting(path: &Path, ids: &[fanfare_model::id::NotificationId]) -> Vec<usize> {
    let served = Served::open(path).await;
    let mut waiting = Vec::new();
    for (place, id) in ids.iter().enumerate() {
        if let Some(cell) = served.store.cell(*id).await.unwrap()
            && cell.read(|state| matches!(state.deliveries[0].phase, Phase::Waiting { .. }))
        {
            waiting.push(place);
        }
    }
    served.close().await;
    waiting
}

#[tokio::test]
async fn a_whole_store_needs_no_repair() {
    let directory = tempfile::tempdir().unwrap();
    let ids = filled(directory.path()).await;
    let report = repair(&options(directory.path())).unwrap();
    assert!(!report.repaired && report.nothing_was_lost(), "{report:#?}");
    assert!(!directory.path().join("damaged-1").exists());
    assert_eq!(waiting(directory.path(), &ids).await, (10..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_index_remembers_is_put_back_and_the_rest_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    let ids = filled(directory.path()).await;
    for file in segments(directory.path()) {
        for at in [HEADER_BYTES + 5, 700, 1_500, 2_300, 3_100] {
            let crash = crashed(directory.path());
            let file = crash.path().join("journal").join(name(&file));
            if fs::metadata(&file).unwrap().len() <= at as u64 {
                continue;
            }
            flip(&file, at);
            assert!(!check(&options(crash.path())).unwrap().whole);
            let report = repair(&options(crash.path())).unwrap();
            assert!(report.repaired && report.index_helped, "{report:#?}");
            assert_eq!(report.damage[0].segment, Some(name(&file)));
            let after = check(&options(crash.path())).unwrap();
            assert!(after.whole, "{} at {at}: {after:#?}", name(&file));
            // One flipped byte costs at most the value that it lies in, and what depends on it.
            assert!(report.lost.len() <= 1, "{report:#?}");
            let waiting = waiting(crash.path(), &ids).await;
            let lost: Vec<_> = report.lost.iter().filter_map(|lost| lost.notification.clone()).collect();
            for (place, id) in ids.iter().enumerate() {
                if !lost.contains(&id.to_string()) {
                    assert_eq!(waiting.contains(&place), place >= 10, "{place}: {report:#?}");
                }
            }
            let kept = report.kept_in.unwrap().join(name(&file));
            assert_eq!(
                fs::read(kept).unwrap().len(),
                fs::read(directory.path().join("journal").join(name(&file))).unwrap().len()
            );
        }
    }
}

#[tokio::test]
async fn without_an_index_the_commits_are_named_and_what_is_left_agrees() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    let files = segments(directory.path());
    flip(&files[1], HEADER_BYTES + 700);
    let error = EmbeddedEngine::open(options(directory.path())).unwrap_err();
    assert!(
        error.to_string().contains(&name(&files[1])) && error.to_string().contains("fanfare store repair")
    );
    let report = repair(&options(directory.path())).unwrap();
    assert!(!report.index_helped && !report.nothing_was_lost(), "{report:#?}");
    assert!(report.damage[0].text.contains("commit"), "{report:#?}");
    assert!(check(&options(directory.path())).unwrap().whole);
    assert!(!repair(&options(directory.path())).unwrap().repaired);
}

#[tokio::test]
async fn a_missing_segment_a_broken_header_and_a_short_end_are_repaired() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("segment.missing", |file| fs::remove_file(file).unwrap()),
        ("segment.header", |file| flip(file, 20)),
        ("segment.short", |file| fs::File::options().write(true).open(file).unwrap().set_len(900).unwrap()),
        ("segment.header", |file| fs::write(file, vec![0; 3_000]).unwrap()),
    ];
    for index_is_there in [true, false] {
        for (code, damage) in damages {
            let crash = crashed(directory.path());
            if !index_is_there {
                fs::remove_dir_all(crash.path().join("index")).unwrap();
            }
            damage(&segments(crash.path())[1]);
            assert!(!check(&options(crash.path())).unwrap().whole);
            let report = repair(&options(crash.path())).unwrap();
            assert!(report.damage.iter().any(|problem| problem.code == code), "{report:#?}");
            let after = check(&options(crash.path())).unwrap();
            assert!(after.whole, "{code}: {after:#?}");
            let served = Served::open(crash.path()).await;
            served.accept(1).await;
            served.close().await;
        }
    }
    // What was cut off the end, and the index knows of.
    let crash = crashed(directory.path());
    let newest = segments(crash.path()).pop().unwrap();
    let length = fs::metadata(&newest).unwrap().len();
    fs::File::options().write(true).open(&newest).unwrap().set_len(length - 3).unwrap();
    let report = repair(&options(crash.path())).unwrap();
    assert!(report.repaired && report.salvaged + report.deleted > 0, "{report:#?}");
    assert!(check(&options(crash.path())).unwrap().whole);
}

#[tokio::test]
async fn where_the_end_of_the_journal_is_gone_the_index_says_what_was_lost_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let ids = filled(directory.path()).await;
    type Damage = fn(&[PathBuf]);
    let newest = |files: &[PathBuf]| files.last().unwrap().clone();
    let damages: [(&str, Damage); 4] = [
        ("removed", |files| fs::remove_file(files.last().unwrap()).unwrap()),
        ("emptied", |files| fs::write(files.last().unwrap(), b"").unwrap()),
        ("a few bytes", |files| fs::write(files.last().unwrap(), b"FANFARE").unwrap()),
        ("all removed", |files| files.iter().for_each(|file| fs::remove_file(file).unwrap())),
    ];
    for (what, damage) in damages {
        let crash = crashed(directory.path());
        let files = segments(crash.path());
        damage(&files);
        let before = check(&options(crash.path())).unwrap();
        let short = before.problems.iter().find(|problem| problem.code == "journal.short").unwrap();
        assert_eq!(short.segment, Some(name(&newest(&files))), "{what}");
        assert!(short.text.contains("commits of it from"), "{what}: {short:?}");
        let report = repair(&options(crash.path())).unwrap();
        assert!(report.repaired && report.index_helped && !report.damage.is_empty(), "{what}: {report:#?}");
        assert!(report.salvaged > 0, "{what}: {report:#?}");
        if what == "all removed" {
            let lost: BTreeSet<_> = report.lost.iter().filter_map(|lost| lost.notification.clone()).collect();
            assert!(ids[10..].iter().all(|id| lost.contains(&id.to_string())), "{report:#?}");
        }
        let after = check(&options(crash.path())).unwrap();
        assert!(after.whole, "{what}: {after:#?}");
        let served = Served::open(crash.path()).await;
        served.accept(1).await;
        served.close().await;
    }
}

#[tokio::test]
async fn a_segment_that_lies_under_the_name_of_another_is_told_and_left_out() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    for index_is_there in [true, false] {
        let crash = crashed(directory.path());
        let files = segments(crash.path());
        let (second, third) = (fs::read(&files[1]).unwrap(), fs::read(&files[2]).unwrap());
        fs::write(&files[1], third).unwrap();
        fs::write(&files[2], second).unwrap();
        if !index_is_there {
            fs::remove_dir_all(crash.path().join("index")).unwrap();
        }
        let before = check(&options(crash.path())).unwrap();
        assert!(!before.whole);
        assert!(EmbeddedEngine::open(options(crash.path())).is_err() || index_is_there);
        let report = repair(&options(crash.path())).unwrap();
        assert!(report.damage.iter().any(|problem| problem.code == "frame.order"), "{report:#?}");
        assert!(check(&options(crash.path())).unwrap().whole);
        let served = Served::open(crash.path()).await;
        served.accept(1).await;
        served.close().await;
    }
}

#[tokio::test]
async fn a_header_that_is_lost_costs_nothing_where_the_frames_prove_it() {
    let directory = tempfile::tempdir().unwrap();
    let ids = filled(directory.path()).await;
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    flip(&segments(directory.path())[1], 25);
    let report = repair(&options(directory.path())).unwrap();
    assert!(report.repaired && report.lost.is_empty(), "{report:#?}");
    assert_eq!(waiting(directory.path(), &ids).await, (10..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn rebuilding_makes_an_index_that_agrees() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    recovery::overwrite(&directory.path().join("index"), 0x11);
    let report = rebuild(&options(directory.path())).unwrap();
    assert!(report.frames >= 30, "{report:#?}");
    let after = check(&options(directory.path())).unwrap();
    assert!(after.whole && matches!(after.index, IndexState::Agrees { frames_behind: 0, .. }), "{after:#?}");
}

#[tokio::test]
async fn statistics_count_what_is_live_where() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let report = stats(&options(directory.path())).unwrap();
    assert_eq!(report.kinds["body"].records, 20);
    assert_eq!(report.kinds["due"].records, 10);
    assert_eq!(
        report.segments.iter().map(|segment| segment.name.clone()).collect::<Vec<_>>(),
        segments(directory.path()).iter().map(|file| name(file)).collect::<Vec<_>>()
    );
    assert!(report.live_percent > 20 && report.live_percent < 100, "{report:#?}");
    let served = Served::open(directory.path()).await;
    assert_eq!(served.engine.stats(&Quiet).unwrap().kinds, report.kinds);
    let error = stats(&options(directory.path())).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    served.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_under_load_holds_all_that_was_acknowledged_before_it_and_starts() {
    let directory = tempfile::tempdir().unwrap();
    let target = tempfile::tempdir().unwrap();
    let served = std::sync::Arc::new(Served::open(directory.path()).await);
    let mut before = Vec::new();
    for _ in 0..30 {
        before.push(served.accept(1).await);
    }
    let load = tokio::spawn({
        let served = served.clone();
        async move {
            for _ in 0..60 {
                let id = served.accept(1).await;
                served.settle(id).await;
                let parts = served.engine.parts.clone();
                tokio::task::spawn_blocking(move || parts.reclaim.pass(Load::Quiet)).await.unwrap().unwrap();
            }
        }
    });
    for round in 0..5 {
        let to = target.path().join(format!("backup-{round}"));
        let engine = served.engine.clone();
        let report = tokio::task::spawn_blocking({
            let to = to.clone();
            move || engine.backup(&to, &Quiet)
        });
        let report = report.await.unwrap().unwrap();
        assert!(report.linked > 0 && report.segments == report.linked + 1, "{report:#?}");
        let after = check(&options(&to)).unwrap();
        assert!(after.whole && after.torn_bytes == 0, "{after:#?}");
        assert_eq!(waiting(&to, &before).await.len(), 30);
        // The backup served, and wrote: the store that it was taken of is as it was.
        let other = Served::open(&to).await;
        other.accept(1).await;
        other.close().await;
    }
    load.await.unwrap();
    served.engine.close().await.unwrap();
    assert!(check(&options(directory.path())).unwrap().whole);
}

#[tokio::test]
async fn a_backup_never_mixes_with_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let target = tempfile::tempdir().unwrap();
    fs::write(target.path().join("letter"), "dear").unwrap();
    let error = backup(&options(directory.path()), target.path()).unwrap_err();
    assert!(matches!(error, OpenError::Occupied { .. }), "{error}");
    let to = target.path().join("empty");
    fs::create_dir(&to).unwrap();
    // One that was cut off before.
    fs::create_dir_all(target.path().join("empty.partial/journal")).unwrap();
    fs::write(target.path().join("empty.partial/journal/0000000000000001.journal"), "half").unwrap();
    backup(&options(directory.path()), &to).unwrap();
    assert!(!target.path().join("empty.partial").exists());
    assert!(check(&options(&to)).unwrap().whole);
}
