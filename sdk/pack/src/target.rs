//! The compilation target of plugins: looked for, added through rustup where it is missing.

use std::path::Path;
use std::process::Command;

use crate::cargo::{BuildError, Voice, run};

pub(crate) const TARGET: &str = "wasm32-wasip2";

/// Makes sure that the target is installed.
///
/// rustup is asked by name: `RUSTUP_AUTO_INSTALL=0` keeps it from adding what `rust-toolchain.toml` lists by itself.
pub(crate) fn ensure(folder: &Path) -> Result<(), BuildError> {
    if is_installed(folder) {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", TARGET]).current_dir(folder);
    match run(add, Voice::Kept) {
        Ok(_) if is_installed(folder) => Ok(()),
        _ => Err(BuildError::Target(remedy())),
    }
}

/// The one command to type; the toolchain is named where an override is in force.
fn remedy() -> String {
    match std::env::var_os("RUSTUP_TOOLCHAIN") {
        Some(toolchain) => format!("rustup target add {TARGET} --toolchain {}", toolchain.display()),
        None => format!("rustup target add {TARGET}"),
    }
}

fn is_installed(folder: &Path) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut print = Command::new(rustc);
    print.args(["--print", "target-libdir", "--target", TARGET]).current_dir(folder);
    let Ok(stdout) = run(print, Voice::Kept) else { return false };
    Path::new(String::from_utf8_lossy(&stdout).trim()).is_dir()
}
