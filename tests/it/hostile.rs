//! Components that break every rule, behind the whole gateway: each fails under its own code, and all others go on.

use std::collections::HashSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use fanfare_test_components as components;
use serde_json::Value;

use crate::author::bare;
use crate::contracts::claiming;
use crate::hook::Hook;
use crate::house::{House, NOTIFICATIONS};

const ROUNDS: usize = 3;

/// A folder with the components as files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(format!("{name}.wasm")), bytes).unwrap();
    }
    folder
}

fn channel(name: &str) -> String {
    // Only the one that sleeps is stopped by the clock on the wall, however busy the machine is.
    let limits = if name == "sleep" { "limits = { wall_ms = 1000 }\n" } else { "" };
    format!("[channels.{name}]\nplugin = \"./{name}.wasm\"\nretry = {{ max_retries = 0 }}\n{limits}")
}

#[test]
fn each_hostile_component_ends_under_its_own_code_and_its_neighbour_delivers_everything() {
    let hostile: [(&str, &[u8], &str); 15] = [
        ("trap", components::TRAP_SEND, "plugin.trap"),
        ("panics", components::PANICS, "plugin.trap"),
        ("spin", components::SPIN, "plugin.cpu"),
        ("sleep", components::SLEEP, "plugin.timeout"),
        ("allocate", components::ALLOCATE, "plugin.memory"),
        ("recurse", components::RECURSE, "plugin.stack"),
        ("flood-log", components::FLOOD_LOG, "plugin.calls"),
        ("flood-calls", components::FLOOD_CALLS, "plugin.calls"),
        ("huge-receipt", components::HUGE_RECEIPT, "plugin.data"),
        ("leak-handles", components::LEAK_HANDLES, "plugin.handles"),
        ("garbage", components::GARBAGE, "channel.plugin-trap----31m"),
        ("mapped", components::HTTP_MAPPED, "channel.http-denied"),
        ("http-ungranted", components::HTTP_UNGRANTED, "channel.http-denied"),
        ("http-huge", components::HTTP_HUGE, "channel.http-limit"),
        ("http-many", components::HTTP_MANY, "channel.http-limit"),
    ];
    let files = hostile.map(|(name, bytes, _)| (name, bytes));
    let (hook, target) = (Hook::start(|| 204), Hook::start(|| 204));
    let reach = |name: &str| match name {
        "mapped" => {
            let origin = "http://inside.example:9";
            format!("settings = {{ url = \"{origin}\" }}\ngrants = {{ http = [\"{origin}\"] }}\n")
        }
        name if name.starts_with("http") => target.reach(),
        _ => String::new(),
    };
    let section = |name: &str| channel(name) + &reach(name);
    let sections = hostile.map(|(name, ..)| section(name)).concat() + &hook.channel("neighbour");
    let house = House::start_in(folder(&files), "", &sections);
    let submit = |channel: &str| {
        let (status, accepted) = house.call(
            "POST",
            NOTIFICATIONS,
            &format!(r#"{{"type":"a.b","to":[{{"channel":"{channel}"}}]}}"#),
        );
        assert_eq!(status, 202, "{accepted}");
    };
    let mut sent = 0;
    for _ in 0..ROUNDS {
        for (name, ..) in hostile {
            submit(name);
            submit("neighbour");
            sent += 1;
        }
    }
    let arrived: HashSet<String> = (0..sent)
        .map(|_| hook.heard.recv().unwrap())
        .map(|heard| {
            heard.head.lines().find_map(|line| line.strip_prefix("webhook-id: ").map(str::to_owned)).unwrap()
        })
        .collect();
    assert_eq!(arrived.len(), sent);
    let letters = loop {
        let page = house.call("GET", "/api/v1/admin/dlq?limit=200", "").1;
        let items = page["items"].as_array().unwrap().clone();
        if items.len() == ROUNDS * hostile.len() {
            break items;
        }
        std::thread::yield_now();
    };
    for (name, _, code) in hostile {
        let of_it: Vec<&Value> = letters.iter().filter(|letter| letter["channel"] == name).collect();
        assert_eq!(of_it.len(), ROUNDS, "{name}");
        for letter in of_it {
            assert_eq!(
                (&letter["fault"]["code"], &letter["attempts"]),
                (&code.into(), &1.into()),
                "{letter}"
            );
            let message = letter["fault"]["message"].as_str().unwrap();
            assert!(message.len() <= 1_024 && !message.contains(['\u{1b}', '\u{202e}']), "{letter}");
            let status = &letter["fault"]["status"];
            assert!(status.as_u64().is_none_or(|status| (100..600).contains(&status)), "{letter}");
        }
    }
    assert!(hook.heard.try_recv().is_err(), "nothing arrives twice");
    // The process that took all this is the one that serves on.
    submit("neighbour");
    hook.heard.recv().unwrap();
}

#[test]
fn a_hostile_router_holds_up_nobody_and_what_it_can_not_route_is_a_dead_letter() {
    for (file, bytes, code) in [
        ("spin", components::ROUTER_SPIN, "plugin.timeout"),
        ("garbage", components::ROUTER_GARBAGE, "route.invalid"),
        ("fault", components::ROUTER_FAULT, "channel.no-decision"),
    ] {
        let hook = Hook::start(|| 204);
        let router = format!("[routers.default]\nplugin = \"./{file}.wasm\"\ndeadline = \"100ms\"\n");
        let house = House::start_in(folder(&[(file, bytes)]), "", &(router + &hook.channel("neighbour")));
        let (status, unrouted) = house.call("POST", NOTIFICATIONS, r#"{"type":"a.b"}"#);
        assert_eq!(status, 202, "{unrouted}");
        let direct = house.submit_and_wait(r#"{"type":"a.b","to":[{"channel":"neighbour"}]}"#);
        assert_eq!(direct["deliveries"][0]["status"], "delivered");
        hook.heard.recv().unwrap();
        let letter = loop {
            let items = house.call("GET", "/api/v1/admin/dlq", "").1["items"].clone();
            if let Some(letter) = items.get(0) {
                break letter.clone();
            }
            std::thread::yield_now();
        };
        assert_eq!(
            (&letter["channel"], &letter["fault"]["code"]),
            (&"(router)".into(), &code.into()),
            "{letter}"
        );
        assert_eq!(letter["notification_id"], unrouted["id"]);
    }
}

/// What the gateway's own compiler makes of a component, posing as one.
fn compiled(component: &[u8]) -> Vec<u8> {
    let mut compiler = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .arg("compile-component")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    compiler.stdin.take().unwrap().write_all(component).unwrap();
    let made = compiler.wait_with_output().unwrap();
    assert!(made.status.success() && made.stdout.len() > component.len() / 2, "{}", made.stdout.len());
    made.stdout
}

#[test]
fn a_component_that_can_not_serve_stops_the_start_and_changes_nothing_on_reload() {
    let half = &components::DELIVER[..components::DELIVER.len() / 2];
    let (bare, too_new) = (bare(components::DELIVER), claiming(components::DELIVER, "2.0.0"));
    let machine_code = compiled(components::DELIVER);
    let cases: [(&str, &[u8], &str); 11] = [
        ("half", half, "plugin.invalid"),
        ("machine-code", &machine_code, "plugin.invalid"),
        ("no-manifest", &bare, "plugin.invalid"),
        ("lying", components::LYING, "plugin.invalid"),
        ("too-new", &too_new, "plugin.version"),
        ("trap-start", components::TRAP_START, "plugin.check"),
        ("core", b"\0asm\x01\0\0\0", "plugin.invalid"),
        ("empty", b"\0asm\x0d\0\x01\0", "plugin.invalid"),
        ("router", components::ROUTER_SPIN, "plugin.kind"),
        ("check", components::CHECK_FAULT, "plugin.check"),
        ("trap-check", components::TRAP_CHECK, "plugin.check"),
    ];
    let files = cases.map(|(name, bytes, _)| (name, bytes));
    let hook = Hook::start(|| 204);
    let house = House::start_in(folder(&files), "", &hook.channel("neighbour"));
    for (name, _, code) in cases {
        house.rewrite("", &(channel(name) + &hook.channel("neighbour")));
        let ended = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["config", "check", "--config"])
            .arg(&house.config)
            .output()
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(code) && said.contains(name), "{name}: {said}");
        house.gateway.signal("HUP");
        while !house.gateway.log().contains(&format!("channels.{name}")) {
            std::thread::yield_now();
        }
        let body = format!(r#"{{"type":"a.b","to":[{{"channel":"{name}"}}]}}"#);
        assert_eq!(house.call("POST", NOTIFICATIONS, &body).1["code"], "channel.unknown");
        house.submit_and_wait(r#"{"type":"a.b","to":[{"channel":"neighbour"}]}"#);
        hook.heard.recv().unwrap();
    }
}
