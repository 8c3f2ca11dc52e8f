//! Keyed hashes and signatures with secrets that the guest never sees.
//!
//! Pure functions. A key that does not fit its format is refused with a sentence that does not repeat it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};

use crate::secrets::Secret;

/// The hash below an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// For old receivers only.
    Sha1,
    /// The usual one.
    Sha256,
    /// The long one.
    Sha512,
}

/// How the secret's text becomes the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// Its UTF-8 bytes.
    Raw,
    /// Base64, standard or URL-safe, padded or not.
    Base64,
    /// Hexadecimal.
    Hex,
    /// Standard Webhooks: `whsec_` and base64; without the prefix, base64.
    StandardWebhooks,
}

/// A signature's algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 8032.
    Ed25519,
    /// RSASSA-PKCS1-v1_5 with SHA-256, as in JWT's `RS256`.
    RsaPkcs1Sha256,
    /// ECDSA over P-256 with SHA-256; r and s side by side in 64 bytes, as in JWT's `ES256`.
    EcdsaP256Sha256,
}

/// The secret is no key of this kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// What is wrong with it.
    #[error("{0}")]
    BadKey(String),
}

fn bad_key(sentence: impl Into<String>) -> CryptoError {
    CryptoError::BadKey(sentence.into())
}

/// The keyed hash of `data`.
///
/// # Errors
///
/// [`CryptoError::BadKey`] where the secret is not written in `format`, or is empty.
pub fn hmac(secret: &Secret, format: KeyFormat, hash: Hash, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let key = key(secret, format)?;
    match hash {
        Hash::Sha1 => Hmac::<sha1::Sha1>::new_from_slice(&key)
            .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec()),
        Hash::Sha256 => Hmac::<sha2::Sha256>::new_from_slice(&key)
            .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec()),
        Hash::Sha512 => Hmac::<sha2::Sha512>::new_from_slice(&key)
            .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec()),
    }
    .map_err(|_| bad_key("the key has a length that HMAC does not take"))
}

fn key(secret: &Secret, format: KeyFormat) -> Result<Vec<u8>, CryptoError> {
    let text = secret.expose();
    let key = match format {
        KeyFormat::Raw => text.as_bytes().to_vec(),
        KeyFormat::Base64 => base64(text).ok_or_else(|| bad_key("the secret is not base64"))?,
        KeyFormat::Hex => hex::decode(text.trim()).map_err(|_| bad_key("the secret is not hexadecimal"))?,
        KeyFormat::StandardWebhooks => {
            let text = text.trim();
            let encoded = text.strip_prefix("whsec_").unwrap_or(text);
            base64(encoded)
                .ok_or_else(|| bad_key("the secret is not whsec_ and base64, as Standard Webhooks has it"))?
        }
    };
    if key.is_empty() {
        return Err(bad_key("the secret is empty"));
    }
    Ok(key)
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let bare = text.trim_end_matches('=');
    let found = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(bare));
    found.or_else(|_| URL_SAFE_NO_PAD.decode(bare)).ok()
}

/// A signature of `data` by a PKCS #8 private key in PEM.
///
/// # Errors
///
/// [`CryptoError::BadKey`] where the secret is no such key, or one of another algorithm.
pub fn sign(secret: &Secret, algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let der = pkcs8(secret.expose())?;
    let rejected = |error: ring::error::KeyRejected| {
        bad_key(format!("the secret is no {} key ({error})", algorithm.name()))
    };
    let failed = |_| bad_key("the key does not sign");
    match algorithm {
        Algorithm::Ed25519 => {
            // OpenSSL writes the form without the public key.
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(rejected)?;
            Ok(pair.sign(data).as_ref().to_vec())
        }
        Algorithm::RsaPkcs1Sha256 => {
            let pair = RsaKeyPair::from_pkcs8(&der).map_err(rejected)?;
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature).map_err(failed)?;
            Ok(signature)
        }
        Algorithm::EcdsaP256Sha256 => {
            let random = SystemRandom::new();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random)
                .map_err(rejected)?;
            Ok(pair.sign(&random, data).map_err(failed)?.as_ref().to_vec())
        }
    }
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::RsaPkcs1Sha256 => "RSA",
            Self::EcdsaP256Sha256 => "P-256",
        }
    }
}

/// The bytes between the lines of a PEM file.
fn pkcs8(pem: &str) -> Result<Vec<u8>, CryptoError> {
    let begin = "-----BEGIN PRIVATE KEY-----";
    let end = "-----END PRIVATE KEY-----";
    let hint = "the secret is no PKCS #8 private key in PEM; it begins with -----BEGIN PRIVATE KEY-----, and `openssl pkcs8 -topk8 -nocrypt` makes one";
    let inner = pem.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map(|(inner, _)| inner);
    let inner = inner.ok_or_else(|| bad_key(hint))?;
    let encoded: String = inner.chars().filter(|c| !c.is_whitespace()).collect();
    STANDARD.decode(encoded).map_err(|_| bad_key(hint))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, KeyPair as _, UnparsedPublicKey};

    use super::*;

    fn mac(secret: &str, format: KeyFormat, hash: Hash, data: &str) -> Vec<u8> {
        hmac(&Secret::new(secret), format, hash, data.as_bytes()).unwrap()
    }

    #[test]
    fn hmac_agrees_with_the_vectors_of_rfc_2202_and_4231() {
        let data = "what do ya want for nothing?";
        for (hash, wanted) in [
            (Hash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (Hash::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                Hash::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            assert_eq!(hex::encode(mac("Jefe", KeyFormat::Raw, hash, data)), wanted);
            assert_eq!(hex::encode(mac("4a656665", KeyFormat::Hex, hash, data)), wanted);
            assert_eq!(hex::encode(mac("SmVmZQ==", KeyFormat::Base64, hash, data)), wanted);
            assert_eq!(hex::encode(mac("SmVmZQ\n", KeyFormat::Base64, hash, data)), wanted);
        }
    }

    #[test]
    fn hmac_agrees_with_the_example_of_standard_webhooks() {
        let signed = "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        for secret in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let signature = mac(secret, KeyFormat::StandardWebhooks, Hash::Sha256, signed);
            assert_eq!(STANDARD.encode(signature), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        }
    }

    #[test]
    fn a_key_in_the_wrong_format_is_refused_without_repeating_it() {
        for (secret, format, wanted) in [
            ("not base64!", KeyFormat::Base64, "the secret is not base64"),
            ("xyz", KeyFormat::Hex, "the secret is not hexadecimal"),
            ("whsec_!!", KeyFormat::StandardWebhooks, "the secret is not whsec_ and base64"),
            ("", KeyFormat::Raw, "the secret is empty"),
        ] {
            let error = hmac(&Secret::new(secret), format, Hash::Sha256, b"").unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    fn pem(der: &[u8]) -> Secret {
        Secret::new(format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der)
        ))
    }

    #[test]
    fn ed25519_agrees_with_the_first_vector_of_rfc_8032() {
        let prefix = hex::decode("302e020100300506032b657004220420").unwrap();
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let signature = sign(&pem(&[prefix, seed].concat()), Algorithm::Ed25519, b"").unwrap();
        assert_eq!(
            hex::encode(signature),
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        );
    }

    #[test]
    fn signatures_verify_with_the_public_key() {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap();
        let signature = sign(&pem(der.as_ref()), Algorithm::EcdsaP256Sha256, b"data").unwrap();
        assert_eq!(signature.len(), 64);
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        public.verify(b"data", &signature).unwrap();
        let der = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        let signature = sign(&pem(der.as_ref()), Algorithm::Ed25519, b"data").unwrap();
        UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref()).verify(b"data", &signature).unwrap();
    }

    #[test]
    fn a_key_of_another_algorithm_is_refused() {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let error = sign(&pem(der.as_ref()), Algorithm::RsaPkcs1Sha256, b"").unwrap_err().to_string();
        assert!(error.starts_with("the secret is no RSA key"), "{error}");
        let error = sign(&Secret::new("plain"), Algorithm::Ed25519, b"").unwrap_err().to_string();
        assert!(error.starts_with("the secret is no PKCS #8 private key in PEM"), "{error}");
    }
}
