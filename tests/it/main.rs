//! Whole-system tests: the real binary, real sockets, real signals.

mod child;
mod kill;
