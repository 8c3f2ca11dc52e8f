//! `fanfare plugin`: what a plugin's author types, from an empty folder to a component that was tried.
//!
//! Each command is a file: its arguments, what it does, and how that is shown. None of the author's opens a store, and only
//! `dev` talks to a gateway; `run`, `test` and `check` use the gateway's own runtime with a script in place of the network.
//! Standard output has the answer alone (one JSON document with `--json`); what compilers say goes to standard error.

mod build;
mod check;
mod conform;
mod dev;
mod failure;
mod input;
mod new;
mod pack;
mod rig;
mod run;
mod sample;
mod script;
mod sdk;
mod tell;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use self::failure::Failure;
use crate::client;

/// Below the help of each command.
macro_rules! help {
    ($examples:literal) => {
        concat!(
            "Examples:\n",
            $examples,
            "\n\nExit codes: 0 done, 1 the plugin or the machine is at fault, 2 wrong arguments or files."
        )
    };
}
use help;

/// What is done with plugins on this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Write a project that builds and passes its own tests as it is.
    New(new::Arguments),
    /// Build a project into NAME.wasm, its manifest inside.
    Build(build::Arguments),
    /// Put a manifest into a component that was built by other means.
    Pack(pack::Arguments),
    /// Look at a component as a gateway does before it lets it serve.
    Check(check::Arguments),
    /// Make one attempt with a script in place of the network, and tell all about it.
    Run(Box<run::Arguments>),
    /// Put a component through the conformance suite; deterministic, and nothing leaves this machine.
    Test(conform::Arguments),
    /// At each save: build, test, and swap into a running gateway.
    Dev(dev::Arguments),
    /// What a running gateway has installed.
    #[command(flatten)]
    Installed(client::plugin::PluginCommand),
}

/// How an answer is printed.
#[derive(Args, Clone, Copy, Debug)]
struct Output {
    /// Print the answer as JSON, for scripts; errors too, on standard error.
    #[arg(long)]
    json: bool,
}

/// What a command found.
#[derive(Debug)]
struct Shown {
    json: Value,
    text: String,
    good: bool,
}

impl Shown {
    fn new(json: Value, text: String) -> Self {
        Self { json, text, good: true }
    }
}

impl Output {
    /// Prints how a command ended.
    fn end(self, ended: Result<Shown, Failure>) -> ExitCode {
        let shown = match ended {
            Ok(shown) => shown,
            Err(failure) => {
                if self.json {
                    eprintln!("{}", failure.to_json());
                } else {
                    eprintln!("{failure}");
                }
                return failure.exit_code();
            }
        };
        let text = if self.json { format!("{:#}\n", shown.json) } else { shown.text };
        // A reader that went away, such as `head`, is no fault.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if shown.good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Carries out `command`; `config` is the file of `--config`.
pub(crate) async fn run(command: PluginCommand, config: Option<&Path>) -> ExitCode {
    match command {
        PluginCommand::New(arguments) => arguments.output.end(new::run(&arguments)),
        PluginCommand::Build(arguments) => arguments.output.end(build::run(&arguments)),
        PluginCommand::Pack(arguments) => arguments.output.end(pack::run(&arguments)),
        PluginCommand::Installed(command) => client::plugin::run(command, config).await,
        PluginCommand::Check(arguments) => arguments.output.end(check::run(&arguments).await),
        PluginCommand::Run(arguments) => arguments.output.end(run::run(&arguments).await),
        PluginCommand::Test(arguments) => arguments.output.end(conform::run(&arguments).await),
        PluginCommand::Dev(arguments) => dev::run(&arguments, config).await,
    }
}

#[cfg(test)]
mod tests;
