//! `Prefer: wait`: 202 once all has ended or the time is over, for a bounded time and a bounded number of requests.

use std::sync::mpsc;

use crate::child::call_with;
use crate::hook::Hook;
use crate::house::{House, LOG, NOTIFICATIONS, TO_LOG};

const BATCH: &str = "/api/v1/notifications/batch";
const TO_HOOK: &str = r#"{"type":"a.b","to":[{"channel":"hook"}]}"#;

#[test]
fn a_request_that_waits_is_answered_202_with_the_end() {
    let house = House::start("", LOG);
    let (status, head, answer) = house.call_with("POST", NOTIFICATIONS, "prefer: wait=30\r\n", TO_LOG);
    assert_eq!((status, answer["status"].as_str()), (202, Some("done")), "{answer}");
    assert_eq!(answer["deliveries"][0]["status"], "delivered");
    assert!(head.contains("preference-applied: wait=30") && head.contains("location: /api/v1/"), "{head}");
}

#[test]
fn a_wait_ends_at_the_configured_most_also_when_nothing_has_ended() {
    let (hook, held) = Hook::held();
    let house = House::start("wait_max = \"1s\"", &hook.channel("hook"));
    let (status, head, answer) = house.call_with("POST", NOTIFICATIONS, "prefer: wait=100000\r\n", TO_HOOK);
    assert_eq!((status, answer["status"].as_str()), (202, Some("active")), "{answer}");
    assert!(head.contains("preference-applied: wait=1"), "{head}");
    drop(held);
}

#[test]
fn over_the_most_that_may_wait_a_request_is_answered_at_once() {
    let (hook, held) = Hook::held();
    let house = House::start("waits_max = 1", &hook.channel("hook"));
    let (answered, answers) = mpsc::channel();
    for _ in 0..2 {
        let (to, answered) = (house.gateway.address, answered.clone());
        std::thread::spawn(move || {
            let answer = call_with(to, "POST", NOTIFICATIONS, "prefer: wait=600\r\n", TO_HOOK).unwrap();
            answered.send(answer).unwrap();
        });
    }
    // One of the two has the seat; the other one can't wait, and so it alone is answered while the receiver is held.
    let (status, head, answer) = answers.recv().unwrap();
    assert_eq!((status, answer["status"].as_str()), (202, Some("active")), "{answer}");
    assert!(!head.contains("preference-applied"), "{head}");
    drop(held);
    let (status, head, answer) = answers.recv().unwrap();
    assert_eq!((status, answer["status"].as_str()), (202, Some("done")), "{answer}");
    assert!(head.contains("preference-applied: wait=600"), "{head}");
}

#[test]
fn a_stop_does_not_wait_for_those_who_only_look_on() {
    let (hook, held) = Hook::held();
    let mut house = House::start("shutdown_deadline = \"1s\"", &hook.channel("hook"));
    let to = house.gateway.address;
    let waiting =
        std::thread::spawn(move || call_with(to, "POST", NOTIFICATIONS, "prefer: wait=600\r\n", TO_HOOK));
    hook.heard.recv().unwrap();
    house.gateway.signal("TERM");
    let (status, _, answer) = waiting.join().unwrap().unwrap();
    assert_eq!((status, answer["status"].as_str()), (202, Some("active")), "{answer}");
    assert!(house.gateway.wait().success());
    drop(held);
}

#[test]
fn a_batch_that_waits_is_answered_once_all_of_it_has_ended() {
    let (hook, held) = Hook::held();
    let house = House::start("waits_max = 2", &(hook.channel("hook") + LOG));
    let to = house.gateway.address;
    let (answered, answers) = mpsc::channel();
    let batch = move |items: &[&str], headers: &str| {
        call_with(to, "POST", BATCH, headers, &format!("[{}]", items.join(","))).unwrap()
    };
    std::thread::spawn(move || {
        // The one that ends at once does not answer for the other.
        let answer = batch(&[TO_LOG, r#"{"type":1}"#, TO_HOOK], "prefer: wait=600\r\n");
        answered.send(answer).unwrap();
    });
    hook.heard.recv().unwrap();
    // Both places are taken, so others are answered at once.
    let (status, head, answer) = batch(&[TO_HOOK], "prefer: wait=600\r\n");
    assert_eq!((status, head.contains("preference-applied")), (202, false), "{answer}");
    assert!(answers.try_recv().is_err(), "the receiver is held");
    drop(held);
    let (status, head, answer) = answers.recv().unwrap();
    assert!(status == 207 && head.contains("preference-applied: wait=600"), "{head}");
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| r["status"].clone()).collect();
    assert_eq!(statuses, [202, 422, 202]);
    for place in [0, 2] {
        let path = format!("{NOTIFICATIONS}/{}", answer["results"][place]["id"].as_str().unwrap());
        assert_eq!(house.call("GET", &path, "").1["status"], "done");
    }
}

#[test]
fn a_batch_waits_no_longer_than_the_configured_most_and_its_repetition_not_at_all() {
    let (hook, held) = Hook::held();
    let house = House::start("wait_max = \"1s\"", &hook.channel("hook"));
    let headers = "idempotency-key: b\r\nprefer: wait=600\r\n";
    let body = format!("[{TO_HOOK},{TO_HOOK}]");
    let (status, head, first) = house.call_with("POST", BATCH, headers, &body);
    assert!(status == 202 && head.contains("preference-applied: wait=1"), "{head}");
    let (status, head, again) = house.call_with("POST", BATCH, headers, &body);
    assert_eq!((status, again), (202, first));
    assert!(head.contains("idempotent-replayed: true") && !head.contains("preference-applied"), "{head}");
    drop(held);
}
