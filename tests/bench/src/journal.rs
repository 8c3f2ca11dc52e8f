//! The barest durable log: append, group `fdatasync`, answer. What comes in during one sync goes into the next.
//!
//! A group is bounded by [`GROUP_MAX`]; waiting appends are bounded by the connections that make them.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

const GROUP_MAX: usize = 1_024;

struct Append {
    record: Bytes,
    done: oneshot::Sender<()>,
}

/// A log with a thread of its own, which ends with the last clone.
#[derive(Clone)]
pub(crate) struct Journal {
    appends: mpsc::UnboundedSender<Append>,
}

impl Journal {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).context("journal")?;
        let (appends, queue) = mpsc::unbounded_channel();
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || write(file, queue))?;
        Ok(Self { appends })
    }

    /// Answers once `record` is on disk.
    pub(crate) async fn append(&self, record: Bytes) -> anyhow::Result<()> {
        let (done, durable) = oneshot::channel();
        self.appends.send(Append { record, done }).ok().context("the journal's thread has ended")?;
        durable.await.context("the journal could not be written")
    }
}

fn write(mut file: File, mut queue: mpsc::UnboundedReceiver<Append>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    let mut bytes = Vec::new();
    while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        bytes.clear();
        for append in &group {
            bytes.extend_from_slice(&append.record);
        }
        if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
            eprintln!("journal: {error}");
            return;
        }
        for append in group.drain(..) {
            let _ = append.done.send(());
        }
    }
}
