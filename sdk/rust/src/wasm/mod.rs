//! The host on wasm: the imports of the contracts, and the exports that the macros make.

mod bindings;
pub mod channel;
mod convert;
pub mod router;

use std::cell::Cell;

use bindings::channel::fanfare::host as wit;

use crate::crypto::{Algorithm, CryptoError, Hash, KeyFormat};
use crate::http::{HttpError, Request, Response};
use crate::log::Level;
use crate::smtp::{Message, Reply, SmtpError};

thread_local! {
    /// When the call at hand began: the only clock that the SDK knows.
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
}

pub(crate) fn now_ms() -> u64 {
    NOW_MS.get()
}

pub(crate) fn settings() -> String {
    wit::settings::get()
}

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Error => wit::log::Level::Error,
        Level::Warn => wit::log::Level::Warn,
        Level::Info => wit::log::Level::Info,
        Level::Debug => wit::log::Level::Debug,
    };
    wit::log::write(level, message);
}

pub(crate) fn http_send(request: Request) -> Result<Response, HttpError> {
    wit::http::send(&request.into()).map(Into::into).map_err(Into::into)
}

pub(crate) fn smtp_send(message: Message) -> Result<Reply, SmtpError> {
    wit::smtp::send(&message.into()).map(Into::into).map_err(Into::into)
}

pub(crate) fn hmac(secret: &str, format: KeyFormat, hash: Hash, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
    wit::crypto::hmac(secret, format.into(), hash.into(), data).map_err(Into::into)
}

pub(crate) fn sign(secret: &str, algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
    wit::crypto::sign(secret, algorithm.into(), data).map_err(Into::into)
}
