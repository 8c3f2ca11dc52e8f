use std::time::Duration;

use fanfare_model::delivery::{Attempt, AttemptOutcome, Chain, Delivery, Fallback, Phase};
use fanfare_model::fault::{Fault, FaultCode};
use fanfare_model::id::{DeliveryId, NotificationId};
use fanfare_model::json::JsonObject;
use fanfare_model::name::ChannelName;
use fanfare_model::notification::{Dedup, Notification, Target};
use fanfare_model::outcome::Receipt;
use fanfare_model::priority::Priority;
use fanfare_model::state::{FanOut, NotificationState, Suppression};
use fanfare_model::time::Timestamp;
use fanfare_model::trace::{TraceEvent, TraceKind};

use super::*;
use crate::engine::ReadError;
use crate::keys::DueEntry;

#[test]
fn a_newer_format_is_refused_by_name_and_damage_is_no_panic() {
    let newer = decode::<DedupRecord>("dedup", &[9, 0, 0]).unwrap_err();
    assert!(newer.0.contains("has format 9") && newer.0.contains("start a newer one"), "{newer}");
    assert_eq!(
        decode::<DedupRecord>("dedup", &[]).unwrap_err(),
        ReadError("a dedup record is empty".to_owned())
    );
    for length in 0..12 {
        assert!(decode::<IdempotencyRecord<'_>>("claim", &vec![1; length]).is_err());
    }
}

#[test]
fn claims_keep_their_bytes() {
    let record = DedupRecord { id: [7; 16], expires_at: 300 };
    let bytes = encode(&record);
    assert_eq!(*bytes, [&[1][..], &[7; 16], &[0xac, 2]].concat());
    assert_eq!(decode::<DedupRecord>("dedup", &bytes), Ok(record));
}

/// One line a record: its kind and its bytes. A line that has to change means a new version of the format.
const GOLDEN: &str = include_str!("golden-v1.txt");

fn golden(name: &str) -> Vec<u8> {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_default();
    let digits: Vec<u8> = line.chars().map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
}

#[track_caller]
fn assert_golden(name: &str, bytes: &[u8]) {
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(bytes, golden(name), "the bytes are now\n{name} {hex}");
}

fn id(last: u8) -> NotificationId {
    let mut bytes = [0x11; 16];
    bytes[15] = last;
    NotificationId::from_bytes(bytes)
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn notification() -> Notification {
    Notification {
        id: id(1),
        event_type: "payment.failed".parse().unwrap(),
        created_at: at(1_000),
        to: vec![
            Target::Channel { channel: "hook".parse().unwrap(), address: Some("https://x".to_owned()) },
            Target::User { user: "ann".parse().unwrap() },
        ],
        title: Some("결제".to_owned()),
        body: None,
        data: JsonObject::parse(r#"{"a":1}"#).unwrap(),
        priority: Priority::High,
        send_at: Some(at(2_000)),
        expires_at: Some(at(300_000)),
        dedup: Some(Dedup { key: "d".to_owned(), window: Duration::from_secs(60) }),
        metadata: JsonObject::default(),
        traceparent: Some("00-ab".to_owned()),
        submitted_by: Some("ci".to_owned()),
        alert_about: Some(DeliveryId { notification: id(9), index: 7 }),
    }
}

/// One delivery in each phase, and one of each kind of attempt.
fn state() -> NotificationState {
    let fault = || Fault::new(FaultCode::of("plugin.trap"), "it broke").with_status(Some(503));
    let phases = [
        Phase::Waiting { due_at: at(5_000), delay: Some(Duration::from_secs(2)) },
        Phase::Delivered { at: at(5_001) },
        Phase::Dead { at: at(5_002), fault: fault() },
        Phase::Cancelled { at: at(5_003) },
        Phase::Expired { at: at(5_004) },
        Phase::Suppressed { at: at(5_005), fault: fault() },
    ];
    let receipt =
        Receipt { provider_id: Some("p".to_owned()), status: Some(202), detail: Some("cut".to_owned()) };
    let outcomes =
        [AttemptOutcome::Failed { fault: fault(), transient: true }, AttemptOutcome::Delivered(receipt)];
    let attempts: Vec<_> = (1..)
        .zip(outcomes)
        .map(|(number, outcome)| Attempt {
            number,
            chain: 0,
            started_at: at(4_000),
            took: Duration::from_millis(300),
            generation: 3,
            outcome,
        })
        .collect();
    let delivery = |(index, phase)| Delivery {
        id: DeliveryId { notification: id(1), index },
        channel: if index == 1 { ChannelName::router() } else { "hook".parse().unwrap() },
        user: (index == 0).then(|| "ann".parse().unwrap()),
        address: (index == 2).then(|| "https://x".to_owned()),
        phase,
        chain: Chain { number: 1, attempts: 2, started_at: Some(at(4_000)) },
        attempts_total: 2,
        first_attempt_at: Some(at(4_000)),
        attempts: if index == 0 { attempts.clone() } else { Vec::new() },
        events: vec![TraceEvent::new(at(4_500), TraceKind::Attempted, "why")],
        fallbacks: Vec::new(),
    };
    NotificationState {
        deliveries: (0..).zip(phases).map(delivery).collect(),
        cancelled_at: Some(at(4_900)),
        suppressed: Some(Suppression { at: at(4_901), fault: fault(), duplicate_of: Some(id(2)) }),
        ..NotificationState::accepted(&notification())
    }
}

#[test]
fn notifications_keep_their_bytes() {
    let bytes = encode_notification(&notification());
    assert_golden("notification", &bytes);
    assert_eq!(decode_notification(id(1), &bytes), Ok(notification()));
}

#[test]
fn states_keep_their_bytes() {
    let state = state();
    let head = encode_head(&state, HISTORY_MAX);
    assert_golden("head", &head);
    assert_eq!(decode_head(id(1), &head), Ok((state.clone(), 6)));
    let chunk = encode_chunk(&state.deliveries[4..], HISTORY_MAX);
    assert_golden("chunk", &chunk);
    assert_eq!(decode_chunk(id(1), 4, &chunk).unwrap(), state.deliveries[4..]);
}

/// Fallbacks of some deliveries, in both kinds of record.
fn state_with_fallbacks() -> NotificationState {
    let mut state = state();
    let at = |row, order| Fallback { row, order };
    state.deliveries[1].fallbacks = vec![at(0, 0), at(1, 7)];
    state.deliveries[5].phase = Phase::Held { due_at: Timestamp::from_ms(5_006) };
    state.deliveries[5].fallbacks = vec![at(0, 300)];
    state.fan_out = Some(FanOut { planned_at: Timestamp::from_ms(4_999), done: 2_000 });
    state
}

#[test]
fn states_with_fallbacks_keep_their_bytes_and_are_of_a_format_of_their_own() {
    let state = state_with_fallbacks();
    let head = encode_head(&state, HISTORY_MAX);
    assert_eq!(head[0], 2, "an older program must not read it as if there were none");
    assert_golden("head-v2", &head);
    assert_eq!(decode_head(id(1), &head), Ok((state.clone(), 6)));
    let chunk = encode_chunk(&state.deliveries[4..], HISTORY_MAX);
    assert_golden("chunk-v2", &chunk);
    assert_eq!(decode_chunk(id(1), 4, &chunk).unwrap(), state.deliveries[4..]);
    let longer = [&chunk[..], &[0]].concat();
    assert!(decode_chunk(id(1), 4, &longer).unwrap_err().0.contains("1 bytes follow"));
}

#[test]
fn answers_dead_letters_and_due_entries_keep_their_bytes() {
    let kept = IdempotencyRecord { body: [5; 32], expires_at: 300, answer: b"{}" };
    assert_golden("idempotency", &encode(&kept));
    assert_eq!(decode("claim", &encode(&kept)), Ok(kept));
    let part = AnswerPartRecord { expires_at: 300, count: 2, bytes: b"{}" };
    assert_golden("answer-part", &encode(&part));
    assert_eq!(decode("claim", &encode(&part)), Ok(part));
    let dead = DeadRecord { channel: "hook", code: "plugin.trap", event_type: "payment.failed" };
    assert_golden("dead", &encode(&dead));
    assert_eq!(decode("dead letter", &encode(&dead)), Ok(dead));
    let due = DueEntry {
        lane: "hook".parse().unwrap(),
        priority: Priority::High,
        due_at: at(5_000),
        delivery: DeliveryId { notification: id(1), index: 300 },
        delay: Some(Duration::from_secs(2)),
        destination: 0x0102_0304_0506_0708,
    };
    assert_golden("due-key", &due.key());
    assert_golden("due-value", &due.value());
}

#[test]
fn no_prefix_and_no_flipped_bit_of_a_record_makes_a_panic_or_passes_for_longer() {
    for head in [encode_head(&state(), HISTORY_MAX), encode_head(&state_with_fallbacks(), HISTORY_MAX)] {
        for length in 0..head.len() {
            assert!(decode_head(id(1), &head[..length]).is_err(), "the first {length} bytes");
        }
        let longer = [&head[..], &[0]].concat();
        assert!(decode_head(id(1), &longer).unwrap_err().0.contains("1 bytes follow"));
        for place in 0..head.len() * 8 {
            let mut broken = head.to_vec();
            broken[place / 8] ^= 1 << (place % 8);
            // Some flips make another valid record; none may panic or ask for endless memory.
            let _ = decode_head(id(1), &broken);
        }
    }
}
