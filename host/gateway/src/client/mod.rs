//! The command line as a client of a running gateway's API.
//!
//! A command is a file: its arguments, one call or a few, and how the answer is shown. Shared are [`Options`] (where the
//! gateway is), [`http`] (the calls), [`error`] (what went wrong, with its exit code) and [`output`] (tables and JSON).
//! To add a command: a file with `Arguments` (its [`Options`] flattened in) and `run`, and an entry in [`ClientCommand`].
//!
//! Nothing is read but the API: no store, no lock, no plugin. So a command works from any machine that reaches the gateway.

mod audit;
mod channel;
mod dlq;
mod error;
mod http;
mod options;
mod output;
pub(crate) mod plugin;
mod router;
mod send;
mod status;
mod time;
mod trace;

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

pub(crate) use self::error::ClientError;
pub(crate) use self::http::Client;
pub(crate) use self::options::Options;
pub(crate) use self::output::Screen;

/// Below the help of each command.
macro_rules! help {
    ($examples:literal) => {
        concat!(
            "Examples:\n",
            $examples,
            "\n\nThe gateway is at FANFARE_URL, else at server.listen of --config FILE, else at http://127.0.0.1:8080;\n\
             the API key is in FANFARE_KEY.\n\
             Exit codes: 0 done, 1 refused or failed, 2 wrong arguments, 3 no gateway answers, 4 the key is missing,\n\
             unknown or lacks a scope, 5 done, but the answer is bad news (not ready, not delivered)."
        )
    };
}
pub(crate) use help;

/// What is asked of a running gateway.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Submit a notification to a running gateway.
    Send(Box<send::Arguments>),
    /// One look that says how a gateway is: ready or not, its store, its channels.
    Status(status::Arguments),
    /// Show everything that was decided about one notification, and why.
    Trace(trace::Arguments),
    /// Dead letters: list, show, send again, delete.
    Dlq(dlq::Arguments),
    /// Channels: list, show, activate a plugin, roll back, pause, resume, test.
    Channel(channel::Arguments),
    /// The router: list, show, activate a plugin, roll back.
    Router(router::Arguments),
    /// Show who did what to plugins, channels and the router.
    Audit(audit::Arguments),
}

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// What was asked for is so.
    Good,
    /// It was done, and the answer is bad news: exit code 5.
    Bad,
}

/// Carries out `command`; `config` is the file of `--config`.
pub(crate) async fn run(command: ClientCommand, config: Option<&Path>) -> ExitCode {
    match command {
        ClientCommand::Send(arguments) => send::run(*arguments, config).await,
        ClientCommand::Status(arguments) => status::run(&arguments, config).await,
        ClientCommand::Trace(arguments) => trace::run(&arguments, config).await,
        ClientCommand::Dlq(arguments) => dlq::run(arguments, config).await,
        ClientCommand::Channel(arguments) => channel::run(arguments, config).await,
        ClientCommand::Router(arguments) => router::run(arguments, config).await,
        ClientCommand::Audit(arguments) => audit::run(&arguments, config).await,
    }
}
