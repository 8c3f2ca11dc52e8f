//! Builds the test components, gives each a manifest, and writes the statics of `src/lib.rs`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fanfare_pack::{BuildError, Workspace};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the test components can't be built: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), BuildError> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let components = Workspace::open(here.join(".."))?;
    let (wit, manifests) = (here.join("../../../wit"), here.join("../manifests"));
    print!("{}", components.rerun_lines(&[&wit, &manifests, Path::new("build.rs")]));
    components.build_examples(&manifests, &out).map(|_| ())
}
