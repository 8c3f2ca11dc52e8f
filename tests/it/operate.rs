//! Operating plugins: the command line and the API against a running gateway; swaps under load, kills in mid-swap, suspension.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_test_components as components;
use serde_json::Value;

use crate::child::{Gateway, Receiver, call};
use crate::command::{Ended, command};

/// Looks at something that comes by itself, a twentieth of a second apart, before a test gives up on it.
const LOOKS: usize = 2_400;

struct House {
    gateway: Gateway,
    config: PathBuf,
    folder: tempfile::TempDir,
}

fn house(channels: &str) -> House {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let head = "[server]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
    std::fs::write(&config, format!("{head}{channels}")).unwrap();
    House { gateway: Gateway::start(&config), config, folder }
}

/// A channel that posts to the receiver.
fn hook(receiver: &Receiver) -> String {
    format!(
        "[channels.hook]\nplugin = \"webhook\"\nsettings = {{ url = \"http://{0}/\" }}\n\
         grants = {{ http = [\"http://{0}\"] }}\n",
        receiver.address
    )
}

fn fanfare(gateway: &Gateway, arguments: &[&str]) -> Ended {
    let ended = command(Path::new("."))
        .args(arguments)
        .env("FANFARE_URL", format!("http://{}", gateway.address))
        .env_remove("FANFARE_KEY")
        .env_remove("FANFARE_CONFIG")
        .output();
    Ended::of(ended.unwrap())
}

impl House {
    fn fanfare(&self, arguments: &[&str]) -> Ended {
        fanfare(&self.gateway, arguments)
    }

    /// Writes a component to a file, and gives its path.
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn get(&self, path: &str) -> Value {
        call(self.gateway.address, "GET", path, "").unwrap().1
    }

    /// Looks until `found` is content with what is at the path.
    fn until(&self, path: &str, found: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..LOOKS {
            last = self.get(path);
            if found(&last) {
                return last;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{path} never came to it: {last:#}")
    }

    fn submit(&self, channel: &str) -> String {
        let body = format!(r#"{{"type":"a.b","to":[{{"channel":"{channel}"}}],"title":"x"}}"#);
        let (status, answer) = call(self.gateway.address, "POST", "/api/v1/notifications", &body).unwrap();
        assert_eq!(status, 202, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }
}

/// The same component under another digest: with a custom section more.
fn variant(bytes: &[u8], tag: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.extend([0, 3, 1, b'x', tag]);
    bytes
}

#[test]
fn a_plugin_is_installed_reviewed_approved_tested_rolled_back_and_removed_by_command() {
    let receiver = Receiver::start();
    let house = house(&format!("[channels.log]\nplugin = \"console\"\n{}", hook(&receiver)));
    let file = house.file("http_post.wasm", components::HTTP_POST);
    let installed = house.fanfare(&["plugin", "install", &file]);
    assert_eq!(installed.code, Some(0), "{installed:?}");
    assert!(installed.out.contains("asks for http {settings.url}"), "{installed:?}");
    assert!(house.fanfare(&["plugin", "install", &file]).out.contains("installed already"));
    let listed = house.fanfare(&["plugin", "list", "--json"]).json();
    let digest = listed["items"][0]["digest"].as_str().unwrap().to_owned();
    let shown = house.fanfare(&["plugin", "show", &digest[..10], "--json"]).json();
    assert_eq!((&shown["name"], &shown["installed_by"]), (&"http_post".into(), &"local".into()), "{shown}");

    // It asks for more than the console does.
    let url = format!("http://{}/", receiver.address);
    let settings = format!(r#"{{"url": "{url}"}}"#);
    let base = ["channel", "activate", "log", "--plugin", "http_post", "--settings", settings.as_str()];
    let with = |more: &[&str]| house.fanfare(&[&base[..], more].concat());
    let refused = with(&["--json"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.err.contains("plugin.approval") && refused.err.contains("http {settings.url}"),
        "{refused:?}"
    );
    // Nothing is granted to it: it says what to paste.
    let refused = with(&["--approve"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let origin = format!("http://{}", receiver.address);
    assert!(refused.out.contains("[channels.log.grants]"), "{refused:?}");
    assert!(refused.out.contains(&format!("http = [\"{origin}\"]")), "{refused:?}");
    assert!(refused.out.contains("NO") && refused.err.contains("config.grant"), "{refused:?}");
    let grants = format!(r#"{{"http": ["{origin}"]}}"#);
    assert_eq!(with(&["--grants", &grants, "--dry-run"]).code, Some(5), "it would need approval");
    assert_eq!(house.fanfare(&["channel", "show", "log", "--json"]).json()["generation"], 1);
    let activated = with(&["--grants", &grants, "--approve", "--json"]);
    assert_eq!(activated.code, Some(0), "{activated:?}");
    assert_eq!(activated.json()["generation"], 2);

    let tested = house.fanfare(&["channel", "test", "log", "--json"]);
    assert_eq!((tested.code, &tested.json()["outcome"]), (Some(0), &"delivered".into()), "{tested:?}");
    let shown = house.fanfare(&["channel", "show", "log", "--json"]).json();
    assert_eq!(shown["usage"]["calls"], 1, "{shown}");
    assert!(shown["usage"]["bytes_out"].as_u64().is_some_and(|bytes| bytes > 0), "{shown}");
    assert_eq!(shown["usage"]["generations"][0]["generation"], 2, "{shown}");
    assert_eq!(shown["permissions"][0]["granted"], true, "{shown}");
    let text = house.fanfare(&["channel", "show", "log"]).out;
    for says in ["generation 2: http_post", "PEAK BYTES", "HOST CALLS", "+granted http"] {
        assert!(text.contains(says), "{says}: {text}");
    }

    let refused = house.fanfare(&["plugin", "remove", "http_post"]);
    assert!(refused.code == Some(1) && refused.err.contains("channel log uses it"), "{refused:?}");
    let back = house.fanfare(&["channel", "rollback", "log"]);
    assert!(back.code == Some(0) && back.out.contains("generation 1: console"), "{back:?}");
    assert_eq!(house.fanfare(&["plugin", "remove", &digest]).code, Some(0));
    let audit = house.fanfare(&["audit", "--json"]).json();
    let acts: Vec<String> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {} {}", entry["by"], entry["act"], entry["subject"]).replace('"', ""))
        .collect();
    let expected = [
        "local remove plugin http_post",
        "local rollback channel log",
        "local test channel log",
        "local activate channel log",
        "local install plugin http_post",
    ];
    assert_eq!(&acts[..5], &expected);
    assert_eq!(audit["items"][3]["digest"].as_str(), Some(digest.as_str()));
    assert!(audit["items"][3]["permissions_added"].to_string().contains("asks for http"), "{audit}");
}

#[test]
fn acts_that_make_no_sense_are_refused_with_what_to_do() {
    let house = house("[channels.log]\nplugin = \"console\"\n");
    let at = |path: &str| format!("/api/v1/admin/{path}");
    for (method, path, body, status, code) in [
        ("GET", "channels/nope", "", 404, "channel.absent"),
        ("POST", "channels/nope/pause", "", 404, "channel.absent"),
        ("POST", "channels/log/activate", "{}", 422, "request.invalid-field"),
        ("POST", "channels/log/activate", r#"{"plugin":"nope"}"#, 404, "plugin.unknown"),
        ("POST", "channels/log/activate", r#"{"plugin":"console","canry":1}"#, 422, "request.invalid-field"),
        (
            "POST",
            "channels/log/activate",
            r#"{"plugin":"console","canary":{"share":"0%"}}"#,
            422,
            "request.invalid-field",
        ),
        (
            "POST",
            "channels/log/activate",
            r#"{"plugin":"console","canary":{"share":"5%","ratio":0.5}}"#,
            422,
            "request.invalid-field",
        ),
        (
            "POST",
            "channels/log/activate",
            r#"{"plugin":"console","secrets":{"x":"file:/etc/passwd"}}"#,
            422,
            "config.secret",
        ),
        (
            "POST",
            "channels/log/activate",
            r#"{"plugin":"console","settings":{"nope":1}}"#,
            422,
            "config.settings",
        ),
        ("POST", "channels/log/activate", r#"{"plugin":"rules"}"#, 422, "plugin.kind"),
        // What is meant for the body is not passed over in the path.
        ("POST", "channels/log/activate?dry_run=true", r#"{"plugin":"console"}"#, 400, "request.bad-query"),
        ("POST", "channels/log/test?address=a", "", 400, "request.bad-query"),
        ("DELETE", "plugins/console?force=1", "", 400, "request.bad-query"),
        ("POST", "channels/log/rollback", "", 409, "channel.no-rollback"),
        ("POST", "channels/log/rollback", "{}", 400, "request.unexpected-body"),
        ("POST", "plugins", "no component", 422, "plugin.invalid"),
        ("POST", "plugins", "", 400, "request.incomplete"),
        ("DELETE", "plugins/console", "", 409, "plugin.in-use"),
        ("GET", "plugins/nope", "", 404, "plugin.unknown"),
        ("GET", "audit?limit=0", "", 400, "request.bad-query"),
    ] {
        let (got, answer) = call(house.gateway.address, method, &at(path), body).unwrap();
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{method} {path} {body}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{answer}");
    }
    let channel = house.get(&at("channels/log"));
    assert_eq!((&channel["generation"], &channel["state"]), (&1.into(), &"serving".into()), "{channel}");
}

#[test]
fn a_component_over_64_mib_is_refused_by_the_command_and_by_the_gateway() {
    let house = house("[channels.log]\nplugin = \"console\"\n");
    let large = house.folder.path().join("large.wasm");
    std::fs::File::create(&large).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    let refused = house.fanfare(&["plugin", "install", large.to_str().unwrap()]);
    assert!(refused.code == Some(2) && refused.err.contains("64 MiB"), "{refused:?}");
    // What is announced as too large is refused before any of it is sent.
    let mut stream = std::net::TcpStream::connect(house.gateway.address).unwrap();
    let head = format!(
        "POST /api/v1/admin/plugins HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        64 * 1024 * 1024 + 1
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("request.too-large"), "{answer}");
}

#[test]
fn deliveries_of_a_suspended_or_paused_channel_are_parked_and_arrive_when_it_goes_on() {
    let house = house("[channels.log]\nplugin = \"console\"\nsuspend_after = 3\n");
    let file = house.file("trap_send.wasm", components::TRAP_SEND);
    let trapping = house.fanfare(&["plugin", "install", &file, "--json"]).json();
    let trapping = trapping["digest"].as_str().unwrap();
    assert_eq!(house.fanfare(&["channel", "activate", "log", "--plugin", trapping]).code, Some(0));
    let mut ids: Vec<String> = (0..8).map(|_| house.submit("log")).collect();
    let channel = house.until("/api/v1/admin/channels/log", |channel| channel["state"] == "suspended");
    assert_eq!(channel["code"], "plugin.trap", "{channel}");
    assert!(channel["why"].as_str().unwrap().contains("attempts in a row"), "{channel}");
    assert!(channel["probe_at"].is_string(), "{channel}");
    ids.push(house.submit("log"));
    for id in &ids {
        let path = format!("/api/v1/notifications/{id}");
        house.until(&path, |state| state["deliveries"][0]["status"] == "parked");
    }
    let status = house.fanfare(&["status"]);
    assert!(status.code == Some(5) && status.out.contains("suspended"), "{status:?}");
    let listed = house.fanfare(&["channel", "list"]);
    assert!(listed.out.contains("suspended") && listed.out.contains("in a row"), "{listed:?}");
    let metrics = metrics(&house.gateway);
    assert!(metrics.contains("fanfare_channel_state{channel=\"log\",state=\"suspended\"} 1"), "{metrics}");

    assert_eq!(house.fanfare(&["channel", "pause", "log"]).json_or_text("paused"), Some(0));
    let activated = house.fanfare(&["channel", "activate", "log", "--plugin", "console", "--json"]);
    assert_eq!(activated.json()["state"], "paused", "{activated:?}");
    assert_eq!(house.get(&format!("/api/v1/notifications/{}", ids[0]))["deliveries"][0]["status"], "parked");
    assert_eq!(house.fanfare(&["channel", "resume", "log"]).code, Some(0));
    for id in &ids {
        let path = format!("/api/v1/notifications/{id}");
        house.until(&path, |state| state["deliveries"][0]["status"] == "delivered");
    }
}

#[test]
fn a_probe_that_traps_takes_none_of_a_deliverys_retries_however_often() {
    let channel = "[channels.log]\nplugin = \"console\"\nsuspend_after = 2\nprobe_after = \"10ms\"\n\
                   retry = { max_retries = 2, initial_delay = \"1ms\" }\n";
    let house = house(channel);
    let file = house.file("trap_send.wasm", components::TRAP_SEND);
    assert_eq!(house.fanfare(&["plugin", "install", &file]).code, Some(0));
    assert_eq!(house.fanfare(&["channel", "activate", "log", "--plugin", "trap_send"]).code, Some(0));
    let id = house.submit("log");
    let path = format!("/api/v1/notifications/{id}");
    // Two attempts suspend it; of those that follow, the first would have been the last.
    let state = house.until(&path, |state| state["deliveries"][0]["attempts"].as_u64() >= Some(7));
    assert_ne!(state["deliveries"][0]["status"], "dead", "{state}");
    assert_eq!(house.fanfare(&["channel", "activate", "log", "--plugin", "console"]).code, Some(0));
    let state = house.until(&path, |state| state["status"] == "done");
    assert_eq!(state["deliveries"][0]["status"], "delivered", "{state}");
}

impl Ended {
    /// The exit code, if what was printed says so.
    fn json_or_text(&self, says: &str) -> Option<i32> {
        if self.out.contains(says) { self.code } else { None }
    }
}

fn metrics(gateway: &Gateway) -> String {
    let mut stream = std::net::TcpStream::connect(gateway.address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_candidate_that_traps_is_rolled_back_by_itself_and_no_delivery_notices() {
    let receiver = Receiver::start();
    let house = house(&hook(&receiver));
    let file = house.file("trap_send.wasm", components::TRAP_SEND);
    assert_eq!(house.fanfare(&["plugin", "install", &file]).code, Some(0));
    let tried = house.fanfare(&[
        "channel",
        "activate",
        "hook",
        "--plugin",
        "trap_send",
        "--settings",
        "{}",
        "--canary",
        "40%",
        "--after",
        "5",
    ]);
    assert!(tried.code == Some(0) && tried.out.contains("40% go to generation 2"), "{tried:?}");
    let ids: Vec<String> = (0..60).map(|_| house.submit("hook")).collect();
    let channel = house.until("/api/v1/admin/channels/hook", |channel| channel["state"] == "serving");
    assert_eq!((&channel["generation"], &channel["canary"]), (&1.into(), &Value::Null), "{channel}");
    assert_eq!(channel["audit"][0]["by"], "canary", "{channel}");
    for id in &ids {
        let path = format!("/api/v1/notifications/{id}");
        let state = house.until(&path, |state| state["status"] == "done");
        assert_eq!(state["deliveries"][0]["status"], "delivered", "{state}");
        assert_eq!(state["deliveries"][0]["attempts"], 1, "{state}");
    }
    let seen = receiver.seen.lock().unwrap();
    assert_eq!((seen.len(), seen.values().all(|times| times.len() == 1)), (60, true));
}

const CLIENTS: usize = 64;
const SWAPS: usize = 100;

#[test]
fn a_hundred_swaps_under_load_fail_no_delivery_and_send_none_twice() {
    let receiver = Receiver::start();
    let house = house(&hook(&receiver));
    let webhook = built_in("webhook");
    let one = install(&house, &variant(&webhook, 1));
    let two = install(&house, &variant(&webhook, 2));
    let (address, over) = (house.gateway.address, AtomicBool::new(false));
    let accepted = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let id = submit(address);
                    // In turn with its own delivery, so that the load is there and no backlog grows.
                    await_end(address, &id);
                    accepted.lock().unwrap().push(id);
                }
            });
        }
        for swap in 0..SWAPS {
            activate(address, if swap % 2 == 0 { &one } else { &two });
        }
        over.store(true, Ordering::SeqCst);
    });
    let accepted = accepted.into_inner().unwrap();
    assert!(accepted.len() >= CLIENTS, "only {} were accepted", accepted.len());
    let channel = house.get("/api/v1/admin/channels/hook");
    assert_eq!(channel["generation"], 1 + SWAPS, "{channel}");
    let mut generations: HashMap<String, usize> = HashMap::new();
    for id in &accepted {
        let state = house.get(&format!("/api/v1/notifications/{id}"));
        let delivery = &state["deliveries"][0];
        assert_eq!((&delivery["status"], &delivery["attempts"]), (&"delivered".into(), &1.into()), "{state}");
        let trace = house.get(&format!("/api/v1/notifications/{id}/trace"));
        *generations.entry(generation(&trace)).or_default() += 1;
    }
    assert!(generations.len() > 1, "only one generation made attempts: {generations:?}");
    let seen = receiver.seen.lock().unwrap();
    assert_eq!(seen.len(), accepted.len());
    let twice: Vec<_> = seen.iter().filter(|(_, times)| times.len() > 1).collect();
    assert!(twice.is_empty(), "sent twice: {twice:?}");
}

/// The generation of a trace's attempt, as JSON.
fn generation(trace: &Value) -> String {
    let events = trace["items"].as_array().unwrap();
    let attempt = events.iter().find_map(|event| event.pointer("/attempt/generation"));
    attempt.unwrap_or_else(|| panic!("no attempt: {trace}")).to_string()
}

fn submit(address: SocketAddr) -> String {
    let body = r#"{"type":"a.b","to":[{"channel":"hook"}],"title":"x"}"#;
    let (status, answer) = call(address, "POST", "/api/v1/notifications", body).unwrap();
    assert_eq!(status, 202, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

fn await_end(address: SocketAddr, id: &str) {
    for _ in 0..LOOKS {
        let state = call(address, "GET", &format!("/api/v1/notifications/{id}"), "").unwrap().1;
        if state["status"] == "done" {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{id} never ended");
}

fn activate(address: SocketAddr, digest: &str) -> u64 {
    let body = format!(r#"{{"plugin":"{digest}"}}"#);
    let (status, answer) = call(address, "POST", "/api/v1/admin/channels/hook/activate", &body).unwrap();
    assert_eq!(status, 200, "{answer}");
    answer["generation"].as_u64().unwrap()
}

fn built_in(name: &str) -> Vec<u8> {
    fanfare_gateway::embedded::find(name).unwrap().to_vec()
}

fn install(house: &House, bytes: &[u8]) -> String {
    let file = house.file("component.wasm", bytes);
    let installed = house.fanfare(&["plugin", "install", &file, "--json"]);
    assert_eq!(installed.code, Some(0), "{installed:?}");
    installed.json()["digest"].as_str().unwrap().to_owned()
}

const KILLS: usize = 8;

#[test]
fn a_kill_in_mid_swap_leaves_the_old_or_the_new_generation_and_a_trial_goes_on() {
    let receiver = Receiver::start();
    let House { mut gateway, config, folder } = house(&hook(&receiver));
    let path = folder.path().join("variant.wasm");
    std::fs::write(&path, variant(&built_in("webhook"), 1)).unwrap();
    let installed = fanfare(&gateway, &["plugin", "install", path.to_str().unwrap(), "--json"]).json();
    let digest = installed["digest"].as_str().unwrap().to_owned();
    let listed = call(gateway.address, "GET", "/api/v1/admin/plugins", "").unwrap().1;
    let built_in =
        listed["built_in"].as_array().unwrap().iter().find(|one| one["name"] == "webhook").unwrap();
    let built_in = built_in["digest"].as_str().unwrap();
    // A trial that no act of a round has ended goes on in the next one.
    let (mut acknowledged, mut canary) = (1, None);
    for kill in 0..KILLS {
        let address = gateway.address;
        let mut asked = acknowledged;
        std::thread::scope(|scope| {
            let (digest, asked, canary, acknowledged) = (&digest, &mut asked, &mut canary, &mut acknowledged);
            scope.spawn(move || {
                loop {
                    let plugin = if *asked % 2 == 0 { digest.as_str() } else { built_in };
                    let trial = if *asked % 3 == 0 { r#","canary":{"share":"10%"}"# } else { "" };
                    let body = format!(r#"{{"plugin":"{plugin}"{trial}}}"#);
                    *asked += 1;
                    let path = "/api/v1/admin/channels/hook/activate";
                    let Some((status, answer)) = call(address, "POST", path, &body) else { return };
                    assert_eq!(status, 200, "{answer}");
                    *canary = answer["canary"]["generation"].as_u64();
                    *acknowledged =
                        (*acknowledged).max(answer["generation"].as_u64().unwrap()).max(canary.unwrap_or(0));
                }
            });
            // The kill comes at a moment of its own in each round.
            std::thread::sleep(Duration::from_millis(rand::random_range(5..250)));
            gateway.kill();
        });
        gateway = Gateway::start(&config);
        let channel = call(gateway.address, "GET", "/api/v1/admin/channels/hook", "").unwrap().1;
        let newest = channel["generations"][0]["generation"].as_u64().unwrap();
        assert!(
            newest == acknowledged || newest == acknowledged + 1,
            "round {kill}: {acknowledged} then {channel}"
        );
        assert!(matches!(channel["state"].as_str(), Some("serving" | "canary")), "{channel}");
        if newest == acknowledged {
            assert_eq!(channel["canary"]["generation"].as_u64(), canary, "round {kill}: {channel}");
        }
        (acknowledged, canary) = (newest, channel["canary"]["generation"].as_u64());
        let id = submit(gateway.address);
        await_end(gateway.address, &id);
        let state = call(gateway.address, "GET", &format!("/api/v1/notifications/{id}"), "").unwrap().1;
        assert_eq!(state["deliveries"][0]["status"], "delivered", "{state}");
    }
    drop(folder);
}

#[test]
fn what_is_watched_is_swapped_when_its_file_changes_and_a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let component = plugins.join("mine.wasm");
    std::fs::write(&component, components::DELIVER).unwrap();
    let config = folder.path().join("fanfare.toml");
    let text = "[server]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[channels.mine]\nplugin = \"./plugins/mine.wasm\"\n";
    std::fs::write(&config, text).unwrap();
    let watched = [Path::new("--watch"), plugins.as_path()];
    let gateway = Gateway::start_watching(&config, &watched);
    let house = House { gateway, config: config.clone(), folder };
    let path = "/api/v1/admin/channels/mine";
    assert_eq!(house.get(path)["generation"], 1);
    std::fs::write(&component, b"half a compon").unwrap();
    std::fs::write(&component, components::ECHO).unwrap();
    let channel = house.until(path, |channel| channel["plugin"] == "echo 0.1.0");
    assert_eq!(channel["made_by"], "watch", "{channel}");
    let generation = channel["generation"].as_u64().unwrap();
    // As compilers do it: written aside and renamed. What traps in its check is not served.
    let aside = plugins.join("mine.tmp");
    std::fs::write(&aside, components::TRAP_CHECK).unwrap();
    std::fs::rename(&aside, &component).unwrap();
    std::fs::write(&component, components::DELIVER).unwrap();
    let channel = house.until(path, |channel| channel["plugin"] == "deliver 0.1.0");
    assert_eq!(channel["generation"].as_u64(), Some(generation + 1), "{channel}");
    let House { mut gateway, folder, .. } = house;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    // What changed while nobody watched is swapped at the start.
    std::fs::write(&component, components::ECHO).unwrap();
    let gateway = Gateway::start_watching(&config, &watched);
    let house = House { gateway, config, folder };
    house.until(path, |channel| channel["plugin"] == "echo 0.1.0");
    let missing = house.folder.path().join("nowhere");
    let refused = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["serve", "--config", house.config.to_str().unwrap(), "--watch", missing.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nowhere"), "{refused:?}");
}
