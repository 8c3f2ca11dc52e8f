//! The host off wasm: a script that the test at hand writes, one for each thread.

pub mod testing;

use hmac::{Hmac, Mac};

use crate::crypto::{Algorithm, CryptoError, Hash, KeyFormat};
use crate::http::{HttpError, Request, Response};
use crate::log::Level;
use crate::smtp::{Message, Reply, SmtpError};

pub(crate) fn settings() -> String {
    testing::with(|script| script.settings.clone())
}

pub(crate) fn now_ms() -> u64 {
    testing::with(|script| script.now_ms)
}

pub(crate) fn log(level: Level, message: &str) {
    testing::with(|script| script.log.push((level, message.to_owned())));
}

pub(crate) fn http_send(request: Request) -> Result<Response, HttpError> {
    testing::with(|script| {
        let unscripted = format!("the test scripts no reply for {} {}", request.method, request.url);
        script.requests.push(request);
        script.replies.pop_front().unwrap_or(Err(HttpError::Protocol(unscripted)))
    })
}

pub(crate) fn smtp_send(message: Message) -> Result<Reply, SmtpError> {
    testing::with(|script| {
        script.mails.push(message);
        let unscripted = "the test scripts no reply for this mail".to_owned();
        script.mail_replies.pop_front().unwrap_or(Err(SmtpError::Protocol(unscripted)))
    })
}

pub(crate) fn hmac(secret: &str, format: KeyFormat, hash: Hash, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let text = testing::with(|script| script.secrets.get(secret).cloned())
        .ok_or_else(|| CryptoError::NoSecret(format!("the test has no secret {secret:?}")))?;
    let bad = || CryptoError::BadKey(format!("the secret {secret:?} is no key of this format"));
    let key = key(&text, format).ok_or_else(bad)?;
    match hash {
        Hash::Sha1 => mac::<Hmac<sha1::Sha1>>(&key, data),
        Hash::Sha256 => mac::<Hmac<sha2::Sha256>>(&key, data),
        Hash::Sha512 => mac::<Hmac<sha2::Sha512>>(&key, data),
    }
    .ok_or_else(bad)
}

/// Keys for signatures need a library of their own; a test that wants one scripts its own bytes.
pub(crate) fn sign(secret: &str, _algorithm: Algorithm, _data: &[u8]) -> Result<Vec<u8>, CryptoError> {
    testing::with(|script| script.signatures.get(secret).cloned())
        .ok_or_else(|| CryptoError::NoSecret(format!("the test scripts no signature of {secret:?}")))
}

fn mac<M: Mac + hmac::digest::KeyInit>(key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut mac = <M as Mac>::new_from_slice(key).ok()?;
    mac.update(data);
    Some(mac.finalize().into_bytes().to_vec())
}

fn key(text: &str, format: KeyFormat) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    match format {
        KeyFormat::Raw => Some(text.as_bytes().to_vec()),
        KeyFormat::Base64 => STANDARD.decode(text).ok(),
        KeyFormat::Hex => hex::decode(text).ok(),
        KeyFormat::StandardWebhooks => STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok(),
    }
}
