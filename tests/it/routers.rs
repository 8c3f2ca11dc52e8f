//! The router while the gateway runs: installed, activated, rolled back by command; swapped when its file changes.

use std::path::{Path, PathBuf};

use fanfare_test_components as components;
use serde_json::Value;

use crate::child::Gateway;
use crate::command::{Ended, command};
use crate::house::{House, LOG, NOTIFICATIONS};

const ROUTER: &str = "/api/v1/admin/routers/default";

/// The built-in router, which sends everything to the log.
const TO_LOG: &str = "[routers.default]\nplugin = \"rules\"\nsettings = { rules = [{ name = \"all\", then = { channels = [\"log\"] } }] }\n";

fn fanfare(house: &House, arguments: &[&str]) -> Ended {
    let mut command = command(Path::new("."));
    command.args(arguments).env("FANFARE_URL", format!("http://{}", house.gateway.address));
    Ended::of(command.env_remove("FANFARE_KEY").env_remove("FANFARE_CONFIG").output().unwrap())
}

/// A component in a file.
fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// How a notification that names nobody ends.
fn routed(house: &House) -> Value {
    house.submit_and_wait(r#"{"type":"a.b"}"#)["deliveries"].clone()
}

#[test]
fn a_router_is_installed_activated_and_rolled_back_by_command_and_a_restart_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::start("", &format!("{LOG}{TO_LOG}"));
    assert_eq!(routed(&house)[0]["status"], "delivered");
    let probe = file(&folder, "router_probe.wasm", components::ROUTER_PROBE);
    let installed = fanfare(&house, &["plugin", "install", probe.to_str().unwrap()]).good();
    assert!(installed.contains("fanfare router activate default --plugin "), "{installed}");

    let activate = ["router", "activate", "default", "--plugin", "router_probe", "--settings", "{}"];
    let activated = fanfare(&house, &[&activate[..], &["--json"]].concat()).json();
    assert_eq!((&activated["generation"], &activated["plugin"]), (&2.into(), &"router_probe 0.1.0".into()));
    // The probe sends nothing anywhere.
    assert_eq!(routed(&house).as_array().map(Vec::len), Some(0));
    let refused = fanfare(&house, &["plugin", "remove", "router_probe"]);
    assert!(refused.err.contains("router default uses it"), "{refused:#?}");

    house.gateway.signal("TERM");
    assert!(house.gateway.wait().success());
    house.gateway = Gateway::start(&house.config);
    assert_eq!(house.call("GET", ROUTER, "").1["generation"], 2, "what is later than the file serves on");

    let back = fanfare(&house, &["router", "rollback", "default"]).good();
    assert!(back.contains("generation 1: rules"), "{back}");
    assert_eq!(routed(&house)[0]["status"], "delivered");
    let refused = fanfare(&house, &["router", "rollback", "default", "--json"]);
    assert!(refused.code == Some(1) && refused.err.contains("router.no-rollback"), "{refused:#?}");
    let listed = fanfare(&house, &["router", "list"]).good();
    assert!(listed.contains("default") && listed.contains("serving") && listed.contains("rules"), "{listed}");
    let shown = fanfare(&house, &["router", "show", "default"]).good();
    for says in ["generation 1: rules", "router_probe 0.1.0", "rollback", "activate", "\"all\""] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    let audit = fanfare(&house, &["audit", "--subject", "router default", "--json"]).json();
    let acts: Vec<_> = audit["items"].as_array().unwrap().iter().map(|one| one["act"].clone()).collect();
    assert_eq!(acts, ["rollback", "activate", "activate"], "{audit}");
    fanfare(&house, &["plugin", "remove", "router_probe"]).good();
}

#[test]
fn a_router_that_can_not_serve_is_refused_and_the_old_one_decides_on() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start("", &format!("{LOG}{TO_LOG}"));
    let probe = file(&folder, "router_probe.wasm", components::ROUTER_PROBE);
    fanfare(&house, &["plugin", "install", probe.to_str().unwrap()]).good();
    for (path, body, status, code) in [
        ("default/activate", r#"{"plugin":"console"}"#, 422, "plugin.kind"),
        ("default/activate", r#"{"plugin":"rules","settings":{"rules":7}}"#, 422, "config.settings"),
        ("default/activate", r#"{"plugin":"nope"}"#, 404, "plugin.unknown"),
        ("default/activate", r#"{"plugin":"rules","grants":{"http":[]}}"#, 422, "request.invalid-field"),
        ("default/activate", r#"{"plugin":"rules","canary":{"share":"5%"}}"#, 422, "request.invalid-field"),
        ("default/activate?dry=1", r#"{"plugin":"rules"}"#, 400, "request.bad-query"),
        ("other/activate", r#"{"plugin":"rules"}"#, 404, "router.absent"),
        ("other/rollback", "", 404, "router.absent"),
        ("default/rollback", "", 409, "router.no-rollback"),
        ("default/rollback", "{}", 400, "request.unexpected-body"),
    ] {
        let (got, answer) = house.call("POST", &format!("/api/v1/admin/routers/{path}"), body);
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{path} {body}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{answer}");
    }
    assert_eq!(house.call("GET", ROUTER, "").1["generation"], 1);
    assert_eq!(routed(&house)[0]["status"], "delivered");

    // Without a section there is none, and nothing to activate.
    let house = House::start("", LOG);
    assert_eq!(house.call("GET", "/api/v1/admin/routers", "").1["items"], serde_json::json!([]));
    let refused = fanfare(&house, &["router", "activate", "default", "--plugin", "rules"]);
    assert!(refused.code == Some(1) && refused.err.contains("[routers.default]"), "{refused:#?}");
}

#[test]
fn a_watched_router_is_swapped_when_its_file_changes_and_a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let component = plugins.join("mine.wasm");
    std::fs::write(&component, components::ROUTER_PROBE).unwrap();
    let config = folder.path().join("fanfare.toml");
    let head = "[server]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
    let router = "[routers.default]\nplugin = \"./plugins/mine.wasm\"\n";
    std::fs::write(&config, format!("{head}{LOG}{router}")).unwrap();
    let gateway = Gateway::start_watching(&config, &[Path::new("--watch"), &plugins]);
    let serves = || crate::child::call(gateway.address, "GET", ROUTER, "").unwrap().1;
    assert_eq!(serves()["generation"], 1);
    // Half a file, and a channel where a router is wanted: the log says so each time.
    for (bytes, says) in [(&b"half a compon"[..], "plugin.invalid"), (components::DELIVER, "is a channel")] {
        std::fs::write(&component, bytes).unwrap();
        while !gateway.log().contains(says) {
            std::thread::yield_now();
        }
    }
    assert_eq!(serves()["generation"], 1);
    std::fs::write(&component, components::ROUTER_FAULT).unwrap();
    let swapped = loop {
        let router = serves();
        if router["plugin"] == "router_fault 0.1.0" {
            break router;
        }
        std::thread::yield_now();
    };
    assert_eq!((&swapped["generation"], &swapped["made_by"]), (&2.into(), &"watch".into()), "{swapped}");
    // It decides from now on: its fault is what ends up with the notification.
    let (status, accepted) =
        crate::child::call(gateway.address, "POST", NOTIFICATIONS, r#"{"type":"a.b"}"#).unwrap();
    assert_eq!(status, 202, "{accepted}");
    while !gateway.log().contains("the rules can't be read today") {
        std::thread::yield_now();
    }
}
