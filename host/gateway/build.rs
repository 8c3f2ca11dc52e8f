//! Builds the first-party plugins and lists them for `src/embedded.rs`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fanfare_pack::{BuildError, Workspace, index};

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the first-party plugins can't be built: {error}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), BuildError> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let plugins = Workspace::open(here.join("../../plugins"))?;
    print!("{}", plugins.rerun_lines(&[&here.join("../../wit"), Path::new("build.rs")]));
    let list = out.join("embedded.rs");
    std::fs::write(&list, index(&plugins.build(&out)?))
        .map_err(|source| BuildError::File { path: list, source })
}
