//! `fanfare serve` and `fanfare config check`: the gateway under signals.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli;
use crate::config::{self, Config};
use crate::gateway::{CompileWith, Gateway, StartError};
use crate::memory;
use crate::registry::SetupError;
use crate::telemetry::logging;

/// Serves until SIGTERM or SIGINT; swaps what changes in the folder `watch`.
pub(crate) async fn serve(config: Config, path: Option<PathBuf>, watch: Option<PathBuf>) -> ExitCode {
    if let Some(folder) = watch.as_deref().filter(|folder| !folder.is_dir()) {
        eprintln!("--watch {}: there is no such folder; give the one with the components", folder.display());
        return cli::config_failure();
    }
    let _lines = match logging::init(&config.log) {
        Ok(lines) => lines,
        Err(error) => {
            eprintln!("the log can't be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = memory::give_back_regularly() {
        tracing::warn!(error = %error, "no thread for giving memory back; it is kept longer");
    }
    let (mut reload, mut stop, mut interrupt) = match signals() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("signals can't be listened for: {error}");
            return ExitCode::FAILURE;
        }
    };
    let open = config.keys.is_empty();
    let gateway = match Gateway::start(config, compile_in_child()).await {
        Ok(gateway) => gateway,
        Err(error) => return start_failure(&error, path.as_deref()),
    };
    tracing::info!(address = %gateway.address(), "serving");
    if let Some(folder) = &watch
        && let Err(error) = gateway.watch(folder)
    {
        tracing::error!(folder = %folder.display(), error = %error, "the folder can't be watched; nothing is swapped");
    }
    if open {
        tracing::warn!("no key is configured: serving loopback only, to anyone on this machine");
    }
    loop {
        tokio::select! {
            _ = reload.recv() => reload_from(&gateway, path.as_deref()).await,
            _ = stop.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping: no new requests, attempts under way may end");
    match gateway.stop().await {
        Ok(0) => tracing::info!("stopped"),
        Ok(left) => {
            tracing::warn!(left, "stopped; attempts that were cut off are made again at the next start");
        }
        Err(error) => {
            tracing::error!(error = %error, "stopped, but the store could not be written out");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Loads everything that the configuration names, without serving it.
pub(crate) async fn check(config: Config, path: Option<PathBuf>) -> ExitCode {
    let name = file_name(path.as_deref());
    match crate::gateway::check(&config, compile_in_child()).await {
        Ok(summary) => {
            println!("{name}: good: {summary}");
            ExitCode::SUCCESS
        }
        Err(StartError::Setup(errors)) => {
            print_setup(&errors);
            cli::config_failure()
        }
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn signals() -> std::io::Result<(Signal, Signal, Signal)> {
    Ok((signal(SignalKind::hangup())?, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

async fn reload_from(gateway: &Gateway, path: Option<&Path>) {
    let config = match Config::load(path, &config::ProcessEnvironment) {
        Ok(config) => config,
        Err(errors) => {
            tracing::error!(errors = %errors, "the configuration was not reloaded: the old one goes on");
            return;
        }
    };
    match gateway.reload(config).await {
        Ok(needs_restart) if needs_restart.is_empty() => tracing::info!("configuration reloaded"),
        Ok(needs_restart) => {
            let keys = needs_restart.join(", ");
            tracing::warn!(keys, "configuration reloaded; these keys take effect after a restart");
        }
        Err(errors) => {
            for error in &errors {
                tracing::error!(place = %error.place, section = %error.section, code = %error.code, message = %error.message,
                    "the configuration was not reloaded: the old one goes on");
            }
        }
    }
}

fn start_failure(error: &StartError, path: Option<&Path>) -> ExitCode {
    let name = file_name(path);
    match error {
        StartError::Setup(errors) => {
            print_setup(errors);
            cli::config_failure()
        }
        StartError::Listen { .. } | StartError::Path { .. } => {
            eprintln!("{name}: {error}");
            cli::config_failure()
        }
        _ => {
            eprintln!("fanfare does not start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_setup(errors: &[SetupError]) {
    for error in errors {
        eprintln!("{error}");
    }
}

fn file_name(path: Option<&Path>) -> String {
    path.map_or_else(|| "(embedded default)".to_owned(), |path| path.display().to_string())
}

/// Compilation leaves memory behind, so it happens in a child of this very program.
pub(crate) fn compile_in_child() -> CompileWith {
    match env::current_exe() {
        Ok(program) => CompileWith::Child(program, vec![OsString::from("compile-component")]),
        Err(_) => CompileWith::InProcess,
    }
}
