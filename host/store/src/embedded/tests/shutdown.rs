//! Power cuts of a real file system: ext4 on a loop device, shut down without writing out its log.
//!
//! Everything is below the cut here, sled's files too. A child works on the mounted file system and tells over a pipe
//! what was acknowledged; at some moment the file system is shut down (`EXT4_IOC_SHUTDOWN`, no log flush), so that
//! whatever was not synced is gone; then it is mounted again and looked at. Only what was acknowledged before the cut
//! counts: while the call is under way, ext4's `fdatasync` may say that it succeeded for what it loses (a bare append
//! with `fdatasync` beside it lost such a record in 11 of 80 cuts on Linux 6.18, and none from before). It takes root, loop devices, `mkfs.ext4`
//! and `python3` for the one system call; where one of them is missing, the test says so and is skipped.
//!
//! Three cuts in every run, `FANFARE_EXT4_CUTS=40` makes more.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rand::Rng as _;

use super::super::{EmbeddedEngine, EmbeddedOptions, tools};
use super::power::{asked, asked_text};
use crate::contract::{key, put};
use crate::engine::{Change, Class, Engine as _, Transaction};

const NAME: &str =
    "embedded::tests::shutdown::after_ext4_lost_its_power_what_was_acknowledged_is_there_and_whole";
const WRITERS: u64 = 3;

/// Commits before the cut, at the most.
const COMMITS_MAX: u64 = 600;

const SHUTDOWN: &str = "import fcntl,os,struct,sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

#[test]
fn after_ext4_lost_its_power_what_was_acknowledged_is_there_and_whole() {
    let place = asked_text("FANFARE_EXT4_PLACE");
    match (asked_text("FANFARE_EXT4_ROLE").as_deref(), place) {
        (Some("cut"), Some(place)) => cut_again_and_again(Path::new(&place)),
        (Some("work"), Some(place)) => runtime().block_on(work(Path::new(&place))),
        _ => begin(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

fn myself(role: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", NAME, "--nocapture", "--test-threads=1"]);
    command.env("FANFARE_EXT4_ROLE", role).env("FANFARE_EXT4_PLACE", place);
    command
}

/// In a mount namespace of its own, so that nothing stays mounted whatever happens.
fn begin() {
    let folder = tempfile::tempdir().unwrap();
    let tried = Command::new("unshare")
        .args(["-m", "sh", "-c"])
        .arg("cd \"$0\" && truncate -s 96M disk && mkfs.ext4 -q disk && mkdir mounted && mount -o loop disk mounted && umount mounted && python3 -c ''")
        .arg(folder.path())
        .stderr(Stdio::null())
        .status();
    if !tried.is_ok_and(|status| status.success()) {
        super::say_skipped(
            "no ext4 on a loop device here (root, loop devices, mkfs.ext4, python3): its power was not cut",
        );
        return;
    }
    let inner = myself("cut", folder.path());
    let mut outer = Command::new("unshare");
    outer.arg("-m").arg(inner.get_program()).args(inner.get_args());
    outer.env("FANFARE_EXT4_ROLE", "cut").env("FANFARE_EXT4_PLACE", folder.path());
    let output = outer.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    println!("{said}");
}

fn must(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn cut_again_and_again(folder: &Path) {
    let mounted = folder.join("mounted");
    let mount = || must(Command::new("mount").args(["-o", "loop"]).arg(folder.join("disk")).arg(&mounted));
    let cuts = asked("FANFARE_EXT4_CUTS", 3);
    let mut acknowledged = 0;
    for round in 0..cuts {
        mount();
        let mut child =
            myself("work", &mounted).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let last = rand::rng().random_range(1..COMMITS_MAX);
        let mut known = [0; WRITERS as usize];
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            let Some((writer, n)) = line.strip_prefix("kept ").and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            seen += 1;
            if seen > last {
                continue;
            }
            known[writer.parse::<usize>().unwrap()] = n.parse().unwrap();
            if seen == last {
                must(Command::new("python3").args(["-c", SHUTDOWN]).arg(&mounted));
            }
        }
        // It ends because it can't write any more.
        child.wait().unwrap();
        assert!(seen >= last, "the worker ended by itself after {seen} commits");
        must(Command::new("umount").arg(&mounted));
        mount();
        runtime().block_on(look(&mounted, &known, round));
        must(Command::new("umount").arg(&mounted));
        acknowledged += last;
    }
    println!("{cuts} cuts of ext4's power, {acknowledged} commits acknowledged: 0 lost, 0 torn");
}

fn options(mounted: &Path) -> EmbeddedOptions {
    EmbeddedOptions {
        flush_interval: std::time::Duration::from_millis(50),
        segment_bytes: 256 << 10,
        ..EmbeddedOptions::new(mounted.join("store"))
    }
}

async fn numbers(engine: &EmbeddedEngine, writer: u64) -> [u64; 3] {
    let keys = ["a", "b", "c"].map(|part| key(&format!("w{writer}{part}"))).to_vec();
    let records = engine.get_many(keys).await.unwrap();
    let number = |place: usize| {
        records[place].as_ref().map_or(0, |record| {
            std::str::from_utf8(&record.value).unwrap().trim_end_matches('x').parse().unwrap()
        })
    };
    [number(0), number(1), number(2)]
}

/// Each writer puts the same number under three keys, until it can't any more.
async fn work(mounted: &Path) {
    let engine = std::sync::Arc::new(EmbeddedEngine::open(options(mounted)).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let engine = engine.clone();
        tasks.spawn(async move {
            let mut n = numbers(&engine, writer).await[0];
            loop {
                n += 1;
                let text = format!("{n}{}", "x".repeat((n % 1_500) as usize));
                let mut changes: Vec<_> =
                    ["a", "b", "c"].iter().map(|part| put(&format!("w{writer}{part}"), &text)).collect();
                changes.push(put(&format!("p{writer}-{n}"), &text));
                changes.push(Change::Delete(key(&format!("p{writer}-{}", n.saturating_sub(20)))));
                let transaction = Transaction { preconditions: Vec::new(), changes };
                if engine.commit(Class::Settle, vec![transaction]).await.remove(0).is_err() {
                    return;
                }
                println!("kept {writer} {n}");
            }
        });
    }
    tasks.join_all().await;
    // As dead as the machine: nothing is closed, and nothing is written out.
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
}

async fn look(mounted: &Path, known: &[u64], round: u64) {
    let engine = EmbeddedEngine::open(options(mounted)).unwrap();
    for (writer, known) in (0..WRITERS).zip(known) {
        let [a, b, c] = numbers(&engine, writer).await;
        assert!(a == b && b == c, "cut {round}: torn: writer {writer} has {a}, {b}, {c}");
        assert!(a >= *known, "cut {round}: lost: writer {writer} has {a} of {known}");
        for n in a.saturating_sub(19).max(1)..=a {
            let found = engine.get(key(&format!("p{writer}-{n}"))).await.unwrap();
            assert!(found.is_some(), "cut {round}: writer {writer} lacks {n} of {a}");
        }
    }
    engine.close().await.unwrap();
    drop(engine);
    let report = tools::check(&options(mounted)).unwrap();
    assert!(report.problems.is_empty(), "cut {round}: {report:#?}");
}
