//! The command line against a running gateway: what a person reads, and the exit code and JSON that a script reads.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;

use crate::child::{Gateway, Receiver};
use crate::command::{Ended, command};

/// A gateway with a webhook that answers as it is told, and a channel that writes to the log.
struct House {
    gateway: Gateway,
    receiver: Receiver,
    folder: tempfile::TempDir,
}

/// The sha256 of `test`.
const TEST_KEY: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn house(further: &str) -> House {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let config = folder.path().join("fanfare.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[channels.log]\nplugin = \"console\"\n\
         [channels.hook]\nplugin = \"webhook\"\nsettings = {{ url = \"http://{0}/\" }}\n\
         grants = {{ http = [\"http://{0}\"] }}\nretry = {{ max_retries = 0 }}\n{further}",
        receiver.address
    );
    std::fs::write(&config, text).unwrap();
    House { gateway: Gateway::start(&config), receiver, folder }
}

fn fanfare_at(url: &str, key: &str, arguments: &[&str], input: &str) -> Ended {
    let mut child = command(Path::new("."))
        .args(arguments)
        .env("FANFARE_URL", url)
        .env("FANFARE_KEY", key)
        .env_remove("FANFARE_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may have gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Ended::of(child.wait_with_output().unwrap())
}

impl House {
    fn fanfare(&self, arguments: &[&str]) -> Ended {
        fanfare_at(&format!("http://{}", self.gateway.address), "", arguments, "")
    }
}

#[test]
fn a_person_sends_follows_the_trace_and_asks_how_things_are() {
    let house = house("");
    let sent = house.fanfare(&["send", "deploy.done", "--to", "hook", "--title", "배포 완료", "--wait"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert!(sent.out.contains("done") && sent.out.contains("delivered"), "{sent:?}");
    let id = sent.out.split_whitespace().next().unwrap();
    let trace = house.fanfare(&["trace", id]);
    assert_eq!(trace.code, Some(0), "{trace:?}");
    assert!(trace.out.contains("accepted") && trace.out.contains("attempt 1 was taken"), "{trace:?}");
    assert_eq!(house.fanfare(&["trace", &format!("{id}-0"), "--json"]).json()["status"], "done");

    let status = house.fanfare(&["status"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    assert!(status.out.contains("ready") && status.out.contains("no key is configured"), "{status:?}");
    let status = house.fanfare(&["status", "--json"]).json();
    assert_eq!((&status["ready"], &status["store"]["accepted"]), (&true.into(), &1.into()), "{status}");
    let channel = |name: &str| {
        let found = status["channels"].as_array().unwrap().iter().find(|one| one["channel"] == name);
        found.unwrap().clone()
    };
    assert_eq!(channel("hook")["delivered"], 1, "{status}");
    assert_eq!(channel("log")["state"], "serving", "{status}");
}

#[test]
fn what_waits_for_a_channel_that_is_gone_shows_as_parked_and_the_status_is_bad_news() {
    let House { mut gateway, folder, .. } = house("");
    let url = format!("http://{}", gateway.address);
    let sent = fanfare_at(&url, "", &["send", "a.b", "--to", "hook", "--send-at", "2h"], "");
    assert_eq!(sent.code, Some(0), "{sent:?}");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let config = folder.path().join("fanfare.toml");
    std::fs::write(&config, "[server]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n").unwrap();
    let gateway = Gateway::start(&config);
    let url = format!("http://{}", gateway.address);
    let status = fanfare_at(&url, "", &["status"], "");
    assert_eq!(status.code, Some(5), "{status:?}");
    assert!(status.out.contains("hook     parked"), "{status:?}");
    let status = fanfare_at(&url, "", &["status", "--json"], "").json();
    assert_eq!(status["channels"][0]["scheduled"], 1, "{status}");
}

#[test]
fn every_field_of_a_notification_has_an_argument_and_a_repetition_sends_nothing_twice() {
    let house = house("[users.ann]\ncontacts = [{ channel = \"log\" }]\n");
    let other = format!("hook=http://{}/other", house.receiver.address);
    let arguments = [
        "send",
        "a.b",
        "--title",
        "T",
        "--body",
        "-",
        "--data",
        "{\"order\": 1}",
        "--metadata",
        "{\"m\": 2}",
        "--to",
        "hook",
        "--to",
        &other,
        "--priority",
        "high",
        "--expires-at",
        "2h",
        "--dedup-key",
        "d",
        "--dedup-window",
        "5m",
        "--idempotency-key",
        "k",
        "--wait=20s",
        "--json",
    ];
    let url = format!("http://{}", house.gateway.address);
    let sent = fanfare_at(&url, "", &arguments, "from standard input");
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let id = sent.json()["id"].as_str().unwrap().to_owned();
    let shown = crate::child::call(house.gateway.address, "GET", &format!("/api/v1/notifications/{id}"), "");
    let shown = shown.unwrap().1;
    for (member, value) in [
        ("type", "\"a.b\""),
        ("title", "\"T\""),
        ("body", "\"from standard input\""),
        ("data", "{\"order\":1}"),
        ("metadata", "{\"m\":2}"),
        ("priority", "\"high\""),
        ("status", "\"done\""),
    ] {
        assert_eq!(shown[member].to_string(), value, "{shown}");
    }
    assert!(shown["expires_at"].is_string(), "{shown}");
    assert_eq!(shown["deliveries"].as_array().map(Vec::len), Some(2), "{shown}");

    let later = house.fanfare(&["send", "a.b", "--to", "log", "--send-at", "2h", "--json"]);
    assert_eq!(later.json()["status"], "scheduled", "{later:?}");
    let twin = house.fanfare(&["send", "a.b", "--to", "log", "--dedup-key", "d", "--wait"]);
    assert!(twin.code == Some(0) && twin.out.contains(&id), "{twin:?}");
    let user = house.fanfare(&["send", "a.c", "--user", "nobody"]);
    assert_eq!(user.code, Some(1), "{user:?}");
    assert!(user.err.contains("user.unknown at /to/0/user"), "{user:?}");

    let file = house.folder.path().join("n.json");
    std::fs::write(&file, r#"{"type":"from.file","to":[{"channel":"log"}]}"#).unwrap();
    let file = file.to_str().unwrap();
    let first = house.fanfare(&["send", "--file", file, "--idempotency-key", "once", "--json"]);
    let again = house.fanfare(&["send", "--file", file, "--idempotency-key", "once", "--json"]);
    assert_eq!(first.json()["id"], again.json()["id"]);
}

#[test]
fn dead_letters_are_listed_shown_sent_again_and_deleted() {
    let house = house("");
    house.receiver.status.store(400, Ordering::SeqCst);
    let sent = house.fanfare(&["send", "a.b", "--to", "hook", "--title", "lost", "--wait"]);
    assert_eq!(sent.code, Some(5), "{sent:?}");
    assert!(sent.out.contains("not delivered to all, or not yet"), "{sent:?}");
    for kind in ["a.b", "a.c", "a.d"] {
        assert_eq!(house.fanfare(&["send", kind, "--to", "hook", "--wait"]).code, Some(5));
    }
    let listed = house
        .fanfare(&["dlq", "list", "--type", "a.b", "--code", "channel.http-400", "--since", "1h", "--json"])
        .json();
    let ids: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    let [second, first] = ids.as_slice() else { panic!("{listed}") };
    let page = house.fanfare(&["dlq", "list", "--limit", "1"]);
    assert!(page.out.contains("there are more") && page.out.contains("channel.http-400"), "{page:?}");
    let cursor = page.out.split_whitespace().last().unwrap();
    let rest = house.fanfare(&["dlq", "list", "--cursor", cursor, "--json"]).json();
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(3), "{rest}");

    let shown = house.fanfare(&["dlq", "show", first]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for part in ["lost", "channel.http-400", "attempt 1 failed", "fanfare dlq retry"] {
        assert!(shown.out.contains(part), "{part}: {shown:?}");
    }
    assert_eq!(house.fanfare(&["dlq", "delete", second]).code, Some(0));
    house.receiver.status.store(204, Ordering::SeqCst);
    let both = house.fanfare(&["dlq", "retry", second, first]);
    assert_eq!(both.code, Some(1), "the deleted one is refused: {both:?}");
    assert!(both.err.contains("dlq.not-dead") && both.out.contains("queued"), "the other goes: {both:?}");
    let all = house.fanfare(&["dlq", "retry-all", "--channel", "hook", "--json"]);
    assert_eq!(all.json()["retried"], 2, "{all:?}");
    let empty = house.fanfare(&["dlq", "list"]);
    assert_eq!((empty.code, empty.out.as_str()), (Some(0), "no dead letters\n"), "{empty:?}");
    let gone = house.fanfare(&["dlq", "show", second]);
    assert!(gone.code == Some(5) && gone.out.contains("it is no dead letter now"), "{gone:?}");
}

#[test]
fn a_key_that_is_missing_unknown_or_too_narrow_is_told_with_the_remedy_and_exit_4() {
    let keys = format!("[[keys]]\nname = \"ci\"\nsha256 = \"{TEST_KEY}\"\nscopes = [\"submit\"]\n");
    let house = house(&keys);
    let url = format!("http://{}/", house.gateway.address);
    for (key, code, remedy) in [
        ("", "access.key-missing", "Set FANFARE_KEY"),
        ("wrong", "access.key-unknown", "Check FANFARE_KEY"),
        ("test", "access.scope", "lacks the scope admin"),
    ] {
        let ended = fanfare_at(&url, key, &["status"], "");
        assert_eq!(ended.code, Some(4), "{ended:?}");
        assert!(ended.err.contains(code) && ended.err.contains(remedy), "{ended:?}");
        assert!(key.len() < 5 || !ended.err.contains(key), "the key is not shown: {ended:?}");
        let ended = fanfare_at(&url, key, &["dlq", "list", "--json"], "");
        assert_eq!((ended.code, ended.out.as_str()), (Some(4), ""), "{ended:?}");
        assert_eq!(ended.error()["code"], code, "{ended:?}");
    }
    let sent = fanfare_at(&url, "test", &["send", "a.b", "--to", "log"], "");
    assert_eq!(sent.code, Some(0), "{sent:?}");
}

/// A server that answers every request with these bytes and closes.
fn stranger(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn a_gateway_that_is_not_there_or_something_else_that_is_has_its_own_message_and_exit_code() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = fanfare_at(&format!("http://{nobody}"), "", &["status"], "");
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.err.contains("no gateway answers at") && ended.err.contains("fanfare serve"), "{ended:?}");
    let ended = fanfare_at(&format!("http://{nobody}"), "", &["send", "a.b", "--json"], "");
    assert_eq!(ended.error()["code"], "client.unreachable", "{ended:?}");

    for (answer, says) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n<html/>", "the body is no JSON"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}", "no problem details"),
        ("HTTP/1.1 302 Found\r\nlocation: http://example.org/\r\ncontent-length: 0\r\n\r\n", "answered 302"),
    ] {
        let ended = fanfare_at(&format!("http://{}", stranger(answer)), "key", &["status"], "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(says) && ended.err.contains("FANFARE_URL"), "{ended:?}");
    }
    let half = stranger("HTTP/1.1 202 Accepted\r\ncontent-length: 99\r\n\r\n{");
    let ended = fanfare_at(&format!("http://{half}"), "", &["send", "a.b"], "");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("--idempotency-key cli-"), "says how to find out: {ended:?}");
}

#[test]
fn wrong_arguments_are_refused_before_anything_is_asked_and_exit_2() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (arguments, says) in [
        (&["send"][..], "<TYPE>"),
        (&["send", "a.b", "--data", "{order: 1}"], "quote it for the shell"),
        (&["send", "a.b", "--send-at", "tomorrow"], "RFC 3339"),
        (&["send", "a.b", "--file", "x"], "cannot be used with"),
        (&["send", "--file", "/nowhere/x.json"], "can't be read"),
        (&["trace", "order-1"], "a dash and a number"),
        (&["dlq", "retry"], "<ID>"),
        (&["dlq", "retry", "x"], "a dash and a number"),
        (&["dlq", "list", "--limit", "0"], "1..=1000000"),
        (&["status", "--url", "localhost:8080"], "http://127.0.0.1:8080"),
    ] {
        let ended = fanfare_at(&format!("http://{nobody}"), "", arguments, "");
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.err.contains(says), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn the_address_may_come_from_the_gateways_own_file() {
    let house = house("");
    let config = house.folder.path().join("client.toml");
    std::fs::write(&config, format!("[server]\nlisten = \"{}\"\n", house.gateway.address)).unwrap();
    let ended = fanfare_at("", "", &["status", "--config", config.to_str().unwrap()], "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn the_help_of_each_command_shows_examples_and_exit_codes() {
    for command in [
        &["send"][..],
        &["status"],
        &["trace"],
        &["dlq"],
        &["dlq", "list"],
        &["dlq", "show"],
        &["dlq", "retry"],
        &["dlq", "retry-all"],
        &["dlq", "delete"],
    ] {
        let ended = fanfare_at("", "", &[command, &["--help"]].concat(), "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let example = format!("Examples:\n  fanfare {}", command.join(" "));
        assert!(ended.out.contains(&example), "{command:?}: {}", ended.out);
        for part in ["FANFARE_URL", "FANFARE_KEY", "--json", "Exit codes: 0"] {
            assert!(ended.out.contains(part), "{command:?} lacks {part}: {}", ended.out);
        }
    }
}
