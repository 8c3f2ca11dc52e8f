//! A nested workspace of plugins, and what is built of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cargo::{BuildError, Voice, cargo, run};
use crate::section::pack;
use crate::target::{TARGET, ensure};

/// A component with its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The plugin's name.
    pub name: String,
    /// The packed file.
    pub path: PathBuf,
}

/// A workspace with a lock file and a target folder of its own.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
    packages: Vec<Package>,
    /// The lock file has to fit as it is.
    locked: bool,
    voice: Voice,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    crate_types: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    path: Option<PathBuf>,
}

impl Target {
    /// The file that cargo makes of it, if it is a component.
    fn component(&self, kind: &str) -> Option<String> {
        let is_kind = self.kind.iter().any(|own| own == kind);
        let is_component = self.crate_types.iter().any(|own| own == "cdylib");
        (is_kind && is_component).then(|| format!("{}.wasm", self.name.replace('-', "_")))
    }
}

impl Package {
    /// The file that its library becomes, if that is a component.
    fn component(&self) -> Option<String> {
        self.targets.iter().find_map(|target| target.component("cdylib"))
    }
}

impl Workspace {
    /// Reads the workspace at `root`.
    ///
    /// # Errors
    ///
    /// When there is none, or its lock file does not fit.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, BuildError> {
        Self::read(root.as_ref(), true)
    }

    /// Reads an author's project, whose lock file may follow its manifest.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn project(root: impl AsRef<Path>) -> Result<Self, BuildError> {
        Self::read(root.as_ref(), false)
    }

    fn read(root: &Path, locked: bool) -> Result<Self, BuildError> {
        let root =
            root.canonicalize().map_err(|source| BuildError::File { path: root.to_owned(), source })?;
        let mut metadata = cargo(&root, &["metadata", "--no-deps", "--format-version", "1"]);
        if locked {
            metadata.arg("--locked");
        }
        let json = run(metadata, Voice::Kept)?;
        let Metadata { packages } = serde_json::from_slice(&json)
            .map_err(|error| BuildError::Metadata { path: root.clone(), why: error.to_string() })?;
        Ok(Self { target: root.join("target"), root, packages, locked, voice: Voice::Kept })
    }

    /// Lets cargo tell its progress and the compiler's complaints on standard error as they come.
    #[must_use]
    pub fn aloud(mut self) -> Self {
        self.voice = Voice::Aloud;
        self
    }

    /// The folders of the packages that become plugins, by name.
    pub fn plugins(&self) -> impl Iterator<Item = (&str, &Path)> {
        let plugins = self.packages.iter().filter(|package| package.component().is_some());
        plugins.filter_map(|package| Some((package.name.as_str(), package.manifest_path.parent()?)))
    }

    /// Builds into this folder instead of `target` inside the workspace, to share what several workspaces need.
    #[must_use]
    pub fn with_target(mut self, target: PathBuf) -> Self {
        self.target = target;
        self
    }

    /// Runs the workspace's own tests, natively, on the SDK's scripted host.
    ///
    /// # Errors
    ///
    /// See [`BuildError`]; a failed test is quoted.
    pub fn test(&self) -> Result<(), BuildError> {
        run(self.native_test(&["--workspace"]), self.voice).map(|_| ())
    }

    /// Builds every plugin, makes its manifest by its own test, and leaves the packed components in `out`.
    ///
    /// # Errors
    ///
    /// See [`BuildError`].
    pub fn build(&self, out: &Path) -> Result<Vec<Built>, BuildError> {
        ensure(&self.root)?;
        run(self.compile(&["build", "--workspace", "--lib"]), self.voice)?;
        let mut test = self.native_test(&["--workspace", "--lib", "fanfare_manifest"]);
        test.env("FANFARE_MANIFEST_DIR", out);
        run(test, self.voice)?;
        let mut built = Vec::new();
        for package in &self.packages {
            let Some(file) = package.component() else { continue };
            let manifest = out.join(format!("{}.manifest.json", package.name));
            if !manifest.exists() {
                return Err(BuildError::NoManifest(package.name.clone()));
            }
            let manifest = read(&manifest)?;
            built.push(self.pack_one(&package.name, &self.release().join(file), &manifest, out)?);
        }
        built.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(built)
    }

    /// Builds every example that is a component. Each gets a manifest of the folder `manifests`, with its own name put
    /// in for `NAME`: `foo_bar` gets `foo_bar.json`, else `foo.json`, else `default.json`.
    ///
    /// # Errors
    ///
    /// See [`BuildError`].
    pub fn build_examples(&self, manifests: &Path, out: &Path) -> Result<Vec<Built>, BuildError> {
        ensure(&self.root)?;
        run(self.compile(&["build", "--workspace", "--examples"]), self.voice)?;
        let mut built = Vec::new();
        for target in self.packages.iter().flat_map(|package| &package.targets) {
            let Some(file) = target.component("example") else { continue };
            let manifest = example_manifest(manifests, &target.name)?;
            let from = self.release().join("examples").join(file);
            built.push(self.pack_one(&target.name, &from, manifest.as_bytes(), out)?);
        }
        built.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(built)
    }

    /// The lines by which a build script tells cargo what the components are made of.
    #[must_use]
    pub fn rerun_lines(&self, also: &[&Path]) -> String {
        let mut paths: BTreeSet<PathBuf> = also.iter().map(|path| path.to_path_buf()).collect();
        paths.extend(["Cargo.toml", "Cargo.lock"].map(|file| self.root.join(file)));
        for package in &self.packages {
            let Some(folder) = package.manifest_path.parent() else { continue };
            // A package at the root of its workspace has the target folder inside it, which changes with each build.
            let parts = ["Cargo.toml", "src", "examples"].map(|part| folder.join(part));
            paths.extend(parts.into_iter().filter(|path| path.exists()));
            paths.extend(package.dependencies.iter().filter_map(|dependency| dependency.path.clone()));
        }
        paths.iter().fold(String::new(), |mut lines, path| {
            let _ = writeln!(lines, "cargo:rerun-if-changed={}", path.display());
            lines
        })
    }

    fn release(&self) -> PathBuf {
        self.target.join(TARGET).join("release")
    }

    fn compile(&self, what: &[&str]) -> std::process::Command {
        let mut command = cargo(&self.root, what);
        command.args(["--release", "--target", TARGET]);
        if self.locked {
            command.arg("--locked");
        }
        command.env("CARGO_TARGET_DIR", &self.target);
        command
    }

    fn native_test(&self, what: &[&str]) -> std::process::Command {
        let mut command = cargo(&self.root, &["test"]);
        if self.locked {
            command.arg("--locked");
        }
        command.args(what).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    fn pack_one(&self, name: &str, from: &Path, manifest: &[u8], out: &Path) -> Result<Built, BuildError> {
        let packed = pack(&read(from)?, manifest)
            .map_err(|source| BuildError::Pack { path: from.to_owned(), source })?;
        let path = out.join(format!("{name}.wasm"));
        std::fs::write(&path, packed).map_err(|source| BuildError::File { path: path.clone(), source })?;
        Ok(Built { name: name.to_owned(), path })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path).map_err(|source| BuildError::File { path: path.to_owned(), source })
}

/// The manifest of its own, else of its family (what stands before the first `_`), else the default.
fn example_manifest(folder: &Path, name: &str) -> Result<String, BuildError> {
    let family = name.split('_').next().unwrap_or(name);
    let candidates = [name, family].map(|stem| folder.join(format!("{stem}.json")));
    let path =
        candidates.into_iter().find(|path| path.exists()).unwrap_or_else(|| folder.join("default.json"));
    let text = read(&path)?;
    Ok(String::from_utf8_lossy(&text).trim().replace("NAME", name))
}

/// A Rust expression: a slice of pairs, name and bytes, for `include!`.
#[must_use]
pub fn index(built: &[Built]) -> String {
    let mut text = "&[\n".to_owned();
    for Built { name, path } in built {
        let _ =
            writeln!(text, "    ({name:?}, include_bytes!({:?}).as_slice()),", path.display().to_string());
    }
    text + "]\n"
}
