//! A fan-out over a thousand deliveries: made in parts, each delivery once, also when the gateway is killed meanwhile.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::child::{Gateway, call, call_with};

const USERS: usize = 900;

/// Every user is reached twice, so that a notification to all of them is 1,800 deliveries.
fn configure(folder: &Path) -> PathBuf {
    let (config, store) = (folder.join("fanfare.toml"), folder.join("data"));
    let mut text =
        format!("[server]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {store:?}\n[log]\nformat = \"json\"\n");
    for channel in ["one", "two"] {
        text.push_str(&format!("[channels.{channel}]\nplugin = \"console\"\n"));
    }
    for user in 0..USERS {
        let contact = |channel: &str| format!("{{ channel = \"{channel}\", address = \"{user}\" }}");
        text.push_str(&format!("[users.u{user}]\ncontacts = [{}, {}]\n", contact("one"), contact("two")));
    }
    text.push_str(
        "[routers.default]\nplugin = \"rules\"\n[[routers.default.settings.rules]]\nname = \"both\"\n\
         then = { channels = [\"one\", \"two\"] }\n",
    );
    std::fs::write(&config, text).unwrap();
    config
}

fn submit(gateway: &Gateway, headers: &str) -> Value {
    let to: Vec<_> = (0..USERS).map(|user| format!(r#"{{"user":"u{user}"}}"#)).collect();
    let body = format!(r#"{{"type":"a.b","to":[{}]}}"#, to.join(","));
    let (status, _, answer) =
        call_with(gateway.address, "POST", "/api/v1/notifications", headers, &body).unwrap();
    assert!(status == 202 || status == 200, "{answer}");
    answer
}

/// The ids of all deliveries, page by page, each of which has to be delivered.
fn delivered(gateway: &Gateway, id: &str) -> HashSet<String> {
    let (mut ids, mut cursor) = (HashSet::new(), String::new());
    loop {
        let path = format!("/api/v1/notifications/{id}{cursor}");
        let (_, page) = call(gateway.address, "GET", &path, "").unwrap();
        for delivery in page["deliveries"].as_array().unwrap() {
            assert_eq!(delivery["status"], "delivered", "{delivery}");
            assert!(ids.insert(delivery["id"].as_str().unwrap().to_owned()), "a delivery is listed twice");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("?cursor={next}"),
            None => return ids,
        }
    }
}

fn status(gateway: &Gateway, id: &str) -> String {
    let path = format!("/api/v1/notifications/{id}");
    let (_, answer) = call(gateway.address, "GET", &path, "").unwrap();
    answer["status"].as_str().unwrap().to_owned()
}

#[test]
fn more_than_a_thousand_deliveries_are_made_in_parts_and_survive_a_kill_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path());
    let gateway = Gateway::start(&config);
    let answer = submit(&gateway, "");
    assert_eq!(answer["status"], "routing", "it is accepted before it is routed: {answer}");
    let id = answer["id"].as_str().unwrap().to_owned();
    gateway.kill();
    let gateway = Gateway::start(&config);
    while status(&gateway, &id) != "done" {
        std::thread::yield_now();
    }
    assert_eq!(delivered(&gateway, &id).len(), 2 * USERS);
    let (_, trace) = call(gateway.address, "GET", &format!("/api/v1/notifications/{id}/trace"), "").unwrap();
    let said = trace["items"].as_array().unwrap();
    assert!(said.iter().any(|event| event["detail"] == "1000 of 1800 targets so far"), "the trace says so");
}
