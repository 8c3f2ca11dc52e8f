//! The command line. Parses, and hands over; what a command does lives in its own module.

pub(crate) mod progress;
mod store;
mod store_text;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client::{self, ClientCommand};
use crate::config::{self, Config};
use crate::plugin_cli::{self, PluginCommand};
use crate::{demo, serve};

/// Exit code of a configuration that can't serve.
const EXIT_CONFIG: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "fanfare",
    version,
    about = "A notification gateway: in over HTTP, out through sandboxed channels, nothing lost.",
    after_help = "Examples:\n  fanfare demo                             see the main job in half a minute\n  \
                  fanfare serve                            serve a first-look setup on 127.0.0.1:8080\n  \
                  fanfare config default > fanfare.toml    write a commented configuration\n  \
                  fanfare config check -c fanfare.toml     find its mistakes before it serves\n  \
                  fanfare serve -c fanfare.toml            serve it; SIGHUP reloads, SIGTERM stops\n  \
                  fanfare status                           how a running gateway is\n  \
                  fanfare send payment.failed --wait       submit a notification to it"
)]
struct Cli {
    /// The configuration file (TOML); without one, an embedded default serves loopback.
    #[arg(short, long, global = true, env = "FANFARE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C; SIGHUP reloads the configuration.
    #[command(
        after_help = "Examples:\n  fanfare serve -c fanfare.toml\n  fanfare serve -c fanfare.toml --watch plugins/    for development"
    )]
    Serve {
        /// Swap channels and the router when the components (*.wasm) in this folder change: for development.
        #[arg(long, value_name = "FOLDER")]
        watch: Option<PathBuf>,
    },
    /// Show the main job on this machine: receivers, notifications, retries, a dead letter and its replay.
    #[command(
        after_help = "Examples:\n  fanfare demo\n  fanfare demo --keep    then try the URLs that it prints"
    )]
    Demo {
        /// Leave the gateway and the receivers running until Ctrl-C.
        #[arg(long)]
        keep: bool,
    },
    /// Print or check the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// What a running gateway is asked over its API.
    #[command(flatten)]
    Client(ClientCommand),
    /// Write, build, try and test plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Look at the store, mend it, or copy it.
    Store(store::StoreArgs),
    /// Compile a component from standard input to standard output; the gateway calls this in a child process.
    #[command(hide = true)]
    CompileComponent,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the commented default, with every key.
    Default,
    /// Load everything that the configuration names, plugins included, and say what is wrong with it.
    Check,
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::CompileComponent => fanfare_runtime::compile_stdio(),
        Command::Config(ConfigCommand::Default) => {
            print!("{}", config::DEFAULT_TOML);
            ExitCode::SUCCESS
        }
        Command::Config(ConfigCommand::Check) => with_config(cli.config, serve::check),
        Command::Serve { watch } => with_config(cli.config, |config, path| serve::serve(config, path, watch)),
        Command::Demo { keep } => run(demo::demo(keep)),
        Command::Client(command) => run(client::run(command, cli.config.as_deref())),
        Command::Store(args) => match args.path().map(PathBuf::from) {
            Some(path) => run(store::run(args, path)),
            None => with_config(cli.config, |config, _| store::run(args, config.store.path)),
        },
        Command::Plugin(command) => run(plugin_cli::run(command, cli.config.as_deref())),
    }
}

fn with_config<F>(path: Option<PathBuf>, command: impl FnOnce(Config, Option<PathBuf>) -> F) -> ExitCode
where
    F: Future<Output = ExitCode>,
{
    match Config::load(path.as_deref(), &config::ProcessEnvironment) {
        Ok(config) => run(command(config, path)),
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn run(command: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("fanfare").build();
    match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            eprintln!("the threads of the gateway can't be started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a command answers when the configuration can't serve.
pub(crate) fn config_failure() -> ExitCode {
    ExitCode::from(EXIT_CONFIG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
