//! Keyed hashes and signatures with secrets that the plugin never sees. The manifest has to ask for each name.

use crate::host;
use crate::outcome::{Fault, SendError};

/// The hash below a keyed hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, for receivers that know nothing better.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How the secret's text becomes the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// Its UTF-8 bytes.
    Raw,
    /// Base64.
    Base64,
    /// Hexadecimal digits.
    Hex,
    /// `whsec_` and base64, or base64 alone.
    StandardWebhooks,
}

/// A signature's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519.
    Ed25519,
    /// RSA with PKCS #1 v1.5 padding over SHA-256.
    RsaPkcs1Sha256,
    /// ECDSA on P-256 over SHA-256.
    EcdsaP256Sha256,
}

/// Why there is no signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CryptoError {
    /// The channel has no secret of this name, or the manifest does not ask for it.
    NoSecret(String),
    /// The secret is no key of this format.
    BadKey(String),
}

/// The keyed hash of `data`.
///
/// # Errors
///
/// See [`CryptoError`].
pub fn hmac(secret: &str, format: KeyFormat, hash: Hash, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
    host::hmac(secret, format, hash, data)
}

/// A signature of `data`; the secret is a PKCS #8 private key in PEM.
///
/// # Errors
///
/// See [`CryptoError`].
pub fn sign(secret: &str, algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
    host::sign(secret, algorithm, data)
}

/// Both are the operator's to mend, so trying again by itself makes no sense.
impl From<CryptoError> for Fault {
    fn from(error: CryptoError) -> Self {
        match error {
            CryptoError::NoSecret(message) => Self::new("no-secret", message),
            CryptoError::BadKey(message) => Self::new("bad-key", message),
        }
    }
}

impl From<CryptoError> for SendError {
    fn from(error: CryptoError) -> Self {
        Self::Permanent(error.into())
    }
}
