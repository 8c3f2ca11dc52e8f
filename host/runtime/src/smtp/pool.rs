//! Idle SMTP connections, kept apart by everything that makes two of them differ: server, address policy,
//! encryption and account.
//!
//! A connection is here only between two finished exchanges. Bounds: idle connections overall, their idle time,
//! mails over one connection, TLS configurations.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::Error as LettreError;
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::Encryption;
use crate::egress::{AddressPolicy, Host, Roots, ServerPattern};
use crate::secrets::Secret;

/// Servers close connections that carry many mails; leaving first avoids the race.
const MAILS_PER_CONNECTION_MAX: u32 = 100;
/// Building a TLS configuration reads the system's certificates, so it is kept for each name; more names than
/// this start over.
const TLS_NAMES_MAX: usize = 64;

/// Who we are at a server.
pub(super) struct Account {
    pub(super) username: String,
    pub(super) password: Secret,
}

/// What tells connections apart. The account is in it as a digest.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key {
    place: ServerPattern,
    policy: AddressPolicy,
    encryption: Encryption,
    account: Option<[u8; 32]>,
}

impl Key {
    pub(super) fn new(
        place: &ServerPattern,
        policy: AddressPolicy,
        encryption: Encryption,
        account: Option<&Account>,
    ) -> Self {
        let digest = |account: &Account| {
            let mut digest = Sha256::new();
            // The length first, so that no other pair of texts runs together to the same bytes.
            digest.update(account.username.len().to_le_bytes());
            digest.update(account.username.as_bytes());
            digest.update(account.password.expose().as_bytes());
            digest.finalize().into()
        };
        Self { place: place.clone(), policy, encryption, account: account.map(digest) }
    }
}

struct Idle {
    key: Key,
    connection: AsyncSmtpConnection,
    mails: u32,
    since: Instant,
}

#[derive(Default)]
struct Shelf {
    /// Oldest first.
    idle: Vec<Idle>,
    is_swept: bool,
}

/// The idle connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool {
    shelf: Arc<Mutex<Shelf>>,
    idle_max: usize,
    idle_timeout: Duration,
}

impl Pool {
    pub(super) fn new(idle_max: usize, idle_timeout: Duration) -> Self {
        Self { shelf: Arc::default(), idle_max, idle_timeout }
    }

    /// An idle connection that still answers, and how many mails it has carried. The latest one first: the
    /// others may then grow old and close.
    pub(super) async fn take(&self, key: &Key) -> Option<(AsyncSmtpConnection, u32)> {
        while let Some(mut idle) = self.pop(key) {
            if idle.connection.test_connected().await {
                return Some((idle.connection, idle.mails));
            }
        }
        None
    }

    fn pop(&self, key: &Key) -> Option<Idle> {
        let mut shelf = lock(&self.shelf);
        prune(&mut shelf, self.idle_timeout);
        let at = shelf.idle.iter().rposition(|idle| idle.key == *key)?;
        Some(shelf.idle.remove(at))
    }

    /// Takes back a connection whose exchange is finished.
    pub(super) fn put(&self, key: Key, connection: AsyncSmtpConnection, mails: u32) {
        if connection.has_broken() || mails >= MAILS_PER_CONNECTION_MAX || self.idle_max == 0 {
            return;
        }
        let mut shelf = lock(&self.shelf);
        prune(&mut shelf, self.idle_timeout);
        if shelf.idle.len() >= self.idle_max {
            shelf.idle.remove(0);
        }
        shelf.idle.push(Idle { key, connection, mails, since: Instant::now() });
        if !shelf.is_swept {
            shelf.is_swept = true;
            self.sweep();
        }
    }

    /// Closes what grows old while no mail comes by; ends when nothing is left, or the pool is gone.
    fn sweep(&self) {
        let shelf = Arc::downgrade(&self.shelf);
        let idle_timeout = self.idle_timeout;
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(idle_timeout).await;
                let Some(shelf) = shelf.upgrade() else { return };
                let mut shelf = lock(&shelf);
                prune(&mut shelf, idle_timeout);
                if shelf.idle.is_empty() {
                    shelf.is_swept = false;
                    return;
                }
            }
        });
    }
}

fn prune(shelf: &mut Shelf, idle_timeout: Duration) {
    shelf.idle.retain(|idle| idle.since.elapsed() < idle_timeout);
}

/// Nothing is ever half done while a lock is held here, so a poisoned one is as good as a whole one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// TLS configurations, by the name that the certificate must have.
pub(super) struct TlsNames {
    roots: Roots,
    known: Mutex<HashMap<String, TlsParameters>>,
}

impl TlsNames {
    pub(super) fn new(roots: Roots) -> Self {
        Self { roots, known: Mutex::default() }
    }

    pub(super) fn get(&self, host: &Host) -> Result<TlsParameters, LettreError> {
        let name = match host {
            Host::Name(name) => name.clone(),
            // Certificates name IPv6 addresses without brackets.
            Host::Address(address) => address.to_string(),
        };
        if let Some(known) = lock(&self.known).get(&name) {
            return Ok(known.clone());
        }
        let mut builder = TlsParameters::builder(name.clone());
        if let Roots::Only(certificates) = &self.roots {
            builder = builder.certificate_store(CertificateStore::None);
            for certificate in certificates {
                builder = builder.add_root_certificate(Certificate::from_der(certificate.to_vec())?);
            }
        }
        let built = builder.build()?;
        let mut known = lock(&self.known);
        if known.len() >= TLS_NAMES_MAX {
            known.clear();
        }
        known.insert(name, built.clone());
        Ok(built)
    }
}
