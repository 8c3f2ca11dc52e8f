//! The table of replies: what comes back, and what the gateway's retry policy wants to hear of it.
//!
//! Retried are 408, 425, 429, 5xx and what the network does; other 4xx and 3xx are not. (DESIGN, "Retry", fixed.) For mails
//! the codes of SMTP say it the other way round: 4xx may work later, 5xx never.

use std::time::Duration;

use super::super::script::{Breakdown, Reply};

/// What an attempt has to end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Any answer.
    Answer,
    /// It may work later, and not before so long.
    Retry(Duration),
    /// It will never work.
    Dead,
}

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) reply: Reply,
    pub(super) expect: Expect,
}

const SOON: Expect = Expect::Retry(Duration::ZERO);
const MIB: usize = 1024 * 1024;

fn row(name: impl Into<String>, reply: Reply, expect: Expect) -> Row {
    Row { name: name.into(), reply, expect }
}

/// What a channel that sends requests is answered.
pub(super) fn http() -> Vec<Row> {
    let mut rows = Vec::new();
    for (statuses, expect) in [
        (&[200, 201, 202, 204, 206][..], Expect::Answer),
        (&[301, 302, 303, 307, 308], Expect::Dead),
        (&[400, 401, 402, 403, 404, 405, 406, 409, 410, 411, 413, 414, 415, 422, 431, 451], Expect::Dead),
        (&[408, 425, 429], SOON),
        (&[500, 501, 502, 503, 504, 507, 520, 599], SOON),
    ] {
        rows.extend(
            statuses.iter().map(|status| row(format!("reply/{status}"), Reply::status(*status), expect)),
        );
    }
    rows.extend(retry_after());
    rows.extend(bodies());
    rows.extend(headers());
    rows.extend(breakdowns());
    rows
}

/// What a channel that sends mails is answered.
pub(super) fn smtp() -> Vec<Row> {
    let mut rows = Vec::new();
    for (codes, expect) in [
        (&[250, 251][..], Expect::Answer),
        (&[421, 450, 451, 452], SOON),
        (&[535, 550, 551, 552, 553, 554], Expect::Dead),
    ] {
        rows.extend(codes.iter().map(|code| row(format!("mail/{code}"), Reply::status(*code), expect)));
    }
    for (name, text) in [("unicode", "사서함이 가득 찼습니다"), ("empty", "")] {
        rows.push(row(format!("mail/451-{name}"), Reply::status(451).body(text), SOON));
    }
    rows.push(row("mail/550-huge", Reply::status(550).body("x".repeat(MIB)), Expect::Dead));
    rows.extend(breakdowns());
    rows
}

fn breakdowns() -> impl Iterator<Item = Row> {
    Breakdown::ALL
        .into_iter()
        .map(|breakdown| row(format!("network/{}", breakdown.as_str()), Reply::Breaks(breakdown), SOON))
}

/// The script's clock stands at 2026-11-21T00:00:00Z, a Saturday.
fn retry_after() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, value, least_s) in [
        ("seconds", "30", 30),
        ("zero", "0", 0),
        ("date", "Sat, 21 Nov 2026 00:01:00 GMT", 60),
        ("date-rfc-850", "Saturday, 21-Nov-26 00:01:00 GMT", 60),
        ("date-asctime", "Sat Nov 21 00:01:00 2026", 60),
        ("past", "Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("negative", "-5", 0),
        ("fraction", "1.5", 0),
        ("word", "soon", 0),
        ("empty", "", 0),
        ("endless", "99999999999999999999999", 0),
        ("largest", "18446744073709551615", 0),
    ] {
        for status in [429, 503] {
            let reply = Reply::status(status).with("retry-after", value);
            rows.push(row(
                format!("reply/{status}-after-{name}"),
                reply,
                Expect::Retry(Duration::from_secs(least_s)),
            ));
        }
    }
    rows
}

fn bodies() -> Vec<Row> {
    let mut rows = Vec::new();
    let json = ("content-type", "application/json");
    let bodies: [(&str, Vec<u8>); 13] = [
        ("empty", Vec::new()),
        ("json-null", b"null".to_vec()),
        ("json-list", b"[]".to_vec()),
        ("json-number", b"7".to_vec()),
        ("json-empty", b"{}".to_vec()),
        ("json-cut", b"{\"ok\":tr".to_vec()),
        ("json-deep", [vec![b'['; 100_000], vec![b']'; 100_000]].concat()),
        (
            "json-types",
            br#"{"ok":"yes","id":[],"error":{"a":1},"errors":7,"message":null,"code":{}}"#.to_vec(),
        ),
        ("html", b"<html><body>Bad gateway</body></html>".to_vec()),
        ("no-utf-8", vec![0xff; 1_000]),
        ("unicode", "한국어 \u{202e}👩‍👩‍👧‍👦\u{0}\r\n\u{1b}[2J".as_bytes().to_vec()),
        ("huge", vec![b'x'; MIB]),
        ("huge-unicode", "한".repeat(MIB / 3).into_bytes()),
    ];
    for (name, body) in bodies {
        for (status, expect) in [(200, Expect::Answer), (400, Expect::Dead), (500, SOON)] {
            let reply = Reply::status(status).with(json.0, json.1).body(body.clone());
            rows.push(row(format!("body/{status}-{name}"), reply, expect));
        }
    }
    // Over the limit the host hands over an error, and no status: what is made of that is the plugin's.
    let over = Reply::status(200).body(vec![b'x'; MIB + 1]);
    rows.push(row("body/200-over-the-limit", over, Expect::Answer));
    rows
}

fn headers() -> Vec<Row> {
    let many = (0..100).fold(Reply::status(200), |reply, n| reply.with(&format!("x-{n}"), "v"));
    let twice = Reply::status(429).with("retry-after", "10").with("retry-after", "20");
    vec![
        row("headers/many", many, Expect::Answer),
        row("headers/long", Reply::status(200).with("x-long", &"v".repeat(8_000)), Expect::Answer),
        row("headers/retry-after-twice", twice, SOON),
        row("headers/location", Reply::status(302).with("location", "http://169.254.169.254/"), Expect::Dead),
        row("headers/set-cookie", Reply::status(200).with("set-cookie", "a=b; Path=/"), Expect::Answer),
        row("headers/wrong-type", Reply::status(200).with("content-type", "image/png"), Expect::Answer),
    ]
}
