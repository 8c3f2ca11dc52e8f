//! Where an address leads, as far as fairness is concerned: the origin of a URL, else nowhere in particular.

/// A key that two addresses share when they lead to the same host; 0 for the channel's own destination and
/// for addresses that are no URL, which all go through the channel's own server.
///
/// Stored in the due index, so the hash (FNV-1a, 64 bits) never changes.
#[must_use]
pub fn destination_key(address: Option<&str>) -> u64 {
    let Some((scheme, rest)) = address.and_then(|address| address.split_once("://")) else { return 0 };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let bytes = scheme.bytes().chain(*b"://").chain(authority.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    });
    // 0 is taken; one value in 2^64 moves aside.
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_one_origin_share_a_key_and_other_addresses_have_none() {
        let one = destination_key(Some("https://Hooks.example.org/a?b"));
        assert_eq!(one, destination_key(Some("https://hooks.example.org/c")));
        assert_ne!(one, destination_key(Some("http://hooks.example.org/a")));
        assert_ne!(one, destination_key(Some("https://hooks.example.org:8443/a")));
        assert_eq!(destination_key(Some("alice@example.org")), 0);
        assert_eq!(destination_key(None), 0);
    }
}
