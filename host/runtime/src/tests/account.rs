//! What calls use is counted for their generation, and in no other.

use serde_json::json;

use super::*;
use crate::egress::tests::support::Sink;
use crate::report::CallEnd;

#[tokio::test]
async fn a_call_counts_its_time_its_memory_its_host_calls_and_its_bytes_both_ways() {
    let sink = Sink::start(|_, _| http::Response::new("four".to_owned().into())).await;
    let bench = bench();
    let grants = Grants::parse(&[sink.origin()], &[], true).unwrap();
    let settings = json!({ "url": sink.url("/") });
    let generation = bench.stage(components::HTTP_POST, settings, grants, Secrets::default()).await.unwrap();
    assert_eq!(generation.usage(), crate::Totals::default(), "a check counts for nobody");
    let usage = generation.send(input(None)).await.usage;
    assert_eq!((usage.bytes_out, usage.bytes_in, usage.requests), (4, 4, 1), "body, and four");
    assert!(usage.cpu > Duration::ZERO && usage.cpu <= usage.wall, "{usage:?}");
    assert!(usage.memory_bytes_peak >= 64 * 1024 && usage.host_calls >= 2, "{usage:?}");
    let second = generation.send(input(None)).await.usage;
    let totals = generation.usage();
    assert_eq!((totals.calls, totals.traps, totals.timeouts), (2, 0, 0));
    assert_eq!((totals.bytes_out, totals.bytes_in, totals.requests), (8, 8, 2));
    assert_eq!(totals.cpu, usage.cpu + second.cpu);
    assert_eq!(totals.memory_bytes_peak, usage.memory_bytes_peak.max(second.memory_bytes_peak));
    assert_eq!(totals.host_calls, u64::from(usage.host_calls + second.host_calls));
}

#[tokio::test]
async fn a_request_that_is_refused_sends_no_bytes_and_counts() {
    let bench = bench();
    let granted = ["http://127.0.0.1:9".to_owned()];
    let grants = Grants::parse(&granted, &[], true).unwrap();
    let settings = json!({ "url": "http://127.0.0.1:9" });
    let generation = bench.stage(components::HTTP_POST, settings, grants, Secrets::default()).await.unwrap();
    let usage = generation.send(input(Some("http://10.0.0.1/"))).await.usage;
    assert_eq!((usage.requests, usage.bytes_out, usage.bytes_in), (1, 0, 0));
}

#[tokio::test]
async fn a_guest_that_spins_is_stopped_once_it_used_its_time_and_not_before() {
    let bench = bench();
    let allowed = Duration::from_millis(40);
    let report = bench.send_within(components::SPIN, None, Limits { cpu: allowed, ..limits() }).await;
    assert_eq!(report.outcome.fault().unwrap().code.as_str(), "plugin.cpu");
    assert!(report.usage.cpu > allowed, "{:?}", report.usage);
}

#[tokio::test]
async fn traps_are_counted_in_a_row_for_their_generation_alone() {
    let bench = bench();
    let grants = Grants::default;
    let traps = bench.stage(components::TRAP_SEND, json!({}), grants(), Secrets::default()).await.unwrap();
    let neighbour = bench.stage(components::DELIVER, json!({}), grants(), Secrets::default()).await.unwrap();
    for in_a_row in 1..=3 {
        let report = traps.send(input(None)).await;
        assert_eq!((report.end, report.traps_in_a_row), (CallEnd::Trapped, in_a_row));
        let report = neighbour.send(input(None)).await;
        assert_eq!((report.end, report.traps_in_a_row), (CallEnd::Answered, 0));
    }
    assert_eq!((traps.usage().traps, traps.usage().calls), (3, 3));
    assert_eq!(bench.runtime.usage().len(), 2, "each generation has an account");
    traps.forgive_traps();
    assert_eq!(traps.traps_in_a_row(), 0);
    drop(traps);
    assert_eq!(bench.runtime.usage().len(), 1, "it ends with its generation");
    let channel = bench.runtime.channel_usage(&"test".parse().unwrap()).unwrap();
    assert_eq!((channel.calls, channel.traps), (6, 3), "and its channel keeps the sums");
}

#[tokio::test]
async fn a_fault_that_the_plugin_answers_is_no_trap() {
    let bench = bench();
    let report = bench.send(components::SCRIPTED, Some("transient")).await;
    assert_eq!((report.end, report.traps_in_a_row), (CallEnd::Answered, 0));
    let limits = Limits { wall: Duration::from_millis(50), ..limits() };
    let report = bench.send_within(components::SLEEP, None, limits).await;
    assert_eq!((report.end, report.traps_in_a_row), (CallEnd::TimedOut, 0));
}
