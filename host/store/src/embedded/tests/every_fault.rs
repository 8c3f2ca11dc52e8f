//! Each operation on the disk fails once, in turn: the engine ends in a state that it states, and the next start is
//! clean, with a power cut before it and without.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::super::plan::Load;
use super::super::reclaim::Pass;
use super::super::{EmbeddedEngine, EmbeddedOptions, OpenError, indexer};
use super::disk::{Loss, Operation, Plan, TestDisk, Written};
use super::{copy, options};
use crate::contract::{key, put, text};
use crate::engine::{Change, Class, CommitError, Engine as _, Transaction, Value};

/// What the work ended with.
#[derive(Debug, Default)]
struct Ended {
    /// Acknowledged.
    kept: BTreeMap<String, Option<String>>,
    /// Sent, and answered with an error that leaves open whether it is on disk.
    unknown: Option<(String, Option<String>)>,
    fatal: bool,
    refused: usize,
    /// Segments that reclaim removed, and which of the operations were its own.
    reclaimed: usize,
    reclaim: Range<usize>,
}

fn options_on(directory: &Path, disk: &TestDisk) -> EmbeddedOptions {
    EmbeddedOptions { files: Arc::new(disk.clone()), readers: 1, ..options(directory) }
}

/// Reclaims until nothing is left to do, or something fails twice.
fn reclaim(engine: &EmbeddedEngine, disk: &TestDisk, ended: &mut Ended) {
    let sealed = || engine.parts.shared.segments.sealed().clone();
    let (before, began) = (sealed(), disk.trail().len());
    let reclaim = engine.parts.reclaim.clone();
    // It waits for the committer, which a thread of the runtime may not.
    let passes = std::thread::spawn(move || {
        let mut failures = 0;
        while failures < 2 {
            match reclaim.pass(Load::Quiet) {
                Ok(Pass::Idle) => return,
                Ok(_) => {}
                Err(_) => failures += 1,
            }
        }
    });
    passes.join().unwrap();
    ended.reclaim = began..disk.trail().len();
    ended.reclaimed = before.keys().filter(|number| !sealed().contains_key(number)).count();
    ended.fatal |= matches!(engine.refusal(), Some(CommitError::Fatal(_)));
}

/// Opens, commits over several segments, writes the index, reads from the journal, reclaims, goes on, and closes.
async fn work(directory: &Path, disk: &TestDisk, word: &str) -> Ended {
    let mut ended = Ended::default();
    let engine = match EmbeddedEngine::open(options_on(directory, disk)) {
        Ok(engine) => engine,
        Err(error) => {
            assert!(matches!(error, OpenError::Io { .. }), "{error}");
            return ended;
        }
    };
    for n in 0..16 {
        let (name, text) = (format!("k{}", n % 9), (n % 5 != 3).then(|| format!("{word}{n}").repeat(200)));
        let change = match &text {
            Some(text) => Change::Put(key(&name), Value::from(text.as_bytes())),
            None => Change::Delete(key(&name)),
        };
        // Beside it lies what stays, so that reclaim has something to copy; it is the same in every run.
        let stays = format!("s{n}");
        let changes = vec![change, put(&stays, "same")];
        let transaction = Transaction { preconditions: Vec::new(), changes };
        match engine.commit(Class::Intake, vec![transaction]).await.remove(0) {
            Ok(_) => {
                assert!(!ended.fatal, "it went on after a failure that it called final");
                ended.kept.insert(name, text);
                ended.kept.insert(stays, Some("same".to_owned()));
            }
            Err(CommitError::Full(_)) => ended.refused += 1,
            Err(CommitError::Fatal(_)) => {
                ended.unknown.get_or_insert((name, text));
                ended.fatal = true;
            }
            Err(error) => panic!("{error}"),
        }
        if (n == 6 || n == 12) && !ended.fatal {
            indexer::flush(&engine.parts.shared).unwrap();
        }
        if n == 12 && !ended.fatal {
            reclaim(&engine, disk, &mut ended);
        }
        // Read from the journal; a fault here is an error of the read alone.
        let _ = engine.get(key("k1")).await;
    }
    assert_eq!(engine.refusal().is_some(), ended.fatal);
    assert_eq!(engine.close().await.is_err(), ended.fatal);
    ended
}

async fn same(directory: &Path, disk: &TestDisk, ended: &Ended, what: &str) {
    let engine =
        EmbeddedEngine::open(options_on(directory, disk)).unwrap_or_else(|error| panic!("{what}: {error}"));
    for (name, expected) in &ended.kept {
        let found = text(&engine, name).await;
        let open = ended.unknown.as_ref().filter(|(unknown, _)| unknown == name);
        let holds = found == *expected || open.is_some_and(|(_, text)| found == *text);
        assert!(holds, "{what}: {name} is {found:?} and not {expected:?}");
    }
    // It takes work again.
    let more = Transaction {
        preconditions: Vec::new(),
        changes: vec![Change::Put(key("more"), Value::from(*b"1"))],
    };
    engine.commit(Class::Intake, vec![more]).await.remove(0).unwrap();
    engine.close().await.unwrap();
}

/// A directory whose journal is on the test disk: only LOCK and the index lie there.
fn again(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

/// An operation that failed, and whether it was one of reclaim.
type Met = (Operation, bool);

/// A store in use, on whose copies each operation fails in turn.
struct Bench {
    before: tempfile::TempDir,
    disk: TestDisk,
    kept: BTreeMap<String, Option<String>>,
}

impl Bench {
    async fn new() -> Self {
        let (before, disk) = (tempfile::tempdir().unwrap(), TestDisk::default());
        let ended = work(before.path(), &disk, "before").await;
        assert!(!ended.fatal && ended.refused == 0);
        assert!(ended.reclaimed >= 2, "{} segments were reclaimed", ended.reclaimed);
        Self { before, disk, kept: ended.kept }
    }

    /// Lets one operation fail, and answers which that was; `None` when the work has fewer.
    async fn fails(
        &self,
        operation: u64,
        (with, after): (io::ErrorKind, Written),
        spoil: impl Fn(&Path),
    ) -> Option<Met> {
        let mut rng = StdRng::seed_from_u64(operation);
        let directory = again(self.before.path());
        spoil(directory.path());
        let disk = self.disk.after_power_cut(Loss::Nothing, &mut rng);
        disk.plan(Plan::FailOnce { operation, with, after });
        let mut ended = work(directory.path(), &disk, "now").await;
        let failed = disk.trail().get(usize::try_from(operation).unwrap()).copied()?;
        let what = format!("{failed:?} (operation {operation}) failed with {with:?}, {after:?} written");
        // What the run before had acknowledged is there as well, unless this one changed it.
        let mut kept = self.kept.clone();
        kept.append(&mut ended.kept);
        ended.kept = kept;
        disk.plan(Plan::Sound);
        let cut = disk.after_power_cut(Loss::Mixed, &mut rng);
        same(again(directory.path()).path(), &cut, &ended, &format!("{what}, and a power cut")).await;
        same(directory.path(), &disk, &ended, &what).await;
        // What the start after it relied on must be on the disk too.
        let cut = disk.after_power_cut(Loss::All, &mut rng);
        same(directory.path(), &cut, &ended, &format!("{what}, and a power cut later")).await;
        let in_reclaim = ended.reclaim.contains(&usize::try_from(operation).unwrap());
        Some((failed, in_reclaim))
    }
}

/// Lets each operation of `work` fail in turn, on a store that `spoil` has spoilt; answers which there were, and whether
/// each was one of reclaim.
fn each_operation_fails_once(spoil: impl Fn(&Path) + Copy + Send + Sync) -> Vec<Met> {
    let run = |work: Pin<Box<dyn Future<Output = Option<Met>> + '_>>| {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    };
    let bench = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(Bench::new());
    let met = Mutex::new(Vec::new());
    let next = AtomicU64::new(0);
    // Several at a time: nearly all of it is waiting for the index's disk.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let operation = next.fetch_add(1, Ordering::SeqCst);
                    let fail = |with, after| run(Box::pin(bench.fails(operation, (with, after), spoil)));
                    let Some(failed) = fail(io::ErrorKind::Other, Written::Nothing) else { return };
                    if failed.0 == Operation::Write {
                        fail(io::ErrorKind::Other, Written::Half);
                        fail(io::ErrorKind::Other, Written::All);
                        fail(io::ErrorKind::StorageFull, Written::Half);
                    }
                    met.lock().unwrap().push(failed);
                }
            });
        }
    });
    met.into_inner().unwrap()
}

#[test]
fn whatever_fails_once_the_next_start_is_clean() {
    let met = each_operation_fails_once(|_| {});
    for operation in [
        Operation::Open,
        Operation::Create,
        Operation::List,
        Operation::Read,
        Operation::Write,
        Operation::Sync,
        Operation::SyncDirectory,
        Operation::Length,
        Operation::CreateDirectory,
    ] {
        assert!(met.iter().any(|(met, _)| *met == operation), "{operation:?} was never met: {met:?}");
    }
    // Its reading, its copies, its manifest, and the removal of what is no longer needed.
    for operation in
        [Operation::Read, Operation::Write, Operation::Sync, Operation::SyncDirectory, Operation::Remove]
    {
        assert!(met.contains(&(operation, true)), "{operation:?} was never met in a reclaim: {met:?}");
    }
    let writes = met.iter().filter(|met| **met == (Operation::Write, true)).count();
    assert!(writes >= 2, "{writes} writes in a reclaim, and copies and manifest are two");
}

#[test]
fn whatever_fails_once_while_a_broken_index_is_moved_aside_the_next_start_is_clean() {
    let met = each_operation_fails_once(|directory| {
        super::recovery::overwrite(&directory.join("index"), 0x5a);
        fs::create_dir(directory.join("index.broken")).unwrap();
    });
    for operation in [Operation::Rename, Operation::Remove] {
        assert!(met.iter().any(|(met, _)| *met == operation), "{operation:?} was never met: {met:?}");
    }
}
