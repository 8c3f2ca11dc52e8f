//! Fanfare.
