//! The child `cargo`, kept apart from the build that it runs inside.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::section::PackError;

/// Why a workspace was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The child ran and failed.
    #[error("`{command}` failed in {folder}:\n{output}", folder = folder.display())]
    Failed {
        /// What to type to see it again.
        command: String,
        /// Where.
        folder: PathBuf,
        /// What it wrote.
        output: String,
    },
    /// The child could not be started.
    #[error("`{command}` can't be run: {source}")]
    Start {
        /// The command.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// The target is missing and could not be added.
    #[error("the Rust target wasm32-wasip2 is missing, and plugins are built for it. Type:\n\n    {0}\n")]
    Target(String),
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `cargo metadata` said something unexpected.
    #[error("cargo's description of {path} can't be read: {why}", path = path.display())]
    Metadata {
        /// The workspace.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A library that exports nothing of ours.
    #[error(
        "{0} makes no manifest: export its settings with fanfare_sdk::channel!(Type) or fanfare_sdk::router!(Type) in src/lib.rs"
    )]
    NoManifest(String),
    /// A built file took no manifest.
    #[error("{path}: {source}", path = path.display())]
    Pack {
        /// The component.
        path: PathBuf,
        /// Why.
        source: PackError,
    },
}

/// Variables of cargo that say where crates come from and how output looks; the inner build needs them as well.
const KEPT: &[&str] = &["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_BUILD_JOBS", "CARGO_INCREMENTAL"];
const KEPT_PREFIXES: &[&str] =
    &["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"];
/// Variables by which the outer build steers its own compilers, and with which the inner one would be linted,
/// instrumented, or built for another target.
const DROPPED: &[&str] =
    &["RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC"];
const DROPPED_PREFIXES: &[&str] = &["CARGO_", "CLIPPY_", "DEP_", "RUSTC_LINKER", "NEXTEST"];

/// `cargo ARGS` in `folder`, with nothing of the outer build about it.
pub(crate) fn cargo(folder: &Path, args: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(args).current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if is_dropped(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn is_dropped(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let begins = |prefix: &&str| name.starts_with(*prefix);
    let kept = KEPT.contains(&name) || KEPT_PREFIXES.iter().any(begins);
    !kept && (DROPPED.contains(&name) || DROPPED_PREFIXES.iter().any(begins))
}

/// What happens to what a child says on its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// It is kept, and told in the error: a build script's output is read by cargo.
    Kept,
    /// It goes to ours as it comes.
    Aloud,
}

/// Runs `command` to its end. Its standard output is kept out of ours.
pub(crate) fn run(mut command: Command, voice: Voice) -> Result<Vec<u8>, BuildError> {
    if voice == Voice::Aloud {
        command.stderr(Stdio::inherit());
    }
    let folder = command.get_current_dir().unwrap_or(Path::new(".")).to_owned();
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words: Vec<_> = [program].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    let shown = words.join(" ");
    match command.output() {
        Ok(Output { status, stdout, .. }) if status.success() => Ok(stdout),
        Ok(Output { stdout, stderr, .. }) => {
            let output = [stderr, stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            Err(BuildError::Failed { command: shown, folder, output })
        }
        Err(source) => Err(BuildError::Start { command: shown, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_builds_flags_stay_outside() {
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"] {
            assert!(is_dropped(OsStr::new(name)), "{name}");
        }
        for name in ["RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "CLIPPY_ARGS", "CARGO_PROFILE_RELEASE_LTO"] {
            assert!(is_dropped(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_finds_crates_and_compilers_goes_in() {
        for name in
            ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_MAKEFLAGS", "PATH", "RUSTUP_TOOLCHAIN", "RUSTC"]
        {
            assert!(!is_dropped(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_failing_child_is_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo so and so >&2; exit 3"]);
        let error = run(command, Voice::Kept).unwrap_err().to_string();
        assert!(error.contains("so and so") && error.contains("sh -c"), "{error}");
    }
}
