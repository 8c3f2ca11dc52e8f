//! Who makes transactions durable: the embedded engine, and beside it the limit and other stores.
//!
//! All do the same transactions with the same group commit: what waits while one group is written goes into the next.
//! The others get it from [`Grouped`], one thread that owns the store; the engine has its own.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use std::thread::JoinHandle;

use anyhow::{Context as _, ensure};
use fanfare_store::embedded::{EmbeddedEngine, EmbeddedOptions};
use fanfare_store::engine::{Change, Class, Engine as _, Precondition, Transaction, Version};
use tokio::sync::{mpsc, oneshot};

/// Bounds one group; the writers of a load are fewer.
const GROUP_MAX: usize = 1_024;

/// Makes transactions durable.
pub(super) trait Peer: Send + Sync + 'static {
    /// Answers once it is on disk, with what a later precondition needs.
    fn commit(&self, transaction: Transaction) -> impl Future<Output = anyhow::Result<Version>> + Send;
}

impl Peer for EmbeddedEngine {
    async fn commit(&self, transaction: Transaction) -> anyhow::Result<Version> {
        let results = fanfare_store::engine::Engine::commit(self, Class::Intake, vec![transaction]).await;
        let result = results.into_iter().next().context("the engine gave no result")?;
        Ok(result?)
    }
}

/// The embedded engine as it serves.
pub(super) async fn engine(path: &Path) -> anyhow::Result<EmbeddedEngine> {
    let options = EmbeddedOptions::new(path);
    Ok(tokio::task::spawn_blocking(move || EmbeddedEngine::open(options)).await??)
}

/// Writes out, so that the next measurement has the disk for itself.
pub(super) async fn close(engine: &EmbeddedEngine) -> anyhow::Result<()> {
    Ok(engine.close().await?)
}

/// A store that one thread writes a group at a time.
pub(super) trait Writer: Send + 'static {
    /// All of `group`, on disk when it returns.
    fn write(&mut self, group: &[Transaction]) -> anyhow::Result<()>;
}

struct Waiting {
    transaction: Transaction,
    done: oneshot::Sender<()>,
}

/// Group commit over a [`Writer`], in a thread that ends with this.
#[derive(Debug)]
pub(super) struct Grouped {
    queue: Option<mpsc::UnboundedSender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

impl Grouped {
    pub(super) fn new(writer: impl Writer) -> anyhow::Result<Self> {
        let (queue, waiting) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("grouped".to_owned());
        let thread = thread.spawn(move || write_groups(writer, waiting))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Peer for Grouped {
    async fn commit(&self, transaction: Transaction) -> anyhow::Result<Version> {
        let (done, durable) = oneshot::channel();
        let queue = self.queue.as_ref().context("closed")?;
        queue.send(Waiting { transaction, done }).ok().context("the writer has ended")?;
        durable.await.context("the store could not be written; see above")?;
        Ok(Version(0))
    }
}

fn write_groups(mut writer: impl Writer, mut waiting: mpsc::UnboundedReceiver<Waiting>) {
    let (mut group, mut transactions) = (Vec::new(), Vec::new());
    while waiting.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        let mut answers = Vec::with_capacity(group.len());
        for Waiting { transaction, done } in group.drain(..) {
            transactions.push(transaction);
            answers.push(done);
        }
        if let Err(error) = writer.write(&transactions) {
            eprintln!("a store of the bench failed: {error:#}");
            return;
        }
        transactions.clear();
        for done in answers {
            let _ = done.send(());
        }
    }
}

/// The limit: append, `fdatasync`. It keeps no index and checks nothing.
#[derive(Debug)]
pub(super) struct Bare {
    file: File,
    bytes: Vec<u8>,
}

impl Bare {
    pub(super) fn create(dir: &Path) -> anyhow::Result<Grouped> {
        let file = OpenOptions::new().create(true).append(true).open(dir.join("bare"))?;
        Grouped::new(Self { file, bytes: Vec::new() })
    }
}

impl Writer for Bare {
    fn write(&mut self, group: &[Transaction]) -> anyhow::Result<()> {
        self.bytes.clear();
        for change in group.iter().flat_map(|transaction| &transaction.changes) {
            self.bytes.extend_from_slice(change.key());
            if let Change::Put(_, value) = change {
                self.bytes.extend_from_slice(value);
            }
        }
        self.file.write_all(&self.bytes)?;
        Ok(self.file.sync_data()?)
    }
}

/// fjall 3: one write batch a group, made durable by its journal's `fdatasync`.
pub(super) struct Fjall {
    database: fjall::Database,
    keyspace: fjall::Keyspace,
}

impl Fjall {
    pub(super) fn create(dir: &Path) -> anyhow::Result<Grouped> {
        let database = fjall::Database::builder(dir.join("fjall")).open()?;
        let keyspace = database.keyspace("bench", fjall::KeyspaceCreateOptions::default)?;
        Grouped::new(Self { database, keyspace })
    }
}

impl Writer for Fjall {
    fn write(&mut self, group: &[Transaction]) -> anyhow::Result<()> {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for transaction in group {
            for precondition in &transaction.preconditions {
                let present = self.keyspace.contains_key(precondition.key())?;
                ensure!(present == expects_presence(precondition), "a precondition did not hold");
            }
            for change in &transaction.changes {
                match change {
                    Change::Put(key, value) => batch.insert(&self.keyspace, key.as_slice(), &**value),
                    Change::Delete(key) => batch.remove(&self.keyspace, key.as_slice()),
                    Change::Add(..) => anyhow::bail!("the bench adds to no counter"),
                }
            }
        }
        Ok(batch.commit()?)
    }
}

/// sled 0.34.7: one batch a group, `flush`, and the `fdatasync` of its file that `flush` leaves out.
pub(super) struct Sled {
    database: sled_034::Db,
    file: File,
    path: PathBuf,
}

impl Sled {
    pub(super) fn create(dir: &Path) -> anyhow::Result<Grouped> {
        let path = dir.join("sled");
        let database = sled_034::Config::new().path(&path).flush_every_ms(None).open()?;
        let file = OpenOptions::new().write(true).open(path.join("db")).context("sled's file")?;
        Grouped::new(Self { database, file, path })
    }
}

impl Writer for Sled {
    fn write(&mut self, group: &[Transaction]) -> anyhow::Result<()> {
        let mut batch = sled_034::Batch::default();
        for transaction in group {
            for precondition in &transaction.preconditions {
                let present = self.database.contains_key(precondition.key())?;
                ensure!(present == expects_presence(precondition), "a precondition did not hold");
            }
            for change in &transaction.changes {
                match change {
                    Change::Put(key, value) => batch.insert(key.as_slice(), &**value),
                    Change::Delete(key) => batch.remove(key.as_slice()),
                    Change::Add(..) => anyhow::bail!("the bench adds to no counter"),
                }
            }
        }
        self.database.apply_batch(batch)?;
        self.database.flush()?;
        self.file.sync_data().with_context(|| format!("{}", self.path.display()))
    }
}

fn expects_presence(precondition: &Precondition) -> bool {
    matches!(precondition, Precondition::Unchanged(..))
}
