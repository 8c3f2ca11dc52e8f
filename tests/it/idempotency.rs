//! The same key and body give the first answer again, whatever has changed since.

use std::path::Path;

use serde_json::Value;

use crate::child::{Gateway, call_with};
use crate::house::{House, LOG, NOTIFICATIONS, TO_LOG};

const KEY: &str = "idempotency-key: order-1\r\n";

fn start(folder: &Path, channel: &str) -> Gateway {
    let config = folder.join("fanfare.toml");
    let store = folder.join("data");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {store:?}\n[log]\nformat = \"json\"\n\
         [channels.{channel}]\nplugin = \"console\"\n"
    );
    std::fs::write(&config, text).unwrap();
    Gateway::start(&config)
}

fn post(gateway: &Gateway, path: &str, body: &str) -> (u16, String, Value) {
    call_with(gateway.address, "POST", path, KEY, body).unwrap()
}

#[test]
fn a_repetition_gets_the_first_answer_also_when_its_channel_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    for (path, body, respelt) in [
        (
            "/api/v1/notifications",
            r#"{"type":"a.b","to":[{"channel":"log"}]}"#,
            r#"{ "to": [{"channel": "log"}], "type": "a.b" }"#,
        ),
        (
            "/api/v1/notifications/batch",
            r#"[{"type":"a.b","to":[{"channel":"log"}]}]"#,
            r#"[ {"to":[{"channel":"log"}], "type":"a.b"} ]"#,
        ),
    ] {
        let folder = folder.path().join(path.replace('/', "-"));
        std::fs::create_dir(&folder).unwrap();
        let gateway = start(&folder, "log");
        let (status, head, first) = post(&gateway, path, body);
        assert_eq!(status, 202, "{first}");
        assert!(!head.contains("idempotent-replayed"), "{head}");
        let (status, head, again) = post(&gateway, path, respelt);
        assert_eq!((status, &again), (202, &first));
        assert!(head.contains("idempotent-replayed: true"), "{head}");
        gateway.kill();

        let gateway = start(&folder, "other");
        let (status, head, again) = post(&gateway, path, body);
        assert_eq!((status, &again), (202, &first));
        assert!(head.contains("idempotent-replayed: true"), "{head}");
        let (status, _, other) = post(&gateway, path, &body.replace("a.b", "a.c"));
        assert_eq!((status, other["code"].as_str()), (422, Some("idempotency.mismatch")));
        gateway.kill();
    }
}

#[test]
fn an_answer_over_a_mebibyte_is_kept_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path(), "log");
    // Each refusal quotes a kibibyte of what was wrong.
    let bad = format!(r#"{{"type":"a.b","priority":"{}"}}"#, "x".repeat(2_000));
    let mut items = vec![bad; 999];
    items.push(r#"{"type":"a.b","to":[{"channel":"log"}]}"#.to_owned());
    let body = format!("[{}]", items.join(","));
    let path = "/api/v1/notifications/batch";
    let (status, _, first) = post(&gateway, path, &body);
    assert_eq!(status, 207, "{first}");
    assert!(first.to_string().len() > 1 << 20, "{} bytes", first.to_string().len());
    gateway.kill();
    let gateway = start(folder.path(), "log");
    let (status, head, again) = post(&gateway, path, &body);
    assert_eq!(status, 207);
    assert!(first == again, "the same answer, after a restart");
    assert!(head.contains("idempotent-replayed: true"), "{head}");
}

#[test]
fn of_many_at_once_one_is_accepted_and_the_others_get_its_answer_or_are_told_to_wait() {
    let house = House::start("", LOG);
    let to = house.gateway.address;
    let mut told_to_wait = 0;
    for round in 0.. {
        let key = format!("idempotency-key: round-{round}\r\n");
        let answers: Vec<_> = std::thread::scope(|scope| {
            let ask = || call_with(to, "POST", NOTIFICATIONS, &key, TO_LOG).unwrap();
            let asking: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        let (taken, waits): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, ..)| *status == 202);
        let fresh = taken.iter().filter(|(_, head, _)| !head.contains("idempotent-replayed")).count();
        assert_eq!(fresh, 1);
        assert!(taken.iter().all(|(_, _, answer)| answer == &taken[0].2));
        for (status, head, answer) in &waits {
            assert_eq!((*status, answer["code"].as_str()), (409, Some("idempotency.in-flight")), "{answer}");
            assert!(head.contains("retry-after: "), "{head}");
        }
        told_to_wait += waits.len();
        if told_to_wait > 0 {
            return;
        }
    }
}
