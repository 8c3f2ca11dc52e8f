//! Notifications as people and programs submit them, and worse: empty, Unicode, control characters, huge.

use fanfare_model::json::JsonObject;
use fanfare_model::notification::Notification;
use fanfare_model::priority::Priority;
use serde_json::{Map, Value, json};

/// What one notification may carry is bounded by the request's body, 256 KiB.
const LARGE_BYTES: usize = 200 * 1024;

/// Variations on a notification, by name.
pub(super) fn notifications(plain: &Notification) -> Vec<(String, Notification)> {
    let mut all = vec![("text/plain".to_owned(), plain.clone())];
    let mut add = |name: &str, title: Option<&str>, body: Option<&str>| {
        let (title, body) = (title.map(str::to_owned), body.map(str::to_owned));
        all.push((format!("text/{name}"), Notification { title, body, ..plain.clone() }));
    };
    add("none", None, None);
    add("title-alone", Some("Title"), None);
    add("body-alone", None, Some("Body"));
    add("empty", Some(""), Some(""));
    add("blank", Some(" \t "), Some("\n\n"));
    for (name, text) in odd_texts() {
        add(name, Some(&text), Some(&text));
    }
    add("long-title", Some(&"t".repeat(10_000)), Some("Body"));
    add("long-body", Some("Title"), Some(&"b".repeat(LARGE_BYTES)));
    add("long-unicode", Some(&"한".repeat(3_000)), Some(&"👩‍👩‍👧‍👦".repeat(5_000)));
    add("many-lines", Some("Title"), Some(&"line\n".repeat(20_000)));
    for (name, data) in datas() {
        let (data, metadata) = (JsonObject::from(data.clone()), JsonObject::from(data));
        all.push((format!("data/{name}"), Notification { data, metadata, ..plain.clone() }));
    }
    for priority in [Priority::Critical, Priority::High, Priority::Normal, Priority::Low] {
        all.push((format!("priority/{}", priority.as_str()), Notification { priority, ..plain.clone() }));
    }
    for (name, event) in [("short", "a"), ("dotted", "a.b.c.d.e.f.g.h"), ("odd", "A_b-9.C")] {
        if let Ok(event_type) = event.parse() {
            all.push((format!("type/{name}"), Notification { event_type, ..plain.clone() }));
        }
    }
    let traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    all.push(("trace/context".to_owned(), Notification { traceparent, ..plain.clone() }));
    all
}

/// Texts that break what was not thought through.
pub(super) fn odd_texts() -> Vec<(&'static str, String)> {
    vec![
        ("korean", "결제 실패: 주문 1042".to_owned()),
        ("decomposed", "\u{1100}\u{1161}\u{11a8} e\u{301}".to_owned()),
        ("emoji", "👩‍👩‍👧‍👦🏳️‍🌈🇰🇷".to_owned()),
        ("right-to-left", "\u{202e}مرحبا\u{202c} שלום".to_owned()),
        ("combining", format!("a{}", "\u{301}".repeat(500))),
        ("beyond-the-plane", "𝕏\u{10ffff}\u{e000}".to_owned()),
        ("line-separators", "a\u{2028}b\u{2029}c\u{85}d".to_owned()),
        ("byte-order-mark", "\u{feff}a\u{fffe}".to_owned()),
        ("nul", "a\0b".to_owned()),
        ("control", (1..32).filter_map(char::from_u32).chain(['\u{7f}', '\u{9b}']).collect()),
        ("header-injection", "a\r\nX-Injected: 1\r\n\r\nbody".to_owned()),
        ("json", r#""},{"a":"\u0000\"#.to_owned()),
        ("markup", "<script>alert(1)</script> & *bold* _it_ `code` <!channel> @here".to_owned()),
        ("template", "{{title}} ${secret:token} %s %n {0} $(id)".to_owned()),
        ("url", "https://user:pass@host/?q=1#f \\\\server\\share".to_owned()),
    ]
}

fn datas() -> Vec<(&'static str, Map<String, Value>)> {
    let deep = (0..100).fold(json!(1), |inner, _| json!({ "a": inner }));
    let wide: Map<String, Value> = (0..2_000).map(|n| (format!("key-{n}"), json!(n))).collect();
    let texts = odd_texts().into_iter().map(|(name, text)| (text, json!(name))).collect();
    let all = [
        ("empty", json!({})),
        ("empty-key", json!({ "": "" })),
        ("nulls", json!({ "a": null, "b": [null], "c": { "d": null } })),
        ("numbers", json!({ "a": 0, "b": -1, "c": 1e308, "d": 18_446_744_073_709_551_615_u64, "e": 0.1 })),
        ("deep", json!({ "a": deep })),
        ("wide", Value::Object(wide)),
        ("unicode-keys", Value::Object(texts)),
        ("large", json!({ "a": "x".repeat(LARGE_BYTES) })),
    ];
    let object = |value| if let Value::Object(map) = value { map } else { Map::new() };
    all.into_iter().map(|(name, value)| (name, object(value))).collect()
}
