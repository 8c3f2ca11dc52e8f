//! A real file system that is full: a tmpfs of 64 MiB, filled and freed again and again.
//!
//! The test starts itself once more in a mount namespace of its own, where it may mount. Where that is not allowed it says
//! so on standard error, and in CI (`FANFARE_TMPFS=required`) it fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::{EmbeddedEngine, EmbeddedOptions, tools};
use super::power::{asked, asked_text};
use crate::contract::{key, put};
use crate::engine::{Change, Class, CommitError, Engine as _, Transaction};

const NAME: &str =
    "embedded::tests::full::a_disk_that_fills_up_again_and_again_loses_nothing_and_goes_on_by_itself";
const MIB: u64 = 64;

/// Puts of one group, with 1 KiB each.
const GROUP: u64 = 64;

#[test]
fn a_disk_that_fills_up_again_and_again_loses_nothing_and_goes_on_by_itself() {
    if let Some(mounted) = asked_text("FANFARE_ON_TMPFS") {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(fill_and_free(Path::new(&mounted)));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let script = format!(
        "mount -t tmpfs -o size={MIB}m fanfare '{0}' || exit 77; FANFARE_ON_TMPFS='{0}' exec '{1}' --exact {NAME} --nocapture",
        folder.path().display(),
        program.display()
    );
    for namespace in ["-m", "-rm"] {
        let output = Command::new("unshare").args([namespace, "sh", "-c", &script]).output();
        let Ok(output) = output else { break };
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            assert!(said.contains("1 passed"), "{said}");
            println!("{said}");
            return;
        }
        let not_allowed = output.status.code() == Some(77) || said.contains("unshare failed");
        assert!(not_allowed, "{said}");
    }
    assert!(asked_text("FANFARE_TMPFS").is_none(), "no tmpfs can be mounted here, and it is required");
    eprintln!(
        "SKIPPED: no tmpfs can be mounted here (it takes root, or user namespaces): a full disk was not tried"
    );
}

fn name(n: u64) -> String {
    format!("r{n:08}")
}

fn text(n: u64) -> String {
    format!("{n:08}").repeat(128)
}

/// Takes all room that is left.
fn ballast(mounted: &Path) -> PathBuf {
    let path = mounted.join("ballast");
    let mut bytes = 1 << 20;
    let mut file = fs::File::create(&path).unwrap();
    while bytes > 0 {
        if std::io::Write::write_all(&mut file, &vec![1; bytes]).is_err() {
            bytes /= 2;
        }
    }
    path
}

/// Records that each round finds room for. With the eighth that the round before left, that is 37 MiB and more.
const LEAST: u64 = 30_000;

/// The most that dispatch has outstanding.
const IN_FLIGHT: u64 = 4_096;

struct Full {
    engine: EmbeddedEngine,
    /// Records from here on are there, up to `next`.
    first: u64,
    next: u64,
}

impl Full {
    async fn group(&self, class: Class, changes: Vec<Change>) -> Result<(), CommitError> {
        let transaction = Transaction { preconditions: Vec::new(), changes };
        self.engine.commit(class, vec![transaction]).await.remove(0).map(drop)
    }

    async fn take(&mut self) -> Result<(), CommitError> {
        let range = self.next..self.next + GROUP;
        let changes = range.map(|n| put(&name(n), &text(n))).collect();
        self.group(Class::Intake, changes).await?;
        self.next += GROUP;
        Ok(())
    }

    /// Takes so much, waiting for room where it is refused for want of it; then takes more until it is refused.
    async fn fill(&mut self, least: u64) {
        let least = self.next + least;
        loop {
            match self.take().await {
                Ok(()) => {}
                Err(CommitError::Full(_)) if self.next < least => tokio::task::yield_now().await,
                Err(CommitError::Full(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Ends work, which goes on under the reserve; on a disk that is full to the last byte it may have to wait.
    async fn settle(&mut self, count: u64) -> Result<(), CommitError> {
        let until = (self.first + count).min(self.next);
        while self.first < until {
            let end = (self.first + GROUP).min(until);
            let changes = (self.first..end).map(|n| Change::Delete(key(&name(n)))).collect();
            self.group(Class::Settle, changes).await?;
            self.first = end;
        }
        Ok(())
    }

    /// The same, waiting while there is no room for it.
    async fn settle_in_time(&mut self, count: u64) {
        let until = (self.first + count).min(self.next);
        loop {
            match self.settle(until - self.first).await {
                Ok(()) => return,
                Err(CommitError::Full(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Somebody else takes the room. Not while sled writes, which would stop the engine until the next start.
    fn ballast(&self, mounted: &Path) -> PathBuf {
        let _unwritten = self.engine.parts.indexer.hold();
        ballast(mounted)
    }

    /// The same in the middle of a write of the index, which fails; it is opened again when there is room.
    async fn ballast_in_a_flush(&mut self, mounted: &Path) -> PathBuf {
        let (taken, path) = (mounted.to_owned(), mounted.join("ballast"));
        self.engine.parts.shared.index.before_flush(move || {
            ballast(&taken);
            Ok(())
        });
        self.settle_in_time(GROUP).await;
        let indexer = self.engine.parts.indexer.clone();
        let flushed = tokio::task::spawn_blocking(move || indexer.flush_now()).await.unwrap();
        assert!(!flushed && self.engine.parts.shared.index.is_lost(), "the disk was not filled in a flush");
        path
    }

    /// Waits until the index is read again.
    async fn wait_for_the_index(&self) {
        while self.engine.parts.shared.index.is_lost() {
            assert!(
                !matches!(self.engine.refusal(), Some(CommitError::Fatal(_))),
                "{:?}",
                self.engine.refusal()
            );
            tokio::task::yield_now().await;
        }
    }

    async fn all_there(&self) {
        for n in (0..self.next).step_by(7) {
            let found = self.engine.get(key(&name(n))).await.unwrap();
            let expected = (n >= self.first).then(|| text(n).into_bytes());
            assert_eq!(found.map(|record| record.value.to_vec()), expected, "record {n}");
        }
    }
}

fn options(mounted: &Path) -> EmbeddedOptions {
    EmbeddedOptions::new(mounted.join("store"))
}

async fn fill_and_free(mounted: &Path) {
    let rounds = asked("FANFARE_FULL_DISKS", 4);
    let mut full = Full { engine: EmbeddedEngine::open(options(mounted)).unwrap(), first: 0, next: 0 };
    for round in 0..rounds {
        // What was done in the round before is reclaimed, and intake goes on without anybody's help.
        full.fill(LEAST).await;
        // What is in flight ends all the same, and without waiting.
        full.settle(IN_FLIGHT).await.unwrap();
        // Somebody else takes the reserve: now the disk is full indeed. Every other time that happens while sled writes.
        let ballast =
            if round % 2 == 0 { full.ballast(mounted) } else { full.ballast_in_a_flush(mounted).await };
        for _ in 0..3 {
            let refused = full.group(Class::Intake, vec![put("no", "room")]).await;
            assert!(matches!(refused, Err(CommitError::Full(_))), "round {round}: {refused:?}");
            match full.settle(GROUP).await {
                Ok(()) | Err(CommitError::Full(_)) => {}
                Err(error) => panic!("round {round}: {error}"),
            }
        }
        if round % 4 >= 2 {
            // It dies there, and comes back there.
            drop(full.engine);
            fs::remove_file(&ballast).unwrap();
            full.engine = EmbeddedEngine::open(options(mounted)).unwrap();
        } else {
            fs::remove_file(&ballast).unwrap();
            full.wait_for_the_index().await;
        }
        full.all_there().await;
        let live = full.next - full.first;
        full.settle_in_time(live - live / 8).await;
        full.all_there().await;
    }
    full.engine.close().await.unwrap();
    drop(full.engine);
    // A start on a disk without a byte to spare.
    let ballast = ballast(mounted);
    full.engine = EmbeddedEngine::open(options(mounted)).unwrap();
    assert!(full.engine.parts.shared.index.is_lost(), "there was room for the index");
    full.all_there().await;
    let refused = full.group(Class::Intake, vec![put("no", "room")]).await;
    assert!(matches!(refused, Err(CommitError::Full(_))), "{refused:?}");
    fs::remove_file(ballast).unwrap();
    full.fill(GROUP).await;
    full.wait_for_the_index().await;
    full.all_there().await;
    full.engine.close().await.unwrap();
    drop(full.engine);
    let report = tools::check(&options(mounted)).unwrap();
    assert!(report.problems.iter().all(|problem| problem.code == "record.unreadable"), "{report:#?}");
    println!("{rounds} times full, {} records of 1 KiB on {MIB} MiB: nothing lost", full.next);
}
