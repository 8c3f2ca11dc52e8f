//! `alert_channel`: told when a delivery goes dead, once a channel and minute, and never about an alert.

use serde_json::Value;

use crate::hook::Hook;
use crate::house::{House, NOTIFICATIONS};

const TO_BAD: &str = r#"{"type":"order.paid","to":[{"channel":"bad"}]}"#;

fn alerts(house: &House) -> Vec<Value> {
    let path = format!("{NOTIFICATIONS}?type=fanfare.delivery.dead");
    house.call("GET", &path, "").1["items"].as_array().unwrap().clone()
}

fn letters(house: &House) -> Vec<Value> {
    house.call("GET", "/api/v1/admin/dlq", "").1["items"].as_array().unwrap().clone()
}

#[test]
fn a_dead_delivery_is_told_of_once_with_what_it_takes_to_send_it_again() {
    let (bad, ops) = (Hook::start(|| 400), Hook::start(|| 204));
    let sections = bad.channel("bad") + "alert_channel = \"ops\"\n" + &ops.channel("ops");
    let house = House::start("", &sections);
    let dead = house.submit_and_wait(TO_BAD);
    assert_eq!(dead["deliveries"][0]["status"], "dead", "{dead}");
    assert_eq!(dead["deliveries"][0]["attempts"], 1, "400 is not tried again");

    let told = ops.heard.recv().unwrap();
    assert!(told.head.contains("webhook-id: "), "{}", told.head);
    assert_eq!(told.body["type"], "fanfare.delivery.dead");
    assert_eq!(told.body["priority"], "high");
    let facts = &told.body["data"];
    let letter = &letters(&house)[0];
    assert_eq!(facts["delivery"], letter["id"]);
    assert_eq!(facts["notification"], dead["id"]);
    assert_eq!((&facts["channel"], &facts["type"]), (&Value::from("bad"), &Value::from("order.paid")));
    assert_eq!(facts["code"], letter["fault"]["code"]);
    let retry = format!("/api/v1/admin/dlq/{}/retry", facts["delivery"].as_str().unwrap());
    assert!(told.body["body"].as_str().unwrap().contains(&retry), "{}", told.body);

    // What goes dead in the same minute is in the dead letters, and not told of again.
    for _ in 0..3 {
        assert_eq!(house.submit_and_wait(TO_BAD)["deliveries"][0]["status"], "dead");
    }
    assert_eq!((letters(&house).len(), alerts(&house).len()), (4, 1));
    assert_eq!(house.call("POST", &retry, "").0, 202);
}

#[test]
fn an_alert_that_goes_dead_is_told_to_nobody() {
    let (bad, worse) = (Hook::start(|| 400), Hook::start(|| 410));
    let sections = bad.channel("bad")
        + "alert_channel = \"worse\"\n"
        + &worse.channel("worse")
        + "alert_channel = \"bad\"\n";
    let house = House::start("", &sections);
    house.submit_and_wait(TO_BAD);
    while letters(&house).len() < 2 {
        std::thread::yield_now();
    }
    assert_eq!(worse.heard.recv().unwrap().body["type"], "fanfare.delivery.dead");
    // What `bad` hears is what clients send to it, and nothing about `worse`.
    house.submit_and_wait(TO_BAD);
    for _ in 0..2 {
        assert_eq!(bad.heard.recv().unwrap().body["type"], "order.paid");
    }
    assert!(bad.heard.try_recv().is_err());
    assert_eq!((letters(&house).len(), alerts(&house).len()), (3, 1));
}
