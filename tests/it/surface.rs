//! The HTTP surface of the real binary: good requests, bad ones, and signals.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::child::{Gateway, call};
use crate::command::fanfare;
use crate::house::{House, LOG};

const SECTION: &str =
    "[server]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[channels.log]\nplugin = \"console\"\n";

struct Setup {
    gateway: Gateway,
    config: PathBuf,
    _folder: tempfile::TempDir,
}

fn start() -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    std::fs::write(&config, SECTION).unwrap();
    Setup { gateway: Gateway::start(&config), config, _folder: folder }
}

impl Setup {
    fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        call(self.gateway.address, method, path, body).unwrap()
    }
}

const TO_LOG: &str = r#"{"type":"a.b","to":[{"channel":"log"}]"#;

#[test]
fn bad_input_is_answered_with_its_code_and_a_sentence_and_the_gateway_goes_on() {
    let setup = start();
    let large = format!(r#"{{"type":"a.b","body":"{}"}}"#, "x".repeat(300_000));
    let notifications = "/api/v1/notifications";
    for (method, path, body, status, code) in [
        ("POST", notifications, r#"{"type":"a.b","#, 400, "request.invalid-json"),
        ("POST", notifications, "[]", 422, "request.invalid-field"),
        ("POST", notifications, "{}", 422, "request.invalid-field"),
        ("POST", notifications, r#"{"type":1}"#, 422, "request.invalid-field"),
        ("POST", notifications, r#"{"type":"a b"}"#, 422, "request.invalid-field"),
        ("POST", notifications, r#"{"type":"a.b","tpye":1}"#, 422, "request.unknown-field"),
        ("POST", notifications, r#"{"type":"a.b","to":[{"channel":"nope"}]}"#, 422, "channel.unknown"),
        ("POST", notifications, r#"{"type":"a.b","to":[{"user":"nobody"}]}"#, 422, "user.unknown"),
        ("POST", notifications, r#"{"type":"a.b","send_at":"tomorrow"}"#, 422, "request.invalid-field"),
        (
            "POST",
            notifications,
            r#"{"type":"a.b","expires_at":"2020-01-01T00:00:00Z"}"#,
            422,
            "notification.expired",
        ),
        ("POST", notifications, large.as_str(), 413, "request.too-large"),
        ("PUT", notifications, "{}", 405, "route.method"),
        ("GET", "/api/v1/nothing", "", 404, "route.unknown"),
        ("GET", "/api/v1/notifications?cursor=zzz", "", 400, "request.bad-cursor"),
        ("GET", "/api/v1/notifications?stat=done", "", 400, "request.bad-query"),
        ("GET", "/api/v1/notifications/1", "", 400, "request.bad-id"),
        ("GET", "/api/v1/notifications/%FF", "", 400, "request.bad-id"),
        ("GET", "/api/v1/notifications/%FF/trace", "", 400, "request.bad-id"),
        ("DELETE", "/api/v1/admin/dlq/%ff", "", 400, "request.bad-id"),
        ("GET", "/problems/%ff", "", 400, "request.bad-id"),
        ("GET", "/problems/no.code", "", 404, "route.unknown"),
        (
            "GET",
            "/api/v1/notifications/019aa3b2-7c1e-7000-8000-0242ac120002",
            "",
            404,
            "notification.unknown",
        ),
        ("POST", "/api/v1/notifications/batch", "[]", 422, "request.empty-batch"),
        ("POST", "/api/v1/notifications?dry_run=1", "{}", 400, "request.bad-query"),
        ("POST", "/api/v1/notifications/batch?dry_run=1", "[]", 400, "request.bad-query"),
        ("DELETE", "/api/v1/notifications/1?force=1", "", 400, "request.bad-query"),
        ("POST", "/api/v1/admin/dlq/x/retry?code=a", "", 400, "request.bad-query"),
        ("DELETE", "/api/v1/admin/dlq/x?code=a", "", 400, "request.bad-query"),
        ("POST", "/api/v1/admin/dlq/x/retry", "", 400, "request.bad-id"),
    ] {
        let (got, answer) = setup.call(method, path, body);
        let short: String = body.chars().take(60).collect();
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{method} {path} {short}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{answer}");
    }
    assert_eq!(setup.call("POST", notifications, &format!("{TO_LOG}}}")).0, 202);
}

#[test]
fn a_batch_accepts_what_it_can_and_says_in_order_what_it_can_not() {
    let setup = start();
    let body = format!(r#"[{TO_LOG}}}, {{"type":1}}, {TO_LOG}}}]"#);
    let (status, answer) = setup.call("POST", "/api/v1/notifications/batch", &body);
    assert_eq!(status, 207, "{answer}");
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| r["status"].clone()).collect();
    assert_eq!(statuses, [202, 422, 202]);
    assert_eq!(setup.call("POST", "/api/v1/notifications/batch", &format!("[{TO_LOG}}}]")).0, 202);
}

#[test]
fn what_is_scheduled_can_be_cancelled_once_and_a_repetition_names_the_first() {
    let setup = start();
    let scheduled = format!(r#"{TO_LOG},"send_at":"2027-01-01T00:00:00Z"}}"#);
    let (_, accepted) = setup.call("POST", "/api/v1/notifications", &scheduled);
    assert_eq!(accepted["status"], "scheduled");
    let path = format!("/api/v1/notifications/{}", accepted["id"].as_str().unwrap());
    assert_eq!(setup.call("DELETE", &path, "").1["status"], "cancelled");
    assert_eq!(setup.call("DELETE", &path, "").1["code"], "notification.ended");
    assert_eq!(setup.call("GET", &path, "").1["status"], "cancelled");

    let once = format!(r#"{TO_LOG},"dedup":{{"key":"k","window_s":60}}}}"#);
    let first = setup.call("POST", "/api/v1/notifications", &once).1;
    let again = setup.call("POST", "/api/v1/notifications", &once).1;
    assert_eq!(again["status"], "suppressed");
    assert_eq!(again["duplicate_of"], first["id"]);
}

#[test]
fn a_broken_file_is_not_reloaded_and_a_stop_ends_well() {
    let mut setup = start();
    std::fs::write(&setup.config, "nonsense = [").unwrap();
    setup.gateway.signal("HUP");
    while !setup.gateway.log().contains("the old one goes on") {
        std::thread::yield_now();
    }
    assert!(setup.gateway.log().contains("fanfare.toml:1:"), "it says where: {}", setup.gateway.log());
    assert_eq!(setup.call("POST", "/api/v1/notifications", &format!("{TO_LOG}}}")).0, 202);
    setup.gateway.signal("TERM");
    assert!(setup.gateway.wait().success());
}

#[test]
fn a_reload_says_each_time_what_takes_a_restart_to_count() {
    let house = House::start("", LOG);
    let warned = |times: usize| {
        let said = "these keys take effect after a restart";
        while house.gateway.log().matches(said).count() < times {
            std::thread::yield_now();
        }
    };
    house.rewrite("idle_timeout = \"5s\"", LOG);
    house.gateway.signal("HUP");
    warned(1);
    // Nothing more has changed, and what did before still waits for the restart.
    house.gateway.signal("HUP");
    warned(2);
    house.rewrite("", LOG);
    house.gateway.signal("HUP");
    while !house.gateway.log().contains("\"configuration reloaded\"") {
        std::thread::yield_now();
    }
}

#[test]
fn mistakes_of_the_configuration_name_the_place_and_the_remedy_and_exit_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bad.toml");
    for (text, says) in [
        ("[server]\nlistn = 1\n", "did you mean \"listen\"?"),
        ("[server]\nlisten = \"0.0.0.0:80\"\n", "[[keys]]"),
        ("[channels.a]\nplugin = \"webhok\"\n", "built in are console"),
        ("[channels.a]\nplugin = \"webhook\"\nsettings = {}\n", "\"url\" is a required property"),
        (
            "[channels.a]\nplugin = \"webhook\"\nsettings = { url = \"https://a.example/x\" }\n",
            "grants = { http = [\"https://a.example\"] }",
        ),
        (
            "[channels.a]\nplugin = \"console\"\nsecrets = { x = \"env:NOT_SET_ANYWHERE\" }\n",
            "NOT_SET_ANYWHERE",
        ),
        (
            "[channels.a]\nplugin = \"console\"\nsecrets = { x = \"env:\" }\n",
            "names nothing; write \"env:NAME\"",
        ),
    ] {
        std::fs::write(&config, text).unwrap();
        let ended = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["config", "check", "--config"])
            .arg(&config)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains("bad.toml:") && said.contains(says), "{text}: {said}");
    }
}

#[test]
fn a_store_that_can_not_be_there_is_a_mistake_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bad.toml");
    let text = format!("[server]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {:?}\n", config.join("data"));
    std::fs::write(&config, text).unwrap();
    let ended = fanfare(folder.path(), ["serve", "--config", "bad.toml"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.err.contains("bad.toml: store.path: ") && ended.err.contains("name a directory"),
        "{ended:?}"
    );
}
