//! The disk of the operating system, with hooks: what a test does not take up is as it is there.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::files::{Disk, File, Files, Mode, Room};
use super::disk::Operation;

/// What a test makes of the disk.
pub(super) trait Hooks: Send + Sync + Debug + 'static {
    /// Before an operation on a path; an error is its outcome.
    fn before(&self, _: Operation, _: &Path) -> io::Result<()> {
        Ok(())
    }

    /// In place of a write.
    fn write(&self, file: &dyn File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// The room on the disk.
    fn room(&self, path: &Path) -> io::Result<Room> {
        Disk.room(path)
    }
}

/// A disk with hooks.
#[derive(Debug)]
pub(super) struct Hooked<H>(pub(super) Arc<H>);

#[derive(Debug)]
struct HookedFile<H> {
    file: Arc<dyn File>,
    path: PathBuf,
    hooks: Arc<H>,
}

impl<H: Hooks> Files for Hooked<H> {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let operation = if mode == Mode::New { Operation::Create } else { Operation::Open };
        self.0.before(operation, path)?;
        let file = Disk.open(path, mode)?;
        Ok(Arc::new(HookedFile { file, path: path.to_owned(), hooks: self.0.clone() }))
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.0.before(Operation::List, directory)?;
        Disk.list(directory)
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.0.before(Operation::CreateDirectory, path)?;
        Disk.create_directory(path)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.0.before(Operation::SyncDirectory, path)?;
        Disk.sync_directory(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.before(Operation::Rename, from)?;
        Disk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.before(Operation::Remove, path)?;
        Disk.remove(path)
    }
    fn exists(&self, path: &Path) -> bool {
        Disk.exists(path)
    }
    fn room(&self, path: &Path) -> io::Result<Room> {
        self.0.room(path)
    }
}

impl<H: Hooks> File for HookedFile<H> {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.hooks.before(Operation::Read, &self.path)?;
        self.file.read_at(into, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.hooks.before(Operation::Write, &self.path)?;
        self.hooks.write(&*self.file, bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.hooks.before(Operation::Sync, &self.path)?;
        self.file.sync_data()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.hooks.before(Operation::SetLength, &self.path)?;
        self.file.set_len(bytes)
    }
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
