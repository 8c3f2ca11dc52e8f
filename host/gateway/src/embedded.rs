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
    digests().iter().find(|(_, one)| *one == digest).map(|(name, _)| *name)
}

/// The digest of each, by name; they are hashed once.
pub fn digests() -> &'static [(&'static str, Digest)] {
    static DIGESTS: LazyLock<Vec<(&str, Digest)>> =
        LazyLock::new(|| all().map(|(name, bytes)| (name, Digest::of(bytes))).collect());
    &DIGESTS
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
