//! `Prefer: wait`: 202 once all has ended or the time is over, for a bounded time and a bounded number of requests.

use std::sync::{Arc, Mutex, mpsc};

use crate::child::call_with;
use crate::hook::Hook;
use crate::house::{House, LOG, NOTIFICATIONS, TO_LOG};

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
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let behind = Arc::clone(&gate);
    let hook = Hook::start(move || {
        drop(behind.lock().unwrap());
        204
    });
    let house = House::start("wait_max = \"1s\"", &hook.channel("hook"));
    let (status, head, answer) = house.call_with("POST", NOTIFICATIONS, "prefer: wait=100000\r\n", TO_HOOK);
    assert_eq!((status, answer["status"].as_str()), (202, Some("active")), "{answer}");
    assert!(head.contains("preference-applied: wait=1"), "{head}");
    drop(held);
}

#[test]
fn over_the_most_that_may_wait_a_request_is_answered_at_once() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let behind = Arc::clone(&gate);
    let hook = Hook::start(move || {
        drop(behind.lock().unwrap());
        204
    });
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
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let behind = Arc::clone(&gate);
    let hook = Hook::start(move || {
        drop(behind.lock().unwrap());
        204
    });
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
