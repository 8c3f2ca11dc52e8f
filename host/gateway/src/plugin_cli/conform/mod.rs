//! `fanfare plugin test`: the conformance suite. Each case is made twice, and has to end in the same way both times.
//!
//! It holds a plugin to what every operator relies on: it never traps and never meets a limit, whatever comes in or back; what
//! may work later is tried again and what can't is not; `Retry-After` is passed on; JSON that it sends is JSON; nothing that it
//! answers is longer than what production keeps. What a plugin says beyond that is its own business.
//!
//! Time stands still, chance is that of the notification, and the network is a script, so that a run is the same each time.

mod channel;
mod router;
mod table;
mod texts;

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use fanfare_model::fault::Fault;
use fanfare_model::text::plain;
use fanfare_runtime::{Cut, Limits};
use serde_json::{Value, json};

use super::failure::Failure;
use super::rig::{Given, Staged};
use super::{Output, Shown, help, tell};

/// What is tested.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare plugin test pager.wasm\n  \
       fanfare plugin test pager.wasm --input attempt.json --verbose\n  \
       fanfare plugin test ./pager --only reply/ --json\n\n\
     The cases: replies (each status, Retry-After in every spelling, bodies that are empty, huge, broken or no text), what\n\
     the network may do (timeout, reset, connect, dns, tls), texts (empty, Unicode, control characters, huge), recipients and\n\
     addresses, settings, moments. Settings are made up from the schema unless there are others.\n\
     It fails (exit code 1) when one case does."
))]
pub(crate) struct Arguments {
    #[command(flatten)]
    given: Given,
    /// Only cases whose names begin with this.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    only: String,
    /// A line for each case, not for each failure alone.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    name: String,
    /// What the plugin answered.
    outcome: String,
    /// What is wrong about it.
    fault: Option<String>,
}

/// What a suite found.
#[derive(Debug, Default)]
struct Verdicts {
    all: Vec<Verdict>,
    /// What a reader of the verdicts has to know.
    notes: Vec<String>,
    /// Calls that the host had to end.
    ended: usize,
}

impl Verdicts {
    fn ended(&mut self, fault: &Fault) -> String {
        self.ended += 1;
        if self.ended == ENDED_MAX {
            self.notes.push(format!("the suite ends here: the host had to end {ENDED_MAX} calls"));
        }
        format!("the host had to end the call: {} ({})", fault.message, fault.code)
    }

    fn is_over(&self) -> bool {
        self.ended >= ENDED_MAX
    }
}

/// A suite that hits a limit is over after so many such cases: each may take as long as the limit allows.
const ENDED_MAX: usize = 3;

/// Those of production, but for time: how fast a machine is, and what else it does, must not decide a case. What an
/// attempt takes is told by `run`.
fn ceilings() -> Limits {
    Limits { cpu: Duration::from_secs(10), wall: Duration::from_secs(60), ..Limits::default() }
}

/// Of which cases a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Failures,
    All,
}

pub(super) async fn run(arguments: &Arguments) -> Result<Shown, Failure> {
    let detail = if arguments.verbose { Detail::All } else { Detail::Failures };
    put_through(&arguments.given, &arguments.only, detail).await
}

/// Makes every case whose name begins with `only`.
pub(super) async fn put_through(given: &Given, only: &str, detail: Detail) -> Result<Shown, Failure> {
    let rig = given.load(ceilings()).await?;
    let verdicts = match rig.stage().await? {
        Staged::Channel(generation) => channel::suite(&rig, &generation, only).await?,
        Staged::Router(generation) => router::suite(&rig, &generation, only).await?,
    };
    if verdicts.all.is_empty() {
        return Err(Failure::usage(
            "test.none",
            format!("no case begins with {only:?}"),
            "`fanfare plugin test COMPONENT --verbose` names all",
        ));
    }
    let failed = verdicts.all.iter().filter(|verdict| verdict.fault.is_some()).count();
    let mut text = String::new();
    for Verdict { name, outcome, fault } in &verdicts.all {
        match fault {
            Some(fault) => {
                let _ = writeln!(
                    text,
                    "FAIL  {name}\n      {}\n      it answered: {}",
                    short(fault),
                    short(outcome)
                );
            }
            None if detail == Detail::All => {
                let _ = writeln!(text, "ok    {name}: {}", short(outcome));
            }
            None => {}
        }
    }
    for note in &verdicts.notes {
        let _ = writeln!(text, "note  {}", short(note));
    }
    let manifest = rig.manifest();
    let passed = verdicts.all.len() - failed;
    let (name, version) = (plain(&manifest.name), plain(&manifest.version));
    let _ = writeln!(text, "{name} {version}: {passed} cases passed, {failed} failed");
    let cases: Vec<Value> = verdicts
        .all
        .iter()
        .map(|Verdict { name, outcome, fault }| {
            json!({ "case": name, "passed": fault.is_none(), "outcome": outcome, "fault": fault })
        })
        .collect();
    let json = json!({
        "plugin": tell::plugin_json(&rig), "passed": passed, "failed": failed,
        "notes": verdicts.notes, "cases": cases,
    });
    Ok(Shown { json, text, good: failed == 0 })
}

/// What production would have cut of an answer. A log may be as long as it likes: what is kept of it is the host's business.
fn cut(cuts: &[Cut]) -> Option<String> {
    let first = cuts.iter().find(|cut| !cut.is_of_log())?;
    Some(format!("production would cut {first}"))
}

/// For people: an answer may quote a megabyte.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    let mut short: String = plain(text).chars().take(CHARS_MAX).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests;
