//! Where the index lies: in `index`; or in `index.1` and so on, after it was lost to a full disk, until the next start.
//!
//! A sled whose flush failed can't be closed, so it stays in memory with its locks on its directories, and its threads
//! know their files by name. What it has written is therefore moved into directories of another name and opened there.
//! The caller leaves the rebuild marker while that goes on: a half of an index is none.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The directory inside sled's that it locks, too.
const METADATA: &str = "metadata";

/// The name of the index after it was moved so many times.
pub(crate) fn moved(home: &Path, times: u32) -> PathBuf {
    if times == 0 { home.to_owned() } else { home.with_extension(times.to_string()) }
}

/// Moves all that is in `from` into new directories at `to`. What an earlier try has moved is there already.
pub(crate) fn move_on(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = to.join(METADATA);
    fs::create_dir_all(&metadata)?;
    move_entries(&from.join(METADATA), &metadata, |_| true)?;
    move_entries(from, to, |name| name != METADATA)?;
    remove(from)?;
    for directory in [Some(&*metadata), Some(to), to.parent()].into_iter().flatten() {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn move_entries(from: &Path, to: &Path, which: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if which(&name) {
            fs::rename(from.join(&name), to.join(&name))?;
        }
    }
    Ok(())
}

/// Removes a directory whose files somebody may still have open: they are cut first, or they would keep their room.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        } else {
            fs::OpenOptions::new().write(true).truncate(true).open(entry.path())?;
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// All names that an index has been moved to, by how often it was.
fn all_moved(home: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let (Some(parent), Some(name)) = (home.parent(), home.file_name().and_then(OsStr::to_str)) else {
        return Ok(Vec::new());
    };
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?.file_name();
        let times =
            entry.to_str().and_then(|entry| entry.strip_prefix(name)?.strip_prefix('.')?.parse().ok());
        found.extend(times.map(|times| (times, parent.join(&entry))));
    }
    found.sort();
    Ok(found)
}

/// Gives an index that was moved its name back; only for who holds the store and has not opened it yet.
pub(crate) fn bring_home(home: &Path) -> io::Result<()> {
    let mut moved = all_moved(home)?;
    let Some((_, newest)) = moved.pop() else { return Ok(()) };
    remove(home)?;
    fs::rename(newest, home)?;
    moved.iter().try_for_each(|(_, older)| remove(older))
}
