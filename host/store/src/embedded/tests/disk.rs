//! A disk that loses what was not synced, and that fails where a test says.
//!
//! The journal lies in memory: for each file what it holds, what of that is durable, and which writes are not; the
//! same for names. A power cut keeps, of what was not synced, whatever its [`Loss`] says, a sector at a time and
//! in no order: a later write may survive where an earlier one is gone, and a length where its bytes are not.
//! Everything else goes to the real file system, where sled has its files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::Rng as _;
use rand::rngs::StdRng;

use super::super::files::{Disk, File, Files, Mode, Room};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub(crate) enum Plan {
    /// Nothing.
    #[default]
    Sound,
    /// After so many operations nothing works any more.
    CutAfter(u64),
    /// This operation fails, once; `after` of what it was to write is written.
    FailOnce { operation: u64, with: io::ErrorKind, after: Written },
}

/// How much a write that fails has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Nothing,
    Half,
    All,
}

/// What a power cut does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All of it is gone.
    All,
    /// None of it is.
    Nothing,
    /// Each sector, length and name for itself.
    Mixed,
}

/// What may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Open,
    Create,
    List,
    CreateDirectory,
    SyncDirectory,
    Rename,
    Remove,
    Read,
    Write,
    Sync,
    SetLength,
    Length,
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Contents between the two, oldest first: any of them may be what a sector comes to hold.
    between: Vec<Vec<u8>>,
    /// Sectors whose sync failed: the kernel shows what was written and will not write it again.
    given_up: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct State {
    plan: Plan,
    done: u64,
    /// What was done, for tests that want to know what they met.
    trail: Vec<Operation>,
    files: BTreeMap<u64, Content>,
    next: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
}

/// The disk. Cloning it gives another handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct TestFile {
    disk: TestDisk,
    id: u64,
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn name_in_journal(path: &Path) -> Option<String> {
    let in_journal = path.parent()?.file_name()? == "journal";
    in_journal.then(|| path.file_name().unwrap().to_str().unwrap().to_owned())
}

fn is_journal(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "journal")
}

impl State {
    /// Counts an operation, and says whether and how it fails.
    fn step(&mut self, operation: Operation) -> Result<(), (io::Error, Written)> {
        let number = self.done;
        self.done += 1;
        self.trail.push(operation);
        match self.plan {
            Plan::CutAfter(last) if number >= last => Err((power_is_off(), Written::Nothing)),
            Plan::FailOnce { operation, with, after } if operation == number => Err((with.into(), after)),
            _ => Ok(()),
        }
    }
}

impl TestDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong from now on; operations are counted from zero again.
    pub(crate) fn plan(&self, plan: Plan) {
        let mut state = self.lock();
        state.plan = plan;
        state.done = 0;
        state.trail.clear();
    }

    /// What was done since the last plan.
    pub(crate) fn trail(&self) -> Vec<Operation> {
        self.lock().trail.clone()
    }

    /// The disk as it is when the power is back.
    pub(crate) fn after_power_cut(&self, loss: Loss, rng: &mut StdRng) -> Self {
        let state = self.lock();
        let mut after = State { next: state.next, ..State::default() };
        for (name, id) in state.surviving_names(loss, rng) {
            let content = state.files.get(&id).cloned().unwrap_or_default().surviving(loss, rng);
            after.files.insert(id, Content { durable: content.clone(), now: content, ..Content::default() });
            after.durable_names.insert(name.clone(), id);
            after.names.insert(name, id);
        }
        Self(Arc::new(Mutex::new(after)))
    }

    fn step(&self, operation: Operation) -> io::Result<()> {
        self.lock().step(operation).map_err(|(error, _)| error)
    }
}

impl State {
    fn surviving_names(&self, loss: Loss, rng: &mut StdRng) -> BTreeMap<String, u64> {
        match loss {
            Loss::All => self.durable_names.clone(),
            Loss::Nothing => self.names.clone(),
            Loss::Mixed => {
                let mut names = self.durable_names.clone();
                for name in self.durable_names.keys().chain(self.names.keys()) {
                    if rng.random() {
                        match self.names.get(name) {
                            Some(id) => names.insert(name.clone(), *id),
                            None => names.remove(name),
                        };
                    }
                }
                names
            }
        }
    }
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        self.between.push(self.now.clone());
        let end = offset + bytes.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[offset..end].copy_from_slice(bytes);
        let touched = offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES);
        self.given_up.retain(|sector| !touched.contains(sector));
    }

    fn sync(&mut self) {
        let before = std::mem::replace(&mut self.durable, self.now.clone());
        for sector in &self.given_up {
            for at in sector * SECTOR_BYTES..self.durable.len().min((sector + 1) * SECTOR_BYTES) {
                self.durable[at] = before.get(at).copied().unwrap_or_default();
            }
        }
        self.between.clear();
    }

    fn fail_to_sync(&mut self) {
        let differs = |sector: &usize| {
            let part = |bytes: &[u8]| bytes.chunks(SECTOR_BYTES).nth(*sector).map(<[u8]>::to_vec);
            part(&self.now) != part(&self.durable)
        };
        let sectors = self.now.len().div_ceil(SECTOR_BYTES);
        self.given_up = (0..sectors).filter(differs).collect();
    }

    fn surviving(self, loss: Loss, rng: &mut StdRng) -> Vec<u8> {
        let Self { now, durable, between, .. } = self;
        match loss {
            Loss::All => durable,
            Loss::Nothing => now,
            Loss::Mixed => {
                let versions: Vec<_> = [&durable].into_iter().chain(&between).chain([&now]).collect();
                let pick = |rng: &mut StdRng| versions[rng.random_range(0..versions.len())];
                let mut bytes = vec![0; pick(rng).len()];
                for (place, sector) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
                    let from = pick(rng).get(place * SECTOR_BYTES..).unwrap_or_default();
                    let length = sector.len().min(from.len());
                    sector[..length].copy_from_slice(&from[..length]);
                }
                bytes
            }
        }
    }
}

impl Files for TestDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let operation = if mode == Mode::New { Operation::Create } else { Operation::Open };
        self.step(operation)?;
        let Some(name) = name_in_journal(path) else { return Disk.open(path, mode) };
        let mut state = self.lock();
        let id = match (state.names.get(&name).copied(), mode) {
            (Some(id), Mode::Existing) => id,
            (None, Mode::New) => {
                let id = state.next;
                state.next += 1;
                state.names.insert(name, id);
                state.files.insert(id, Content::default());
                id
            }
            (Some(_), Mode::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, Mode::Existing) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(TestFile { disk: self.clone(), id }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.step(Operation::List)?;
        if !is_journal(directory) {
            return Disk.list(directory);
        }
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.step(Operation::CreateDirectory)?;
        Disk.create_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.step(Operation::SyncDirectory)?;
        if is_journal(path) {
            let mut state = self.lock();
            state.durable_names = state.names.clone();
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Operation::Rename)?;
        match (name_in_journal(from), name_in_journal(to)) {
            (Some(from), Some(to)) => {
                let mut state = self.lock();
                let id = state.names.remove(&from).ok_or(io::ErrorKind::NotFound)?;
                state.names.insert(to, id);
                Ok(())
            }
            _ => Disk.rename(from, to),
        }
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(Operation::Remove)?;
        match name_in_journal(path) {
            Some(name) => {
                self.lock().names.remove(&name);
                Ok(())
            }
            None => Disk.remove(path),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        match name_in_journal(path) {
            Some(name) => self.lock().names.contains_key(&name),
            None => Disk.exists(path),
        }
    }

    fn room(&self, _: &Path) -> io::Result<Room> {
        Ok(Room { free: 1 << 40, total: 1 << 40 })
    }
}

impl TestFile {
    fn with<T>(&self, operation: Operation, work: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        let mut state = self.disk.lock();
        state.step(operation).map_err(|(error, _)| error)?;
        Ok(work(state.files.get_mut(&self.id).unwrap()))
    }
}

impl File for TestFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(Operation::Read, |content| {
            let from = content.now.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let length = from.len().min(into.len());
            into[..length].copy_from_slice(&from[..length]);
            length
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let (result, length) = match state.step(Operation::Write) {
            Ok(()) => (Ok(()), bytes.len()),
            Err((error, Written::Nothing)) => (Err(error), 0),
            Err((error, Written::Half)) => (Err(error), bytes.len() / 2),
            Err((error, Written::All)) => (Err(error), bytes.len()),
        };
        let content = state.files.get_mut(&self.id).unwrap();
        if length > 0 {
            content.write(&bytes[..length], usize::try_from(offset).unwrap());
        }
        result
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let stepped = state.step(Operation::Sync);
        let content = state.files.get_mut(&self.id).unwrap();
        match stepped {
            Ok(()) => content.sync(),
            Err(_) => content.fail_to_sync(),
        }
        stepped.map_err(|(error, _)| error)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.with(Operation::SetLength, |content| {
            content.between.push(content.now.clone());
            content.now.resize(usize::try_from(bytes).unwrap(), 0);
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(Operation::Length, |content| content.now.len() as u64)
    }
}
