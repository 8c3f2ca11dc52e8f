//! Builds the first-party plugins and lists them for `src/embedded.rs`; lists the SDK's sources for
//! `src/plugin_cli/sdk.rs`, which writes them beside an author's project.

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
    write(out.join("embedded.rs"), &index(&plugins.build(&out)?))?;
    let mut sources = String::from("&[\n");
    list(&here.join("../../sdk/rust/src"), "src", &mut sources)?;
    list(&here.join("../../wit"), "wit", &mut sources)?;
    write(out.join("sdk.rs"), &(sources + "]\n"))
}

fn write(path: PathBuf, text: &str) -> Result<(), BuildError> {
    std::fs::write(&path, text).map_err(|source| BuildError::File { path, source })
}

/// One line for each file below `folder`, in order of name: its path under `name`, and its text.
fn list(folder: &Path, name: &str, lines: &mut String) -> Result<(), BuildError> {
    let failed = |source| BuildError::File { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<_, _>>().map_err(failed)?;
    paths.sort();
    for path in paths {
        let Some(file) = path.file_name().and_then(|file| file.to_str()) else { continue };
        let name = format!("{name}/{file}");
        // What is frozen serves the tests of the host; a project needs the contract that the SDK is made for.
        if name == "wit/released" {
            continue;
        }
        if path.is_dir() {
            list(&path, &name, lines)?;
        } else {
            lines.push_str(&format!("    ({name:?}, include_str!({:?})),\n", path.display().to_string()));
        }
    }
    Ok(())
}
