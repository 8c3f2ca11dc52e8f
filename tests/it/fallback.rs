//! A router's fallbacks, from the rule in the file to the trace: the whole gateway, with a channel that fails as told.

use std::path::Path;

use serde_json::Value;

use crate::child::{Gateway, call, call_with};

/// Channels that do as their address says; each user is reached through `first`, then `second`, then `third`.
fn start(folder: &Path) -> Gateway {
    let plugin = folder.join("scripted.wasm");
    std::fs::write(&plugin, fanfare_test_components::SCRIPTED).unwrap();
    let (config, store) = (folder.join("fanfare.toml"), folder.join("data"));
    let mut text =
        format!("[server]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {store:?}\n[log]\nformat = \"json\"\n");
    for channel in ["first", "second", "third"] {
        text.push_str(&format!("[channels.{channel}]\nplugin = {plugin:?}\n"));
    }
    for (user, ways) in
        [("lucky", ["ok", "ok", "ok"]), ("patient", ["permanent", "ok", "ok"]), ("lost", ["permanent"; 3])]
    {
        let contact =
            |(channel, way): (&str, &str)| format!("{{ channel = \"{channel}\", address = \"{way}\" }}");
        let contacts: Vec<_> = ["first", "second", "third"].into_iter().zip(ways).map(contact).collect();
        text.push_str(&format!("[users.{user}]\ncontacts = [{}]\n", contacts.join(", ")));
    }
    text.push_str(
        "[routers.default]\nplugin = \"rules\"\n[[routers.default.settings.rules]]\nname = \"in turn\"\n\
         then = { channels = [\"first\", \"second\", \"third\"], fallback = true }\n",
    );
    std::fs::write(&config, text).unwrap();
    Gateway::start(&config)
}

fn submit(gateway: &Gateway, user: &str) -> Value {
    let body = format!(r#"{{"type":"a.b","to":[{{"user":"{user}"}}]}}"#);
    let path = "/api/v1/notifications";
    let (status, _, answer) = call_with(gateway.address, "POST", path, "prefer: wait=30\r\n", &body).unwrap();
    assert_eq!(status, 202, "{answer}");
    answer
}

/// Channel and status of each delivery.
fn ends(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    answer["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (text(&d["channel"]), text(&d["status"])))
        .collect()
}

#[test]
fn a_fallback_is_sent_only_when_the_way_before_it_is_dead_and_the_trace_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path());
    let in_order = |statuses: [&str; 3]| -> Vec<(String, String)> {
        let ways = ["first", "second", "third"].into_iter().zip(statuses);
        ways.map(|(channel, status)| (channel.to_owned(), status.to_owned())).collect()
    };
    for (user, statuses) in [
        ("lucky", ["delivered", "suppressed", "suppressed"]),
        ("patient", ["dead", "delivered", "suppressed"]),
        ("lost", ["dead", "dead", "dead"]),
    ] {
        let answer = submit(&gateway, user);
        assert_eq!(ends(&answer), in_order(statuses), "{user}: {answer}");
        assert_eq!(answer["status"], "done", "{answer}");
        let path = format!("/api/v1/notifications/{}/trace", answer["id"].as_str().unwrap());
        let (_, trace) = call(gateway.address, "GET", &path, "").unwrap();
        let events = trace["items"].as_array().unwrap();
        let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
        let count = |wanted: &str| statuses.iter().filter(|status| **status == wanted).count();
        assert_eq!(of("attempted"), count("dead") + count("delivered"), "{trace}");
        assert_eq!(of("fallback-begun"), of("attempted") - 1, "{trace}");
        let unneeded = |event: &&Value| {
            event["detail"].as_str().is_some_and(|detail| {
                detail.starts_with("fallback.unneeded: ") && detail.contains("was delivered")
            })
        };
        assert_eq!(events.iter().filter(unneeded).count(), count("suppressed"), "{trace}");
    }
    let (_, letters) = call(gateway.address, "GET", "/api/v1/admin/dlq", "").unwrap();
    assert_eq!(letters["items"].as_array().map(Vec::len), Some(4), "{letters}");
}
