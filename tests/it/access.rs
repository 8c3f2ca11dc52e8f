//! Who comes in: keys and their scopes; without keys this machine alone, and no web page.

use sha2::{Digest as _, Sha256};

use crate::child::exchange;
use crate::house::{House, LOG, NOTIFICATIONS, TO_LOG};

const ID: &str = "019aa3b2-7c1e-7000-8000-0242ac120002";

/// A section [[keys]] for the key `NAME-key`.
fn key(name: &str, more: &str) -> String {
    let sha256 = hex::encode(Sha256::digest(format!("{name}-key")));
    format!("[[keys]]\nname = {name:?}\nsha256 = {sha256:?}\n{more}\n")
}

fn bearer(name: &str) -> String {
    format!("authorization: Bearer {name}-key\r\n")
}

#[test]
fn a_key_does_what_its_scopes_name_and_nothing_else() {
    let keys = ["submit", "read", "admin"].map(|scope| key(scope, &format!("scopes = [{scope:?}]"))).concat();
    let house = House::start("", &(keys + LOG));
    let one = format!("{NOTIFICATIONS}/{ID}");
    let trace = format!("{one}/trace");
    let letter = format!("/api/v1/admin/dlq/{ID}-0");
    let retry = format!("{letter}/retry");
    for (method, path, body, scope, status) in [
        ("POST", NOTIFICATIONS, TO_LOG, "submit", 202),
        ("POST", "/api/v1/notifications/batch", "[]", "submit", 422),
        ("DELETE", one.as_str(), "", "submit", 404),
        ("GET", NOTIFICATIONS, "", "read", 200),
        ("GET", one.as_str(), "", "read", 404),
        ("GET", trace.as_str(), "", "read", 404),
        ("GET", "/api/v1/admin/dlq", "", "admin", 200),
        ("POST", "/api/v1/admin/dlq/retry-all", "", "admin", 202),
        ("POST", retry.as_str(), "", "admin", 404),
        ("DELETE", letter.as_str(), "", "admin", 404),
    ] {
        for who in ["submit", "read", "admin"] {
            let (got, _, answer) = house.call_with(method, path, &bearer(who), body);
            if who == scope {
                assert_eq!(got, status, "{method} {path} by {who}: {answer}");
            } else {
                assert_eq!(
                    (got, answer["code"].as_str()),
                    (403, Some("access.scope")),
                    "{method} {path} by {who}"
                );
                assert_eq!(answer["detail"], format!("the key {who} lacks the scope {scope}"));
            }
        }
        for (headers, code) in [
            ("", "access.key-missing"),
            ("authorization: Basic c3VibWl0\r\n", "access.key-missing"),
            ("authorization: Bearer submit\r\n", "access.key-unknown"),
        ] {
            let (got, head, answer) = house.call_with(method, path, headers, body);
            assert_eq!((got, answer["code"].as_str()), (401, Some(code)), "{method} {path}");
            assert!(head.contains("www-authenticate: bearer"), "{head}");
        }
    }
    let metrics = |headers: &str| exchange(house.gateway.address, get("/metrics", headers).as_bytes());
    assert!(metrics(&bearer("read")).starts_with("HTTP/1.1 200 "));
    assert!(metrics(&bearer("submit")).starts_with("HTTP/1.1 403 "));
    assert!(metrics("").starts_with("HTTP/1.1 401 "));
    // With keys the name of the host says nothing, and a web page needs a key like everybody else.
    let (status, _, _) =
        house.call_with("GET", NOTIFICATIONS, &(bearer("read") + "origin: https://ops.example\r\n"), "");
    assert_eq!(status, 200);
    let log = house.gateway.log();
    assert!(!log.contains("submit-key") && !log.contains("c3VibWl0"), "{log}");
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
}

#[test]
fn without_keys_only_loopback_names_are_answered_and_no_web_page_is() {
    let house = House::start("", LOG);
    let to = house.gateway.address;
    let port = to.port();
    let ask = |start: &str, headers: &str| {
        exchange(to, format!("{start}\r\nconnection: close\r\n{headers}\r\n").as_bytes())
    };
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "[::1]".to_owned()] {
        let answer = ask("GET /livez HTTP/1.1", &format!("host: {host}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    for (start, headers) in [
        ("GET /livez HTTP/1.1", "host: gateway.example\r\n"),
        ("GET /livez HTTP/1.1", "host: 127.0.0.1.gateway.example\r\n"),
        ("GET /livez HTTP/1.1", "host: 192.168.0.1\r\n"),
        ("GET /livez HTTP/1.1", "host:\r\n"),
        ("GET http://gateway.example/livez HTTP/1.1", "host: localhost\r\n"),
        ("GET /livez HTTP/1.1", "host: localhost\r\nhost: gateway.example\r\n"),
        ("GET /livez HTTP/1.0", ""),
    ] {
        let answer = ask(start, headers);
        assert!(
            answer.starts_with("HTTP/1.1 421 ") || answer.starts_with("HTTP/1.0 421 "),
            "{headers}: {answer}"
        );
        assert!(answer.contains("\"access.host\""), "{headers}: {answer}");
    }
    for origin in ["https://page.example", "http://localhost:8080", "null"] {
        let answer = ask("GET /livez HTTP/1.1", &format!("host: localhost\r\norigin: {origin}\r\n"));
        assert!(
            answer.starts_with("HTTP/1.1 403 ") && answer.contains("\"access.origin\""),
            "{origin}: {answer}"
        );
    }
    assert!(house.gateway.log().contains("no key is configured"), "{}", house.gateway.log());
}

#[test]
fn a_key_submits_no_faster_than_its_rate_and_holds_up_no_other_key() {
    let all = r#"scopes = ["submit", "read", "admin"]"#;
    let slow = format!("{all}\nrate = {{ per_second = 0.001, burst = 3 }}");
    let sections = key("slow", &slow) + &key("free", all) + LOG;
    let house = House::start("", &sections);
    let submit = |who: &str| house.call_with("POST", NOTIFICATIONS, &bearer(who), TO_LOG);
    let batch = |count: usize| {
        let body = format!("[{}]", vec![TO_LOG; count].join(","));
        house.call_with("POST", "/api/v1/notifications/batch", &bearer("slow"), &body)
    };
    let (status, _, answer) = batch(4);
    assert_eq!((status, answer["code"].as_str()), (413, Some("request.too-large")), "{answer}");
    assert_eq!(batch(2).0, 202);
    assert_eq!(submit("slow").0, 202);
    for (status, head, answer) in [submit("slow"), batch(1)] {
        assert_eq!((status, answer["code"].as_str()), (429, Some("rate.limited")), "{answer}");
        let wait = head.split("retry-after: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let wait: u64 = wait.unwrap().parse().unwrap();
        assert!((1..=1_000).contains(&wait), "{wait}");
    }
    assert_eq!(submit("free").0, 202);
    // Reading is not submitting.
    assert_eq!(house.call_with("GET", NOTIFICATIONS, &bearer("slow"), "").0, 200);
}
