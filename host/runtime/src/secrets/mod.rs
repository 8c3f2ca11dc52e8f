//! Secrets: configured by name, shown to guests as markers, put in on the way out, masked on the way back.
//!
//! A guest never holds a value. What it holds is a marker that is random, good for one attempt, and worth
//! nothing anywhere else. [`Secrets`] belongs to a generation; [`AttemptSecrets`] to one attempt.

mod attempt;
mod encode;
mod mask;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

pub use attempt::{AttemptSecrets, FillError, NoSecret};
pub use encode::{BodyKind, Place};
pub use settings::{MarkedSettings, UnknownSecret};

use crate::egress::OriginPattern;

/// A value that must not be seen. It has no `Display`, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The value. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A secret, and where it may go.
#[derive(Clone, Debug)]
pub struct SecretEntry {
    /// The value.
    pub value: Secret,
    /// The origins it is for; none means those that the channel is granted by more than `https://*`.
    pub origins: Option<Vec<OriginPattern>>,
}

/// A channel's secrets. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    entries: BTreeMap<String, SecretEntry>,
    /// Every form of every value to look for in answers; made once, when a secret is added.
    masks: mask::Masks,
    /// The names that `crypto` and `smtp` may use.
    permitted: BTreeSet<String>,
    in_body: bool,
}

impl Secrets {
    /// Adds a secret, or replaces one.
    pub fn insert(&mut self, name: impl Into<String>, value: Secret, origins: Option<Vec<OriginPattern>>) {
        let inner = Arc::make_mut(&mut self.inner);
        inner.entries.insert(name.into(), SecretEntry { value, origins });
        inner.masks = mask::Masks::of(inner.entries.values().map(|entry| &entry.value));
    }

    /// Lets `crypto` and `smtp` use these secrets by name, as the plugin's manifest asks. None by default.
    pub fn permit<N: Into<String>>(&mut self, names: impl IntoIterator<Item = N>) {
        Arc::make_mut(&mut self.inner).permitted.extend(names.into_iter().map(Into::into));
    }

    /// Lets markers be filled in request bodies, as the plugin's manifest asks. Not so by default.
    pub fn allow_in_body(&mut self) {
        Arc::make_mut(&mut self.inner).in_body = true;
    }

    /// The configured names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.inner.entries.keys().map(String::as_str)
    }

    /// Whether a secret of this name is configured.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.inner.entries.contains_key(name)
    }

    /// The entry of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SecretEntry> {
        self.inner.entries.get(name)
    }

    /// Whether none is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.entries.is_empty()
    }

    /// Masks every value, in any of its forms, with `***`: for text that leaves the host, such as a guest's log.
    #[must_use]
    pub fn mask(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.inner.masks.apply(bytes)
    }

    fn is_permitted(&self, name: &str) -> bool {
        self.inner.permitted.contains(name)
    }

    fn in_body(&self) -> bool {
        self.inner.in_body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let mut secrets = Secrets::default();
        secrets.insert("token", Secret::new("hunter2-hunter2"), None);
        let shown = format!("{secrets:?} {:?}", secrets.get("token"));
        assert!(shown.contains("Secret(***)"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
