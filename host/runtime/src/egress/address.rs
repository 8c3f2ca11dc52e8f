//! What kind of place an IP address is. Only [`AddressClass::Public`] is reachable without being granted.
//!
//! IPv6 has several ways to write an IPv4 address inside its own; each is looked through, because a guest
//! that can't say `127.0.0.1` would say `::ffff:7f00:1` instead.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// The internet.
    Public,
    /// This machine.
    Loopback,
    /// A private network: RFC 1918, or unique local IPv6.
    Private,
    /// A carrier's shared network, 100.64.0.0/10.
    Shared,
    /// The link's own addresses.
    LinkLocal,
    /// A cloud's metadata service, which hands out credentials.
    Metadata,
    /// No address at all; systems take it for this machine.
    Unspecified,
    /// A group of machines.
    Multicast,
    /// Set aside: documentation, benchmarks, retired or future use.
    Reserved,
}

impl AddressClass {
    /// Whether `allow_private` opens it. Metadata and link-local addresses never open by name: who needs one
    /// grants it literally.
    #[must_use]
    pub fn opens_with_allow_private(self) -> bool {
        matches!(self, Self::Public | Self::Loopback | Self::Private | Self::Shared)
    }

    /// Whether anything can be connected to there.
    #[must_use]
    pub fn is_destination(self) -> bool {
        !matches!(self, Self::Unspecified | Self::Multicast)
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::Shared => "a carrier's shared address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud metadata address",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
        })
    }
}

/// The form in which addresses are compared and connected: IPv4 where it is IPv4 in IPv6's clothes.
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
    }
}

/// The class of an address, in any form.
#[must_use]
pub fn classify(address: IpAddr) -> AddressClass {
    match canonical(address) {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

/// Metadata services: most clouds; AWS containers; Alibaba; Azure's wire server; Oracle.
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// Metadata services: AWS, Google.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// After the IANA IPv4 special-purpose address registry.
fn classify_v4(address: Ipv4Addr) -> AddressClass {
    if METADATA_V4.contains(&address) {
        return AddressClass::Metadata;
    }
    match address.octets() {
        [0, 0, 0, 0] => AddressClass::Unspecified,
        [127, ..] => AddressClass::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Private,
        [100, 64..=127, ..] => AddressClass::Shared,
        [169, 254, ..] => AddressClass::LinkLocal,
        [224..=239, ..] => AddressClass::Multicast,
        [0 | 240..=255, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

/// After the IANA IPv6 special-purpose address registry; only 2000::/3 is given out at all.
fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if METADATA_V6.contains(&address) {
        return AddressClass::Metadata;
    }
    if let Some(class) = classify_embedded(address) {
        return class;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        [0xfc00..=0xfdff, ..] => AddressClass::Private,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => AddressClass::Reserved,
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

/// Addresses that carry an IPv4 address within. Through NAT64 a public one is a normal way out of an
/// IPv6-only network; the other tunnels are retired, so a public one inside them is still refused.
fn classify_embedded(address: Ipv6Addr) -> Option<AddressClass> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let retired = |inner: Ipv4Addr| match classify_v4(inner) {
        AddressClass::Public => AddressClass::Reserved,
        class => class,
    };
    match address.segments() {
        // `::` and `::1` are classes of their own, not IPv4-compatible addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] => Some(retired(v4(high, low))),
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(retired(v4(high, low))),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(classify_v4(v4(high, low))),
        [0x64, 0xff9b, 1, _, _, _, high, low] => Some(retired(v4(high, low))),
        [0x2002, high, low, ..] => Some(retired(v4(high, low))),
        // Teredo hides the client's address with its bits turned over.
        [0x2001, 0, _, _, _, _, high, low] => Some(retired(v4(!high, !low))),
        // ISATAP.
        [.., 0 | 0x200, 0x5efe, high, low] => Some(retired(v4(high, low))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> AddressClass {
        classify(text.parse().unwrap())
    }

    #[test]
    fn each_special_range_has_its_class() {
        use AddressClass::*;
        let expected = [
            ("1.1.1.1", Public),
            ("8.8.8.8", Public),
            ("172.15.255.255", Public),
            ("172.32.0.0", Public),
            ("100.63.255.255", Public),
            ("100.128.0.0", Public),
            ("169.253.0.1", Public),
            ("198.17.0.1", Public),
            ("2606:4700:4700::1111", Public),
            ("2a00:1450::1", Public),
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("::1", Loopback),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("fc00::1", Private),
            ("fd12:3456::1", Private),
            ("100.64.0.1", Shared),
            ("100.127.255.255", Shared),
            ("169.254.1.1", LinkLocal),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("169.254.169.254", Metadata),
            ("169.254.170.2", Metadata),
            ("100.100.100.200", Metadata),
            ("fd00:ec2::254", Metadata),
            ("0.0.0.0", Unspecified),
            ("::", Unspecified),
            ("224.0.0.1", Multicast),
            ("ff02::1", Multicast),
            ("0.1.2.3", Reserved),
            ("192.0.0.8", Reserved),
            ("192.0.2.1", Reserved),
            ("192.88.99.1", Reserved),
            ("198.18.0.1", Reserved),
            ("198.19.255.255", Reserved),
            ("198.51.100.1", Reserved),
            ("203.0.113.1", Reserved),
            ("240.0.0.1", Reserved),
            ("255.255.255.255", Reserved),
            ("2001:db8::1", Reserved),
            ("3fff::1", Reserved),
            ("fec0::1", Reserved),
            ("5f00::1", Reserved),
            ("100::1", Reserved),
        ];
        for (text, wanted) in expected {
            assert_eq!(class(text), wanted, "{text}");
        }
    }

    #[test]
    fn ipv4_within_ipv6_is_looked_through_in_every_form() {
        for inner in ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "0.0.0.0", "100.64.0.1"] {
            let v4: Ipv4Addr = inner.parse().unwrap();
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let forms = [
                format!("::ffff:{inner}"),
                format!("64:ff9b::{inner}"),
                format!("64:ff9b:1::{inner}"),
                format!("2002:{high:x}:{low:x}::1"),
                format!("2001:0:1:2:3:4:{:x}:{:x}", !high, !low),
                format!("2606:4700::5efe:{inner}"),
                format!("::ffff:0:{inner}"),
            ];
            for form in forms {
                assert_eq!(class(&form), classify_v4(v4), "{form}");
            }
        }
        assert_eq!(class("::127.0.0.1"), AddressClass::Loopback);
        assert_eq!(class("::ffff:8.8.8.8"), AddressClass::Public);
        assert_eq!(class("64:ff9b::8.8.8.8"), AddressClass::Public);
        assert_eq!(class("2002:808:808::1"), AddressClass::Reserved);
    }

    #[test]
    fn a_mapped_address_and_its_plain_form_are_one_for_every_ipv4_range() {
        // Every /16, a handful of hosts in each: whatever the class is, dressing the address up changes nothing.
        for high in 0..=u16::MAX {
            for low in [0_u16, 1, 0x01fe, 0xa9fe, 0xffff] {
                let v4 = Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
                let mapped = IpAddr::V6(v4.to_ipv6_mapped());
                assert_eq!(canonical(mapped), IpAddr::V4(v4));
                assert_eq!(classify(mapped), classify_v4(v4));
                let standard_says_special = v4.is_private()
                    || v4.is_loopback()
                    || v4.is_link_local()
                    || v4.is_broadcast()
                    || v4.is_documentation()
                    || v4.is_multicast()
                    || v4.is_unspecified();
                assert!(!standard_says_special || classify_v4(v4) != AddressClass::Public, "{v4}");
            }
        }
    }
}
