//! What the surface refuses to take, to wait for and to hold: methods, media, sizes, times, connections, overload.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;

use crate::child::{call_with, exchange};
use crate::house::{House, LOG, NOTIFICATIONS, TO_LOG};

/// The status and the code of an answer as it was read.
fn status_and_code(answer: &str) -> (&str, &str) {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let code = answer.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next());
    (status, code.unwrap_or_default())
}

fn ask(house: &House, start: &str, headers: &str, body: &str) -> String {
    let text = format!("{start} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n{body}");
    exchange(house.gateway.address, text.as_bytes())
}

#[test]
fn a_wrong_method_is_told_which_ones_there_are() {
    let house = House::start("", LOG);
    let (one, letter) = (format!("{NOTIFICATIONS}/1"), "/api/v1/admin/dlq/1");
    for (path, wrong, allow) in [
        (NOTIFICATIONS, "PUT", "GET,HEAD,POST"),
        (NOTIFICATIONS, "DELETE", "GET,HEAD,POST"),
        ("/api/v1/notifications/batch", "GET", "POST"),
        (one.as_str(), "PATCH", "GET,HEAD,DELETE"),
        (letter, "GET", "DELETE"),
        ("/api/v1/admin/dlq/1/retry", "GET", "POST"),
        ("/metrics", "POST", "GET,HEAD"),
        ("/livez", "BREW", "GET,HEAD"),
    ] {
        let sorted = |text: &str| {
            let mut words: Vec<_> = text.split(',').map(|word| word.trim().to_ascii_uppercase()).collect();
            words.sort();
            words
        };
        let allowed = |answer: &str| {
            let head = answer.to_ascii_lowercase();
            head.split("allow: ").nth(1).and_then(|rest| rest.split("\r\n").next()).map(sorted)
        };
        let refused = ask(&house, &format!("{wrong} {path}"), "", "");
        assert_eq!(status_and_code(&refused), ("405", "route.method"), "{wrong} {path}");
        assert_eq!(allowed(&refused), Some(sorted(allow)), "{wrong} {path}: {refused}");
        let asked = ask(&house, &format!("OPTIONS {path}"), "", "");
        assert_eq!(status_and_code(&asked).0, "204", "{asked}");
        assert_eq!(allowed(&asked), Some(sorted(allow)), "{path}: {asked}");
    }
}

#[test]
fn a_body_that_is_too_large_late_cut_off_or_not_json_is_refused_under_its_own_code() {
    let house = House::start(
        "read_timeout = \"200ms\"\nnotification_bytes = \"1 KiB\"\nbatch_bytes = \"4 KiB\"",
        LOG,
    );
    let post = format!("POST {NOTIFICATIONS}");
    let batch = "POST /api/v1/notifications/batch";
    let large = format!(r#"{{"type":"a.b","body":"{}"}}"#, "x".repeat(2_000));
    let larger = format!("[{}]", [large.as_str(); 3].join(","));
    let length = |body: &str| format!("content-length: {}\r\n", body.len());
    let chunked = |body: &str| format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (start, headers, body, expected) in [
        (post.as_str(), length(&large), large.clone(), ("413", "request.too-large")),
        (&post, "transfer-encoding: chunked\r\n".to_owned(), chunked(&large), ("413", "request.too-large")),
        (batch, length(&larger), larger.clone(), ("413", "request.too-large")),
        (batch, "transfer-encoding: chunked\r\n".to_owned(), chunked(&larger), ("413", "request.too-large")),
        (&post, "content-length: 100\r\n".to_owned(), r#"{"type":"#.to_owned(), ("408", "request.timeout")),
        (
            &post,
            "transfer-encoding: chunked\r\n".to_owned(),
            "5\r\n{\"typ".to_owned(),
            ("408", "request.timeout"),
        ),
        (
            &post,
            length(TO_LOG) + "content-type: text/plain\r\n",
            TO_LOG.to_owned(),
            ("415", "request.media-type"),
        ),
        (batch, length("[]") + "content-type: text/csv\r\n", "[]".to_owned(), ("415", "request.media-type")),
        (
            &post,
            length(TO_LOG) + "content-encoding: gzip\r\n",
            TO_LOG.to_owned(),
            ("415", "request.media-type"),
        ),
        (batch, length("{}"), "{}".to_owned(), ("422", "request.invalid-field")),
        (&post, "content-length: 0\r\n".to_owned(), String::new(), ("400", "request.invalid-json")),
        (&post, length("\u{0}\u{1}"), "\u{0}\u{1}".to_owned(), ("400", "request.invalid-json")),
    ] {
        let answer = ask(&house, start, &headers, &body);
        assert_eq!(status_and_code(&answer), expected, "{start} {headers}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("content-type: application/problem+json"), "{answer}");
    }
    // One of a batch that is too large for itself is refused in its place, and the others are taken.
    let mixed = format!("[{large},{TO_LOG}]");
    let answer = ask(&house, batch, &length(&mixed), &mixed);
    assert!(answer.starts_with("HTTP/1.1 207 ") && answer.contains("request.too-large"), "{answer}");
    assert_eq!(house.call("POST", NOTIFICATIONS, TO_LOG).0, 202);
}

#[test]
fn a_large_head_is_refused_431_and_what_is_no_head_at_all_by_a_status_alone() {
    let house = House::start("", LOG);
    let to = house.gateway.address;
    let head = |start: &str, field: usize| {
        let text =
            format!("{start}\r\nhost: localhost\r\nconnection: close\r\nx: {}\r\n\r\n", "x".repeat(field));
        exchange(to, text.as_bytes())
    };
    assert!(head("GET /livez HTTP/1.1", 30 << 10).starts_with("HTTP/1.1 200 "));
    let long = format!("GET /livez?{} HTTP/1.1", "x".repeat(40 << 10));
    for answer in [head("GET /livez HTTP/1.1", 33 << 10), head("POST / HTTP/1.1", 100 << 10), head(&long, 1)]
    {
        assert_eq!(status_and_code(&answer), ("431", "request.head-too-large"), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("content-type: application/problem+json"), "{answer}");
    }
    let many = "x: y\r\n".repeat(200);
    for (bytes, status) in [
        ("GARBAGE\r\n\r\n".to_owned(), "400"),
        ("GET /livez HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), "400"),
        (format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(200 << 10)), "431"),
        (format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"), "431"),
        (format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(70 << 10)), "414"),
    ] {
        let answer = exchange(to, bytes.as_bytes());
        assert_eq!(status_and_code(&answer), (status, ""), "{answer}");
    }
    assert_eq!(house.call("POST", NOTIFICATIONS, TO_LOG).0, 202);
}

#[test]
fn a_client_that_says_nothing_or_half_of_it_is_let_go() {
    let house = House::start("header_timeout = \"100ms\"\nidle_timeout = \"100ms\"", LOG);
    let to = house.gateway.address;
    for half in ["", "G", "GET /livez HTT", "GET /livez HTTP/1.1\r\nhost: local", "PRI * HTTP/2.0\r\n"] {
        // Reads until the gateway closes, which is the test: nothing else ends it.
        let answer = exchange(to, half.as_bytes());
        assert!(!answer.contains(" 200 "), "{half:?}: {answer}");
    }
    // Kept alive, and silent after the first answer.
    let answer = exchange(to, b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(house.call("POST", NOTIFICATIONS, TO_LOG).0, 202);
}

#[test]
fn a_client_that_never_reads_its_answers_is_let_go() {
    let house = House::start("idle_timeout = \"100ms\"", LOG);
    let mut stream = TcpStream::connect(house.gateway.address).unwrap();
    let request = b"GET /problems HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(64);
    // Its answers fill every buffer on the way; then the gateway takes no more requests, and in the end hangs up.
    while stream.write_all(&request).is_ok() {}
    assert_eq!(house.call("POST", NOTIFICATIONS, TO_LOG).0, 202);
}

#[test]
fn a_connection_over_the_limit_waits_until_another_one_ends() {
    let house = House::start("connections_max = 1", LOG);
    let to = house.gateway.address;
    let mut first = TcpStream::connect(to).unwrap();
    let mut served = |path: &str| {
        first.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).unwrap();
        let mut answer = vec![0; 64 * 1024];
        let count = first.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    };
    assert!(served("/livez").starts_with("HTTP/1.1 200 "));
    let second = std::thread::spawn(move || {
        exchange(to, b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    });
    for _ in 0..20 {
        let metrics = served("/metrics");
        assert!(!metrics.contains("/readyz"), "{metrics}");
    }
    drop(first);
    assert!(second.join().unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn overload_is_answered_503_with_a_time_to_come_again_and_ends_by_itself() {
    let house = House::start("requests_in_flight_max = 1", LOG);
    let to = house.gateway.address;
    for (method, body, good) in [("POST", TO_LOG, 202), ("GET", "", 200)] {
        let (tell, told) = mpsc::channel();
        for _ in 0..8 {
            let tell = tell.clone();
            std::thread::spawn(move || {
                while tell.send(call_with(to, method, NOTIFICATIONS, "", body).unwrap()).is_ok() {}
            });
        }
        let (mut taken, mut refused) = (0, 0);
        while taken < 20 || refused < 5 {
            let (status, head, answer) = told.recv().unwrap();
            if status == good {
                taken += 1;
                continue;
            }
            assert_eq!((status, answer["code"].as_str()), (503, Some("server.overloaded")), "{answer}");
            assert!(head.contains("retry-after: 1\r\n"), "{head}");
            refused += 1;
        }
        drop(told);
        while house.call(method, NOTIFICATIONS, body).0 != good {}
    }
}
