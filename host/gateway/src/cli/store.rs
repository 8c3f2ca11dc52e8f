//! `fanfare store`: looking at a store, mending it, and copying it.
//!
//! Reports go to standard output, as text or with `--json` as one document; how far the work is, and errors, go to
//! standard error. Exit codes: 0 good, 1 it could not be done, 2 wrong arguments or configuration, 5 the store is
//! damaged or something was lost.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use fanfare_store::embedded::progress::Progress as _;
use fanfare_store::embedded::{EmbeddedOptions, OpenError, tools};
use serde::Serialize;
use serde_json::{Value, json};

use super::progress::Telling;
use super::store_text as text;
use crate::control::{self, AskError, Line, Request};

const EXIT_DAMAGED: u8 = 5;

/// `fanfare store`.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// The store's directory, in place of the configuration's `store.path`.
    #[arg(long, global = true, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Verify every byte of a store that no gateway serves; change nothing.
    #[command(
        after_help = "Each segment, frame and record of the journal is read, the index is compared with it, and \
        each delivery that waits with its due entry. Problems name segment and offset.\n\nExit codes: 0 whole, \
        5 damaged, 1 it could not be checked.\n\nExamples:\n  fanfare store check -c fanfare.toml\n  \
        fanfare store check --path /var/lib/fanfare --json | jq .problems"
    )]
    Check,
    /// Show the segments, how much of each is live, and how many records of each kind there are.
    #[command(after_help = "Asks the gateway if one serves the store, and else opens it.\n\nExamples:\n  \
        fanfare store stats\n  fanfare store stats --json | jq .kinds")]
    Stats,
    /// Make the index again from the journal.
    #[command(
        after_help = "The index holds nothing that the journal does not: this loses nothing, and takes about a \
        second for 100 MB of journal.\n\nExamples:\n  fanfare store rebuild -c fanfare.toml"
    )]
    Rebuild,
    /// Make a damaged store start again, and list exactly what was lost.
    #[command(
        after_help = "What can't be read is left out of the journal; what the index remembers of it is put back; \
        the damaged files are kept beside the journal in damaged-1. Take a copy first if you can.\n\nExit codes: \
        0 nothing was lost, 5 something was, and is listed; 1 it could not be repaired.\n\nExamples:\n  \
        fanfare store check -c fanfare.toml && echo whole\n  fanfare store repair -c fanfare.toml --json > lost.json"
    )]
    Repair,
    /// Copy the store to a directory, while the gateway serves or while it does not.
    #[command(
        after_help = "DIR must be absent or empty. The gateway that serves the store makes the copy, of one \
        moment, without stopping: sealed segments are linked where DIR is on the same file system, so copy DIR to \
        another disk afterwards. To restore, point `store.path` at a copy of DIR and start.\n\nExamples:\n  \
        fanfare store backup /backups/monday\n  fanfare store backup --json /backups/monday"
    )]
    Backup {
        /// Where to.
        #[arg(value_name = "DIR")]
        to: PathBuf,
    },
}

impl StoreArgs {
    /// The directory that was given; without one it is the configuration's.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

/// What a command has to say, in both forms.
struct Answer {
    report: Value,
    text: String,
    is_good: bool,
}

impl Answer {
    fn new(report: &impl Serialize, text: String, is_good: bool) -> Self {
        Self { report: serde_json::to_value(report).unwrap_or_default(), text, is_good }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Owner(#[from] AskError),
    #[error("the directory {} can't be resolved: {source}", path.display())]
    Target { path: PathBuf, source: std::io::Error },
    #[error("the command failed: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Runs a command on the store in `path`.
pub(crate) async fn run(args: StoreArgs, path: PathBuf) -> ExitCode {
    let is_json = args.json;
    let output = take_output();
    match answer(args.command, path).await {
        Ok(answer) => {
            let text = if is_json { format!("{:#}\n", answer.report) } else { answer.text };
            // A reader that went away, such as `head`, is no fault.
            let _ = match output {
                Ok(mut output) => output.write_all(text.as_bytes()),
                Err(_) => std::io::stdout().lock().write_all(text.as_bytes()),
            };
            if answer.is_good { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DAMAGED) }
        }
        Err(failure) => {
            if is_json {
                eprintln!("{}", json!({ "code": failure.code(), "detail": failure.to_string() }));
            } else {
                eprintln!("{failure}");
            }
            failure.exit_code()
        }
    }
}

/// Standard output, for the report alone: sled prints there what it can't read of a damaged index. Whatever else is
/// printed goes to standard error from now on.
fn take_output() -> std::io::Result<File> {
    let output = std::io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(std::io::stderr())?;
    Ok(File::from(output))
}

impl Failure {
    fn code(&self) -> &'static str {
        match self {
            Self::Store(OpenError::Locked { .. }) => "store.in-use",
            Self::Store(OpenError::Absent { .. }) => "store.absent",
            Self::Store(OpenError::Damaged { .. }) => "store.damaged",
            Self::Store(OpenError::NewerFormat { .. }) => "store.newer-format",
            Self::Store(OpenError::Occupied { .. }) | Self::Target { .. } => "store.target",
            Self::Store(OpenError::NoRoom { .. }) => "store.full",
            Self::Store(OpenError::Index { .. } | OpenError::Io { .. }) => "store.io",
            Self::Owner(_) => "store.owner",
            Self::Thread(_) => "store.failed",
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Store(OpenError::Damaged { .. }) => ExitCode::from(EXIT_DAMAGED),
            _ => ExitCode::FAILURE,
        }
    }
}

async fn answer(command: StoreCommand, path: PathBuf) -> Result<Answer, Failure> {
    let telling = Arc::new(Telling::for_command());
    let mut options = EmbeddedOptions::new(&path);
    options.progress = Arc::<Telling>::clone(&telling);
    Ok(match command {
        StoreCommand::Check => {
            let report = blocking(move || tools::check(&options)).await?;
            Answer::new(&report, text::check(&report), report.whole)
        }
        StoreCommand::Rebuild => {
            let report = blocking(move || tools::rebuild(&options)).await?;
            Answer::new(&report, text::rebuild(&report), true)
        }
        StoreCommand::Repair => {
            let report = blocking(move || tools::repair(&options)).await?;
            Answer::new(&report, text::repair(&report), report.nothing_was_lost())
        }
        StoreCommand::Stats => {
            let report = match ask(&path, &Request::Stats, &telling).await? {
                Some(report) => report,
                None => value(&blocking(move || tools::stats(&options)).await?),
            };
            let text = text::stats(&report);
            Answer { report, text, is_good: true }
        }
        StoreCommand::Backup { to } => {
            let to = std::path::absolute(&to).map_err(|source| Failure::Target { path: to, source })?;
            let report = match ask(&path, &Request::Backup { to: to.clone() }, &telling).await? {
                Some(report) => report,
                None => value(&blocking(move || tools::backup(&options, &to)).await?),
            };
            let text = text::backup(&report);
            Answer { report, text, is_good: true }
        }
    })
}

fn value(report: &impl Serialize) -> Value {
    serde_json::to_value(report).unwrap_or_default()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, Failure> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// Asks the owner; `None` when there is none.
async fn ask(store: &Path, request: &Request, telling: &Telling) -> Result<Option<Value>, Failure> {
    let answered = control::ask(store, request, |line| match line {
        Line::Begin { what, bytes_total } => telling.begin_named(what.clone(), *bytes_total),
        Line::Reached { bytes } => telling.reached(*bytes),
        Line::Done(_) | Line::Failed { .. } => {}
    })
    .await;
    telling.end();
    match answered {
        Ok(report) => Ok(Some(report)),
        Err(AskError::Nobody) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
