//! Lines for the gateway's log and the attempt's record: the host keeps 100 an attempt, 4 KiB each.

use crate::host;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed that a person should see.
    Error,
    /// Something is odd.
    Warn,
    /// Something happened.
    Info,
    /// Something for who is looking for a fault.
    Debug,
}

/// Writes one line.
pub fn write(level: Level, message: impl AsRef<str>) {
    host::log(level, message.as_ref());
}

/// Writes one line at [`Level::Error`].
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message);
}

/// Writes one line at [`Level::Warn`].
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message);
}

/// Writes one line at [`Level::Info`].
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message);
}

/// Writes one line at [`Level::Debug`].
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message);
}
