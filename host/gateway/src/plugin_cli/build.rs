//! `fanfare plugin build`: cargo builds the component, the plugin's own test writes its manifest, and both become one file.

use std::path::{Path, PathBuf};

use clap::Args;
use fanfare_model::digest::Digest;
use fanfare_pack::{BuildError, Built, Workspace};
use fanfare_runtime::{Kind, inspect};
use serde_json::{Value, json};

use super::failure::Failure;
use super::{Output, Shown, help};
use crate::config::{Environment as _, ProcessEnvironment};

/// Of which project.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare plugin build                 the project in this folder\n  \
       fanfare plugin build ./pager         another one\n  \
       wasm=$(fanfare plugin build ./pager | tail -n 1)"
))]
pub(crate) struct Arguments {
    /// The folder of the project.
    #[arg(default_value = ".", value_name = "FOLDER")]
    pub(super) folder: PathBuf,
    #[command(flatten)]
    pub(super) output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<Shown, Failure> {
    let built = build(&open(&arguments.folder)?)?;
    let text = built.iter().map(|plugin| format!("{}\n{}\n", plugin.summary, plugin.path.display()));
    let json: Vec<Value> = built.iter().map(Plugin::json).collect();
    let json = match <[Value; 1]>::try_from(json) {
        Ok([one]) => one,
        Err(several) => Value::Array(several),
    };
    Ok(Shown::new(json, text.collect()))
}

/// A component that lies in its project.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) kind: Kind,
    bytes: usize,
    pub(super) digest: Digest,
    summary: String,
}

impl Plugin {
    fn json(&self) -> Value {
        json!({
            "name": self.name, "path": self.path.display().to_string(),
            "bytes": self.bytes, "digest": self.digest.to_string(),
        })
    }
}

/// The project in `folder`, built where its author's other builds go.
pub(super) fn open(folder: &Path) -> Result<Workspace, Failure> {
    if !folder.join("Cargo.toml").is_file() {
        return Err(Failure::usage(
            "build.project",
            format!("{} is no plugin's project: it has no Cargo.toml", folder.display()),
            "give the folder of one, or make one with `fanfare plugin new NAME`",
        ));
    }
    let project = Workspace::project(folder)?.aloud();
    let target = ProcessEnvironment.get("CARGO_TARGET_DIR").filter(|target| !target.is_empty());
    Ok(match target {
        Some(target) => project.with_target(std::path::absolute(&target).unwrap_or_else(|_| target.into())),
        None => project,
    })
}

/// Builds every plugin of the project, and leaves each in its package's folder.
pub(super) fn build(project: &Workspace) -> Result<Vec<Plugin>, Failure> {
    let aside = tempfile::tempdir().map_err(|error| Failure::file(&std::env::temp_dir(), &error))?;
    let built = project.build(aside.path())?;
    if built.is_empty() {
        return Err(Failure::new(
            "build.no-plugin",
            "the project has no library that becomes a component",
            "put crate-type = [\"cdylib\", \"rlib\"] under [lib] of its Cargo.toml",
        ));
    }
    let folders: Vec<(&str, &Path)> = project.plugins().collect();
    built.iter().map(|built| leave(built, &folders)).collect()
}

fn leave(built: &Built, folders: &[(&str, &Path)]) -> Result<Plugin, Failure> {
    let Built { name, path: from } = built;
    let bytes = std::fs::read(from).map_err(|source| BuildError::File { path: from.clone(), source })?;
    let folder = folders.iter().find(|(candidate, _)| candidate == name).map(|(_, folder)| *folder);
    let path = folder.unwrap_or(Path::new(".")).join(format!("{name}.wasm"));
    let manifest = inspect(&path.display().to_string(), &bytes)?;
    replace(&path, &bytes)?;
    let digest = Digest::of(&bytes);
    let kind = manifest.kind.as_str();
    let summary = format!("{name} {}, a {kind} of {} bytes, sha256 {digest}", manifest.version, bytes.len());
    Ok(Plugin { path, name: name.clone(), kind: manifest.kind, bytes: bytes.len(), digest, summary })
}

/// Written aside and renamed, so that a gateway that watches the folder never reads half of it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let aside = path.with_extension(format!("wasm.{}.part", std::process::id()));
    std::fs::write(&aside, bytes).map_err(|error| Failure::file(&aside, &error))?;
    std::fs::rename(&aside, path).map_err(|error| Failure::file(path, &error))
}
