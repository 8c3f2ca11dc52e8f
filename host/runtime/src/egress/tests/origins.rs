//! The grammar of grants, and which URLs each grant means.

use crate::egress::*;

fn pattern(text: &str) -> OriginPattern {
    OriginPattern::parse(text).unwrap()
}

fn target(text: &str) -> Target {
    Target::parse(text).unwrap()
}

#[test]
fn grants_print_as_they_are_written_in_one_form() {
    for (text, wanted) in [
        ("https://Hooks.Example.ORG", "https://hooks.example.org"),
        ("https://hooks.example.org:443/", "https://hooks.example.org"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("http://[::ffff:127.0.0.1]", "http://127.0.0.1"),
        ("https://*.Example.org:8443", "https://*.example.org:8443"),
        ("https://*", "https://*"),
        ("https://예시.example", "https://xn--vv4b11d.example"),
        ("https://example.org.", "https://example.org"),
    ] {
        assert_eq!(pattern(text).to_string(), wanted);
    }
}

#[test]
fn a_grant_that_is_none_says_why_and_how_it_is_written() {
    for (text, wanted) in [
        ("example.org", "it does not begin with https:// or http://"),
        ("ftp://example.org", "only https and http can be granted"),
        ("https://example.org/hook", "a grant is for a whole origin and has no path"),
        ("https://me@example.org", "a grant names no user"),
        ("http://*", "a wildcard needs https"),
        ("http://*.example.org", "a wildcard needs https"),
        ("https://*foo.example.org", "a * stands for the whole host"),
        ("https://*.10.0.0.1", "an address has no subdomains"),
        ("https://example.org:0", "\"0\" is no port from 1 to 65535"),
        ("https://example.org:https", "\"https\" is no port"),
        ("https://", "is no host name"),
        ("https://exa mple.org", "is no host name"),
        ("http://0.0.0.0:80", "an unspecified address, which is no destination"),
    ] {
        let error = OriginPattern::parse(text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
        assert!(error.contains("write https://hooks.example.org"), "{error}");
    }
}

#[test]
fn a_wildcard_means_every_depth_below_and_not_the_name_itself() {
    let wild = pattern("https://*.example.org");
    assert!(wild.matches(&target("https://a.example.org/x")));
    assert!(wild.matches(&target("https://a.b.example.org")));
    for other in [
        "https://example.org",
        "https://badexample.org",
        "https://example.org.evil.net",
        "http://a.example.org",
        "https://a.example.org:8443",
        "https://127.0.0.1",
    ] {
        assert!(!wild.matches(&target(other)), "{other}");
    }
}

#[test]
fn addresses_are_one_however_they_are_spelt() {
    let loopback = pattern("http://127.0.0.1:9000");
    for spelling in [
        "http://127.0.0.1:9000/hook",
        "http://127.1:9000",
        "http://2130706433:9000",
        "http://0x7f.0.0.1:9000",
        "http://0177.0.0.1:9000",
        "http://[::ffff:7f00:1]:9000",
        "http://１２７.0.0.1:9000",
    ] {
        assert!(loopback.matches(&target(spelling)), "{spelling}");
    }
    assert!(!loopback.matches(&target("http://127.0.0.2:9000")));
    assert!(!loopback.matches(&target("http://localhost:9000")));
}

#[test]
fn any_https_does_not_mean_a_literal_private_address() {
    let any = pattern("https://*");
    assert!(any.matches(&target("https://example.org/x")));
    assert!(any.matches(&target("https://8.8.8.8/")));
    for private in ["https://127.0.0.1", "https://10.0.0.1", "https://[::1]", "https://[64:ff9b::a00:1]"] {
        assert!(!any.matches(&target(private)), "{private}");
    }
}

#[test]
fn covering_is_about_everything_that_is_requested() {
    for (granted, requested, wanted) in [
        ("https://*", "https://*.example.org", true),
        ("https://*", "https://*", true),
        ("https://*", "https://10.0.0.1", false),
        ("https://*.example.org", "https://*", false),
        ("https://*.example.org", "https://*.a.example.org", true),
        ("https://*.example.org", "https://a.example.org", true),
        ("https://*.example.org", "https://example.org", false),
        ("https://a.example.org", "https://*.example.org", false),
        ("https://a.example.org", "https://A.example.org:443", true),
        ("https://a.example.org", "http://a.example.org", false),
    ] {
        assert_eq!(pattern(granted).covers(&pattern(requested)), wanted, "{granted} {requested}");
    }
}

#[test]
fn urls_with_users_other_schemes_or_strange_hosts_are_refused() {
    for (url, wanted) in [
        ("https://user:pass@example.org/", "names a user"),
        ("ftp://example.org/", "only https and http"),
        ("/relative", "can't be read"),
        ("https://", "can't be read"),
        ("https://exa*mple.org/", "is no host name"),
        ("https://a..b/", "is no host name"),
        ("https://example.org:0/", "port is 0"),
    ] {
        let problem = Target::parse(url).unwrap_err();
        assert!(problem.contains(wanted), "{url}: {problem}");
    }
}

#[test]
fn mail_servers_are_a_host_and_a_port() {
    assert_eq!(ServerPattern::parse("SMTP.example.org:587").unwrap().to_string(), "smtp.example.org:587");
    assert_eq!(ServerPattern::parse("[::1]:25").unwrap().to_string(), "[::1]:25");
    for (text, wanted) in [
        ("smtp.example.org", "the port is missing; write smtp.example.org:587"),
        ("smtp://smtp.example.org:25", "a mail server has no scheme"),
        ("*:25", "is no host name"),
    ] {
        let error = ServerPattern::parse(text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}
