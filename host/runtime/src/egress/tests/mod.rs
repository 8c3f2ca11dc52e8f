//! The door against local servers and a scripted resolver; denials by the text a person reads.

mod limits;
mod origins;
mod places;
mod secrets;
pub(crate) mod support;
mod transport;
