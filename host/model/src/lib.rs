//! Fanfare's words as types, shared by every crate of the house.
//!
//! Pure: no I/O, no async, no clock but the [`clock::Clock`] trait, no serialisation. What is stored and
//! what travels over the wire have types of their own, in the crates that own those formats.
//!
//! A [`notification::Notification`] is what a client submitted and never changes. Its
//! [`state::NotificationState`] holds the deliveries and their attempts, and changes only through the
//! transitions in [`state`], which keep the rules of a delivery's life.

pub mod clock;
pub mod delivery;
pub mod destination;
pub mod digest;
pub mod fault;
pub mod id;
pub mod json;
pub mod name;
pub mod notification;
pub mod outcome;
pub mod priority;
pub mod retry;
pub mod state;
pub mod text;
pub mod time;
pub mod trace;
