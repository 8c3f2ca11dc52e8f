//! Who may come in: API keys by their hash, or, without any key, this machine alone.
//!
//! The key itself is never stored or logged. Without keys a request must name a loopback host and carry no
//! `Origin`, so that no web page can drive the gateway. A key with a rate submits no faster than that.

mod rate;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::digest::Digest;
use http::{HeaderMap, HeaderValue, header};

use self::rate::Bucket;
pub use self::rate::{Limited, Rate};
use crate::config::{KeyConfig, Scope};

/// Who is calling.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The key's name; none when the gateway is open to this machine.
    pub key: Option<String>,
    bucket: Option<Arc<Bucket>>,
}

impl Identity {
    /// A name for logs and traces.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.as_deref().unwrap_or("local")
    }

    /// Takes the right to submit `count` notifications at `elapsed` of the monotonic clock; without a rate there is
    /// always one.
    ///
    /// # Errors
    /// [`Limited`]; then nothing was taken.
    pub fn spend(&self, count: usize, elapsed: Duration) -> Result<(), Limited> {
        self.bucket.as_ref().map_or(Ok(()), |bucket| bucket.take(self.name(), count, elapsed))
    }
}

/// Why nobody comes in.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthError {
    /// There is no `Authorization: Bearer`.
    #[error("send `Authorization: Bearer KEY`")]
    Missing,
    /// No such key is configured.
    #[error("this key is not configured")]
    Unknown,
    /// The key may not do this.
    #[error("the key {name} lacks the scope {scope}")]
    Scope {
        /// The key's name.
        name: String,
        /// What it lacks.
        scope: Scope,
    },
}

/// The keys of one configuration.
#[derive(Debug, Default)]
pub struct Authenticator {
    keys: HashMap<Digest, Key>,
}

#[derive(Debug)]
struct Key {
    name: String,
    scopes: BTreeSet<Scope>,
    bucket: Option<Arc<Bucket>>,
}

impl Authenticator {
    /// Of the configured keys.
    #[must_use]
    pub fn new(keys: &[KeyConfig]) -> Self {
        let key = |key: &KeyConfig| {
            let bucket = key.rate.map(|rate| Arc::new(Bucket::new(rate)));
            (key.sha256, Key { name: key.name.clone(), scopes: key.scopes.clone(), bucket })
        };
        Self { keys: keys.iter().map(key).collect() }
    }

    /// The same keys; those whose name and rate are as they were in `before` go on with what is left of their bucket,
    /// so that a reload gives nobody a new burst.
    #[must_use]
    pub fn following(mut self, before: &Self) -> Self {
        let left = |name: &str, rate: Rate| {
            let bucket = before.keys.values().find(|key| key.name == name)?.bucket.as_ref()?;
            (bucket.rate() == rate).then(|| Arc::clone(bucket))
        };
        for key in self.keys.values_mut() {
            if let Some(bucket) = &mut key.bucket
                && let Some(left) = left(&key.name, bucket.rate())
            {
                *bucket = left;
            }
        }
        self
    }

    /// Whether there is no key, and so only this machine comes in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Who is calling, if they may do what `scope` names.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn check(&self, authorization: Option<&HeaderValue>, scope: Scope) -> Result<Identity, AuthError> {
        if self.is_open() {
            return Ok(Identity { key: None, bucket: None });
        }
        let text = authorization.and_then(|value| value.to_str().ok()).ok_or(AuthError::Missing)?;
        let (scheme, key) = text.split_once(' ').ok_or(AuthError::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") || key.trim().is_empty() {
            return Err(AuthError::Missing);
        }
        // Looked up by hash: how long that takes says nothing about a key that is nearly right.
        let key = self.keys.get(&Digest::of(key.trim().as_bytes())).ok_or(AuthError::Unknown)?;
        if !key.scopes.contains(&scope) {
            return Err(AuthError::Scope { name: key.name.clone(), scope });
        }
        Ok(Identity { key: Some(key.name.clone()), bucket: key.bucket.clone() })
    }
}

/// Whether a `Host` header, or the authority of the request, names this machine itself.
#[must_use]
pub fn host_is_loopback(host: &str) -> bool {
    let (bare, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or_default(),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    // Nothing but a port may follow, or `[::1].example.org` would pass.
    let port_is_sound =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let is_local = |address: IpAddr| address.to_canonical().is_loopback();
    port_is_sound && (bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_local))
}

/// Whether a browser sent the request on behalf of a web page.
#[must_use]
pub fn has_origin(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rate: Option<Rate>) -> KeyConfig {
        KeyConfig { name: "ci".to_owned(), sha256: Digest::of(b"k3y"), scopes: [Scope::Submit].into(), rate }
    }

    fn keys() -> Authenticator {
        Authenticator::new(&[config(None)])
    }

    fn check(text: &str, scope: Scope) -> Result<Identity, AuthError> {
        keys().check(Some(&HeaderValue::from_str(text).unwrap()), scope)
    }

    #[test]
    fn a_key_does_what_its_scopes_name_and_nothing_else() {
        assert_eq!(check("Bearer k3y", Scope::Submit).unwrap().name(), "ci");
        assert_eq!(check("bearer  k3y", Scope::Submit).unwrap().name(), "ci");
        let refused = check("Bearer k3y", Scope::Admin).unwrap_err();
        assert_eq!(refused.to_string(), "the key ci lacks the scope admin");
        assert_eq!(check("Bearer other", Scope::Submit).unwrap_err(), AuthError::Unknown);
        for text in ["Basic k3y", "Bearer ", "k3y"] {
            assert_eq!(check(text, Scope::Submit).unwrap_err(), AuthError::Missing, "{text}");
        }
        assert_eq!(keys().check(None, Scope::Submit).unwrap_err(), AuthError::Missing);
    }

    #[test]
    fn a_reload_gives_no_new_burst_unless_the_rate_is_another() {
        let rate = Rate { per_second: 1.0, burst: 2 };
        let header = HeaderValue::from_static("Bearer k3y");
        let spend = |keys: &Authenticator, count| {
            keys.check(Some(&header), Scope::Submit).unwrap().spend(count, Duration::ZERO).is_ok()
        };
        let first = Authenticator::new(&[config(Some(rate))]);
        assert!(spend(&first, 2) && !spend(&first, 1));
        let same = Authenticator::new(&[config(Some(rate))]).following(&first);
        assert!(!spend(&same, 1));
        let faster = Rate { per_second: 2.0, ..rate };
        assert!(spend(&Authenticator::new(&[config(Some(faster))]).following(&same), 2));
        assert!(spend(&Authenticator::new(&[config(None)]).following(&same), 9));
    }

    #[test]
    fn without_keys_everyone_on_this_machine_may_do_everything() {
        let open = Authenticator::new(&[]);
        for scope in Scope::ALL {
            assert_eq!(open.check(None, scope).unwrap().name(), "local");
        }
        assert!(open.is_open() && !keys().is_open());
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8080",
            "[::1]",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(host_is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "localhost.evil.org",
            "127.0.0.1.evil.org:80",
            "10.0.0.1",
            "[::2]:80",
            "[::1].evil.org",
            "[::1",
            "localhost:80:evil",
            "127.0.0.1:port",
        ] {
            assert!(!host_is_loopback(host), "{host}");
        }
    }
}
