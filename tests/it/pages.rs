//! Lists in pages: deliveries of one notification, its trace, and the codes.

use std::collections::HashSet;

use serde_json::Value;

use crate::house::{House, NOTIFICATIONS};

/// Follows `next_cursor` to the end; answers the items of `list` and the number of pages.
fn all(house: &House, path: &str, list: &str) -> (Vec<Value>, usize) {
    let (mut items, mut pages, mut next) = (Vec::new(), 0, path.to_owned());
    loop {
        let (status, page) = house.call("GET", &next, "");
        assert_eq!(status, 200, "{next}: {page}");
        items.extend(page[list].as_array().unwrap().clone());
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { return (items, pages) };
        next = format!("{path}{}cursor={cursor}", if path.contains('?') { '&' } else { '?' });
    }
}

fn distinct(items: &[Value], field: &str) -> usize {
    items.iter().map(|item| item[field].to_string()).collect::<HashSet<_>>().len()
}

#[test]
fn beyond_a_hundred_deliveries_there_are_counts_and_a_cursor() {
    let house = House::start("", "[channels.log]\nplugin = \"console\"\n");
    let to: Vec<String> = (0..250).map(|n| format!(r#"{{"channel":"log","address":"a{n}"}}"#)).collect();
    let body = format!(
        r#"{{"type":"a.b","to":[{}],"dedup":{{"key":"k","window_s":60}},"metadata":{{"by":"me"}}}}"#,
        to.join(",")
    );
    let (status, accepted) = house.call("POST", NOTIFICATIONS, &body);
    assert_eq!(status, 202, "{accepted}");
    assert_eq!(accepted["deliveries"].as_array().map(Vec::len), Some(100));
    let counted: u64 = accepted["counts"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(counted, 250, "{}", accepted["counts"]);
    let path = format!("{NOTIFICATIONS}/{}", accepted["id"].as_str().unwrap());
    // The answer's own cursor is good for the notification.
    let cursor = accepted["next_cursor"].as_str().unwrap();
    let second = house.call("GET", &format!("{path}?cursor={cursor}"), "").1;
    assert_eq!(second["deliveries"].as_array().map(Vec::len), Some(100));

    let (deliveries, pages) = all(&house, &path, "deliveries");
    assert_eq!((deliveries.len(), distinct(&deliveries, "id"), pages), (250, 250, 3));
    let shown = house.call("GET", &path, "").1;
    assert_eq!(shown["to"].as_array().map(Vec::len), Some(250));
    assert_eq!(shown["dedup"], serde_json::json!({ "key": "k", "window_s": 60 }));
    assert!(shown.as_object().unwrap().contains_key("submitted_by"));

    let done = |house: &House| house.call("GET", &path, "").1["status"] == "done";
    while !done(&house) {
        std::thread::yield_now();
    }
    let trace = format!("{path}/trace?limit=37");
    let (steps, pages) = all(&house, &trace, "items");
    let attempts: Vec<Value> = steps.iter().filter(|step| step["kind"] == "attempted").cloned().collect();
    assert_eq!((attempts.len(), distinct(&attempts, "delivery")), (250, 250));
    assert_eq!(pages, steps.len().div_ceil(37));
    assert!(steps.is_sorted_by_key(|step| step["at"].as_str().unwrap_or_default().to_owned()));
    let bad = house.call("GET", &format!("{path}/trace?cursor={cursor}"), "");
    assert_eq!((bad.0, bad.1["code"].as_str()), (400, Some("request.bad-cursor")));
}

#[test]
fn every_code_that_is_answered_has_its_page_at_the_type_of_the_problem() {
    let house = House::start("", "[channels.log]\nplugin = \"console\"\n");
    let (codes, _) = all(&house, "/problems", "items");
    assert!(codes.len() > 30, "{}", codes.len());
    for (method, path, body) in [
        ("POST", NOTIFICATIONS, "{"),
        ("POST", NOTIFICATIONS, r#"{"type":"a.b","tpye":1}"#),
        ("PUT", NOTIFICATIONS, ""),
        ("GET", "/nothing", ""),
        ("GET", "/problems/no.such-code", ""),
    ] {
        let problem = house.call(method, path, body).1;
        let (status, page) = house.call("GET", problem["type"].as_str().unwrap(), "");
        assert_eq!(status, 200, "{problem}");
        for field in ["type", "code", "status", "title"] {
            assert_eq!(page[field], problem[field], "{page}");
        }
        assert!(page["meaning"].is_string() && page["remedy"].is_string(), "{page}");
        assert!(codes.contains(&page), "{page}");
    }
    // The codes of faults have pages, too; one for all that plugins make up.
    for code in ["plugin.trap", "route.empty", "egress.denied", "channel.http-400"] {
        let (status, page) = house.call("GET", &format!("/problems/{code}"), "");
        assert_eq!((status, page["code"].as_str()), (200, Some(code)));
        assert!(page["status"].is_null() && page["meaning"].is_string(), "{page}");
    }
}
