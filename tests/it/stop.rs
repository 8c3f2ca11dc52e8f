//! SIGTERM with attempts under way: they end and count, or are made again after the next start.

use std::net::{SocketAddr, TcpStream};

use crate::child::{Gateway, call};
use crate::hook::{Heard, Hook};
use crate::house::{House, NOTIFICATIONS};

const TO_HOOK: &str = r#"{"type":"a.b","to":[{"channel":"hook"}]}"#;

fn submit(to: SocketAddr) -> String {
    let (status, accepted) = call(to, "POST", NOTIFICATIONS, TO_HOOK).unwrap();
    assert_eq!(status, 202, "{accepted}");
    format!("{NOTIFICATIONS}/{}", accepted["id"].as_str().unwrap())
}

fn delivery_of(heard: &Heard) -> String {
    heard.head.lines().find_map(|line| line.strip_prefix("webhook-id: ")).unwrap().to_owned()
}

/// The delivery once it has ended.
fn ended(gateway: &Gateway, path: &str) -> (String, u64) {
    loop {
        let (_, answer) = call(gateway.address, "GET", path, "").unwrap();
        let delivery = &answer["deliveries"][0];
        if answer["status"] == "done" {
            return (delivery["status"].as_str().unwrap().to_owned(), delivery["attempts"].as_u64().unwrap());
        }
        std::thread::yield_now();
    }
}

#[test]
fn an_attempt_under_way_at_a_stop_ends_and_is_not_made_again() {
    let (hook, held) = Hook::held();
    let mut house = House::start("shutdown_deadline = \"10m\"", &hook.channel("hook"));
    let path = submit(house.gateway.address);
    let _first = hook.heard.recv().unwrap();
    house.gateway.signal("TERM");
    // It takes nothing more, and does not go while its attempt is under way.
    while TcpStream::connect(house.gateway.address).is_ok() {
        std::thread::yield_now();
    }
    drop(held);
    assert!(house.gateway.wait().success(), "{}", house.gateway.log());
    let again = Gateway::start(&house.config);
    assert_eq!(ended(&again, &path), ("delivered".to_owned(), 1));
    assert!(hook.heard.try_recv().is_err(), "it arrived once");
}

#[test]
fn an_attempt_that_outlasts_the_deadline_of_a_stop_is_made_again_and_counts_once() {
    let (hook, held) = Hook::held();
    let mut house = House::start("shutdown_deadline = \"50ms\"", &hook.channel("hook"));
    let path = submit(house.gateway.address);
    let first = hook.heard.recv().unwrap();
    house.gateway.signal("TERM");
    assert!(house.gateway.wait().success(), "{}", house.gateway.log());
    let again = Gateway::start(&house.config);
    let second = hook.heard.recv().unwrap();
    assert_eq!(delivery_of(&first), delivery_of(&second), "by which a receiver can tell");
    drop(held);
    assert_eq!(ended(&again, &path), ("delivered".to_owned(), 1));
}
