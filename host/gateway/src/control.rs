//! `<store.path>/control.sock`: how a command reaches the process that holds the store.
//!
//! One request a connection, a line of JSON; the answer is lines of JSON, of which the last says how it ended, and
//! those before it how far it is. Only the gateway's own user can open the socket (mode 0600), for whoever can ask
//! for a backup can read everything. At most [`REQUESTS_MAX`] are worked on at a time, a line is at most
//! [`LINE_BYTES_MAX`], and a client that says nothing is left after [`WAIT_MAX`].

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fanfare_store::embedded::progress::Progress;
use fanfare_store::embedded::{EmbeddedEngine, OpenError};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

const REQUESTS_MAX: usize = 4;
const LINE_BYTES_MAX: u64 = 64 << 10;
const WAIT_MAX: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(100);

/// Lines that wait for a slow reader; more are left out, for the next one says more.
const LINES_MAX: usize = 64;

/// What the owner is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Copy the store into this directory: an absolute path.
    Backup { to: PathBuf },
    /// Count what is in it.
    Stats,
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// A piece of work begins.
    Begin { what: String, bytes_total: u64 },
    /// So far it is.
    Reached { bytes: u64 },
    /// It ended well.
    Done(serde_json::Value),
    /// It did not.
    Failed { message: String },
}

/// Where the socket of a store is.
pub(crate) fn socket_of(store: &Path) -> PathBuf {
    store.join("control.sock")
}

/// Listens; the store's lock is held, so a socket that is there is one that a dead process left behind.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until it is told to stop; what is being worked on is then given up.
pub(crate) async fn run(engine: Arc<EmbeddedEngine>, store: PathBuf, stopping: CancellationToken) {
    let path = socket_of(&store);
    let listener = match listen(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(error = %error, path = %path.display(), "control socket not made; no backup while serving");
            return;
        }
    };
    let room = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut at_work = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            Some(_) = at_work.join_next(), if !at_work.is_empty() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (engine, stopping) = (Arc::clone(&engine), stopping.clone());
                at_work.spawn(async move {
                    if let Err(error) = answer(stream, engine, stopping).await {
                        tracing::debug!(error = %error, "control socket: a client went away");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "control socket: no connection");
                // Out of file descriptors, say: whoever is being served must be able to end.
                tokio::time::sleep(REST).await;
            }
        }
    }
    at_work.join_all().await;
    let _ = fs::remove_file(path);
}

async fn accept(
    listener: &UnixListener,
    room: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn answer(
    stream: UnixStream,
    engine: Arc<EmbeddedEngine>,
    stopping: CancellationToken,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(LINE_BYTES_MAX));
    tokio::select! {
        () = stopping.cancelled() => return Ok(()),
        read = tokio::time::timeout(WAIT_MAX, read.read_line(&mut line)) => drop(read??),
    }
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            let message = format!("the request can't be read: {error}; is the command of another version?");
            return send(&mut write, &Line::Failed { message }).await;
        }
    };
    tracing::info!(request = ?request, "control socket: asked");
    let (lines, mut told) = mpsc::channel(LINES_MAX);
    let work = tokio::task::spawn_blocking(move || work(&engine, request, &Teller { lines, stopping }));
    while let Some(line) = told.recv().await {
        // The work is done to its end all the same.
        let _ = send(&mut write, &line).await;
    }
    let last = match work.await {
        Ok(Ok(done)) => Line::Done(done),
        Ok(Err(error)) => Line::Failed { message: error.to_string() },
        Err(_) => Line::Failed { message: "the gateway failed at it; its log says more".to_owned() },
    };
    send(&mut write, &last).await
}

fn work(
    engine: &EmbeddedEngine,
    request: Request,
    progress: &dyn Progress,
) -> Result<serde_json::Value, OpenError> {
    match request {
        Request::Backup { to } => engine.backup(&to, progress).map(|report| json(&report)),
        Request::Stats => engine.stats(progress).map(|report| json(&report)),
    }
}

fn json(report: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(report).unwrap_or_default()
}

async fn send(to: &mut (impl tokio::io::AsyncWrite + Unpin), line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    to.write_all(text.as_bytes()).await
}

/// Tells the client how far the work is.
#[derive(Debug)]
struct Teller {
    lines: mpsc::Sender<Line>,
    stopping: CancellationToken,
}

impl Progress for Teller {
    fn begin(&self, what: &'static str, bytes_total: u64) {
        let _ = self.lines.try_send(Line::Begin { what: what.to_owned(), bytes_total });
    }

    fn reached(&self, bytes: u64) {
        let _ = self.lines.try_send(Line::Reached { bytes });
    }

    fn end(&self) {}

    fn is_cancelled(&self) -> bool {
        self.stopping.is_cancelled()
    }
}

/// Why the owner could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody holds the store.
    #[error("no process serves this store")]
    Nobody,
    /// It answered, and refused or failed.
    #[error("{0}")]
    Refused(String),
    /// The connection failed.
    #[error("the process that holds the store does not answer at {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Asks the process that holds a store; `tell` hears how far it is.
pub(crate) async fn ask(
    store: &Path,
    request: &Request,
    mut tell: impl FnMut(&Line),
) -> Result<serde_json::Value, AskError> {
    let path = socket_of(store);
    let io = |source| AskError::Io { path: path.clone(), source };
    let stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(AskError::Nobody);
        }
        Err(error) => return Err(io(error)),
    };
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_string(request).map_err(|error| io(error.into()))?;
    text.push('\n');
    write.write_all(text.as_bytes()).await.map_err(io)?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await.map_err(io)? {
        match serde_json::from_str(&line).map_err(|error| io(error.into()))? {
            Line::Done(report) => return Ok(report),
            Line::Failed { message } => return Err(AskError::Refused(message)),
            other => tell(&other),
        }
    }
    Err(io(io::ErrorKind::UnexpectedEof.into()))
}
