//! The hostile and the broken, one behaviour each: what is said of each, under which code, and that nobody else notices.

use std::borrow::Cow;

use super::*;
use crate::egress::tests::support::{Answer, Script, Sink};
use crate::manifest::SECTION;

/// In no report of any row, since no guest gets it.
const CANARY: &str = "c4n4ry-0f-the-c0rpus";

/// What is tried.
struct Case {
    bytes: Cow<'static, [u8]>,
    limits: Limits,
    url: String,
    allow_private: bool,
    secret: Option<String>,
    address: Option<String>,
    /// Attempts that are delivered before the one that counts.
    delivered_before: u32,
}

/// What is answered, and a part of the text.
enum Answered {
    NotLoaded(&'static str, &'static str),
    NotStaged(&'static str, &'static str),
    Fault(&'static str, &'static str),
    Delivered(&'static str),
}

use Answered::{Delivered, Fault, NotLoaded, NotStaged};

fn of(bytes: impl Into<Cow<'static, [u8]>>) -> Case {
    Case {
        bytes: bytes.into(),
        limits: limits(),
        url: "http://127.0.0.1:9".to_owned(),
        allow_private: true,
        secret: None,
        address: None,
        delivered_before: 0,
    }
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "or the sections' lengths would be wrong");
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, w)| *w == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{from} is not there");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// A component without anything in it but the manifest of a well-behaved one.
fn hollow() -> Vec<u8> {
    let manifest = crate::inspect::examine(components::DELIVER).unwrap().manifest.unwrap();
    let mut content = vec![u8::try_from(SECTION.len()).unwrap()];
    content.extend_from_slice(SECTION.as_bytes());
    content.extend_from_slice(&manifest);
    let mut bytes = b"\0asm\x0d\0\x01\0\0".to_vec();
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend(content);
    bytes
}

/// Machine code as the cache has it for a well-behaved component, without the cache's checksum.
async fn compiled(bench: &Bench) -> Vec<u8> {
    let source = Source { label: "deliver.wasm".to_owned(), bytes: components::DELIVER.into() };
    let _plugin = bench.runtime.load(source).await.unwrap();
    let file = std::fs::read_dir(bench.cache.path()).unwrap().next().unwrap().unwrap();
    std::fs::read(file.path()).unwrap().split_off(32)
}

fn broken(code: Vec<u8>) -> Vec<(&'static str, Case, Answered)> {
    let deliver = components::DELIVER;
    let export = "fanfare:channel/sender@1.0.0";
    vec![
        ("a truncated file", of(&deliver[..deliver.len() / 2]), NotLoaded("plugin.invalid", "to its end")),
        ("an empty file", of(Vec::new()), NotLoaded("plugin.invalid", "no WebAssembly component")),
        ("a core module", of(b"\0asm\x01\0\0\0".to_vec()), NotLoaded("plugin.invalid", "core module")),
        ("a .cwasm that poses as a component", of(code), NotLoaded("plugin.invalid", "compiled code")),
        (
            "no manifest",
            of(replaced(deliver, SECTION, "fanfare:manifesT")),
            NotLoaded("plugin.invalid", SECTION),
        ),
        ("a lying manifest", of(components::LYING), NotLoaded("plugin.invalid", "its manifest says router")),
        ("a wrong export", of(hollow()), NotLoaded("plugin.invalid", "it exports neither")),
        (
            "a contract that is too new",
            of(replaced(deliver, export, "fanfare:channel/sender@9.0.0")),
            NotLoaded("plugin.version", "contract 9.0.0, and this host serves 1.0; it is too new"),
        ),
        (
            "a contract that is too old",
            of(replaced(deliver, export, "fanfare:channel/sender@0.9.0")),
            NotLoaded("plugin.version", "contract 0.9.0, and this host serves 1.0; it is too old"),
        ),
        ("a trap at the start", of(components::TRAP_START), NotStaged("plugin.check", "plugin.trap")),
        ("a trap in check", of(components::TRAP_CHECK), NotStaged("plugin.check", "plugin.trap")),
        (
            "settings that it refuses",
            of(components::CHECK_FAULT),
            NotStaged("plugin.check", "refuses its settings"),
        ),
    ]
}

fn greedy() -> Vec<(&'static str, Case, Answered)> {
    let short = Duration::from_millis(50);
    let spinning = Case { limits: Limits { cpu: short, ..limits() }, ..of(components::SPIN) };
    let sleeping = Case { limits: Limits { wall: short, ..limits() }, ..of(components::SLEEP) };
    vec![
        ("spins", spinning, Fault("plugin.cpu", "CPU time")),
        ("sleeps", sleeping, Fault("plugin.timeout", "longer than")),
        ("allocates", of(components::ALLOCATE), Fault("plugin.memory", "64 MiB")),
        ("recurses", of(components::RECURSE), Fault("plugin.stack", "stack")),
        ("traps", of(components::TRAP_SEND), Fault("plugin.trap", "trapped")),
        ("panics", of(components::PANICS), Fault("plugin.trap", "trapped")),
        ("floods the log", of(components::FLOOD_LOG), Fault("plugin.calls", "256 calls")),
        ("floods host calls", of(components::FLOOD_CALLS), Fault("plugin.calls", "256 calls")),
        ("returns 32 MiB", of(components::HUGE_RECEIPT), Fault("plugin.data", "can't be taken")),
        ("leaks handles", of(components::LEAK_HANDLES), Fault("plugin.handles", "256 handles")),
        ("answers garbage", of(components::GARBAGE), Fault("channel.", "")),
    ]
}

fn nosy(sink: &Sink, elsewhere: &Sink) -> Vec<(&'static str, Case, Answered)> {
    let named = format!("http://inside.example:{}", sink.address.port());
    let posts = |secret: &str| Case {
        url: sink.origin(),
        secret: Some(secret.to_owned()),
        ..of(components::HTTP_POST)
    };
    let to = |address: &str| Case { address: Some(address.to_owned()), ..posts(CANARY) };
    let rebinding = Case { url: named.clone(), delivered_before: 1, ..of(components::HTTP_POST) };
    let loopback = Case { url: named.clone(), allow_private: false, ..of(components::HTTP_POST) };
    let mapped = Case { url: named, ..of(components::HTTP_MAPPED) };
    let redirected =
        Case { url: sink.origin(), address: Some(sink.url("/redirect")), ..of(components::HTTP_REDIRECT) };
    let sockets = Case { address: Some(sink.address.to_string()), ..of(components::PEEK_SOCKETS) };
    let nothing = r#""environment":[],"folders":[],"passwd":null,"written":false"#;
    vec![
        ("DNS rebinding to a metadata address", rebinding, Fault("channel.http-denied", "169.254.169.254")),
        ("a name that leads to loopback", loopback, Fault("channel.http-denied", "loopback")),
        ("a redirect to a metadata address", redirected, Delivered("http://169.254.169.254/latest")),
        (
            "a metadata address",
            to("http://169.254.169.254/latest"),
            Fault("channel.http-denied", "169.254.169.254"),
        ),
        ("IPv6-mapped loopback", mapped, Fault("channel.http-denied", "127.0.0.1")),
        (
            "a host that is not granted",
            of(components::HTTP_UNGRANTED),
            Fault("channel.http-denied", "ungranted.example"),
        ),
        (
            "a secret to a host that is not granted",
            to(&elsewhere.url("/")),
            Fault("channel.http-denied", "not granted"),
        ),
        (
            "a header injected through a secret",
            posts(&format!("{CANARY}\r\nx-evil: 1")),
            Fault("channel.http-", "token"),
        ),
        ("a submitted body that names a secret", posts(CANARY), Delivered("${secret:token}")),
        ("environment and files", of(components::PEEK), Delivered(nothing)),
        (
            "sockets of its own",
            sockets,
            Delivered(r#""connected":false,"datagrams":false,"listening":false"#),
        ),
        (
            "too many requests",
            Case { url: sink.origin(), ..of(components::HTTP_MANY) },
            Fault("channel.http-limit", "8 requests"),
        ),
        (
            "a body of 2 MiB",
            Case { url: sink.origin(), ..of(components::HTTP_HUGE) },
            Fault("channel.http-limit", ""),
        ),
    ]
}

impl Bench {
    /// The code, and all that anybody is told.
    async fn tried(&self, case: Case) -> (String, String) {
        let source = Source { label: "x.wasm".to_owned(), bytes: case.bytes };
        let plugin = match self.runtime.load(source).await {
            Ok(plugin) => plugin,
            Err(error) => return (error.code().to_owned(), error.to_string()),
        };
        let mut secrets = Secrets::default();
        let mut settings = json!({ "url": case.url });
        if let Some(secret) = &case.secret {
            secrets.insert("token", Secret::new(secret.clone()), None);
            settings["token"] = json!("${secret:token}");
        }
        let spec = ChannelSpec {
            name: "hostile".parse().unwrap(),
            number: 1,
            plugin,
            settings: object(&settings),
            secrets: secrets.clone(),
            grants: Grants::parse(&[case.url], &[], case.allow_private).unwrap(),
            limits: limits(),
        };
        let generation = match self.runtime.stage_channel(spec).await {
            Ok(generation) => generation,
            Err(error) => return (error.code().to_owned(), error.to_string()),
        };
        generation.renewal(secrets, case.limits).unwrap().apply();
        for _ in 0..case.delivered_before {
            let report = generation.send(submitted(case.address.as_deref())).await;
            assert!(matches!(report.outcome, Outcome::Delivered(_)), "{:?}", report.outcome);
        }
        let report = generation.send(submitted(case.address.as_deref())).await;
        assert!(!format!("{report:?}").contains(CANARY), "{report:?}");
        match report.outcome {
            Outcome::Delivered(receipt) => ("delivered".to_owned(), receipt.detail.unwrap_or_default()),
            Outcome::Transient { fault, .. } | Outcome::Permanent(fault) => {
                (fault.code.to_string(), fault.message)
            }
        }
    }
}

/// A notification whose submitter tries to have a secret put in.
fn submitted(address: Option<&str>) -> AttemptInput {
    let about = Notification { body: Some("${secret:token}".to_owned()), ..notification() };
    AttemptInput { notification: Arc::new(about), ..input(address) }
}

/// Answers with what it was sent, and closes the connection, so that each request looks its name up.
async fn echo() -> Sink {
    Sink::start(|parts, body| {
        let answer = http::Response::builder().header("connection", "close");
        let answer = match parts.uri.path() {
            "/redirect" => answer.status(302).header("location", "http://169.254.169.254/latest"),
            _ => answer,
        };
        let body = String::from_utf8_lossy(body).into_owned();
        answer.body(body.into()).unwrap() as Answer
    })
    .await
}

#[tokio::test]
async fn whatever_a_plugin_does_is_answered_under_its_code_and_its_neighbour_delivers() {
    let (sink, elsewhere, neighbours) = (echo().await, echo().await, echo().await);
    let resolver = Script::new(&[&["127.0.0.1"], &["169.254.169.254"], &["127.0.0.1"]]);
    let bench = bench_with(DoorOptions { resolver, ..DoorOptions::default() });
    let grants = Grants::parse(&[neighbours.origin()], &[], true).unwrap();
    let settings = json!({ "url": neighbours.url("/") });
    let neighbour = bench.stage(components::HTTP_POST, settings, grants, Secrets::default()).await.unwrap();
    let mut rows = broken(compiled(&bench).await);
    rows.extend(greedy());
    rows.extend(nosy(&sink, &elsewhere));
    let mut sent = 0;
    for (what, case, expected) in rows {
        let (answered, beside) = tokio::join!(bench.tried(case), neighbour.send(input(None)));
        let after = neighbour.send(input(None)).await;
        for report in [beside, after] {
            assert!(matches!(report.outcome, Outcome::Delivered(_)), "beside {what}: {:?}", report.outcome);
            sent += 1;
        }
        let (code, says) = match expected {
            NotLoaded(code, says) | NotStaged(code, says) | Fault(code, says) => (code, says),
            Delivered(says) => ("delivered", says),
        };
        let (got, text) = answered;
        assert!(
            got.starts_with(code) && (got == code || code.ends_with(['.', '-'])),
            "{what}: {got}: {text}"
        );
        assert!(text.contains(says), "{what}: {got}: {text}");
        assert!(!text.contains(CANARY), "{what}: {text}");
    }
    assert_eq!(neighbours.seen().len(), sent, "each of the neighbour's deliveries arrived once");
    assert!(elsewhere.seen().is_empty(), "nobody was called who was not granted");
    let evil = sink.seen().iter().any(|(parts, _)| parts.headers.contains_key("x-evil"));
    assert!(!evil);
}
