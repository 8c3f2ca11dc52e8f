//! The one door to the environment's variables: secrets by reference and overrides of single keys.
//!
//! Tests pass a map instead of the process's own.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Variables by name.
pub trait Environment: Send + Sync {
    /// The value of one.
    fn get(&self, name: &str) -> Option<OsString>;

    /// Those whose names begin with `prefix`, in the order of their names.
    fn with_prefix(&self, prefix: &str) -> Vec<(String, OsString)>;
}

/// The variables of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<OsString> {
        // `var_os` panics on no name of ours, but a reference may hold what can't be a name.
        if name.is_empty() || name.contains(['=', '\0']) {
            return None;
        }
        std::env::var_os(name)
    }

    fn with_prefix(&self, prefix: &str) -> Vec<(String, OsString)> {
        let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let mut found: Vec<_> = named.filter(|(name, _)| name.starts_with(prefix)).collect();
        found.sort();
        found
    }
}

impl Environment for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<OsString> {
        BTreeMap::get(self, name).map(OsString::from)
    }

    fn with_prefix(&self, prefix: &str) -> Vec<(String, OsString)> {
        let mine = self.iter().filter(|(name, _)| name.starts_with(prefix));
        mine.map(|(name, value)| (name.clone(), OsString::from(value))).collect()
    }
}
