//! `fanfare plugin pack`: a manifest for a component that another toolchain built.
//!
//! What it leaves is what a gateway takes: the packed bytes pass the gateway's own inspection before they are written.

use std::path::PathBuf;

use clap::Args;
use fanfare_model::digest::Digest;
use fanfare_pack::PackError;
use fanfare_runtime::inspect;
use serde_json::json;

use super::build::replace;
use super::failure::Failure;
use super::{Output, Shown, help};

/// What is packed.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare plugin pack build/pager.component.wasm --manifest manifest.json\n  \
       fanfare plugin pack pager.wasm --manifest manifest.json --output dist/pager.wasm --force\n\n\
     A manifest.json:\n  \
       {\n    \"name\": \"pager\", \"version\": \"0.1.0\", \"kind\": \"channel\",\n    \
       \"description\": \"Wakes whoever is on call.\",\n    \
       \"settings_schema\": { \"type\": \"object\", \"properties\": { \"url\": { \"type\": \"string\" } }, \"required\": [\"url\"] },\n    \
       \"permissions\": { \"http\": [\"{settings.url}\"], \"secrets\": [\"signing\"], \"smtp\": [], \"secrets_in_body\": false },\n    \
       \"limits\": { \"memory_mib\": 32, \"cpu_ms\": 200, \"wall_ms\": 10000 }\n  }"
))]
pub(crate) struct Arguments {
    /// The component, as its compiler left it.
    component: PathBuf,
    /// The manifest, a JSON file.
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// Where the packed component goes [default: NAME.wasm beside the manifest, NAME from the manifest].
    #[arg(long = "output", short, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Overwrite what is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<Shown, Failure> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| Failure::file(path, &error));
    let (component, manifest) = (read(&arguments.component)?, read(&arguments.manifest)?);
    let label = arguments.component.display().to_string();
    let packed = fanfare_pack::pack(&component, &manifest).map_err(|error| refused(&label, &error))?;
    let manifest = inspect(&label, &packed)?;
    let path = arguments
        .to
        .clone()
        .unwrap_or_else(|| arguments.manifest.with_file_name(format!("{}.wasm", manifest.name)));
    if path.exists() && !arguments.force {
        return Err(Failure::usage(
            "pack.exists",
            format!("{} is there already", path.display()),
            "overwrite it with --force, or write elsewhere with --output",
        ));
    }
    replace(&path, &packed)?;
    let digest = Digest::of(&packed);
    let text = format!(
        "{} {}, a {} of {} bytes, sha256 {digest}\n{}\n",
        manifest.name,
        manifest.version,
        manifest.kind.as_str(),
        packed.len(),
        path.display()
    );
    let json = json!({
        "name": manifest.name, "version": manifest.version, "kind": manifest.kind.as_str(),
        "path": path.display().to_string(), "bytes": packed.len(), "digest": digest.to_string(),
    });
    Ok(Shown::new(json, text))
}

fn refused(label: &str, error: &PackError) -> Failure {
    let remedy = match error {
        PackError::CoreModule => {
            "in Rust: cargo build --release --target wasm32-wasip2; elsewhere: wasm-tools component new"
        }
        PackError::NoComponent | PackError::Broken(_) => "give the component that the compiler left",
        PackError::Packed => "give the component as its compiler left it, without a manifest",
        PackError::NoManifest(_) => "`fanfare plugin pack --help` shows one",
    };
    Failure::usage("plugin.invalid", format!("{label}: {error}"), remedy)
}
