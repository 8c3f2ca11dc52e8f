//! The first-party plugins, as packed components inside the binary. `build.rs` makes them from `plugins/`.

use std::sync::LazyLock;

use fanfare_model::digest::Digest;

/// Name and bytes, by name.
const ALL: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The component of the first-party plugin called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static [u8]> {
    all().find(|(candidate, _)| *candidate == name).map(|(_, bytes)| bytes)
}

/// The name of the first-party plugin with this digest.
#[must_use]
pub fn name_of(digest: Digest) -> Option<&'static str> {
    static DIGESTS: LazyLock<Vec<(Digest, &str)>> =
        LazyLock::new(|| all().map(|(name, bytes)| (Digest::of(bytes), name)).collect());
    DIGESTS.iter().find(|(one, _)| *one == digest).map(|(_, name)| *name)
}

/// Every first-party plugin, by name.
pub fn all() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    ALL.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_six_first_party_plugins_are_embedded() {
        let names: Vec<&str> = all().map(|(name, _)| name).collect();
        assert_eq!(names, ["console", "coolsms", "email", "rules", "slack", "webhook"]);
    }

    #[test]
    fn a_plugin_is_found_by_its_name_alone() {
        assert!(find("webhook").is_some_and(|bytes| bytes.starts_with(b"\0asm")));
        assert_eq!(find("fax"), None);
    }
}
