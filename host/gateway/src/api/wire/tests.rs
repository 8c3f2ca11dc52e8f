//! Each bad input with its exact code, pointer and a word of its sentence.

use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-11-21T09:00:00Z".parse().unwrap()
}

fn parse(value: &Value) -> Result<Draft, Problem> {
    notification(value.to_string().as_bytes(), now())
}

#[track_caller]
fn refused(value: &Value, code: &str, pointer: &str, says: &str) {
    let problem = parse(value).err().unwrap_or_else(|| panic!("accepted {value}"));
    assert_eq!((problem.code(), problem.pointer()), (code, Some(pointer)), "{}", problem.detail());
    assert!(problem.detail().contains(says), "{:?} lacks {says:?}", problem.detail());
}

#[test]
fn a_type_alone_is_enough() {
    let draft = parse(&json!({"type": "payment.failed"})).unwrap();
    assert_eq!(draft.event_type.as_str(), "payment.failed");
    assert_eq!(draft.priority, Priority::Normal);
    assert!(draft.to.is_empty() && draft.data.is_empty() && draft.metadata.is_empty());
}

#[test]
fn every_field_arrives() {
    let draft = parse(&json!({
        "type": "a.b", "to": [{"channel": "hook", "address": "http://x/"}, {"channel": "sms"}, {"user": "u1"}],
        "title": "제목", "body": "b", "data": {"z": 1, "a": [true]}, "priority": "critical",
        "send_at": "2026-11-21T18:30:00+09:00", "expires_at": "2026-11-22T00:00:00Z",
        "dedup": {"key": "k", "window_s": 60}, "metadata": {"m": null},
    }))
    .unwrap();
    let address = Some("http://x/".to_owned());
    let expected = [
        Target::Channel { channel: "hook".parse().unwrap(), address },
        Target::Channel { channel: "sms".parse().unwrap(), address: None },
        Target::User { user: "u1".parse().unwrap() },
    ];
    assert_eq!(draft.to, expected);
    assert_eq!((draft.title.as_deref(), draft.body.as_deref()), (Some("제목"), Some("b")));
    assert_eq!(draft.data.as_str(), r#"{"a":[true],"z":1}"#);
    assert_eq!(draft.priority, Priority::Critical);
    assert_eq!(draft.send_at, "2026-11-21T09:30:00Z".parse().ok());
    assert_eq!(draft.expires_at, "2026-11-22T00:00:00Z".parse().ok());
    assert_eq!(draft.dedup, Some(Dedup { key: "k".to_owned(), window: Duration::from_secs(60) }));
    assert_eq!(draft.metadata.as_str(), r#"{"m":null}"#);
}

#[test]
fn null_means_absent() {
    let names = explain::FIELDS.iter().filter(|name| **name != "type");
    let mut all: Map<String, Value> = names.map(|name| ((*name).to_owned(), Value::Null)).collect();
    all.insert("type".to_owned(), json!("a"));
    assert!(parse(&Value::Object(all)).is_ok());
}

#[test]
fn the_listed_fields_are_the_fields_that_parse() {
    let target: Map<String, Value> =
        explain::TARGET_FIELDS.iter().map(|name| ((*name).to_owned(), json!("x"))).collect();
    assert!(serde_json::from_value::<WireTarget>(Value::Object(target)).is_ok());
    let dedup: Map<String, Value> =
        explain::DEDUP_FIELDS.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    assert!(serde_json::from_value::<WireDedup>(Value::Object(dedup)).is_ok());
}

#[test]
fn broken_json_is_refused_with_its_place() {
    for text in
        ["", "{", "{\"type\":\"a\",}", "nope", "{\"type\":\"a\"} x", "\u{feff}{}", "{\"type\": 1e999}"]
    {
        let problem = notification(text.as_bytes(), now()).err().unwrap();
        assert_eq!(problem.code(), "request.invalid-json", "{text}: {}", problem.detail());
        assert!(problem.detail().contains("line 1 column"), "{}", problem.detail());
    }
    let deep = format!("{{\"type\":\"a\",\"data\":{}1{}}}", "{\"a\":".repeat(500), "}".repeat(500));
    assert_eq!(notification(deep.as_bytes(), now()).err().unwrap().code(), "request.invalid-json");
    let problem = notification(b"{\"type\":\"\xff\"}", now()).err().unwrap();
    assert_eq!(problem.code(), "request.invalid-json");
}

#[test]
fn an_integer_that_would_lose_digits_is_refused_where_it_stands() {
    let large = "18446744073709551616";
    for (body, pointer) in [
        (format!(r#"{{"type":"a","data":{{"n":{large}}}}}"#), "/data"),
        (format!(r#"{{"type":"a","data":{{"n":1e300}},"metadata":{{"a":[{large}]}}}}"#), "/metadata"),
    ] {
        let problem = notification(body.as_bytes(), now()).err().unwrap();
        assert_eq!((problem.code(), problem.pointer()), ("request.invalid-field", Some(pointer)));
        assert!(problem.detail().contains(large), "{}", problem.detail());
    }
    let body = format!(r#"{{"type":"a","title":"{large}","data":{{"n":18446744073709551615,"m":1e300}}}}"#);
    assert!(notification(body.as_bytes(), now()).is_ok());
}

#[test]
fn other_values_than_objects_are_refused() {
    refused(&json!([{"type": "a"}]), "request.invalid-field", "", "/api/v1/notifications/batch");
    refused(&json!("a"), "request.invalid-field", "", "this is a string");
    refused(&json!(null), "request.invalid-field", "", "this is null");
}

#[test]
fn unknown_fields_are_refused_by_name_with_the_known_ones() {
    let code = "request.unknown-field";
    refused(
        &json!({"type": "a", "titel": "x"}),
        code,
        "/titel",
        "\"titel\" is not known here; known are type,",
    );
    refused(&json!({"type": "a", "a/b~": 1}), code, "/a~1b~0", "known are");
    let entry = json!({"type": "a", "to": [{"user": "u"}, {"chanel": "x"}]});
    refused(&entry, code, "/to/1/chanel", "known are channel, address, user");
    refused(&json!({"type": "a", "dedup": {"window": 1}}), code, "/dedup/window", "known are key, window_s");
}

#[test]
fn wrong_types_are_refused_with_their_pointer() {
    let code = "request.invalid-field";
    for (field, value, pointer, says) in [
        ("type", json!(5), "/type", "a string, and is a number"),
        ("title", json!(true), "/title", "a string, and is a boolean"),
        ("to", json!({"user": "u"}), "/to", "an array of channels and users, and is an object"),
        ("to", json!([null]), "/to/0", "an object, and is null"),
        ("to", json!([{"user": 1}]), "/to/0/user", "a string, and is a number"),
        ("data", json!([]), "/data", "an object, and is an array"),
        ("metadata", json!("x"), "/metadata", "an object, and is a string"),
        ("dedup", json!(true), "/dedup", "an object, and is a boolean"),
        (
            "dedup",
            json!({"key": "k", "window_s": -1}),
            "/dedup/window_s",
            "a whole number of seconds, and is a number",
        ),
        ("send_at", json!(5), "/send_at", "a string, and is a number"),
    ] {
        let mut body = json!({"type": "a"});
        body[field] = value;
        refused(&body, code, pointer, says);
    }
    let twice = notification(br#"{"type":"a","title":"x","title":"y"}"#, now()).err().unwrap();
    assert_eq!(twice.code(), code);
    assert!(twice.detail().contains("duplicate field `title`"), "{}", twice.detail());
}

#[test]
fn bad_values_are_refused_with_their_rule() {
    let code = "request.invalid-field";
    refused(&json!({}), code, "/type", "type is required");
    refused(&json!({"type": "a b"}), code, "/type", "words of letters");
    refused(&json!({"type": "a", "priority": "urgent"}), code, "/priority", "critical, high, normal, low");
    refused(&json!({"type": "a", "send_at": "tomorrow"}), code, "/send_at", "RFC 3339");
    refused(&json!({"type": "a", "expires_at": "2026-11-21"}), code, "/expires_at", "RFC 3339");
    refused(&json!({"type": "a", "send_at": "2028-01-01T00:00:00Z"}), code, "/send_at", "a year ahead");
    let long = "x".repeat(TITLE_BYTES_MAX + 1);
    refused(&json!({"type": "a", "title": long}), code, "/title", "at most 4096 bytes");
}

#[test]
fn an_entry_is_a_channel_or_a_user() {
    let code = "request.invalid-field";
    let with = |entry: Value| json!({"type": "a", "to": [entry]});
    refused(&with(json!({})), code, "/to/0", "names a channel");
    refused(&with(json!({"address": "x"})), code, "/to/0", "names a channel");
    refused(&with(json!({"channel": "a", "user": "b"})), code, "/to/0", "not both");
    refused(&with(json!({"user": "b", "address": "x"})), code, "/to/0/address", "from the configuration");
    refused(&with(json!({"channel": "Ops"})), code, "/to/0/channel", "1 to 64 of a-z");
    refused(&with(json!({"user": "two words"})), code, "/to/0/user", "without spaces");
    for address in ["", "a\r\nb", &"x".repeat(ADDRESS_BYTES_MAX + 1)] {
        refused(&with(json!({"channel": "a", "address": address})), code, "/to/0/address", "control");
    }
}

#[test]
fn a_thousand_entries_are_the_most() {
    let many = |n: usize| json!({"type": "a", "to": vec![json!({"channel": "c"}); n]});
    assert_eq!(parse(&many(1_000)).unwrap().to.len(), 1_000);
    refused(&many(1_001), "request.invalid-field", "/to", "at most 1000 entries; this one has 1001");
}

#[test]
fn a_dedup_window_is_one_second_to_thirty_days() {
    let code = "request.invalid-field";
    let with = |key: &str, window_s: u64| json!({"type": "a", "dedup": {"key": key, "window_s": window_s}});
    assert!(parse(&with("k", 1)).is_ok() && parse(&with("k", 2_592_000)).is_ok());
    refused(&with("k", 0), code, "/dedup/window_s", "1 to 2592000 seconds");
    refused(&with("k", 2_592_001), code, "/dedup/window_s", "30 days");
    refused(&with("", 1), code, "/dedup/key", "1 to 255 bytes");
    refused(&with("a\nb", 1), code, "/dedup/key", "control characters");
    refused(&json!({"type": "a", "dedup": {"key": "k"}}), code, "/dedup/window_s", "needs a window_s");
    refused(&json!({"type": "a", "dedup": {"window_s": 1}}), code, "/dedup/key", "needs a key");
}
