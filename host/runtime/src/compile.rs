//! Compilation: in a child process, because a compiler in this one leaves its memory behind; kept in a cache by digest
//! and by everything that decides whether compiled code fits.
//!
//! A cached file is believed only if the checksum in front of it is right; one that is stale or broken is made again.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fanfare_model::digest::Digest;
use tokio::io::AsyncWriteExt as _;
use wasmtime::Engine;

use crate::engine::compiling_engine;
use crate::guests::Guests;
use crate::options::Compiler;

/// Machine code of `component`, from the cache or made now. The error is a sentence.
pub(crate) async fn compiled(
    guests: &Guests,
    compiler: &Compiler,
    cache: &Path,
    compatibility: &str,
    digest: &Digest,
    component: &[u8],
) -> Result<Vec<u8>, String> {
    let path = cache.join(format!("{digest}-{compatibility}.cwasm"));
    let kept = path.clone();
    if let Ok(Some(code)) = guests.aside(move || read(&kept)).await {
        return Ok(code);
    }
    let code = match compiler {
        Compiler::InProcess => in_process(guests, component.to_vec()).await?,
        Compiler::Child { program, args, timeout } => {
            let child = in_child(program, args, component);
            tokio::time::timeout(*timeout, child)
                .await
                .map_err(|_| format!("it took longer than {timeout:?}"))??
        }
    };
    if let Err(error) = write(&path, &code).await {
        // The next start compiles again; this one goes on.
        tracing::warn!(path = %path.display(), error = %error, "compiled code could not be kept");
    }
    Ok(code)
}

/// Blocks: it is read and hashed whole.
fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    let (checksum, code) = bytes.split_first_chunk::<32>()?;
    if Digest::of(code).as_bytes() == checksum {
        return Some(code.to_vec());
    }
    tracing::warn!(path = %path.display(), "compiled code is broken, and is made again");
    None
}

/// Written aside and renamed, so that nobody reads half of it.
async fn write(path: &Path, code: &[u8]) -> std::io::Result<()> {
    let aside: PathBuf = path.with_extension(format!("{}-{}", std::process::id(), rand::random::<u32>()));
    let mut bytes = Digest::of(code).as_bytes().to_vec();
    bytes.extend_from_slice(code);
    tokio::fs::write(&aside, bytes).await?;
    tokio::fs::rename(&aside, path).await
}

async fn in_process(guests: &Guests, component: Vec<u8>) -> Result<Vec<u8>, String> {
    let made = guests.aside(move || {
        let engine = compiling_engine().map_err(|error| error.to_string())?;
        precompile(&engine, &component)
    });
    made.await.unwrap_or_else(|error| Err(error.to_string()))
}

fn precompile(engine: &Engine, component: &[u8]) -> Result<Vec<u8>, String> {
    engine.precompile_component(component).map_err(|error| format!("{error:#}"))
}

async fn in_child(program: &Path, args: &[std::ffi::OsString], component: &[u8]) -> Result<Vec<u8>, String> {
    use std::process::Stdio;
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("the compiler {} does not start: {error}", program.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that ended early says why on its standard error.
        let _ = stdin.write_all(component).await;
    }
    let output = child.wait_with_output().await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} ({})", said.trim().chars().take(800).collect::<String>(), output.status))
}

/// The child's side: compiles standard input to standard output.
#[must_use]
pub fn compile_stdio() -> ExitCode {
    match compile_stream() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn compile_stream() -> Result<(), String> {
    let mut component = Vec::new();
    std::io::stdin().read_to_end(&mut component).map_err(|error| error.to_string())?;
    let engine = compiling_engine().map_err(|error| error.to_string())?;
    let code = precompile(&engine, &component)?;
    std::io::stdout().write_all(&code).map_err(|error| error.to_string())
}
