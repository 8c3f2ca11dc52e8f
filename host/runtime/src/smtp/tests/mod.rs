//! The mailer against a scripted server; refusals by the text a person reads.

mod mail;
mod places;
mod server;
