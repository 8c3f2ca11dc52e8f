//! Power cuts at any operation, one after the other on the same store: nothing that was acknowledged is lost, and
//! nothing that was not is there in part.
//!
//! Segments are reclaimed in between, and at any moment of that, too.
//!
//! Fifty in every run of the tests; `FANFARE_POWER_CUTS=5000` makes more, and `FANFARE_SEED` repeats one run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::super::plan::Load;
use super::super::reclaim::Pass;
use super::super::{EmbeddedEngine, EmbeddedOptions, OpenError, indexer};
use super::disk::{Loss, Plan, TestDisk};
use super::{copy, options};
use crate::contract::key;
use crate::engine::{Change, Class, CommitError, Direction, Engine as _, Transaction, Value};

const WRITERS: usize = 4;

/// How many of its own records a writer leaves behind it.
const KEPT: u64 = 12;

/// Operations between the opening and the cut, at the most.
const OPERATIONS_MAX: u64 = 240;

/// One cut in so many comes while the store is still being opened.
const CUTS_WHILE_OPENING: u64 = 4;

/// A number from the environment, for runs that are longer than those of every day.
pub(super) fn asked(name: &str, usual: u64) -> u64 {
    asked_text(name).and_then(|n| n.parse().ok()).unwrap_or(usual)
}

#[allow(clippy::disallowed_methods, reason = "tests are told how long to run")]
pub(super) fn asked_text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What a writer has sent, and what of it was acknowledged.
#[derive(Debug, Default)]
struct Writer {
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

/// The value that goes with a number: its length is any, so that frames end anywhere.
fn value(n: u64) -> Value {
    let length = n.wrapping_mul(0x9e37_79b9) % 3_000;
    Value::from([&n.to_le_bytes()[..], &vec![n as u8; usize::try_from(length).unwrap()]].concat())
}

fn number(value: &Value) -> u64 {
    u64::from_le_bytes(*value.first_chunk().unwrap())
}

/// Three records that always change together, one that stays for a while, and a sum.
fn transaction(writer: usize, n: u64) -> Transaction {
    let mut changes: Vec<_> =
        ["a", "b", "c"].iter().map(|part| Change::Put(key(&format!("w{writer}{part}")), value(n))).collect();
    changes.push(Change::Put(key(&format!("p{writer}-{n}")), value(n)));
    if n > KEPT {
        changes.push(Change::Delete(key(&format!("p{writer}-{}", n - KEPT))));
    }
    changes.push(Change::Add(key("sum"), 1));
    Transaction { preconditions: Vec::new(), changes }
}

struct Bench {
    directory: tempfile::TempDir,
    /// The index as its last flush left it.
    flushed: tempfile::TempDir,
    disk: TestDisk,
    writers: Vec<Arc<Writer>>,
    /// Operations that the last opening took.
    opening: u64,
    reclaimed: Reclaimed,
    rng: StdRng,
}

/// What became of reclaim.
#[derive(Debug, Default)]
struct Reclaimed {
    segments: u64,
    /// Passes that the cut ended.
    cut: u64,
    /// Whether the last one found nothing to do.
    idle: bool,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            flushed: tempfile::tempdir().unwrap(),
            disk: TestDisk::default(),
            writers: (0..WRITERS).map(|_| Arc::default()).collect(),
            opening: 0,
            reclaimed: Reclaimed::default(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    fn options(&self) -> EmbeddedOptions {
        let files = Arc::new(self.disk.clone());
        EmbeddedOptions { files, segment_bytes: 24 << 10, ..options(self.directory.path()) }
    }

    /// Opens, works until the power fails, and puts the disk in the state that it then has.
    fn round(&mut self, runtime: &tokio::runtime::Runtime) {
        let while_opening = self.rng.random_range(0..CUTS_WHILE_OPENING) == 0;
        self.disk.plan(if while_opening {
            Plan::CutAfter(self.rng.random_range(0..=self.opening))
        } else {
            Plan::Sound
        });
        match EmbeddedEngine::open(self.options()) {
            Ok(engine) => {
                // Counted from here: an opening takes as many operations as there are segments, and what one took says
                // nothing of the next.
                self.disk.plan(Plan::CutAfter(self.rng.random_range(0..OPERATIONS_MAX)));
                runtime.block_on(self.work(Arc::new(engine)));
            }
            Err(error) => assert!(matches!(error, OpenError::Io { .. }), "{error}"),
        }
        let loss = [Loss::All, Loss::Nothing, Loss::Mixed, Loss::Mixed][self.rng.random_range(0..4)];
        self.disk = self.disk.after_power_cut(loss, &mut self.rng);
        self.leave_an_index();
    }

    async fn work(&mut self, engine: Arc<EmbeddedEngine>) {
        let mut tasks = tokio::task::JoinSet::new();
        for (place, writer) in self.writers.iter().cloned().enumerate() {
            let engine = engine.clone();
            tasks.spawn(async move {
                loop {
                    let n =
                        writer.acknowledged.load(Ordering::SeqCst).max(writer.sent.load(Ordering::SeqCst))
                            + 1;
                    writer.sent.store(n, Ordering::SeqCst);
                    match engine.commit(Class::Intake, vec![transaction(place, n)]).await.remove(0) {
                        Ok(_) => writer.acknowledged.store(n, Ordering::SeqCst),
                        Err(CommitError::Fatal(_)) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        let flushes = self.rng.random_range(0..3);
        for _ in 0..flushes {
            let at = self.writers[0].acknowledged.load(Ordering::SeqCst) + self.rng.random_range(1..4);
            while self.writers[0].acknowledged.load(Ordering::SeqCst) < at && engine.refusal().is_none() {
                tokio::task::yield_now().await;
            }
            // What it covers is durable, so an index that is ahead of the disk can't come about.
            if engine.refusal().is_none() && indexer::flush(&engine.parts.shared).is_ok() {
                keep(&self.directory.path().join("index"), self.flushed.path());
                self.reclaim(&engine).await;
            }
        }
        tasks.join_all().await;
        assert!(matches!(engine.close().await, Err(CommitError::Fatal(_))));
    }

    /// One pass, while the writers go on.
    async fn reclaim(&mut self, engine: &EmbeddedEngine) {
        let (reclaim, sealed) =
            (engine.parts.reclaim.clone(), || engine.parts.shared.segments.sealed().clone());
        let before = sealed();
        match tokio::task::spawn_blocking(move || reclaim.pass(Load::Quiet)).await.unwrap() {
            Ok(pass) => {
                self.reclaimed.idle = pass == Pass::Idle;
                let after = sealed();
                self.reclaimed.segments +=
                    before.keys().filter(|number| !after.contains_key(number)).count() as u64;
                keep(&self.directory.path().join("index"), self.flushed.path());
            }
            Err(_) => self.reclaimed.cut += 1,
        }
    }

    /// The index as it was flushed last, or a part of it, or none.
    fn leave_an_index(&mut self) {
        let index = self.directory.path().join("index");
        let _ = fs::remove_dir_all(&index);
        match self.rng.random_range(0..4) {
            0 => {}
            damage => {
                fs::create_dir(&index).unwrap();
                copy(self.flushed.path(), &index);
                if damage == 1 {
                    damage_a_file(&index, &mut self.rng);
                }
            }
        }
    }

    /// What is there when the power is back.
    async fn look(&mut self) {
        let engine = EmbeddedEngine::open(self.options()).unwrap();
        self.opening = self.disk.trail().len() as u64;
        let mut sum = 0;
        for (place, writer) in self.writers.iter().enumerate() {
            let parts = ["a", "b", "c"].map(|part| key(&format!("w{place}{part}"))).to_vec();
            let parts = engine.get_many(parts).await.unwrap();
            let numbers: Vec<_> =
                parts.iter().map(|part| part.as_ref().map_or(0, |part| number(&part.value))).collect();
            let last = numbers[0];
            assert!(numbers.iter().all(|n| *n == last), "torn: writer {place} has {numbers:?}");
            let (acknowledged, sent) =
                (writer.acknowledged.load(Ordering::SeqCst), writer.sent.load(Ordering::SeqCst));
            assert!(last >= acknowledged, "lost: writer {place} has {last} of {acknowledged}");
            assert!(last <= sent);
            // One scan, so that a look costs the same however long the history is.
            let of_writer = key(&format!("p{place}-"))..key(&format!("p{place}."));
            let page = engine.scan(of_writer, usize::MAX, Direction::Forward).await.unwrap();
            let found: BTreeMap<_, _> = page.into_iter().map(|(key, record)| (key, record.value)).collect();
            let expected: BTreeMap<_, _> = (last.saturating_sub(KEPT) + 1..=last)
                .map(|n| (key(&format!("p{place}-{n}")), value(n)))
                .collect();
            assert_eq!(found, expected, "writer {place} at {last}");
            sum += last;
            // What was in flight has come about or not; the writer goes on behind it.
            writer.acknowledged.store(last, Ordering::SeqCst);
            writer.sent.store(last, Ordering::SeqCst);
        }
        let counted = engine.get(key("sum")).await.unwrap();
        assert_eq!(counted.map_or(0, |counted| number(&counted.value)), sum);
        // Now and then all that is dead goes, so that the next round's passes soon come to the point.
        if self.rng.random() {
            indexer::flush(&engine.parts.shared).unwrap();
            self.reclaimed.idle = false;
            while !self.reclaimed.idle {
                self.reclaim(&engine).await;
            }
        }
        engine.close().await.unwrap();
        let index = self.directory.path().join("index");
        keep(&index, self.flushed.path());
    }
}

/// Keeps a copy of the index in place of the last one.
fn keep(index: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    fs::create_dir(to).unwrap();
    copy(index, to);
}

/// Zeros a stretch of one file, as a cut in the middle of a flush would.
fn damage_a_file(index: &Path, rng: &mut StdRng) {
    let mut files = Vec::new();
    let mut folders = vec![index.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let Some(file) = (!files.is_empty()).then(|| &files[rng.random_range(0..files.len())]) else { return };
    let mut bytes = fs::read(file).unwrap();
    let length = bytes.len();
    if length > 0 {
        bytes[rng.random_range(0..length)..].fill(0);
        fs::write(file, bytes).unwrap();
    }
}

#[test]
fn after_any_power_cut_what_was_acknowledged_is_there_and_nothing_is_torn() {
    let seed = asked("FANFARE_SEED", rand::random());
    let rounds = asked("FANFARE_POWER_CUTS", 50);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let mut bench = Bench::new(seed);
    for round in 0..rounds {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            bench.round(&runtime);
            bench.disk.plan(Plan::Sound);
            runtime.block_on(bench.look());
        }));
        assert!(failed.is_ok(), "power cut {round} of {rounds}: repeat it with FANFARE_SEED={seed}");
    }
    let acknowledged: u64 =
        bench.writers.iter().map(|writer| writer.acknowledged.load(Ordering::SeqCst)).sum();
    assert!(acknowledged > rounds, "only {acknowledged} transactions in {rounds} rounds");
    let Reclaimed { segments, cut, .. } = bench.reclaimed;
    assert!(segments > rounds / 5, "only {segments} segments were reclaimed in {rounds} rounds");
    println!(
        "{rounds} power cuts, {cut} of them in a reclaim, {acknowledged} transactions, {segments} segments reclaimed: 0 lost, 0 torn"
    );
}
