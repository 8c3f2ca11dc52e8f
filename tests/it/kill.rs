//! `kill -9` under load, twenty times: what was acknowledged arrives, and nothing twice without a kill in between.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::child::{Gateway, Receiver, call};

/// `FANFARE_KILL_ROUNDS=200` makes more of them.
#[allow(clippy::disallowed_methods, reason = "tests are told how long to run")]
fn rounds() -> u32 {
    std::env::var("FANFARE_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

const CLIENTS: usize = 4;

/// Each of so many rounds is long.
const LONG_EVERY: u32 = 20;

/// Looks at the end, a tenth of a second apart, before the test gives up on a delivery.
const LOOKS: usize = 1_200;

#[test]
fn what_was_acknowledged_before_a_kill_is_delivered_after_it_and_only_what_may_have_arrived_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let config = folder.path().join("fanfare.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[channels.hook]\nplugin = \"webhook\"\n\
         settings = {{ url = \"http://{0}/\" }}\ngrants = {{ http = [\"http://{0}\"] }}\n",
        receiver.address
    );
    std::fs::write(&config, text).unwrap();
    let acknowledged = Mutex::new(Vec::new());
    let rounds = rounds();
    for round in 0..rounds {
        receiver.round.store(round, Ordering::SeqCst);
        let gateway = Gateway::start(&config);
        let address = gateway.address;
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| submit_until_it_dies(address, &acknowledged));
            }
            // The kill comes at a moment of its own in each round, from the first submissions to a full pipe; in some
            // after, or in, the first flushes of the index, which come after five seconds.
            let lives_ms = if round % LONG_EVERY == LONG_EVERY - 1 { 5_000..7_000 } else { 5..150 };
            std::thread::sleep(Duration::from_millis(rand::random_range(lives_ms)));
            gateway.kill();
        });
        // Else what this gateway has sent is taken for what the next one sends.
        receiver.drain();
    }
    receiver.round.store(rounds, Ordering::SeqCst);
    let gateway = Gateway::start(&config);
    let mut waiting: HashSet<String> = acknowledged.into_inner().unwrap().into_iter().collect();
    let acknowledged_total = waiting.len();
    assert!(waiting.len() > 20, "only {} were acknowledged", waiting.len());
    for _ in 0..LOOKS {
        waiting.retain(|id| {
            let path = format!("/api/v1/notifications/{id}");
            let (status, state) = call(gateway.address, "GET", &path, "").unwrap();
            assert_eq!(status, 200, "{id} is lost: {state}");
            state["status"] != "done"
        });
        if waiting.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(waiting.is_empty(), "never ended: {waiting:?}");
    let seen = receiver.seen.lock().unwrap();
    for (id, rounds) in seen.iter() {
        let once_each: HashSet<_> = rounds.iter().collect();
        assert_eq!(once_each.len(), rounds.len(), "{id} came twice without a kill in between: {rounds:?}");
    }
    println!("{rounds} kills, {acknowledged_total} acknowledged: 0 lost, 0 twice without a kill in between");
    let letters = call(gateway.address, "GET", "/api/v1/admin/dlq", "").unwrap().1;
    assert_eq!(letters["items"].as_array().map(Vec::len), Some(0), "{letters}");
}

fn submit_until_it_dies(address: std::net::SocketAddr, acknowledged: &Mutex<Vec<String>>) {
    let body = r#"{"type":"load.test","to":[{"channel":"hook"}],"title":"x"}"#;
    while let Some((status, answer)) = call(address, "POST", "/api/v1/notifications", body) {
        assert_eq!(status, 202, "{answer}");
        acknowledged.lock().unwrap().push(answer["id"].as_str().unwrap().to_owned());
    }
}
