//! Warm instances are used again, and retired by the rules; the component tells how often its instance was called.

use super::*;
use crate::report::CallEnd;
use crate::warm::{CALLS_MAX, IDLE_MAX};

async fn warm(bench: &Bench) -> Arc<ChannelGeneration> {
    let generation =
        bench.stage(components::WARM, json!({}), Grants::default(), Secrets::default()).await.unwrap();
    generation.set_isolation(Isolation::Warm);
    generation
}

/// How often its instance was called by now, as the component says.
async fn calls(generation: &Arc<ChannelGeneration>, address: &str) -> u32 {
    let report = generation.send(input(Some(address))).await;
    let Outcome::Delivered(receipt) = report.outcome else { panic!("{:?}", report.outcome) };
    receipt.detail.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_fresh_instance_is_called_once_and_a_warm_one_again() {
    let bench = bench();
    let fresh =
        bench.stage(components::WARM, json!({}), Grants::default(), Secrets::default()).await.unwrap();
    let warm = warm(&bench).await;
    for number in 1..=3 {
        assert_eq!((calls(&fresh, "").await, calls(&warm, "").await), (1, number));
    }
}

#[tokio::test]
async fn a_generation_that_is_no_longer_warm_gives_its_instances_up() {
    let bench = bench();
    let generation = warm(&bench).await;
    assert_eq!((calls(&generation, "").await, calls(&generation, "").await), (1, 2));
    generation.set_isolation(Isolation::Fresh);
    assert_eq!((calls(&generation, "").await, calls(&generation, "").await), (1, 1));
    generation.set_isolation(Isolation::Warm);
    assert_eq!((calls(&generation, "").await, calls(&generation, "").await), (1, 2));
}

#[tokio::test]
async fn each_generation_has_instances_of_its_own() {
    let bench = bench();
    let first = warm(&bench).await;
    assert_eq!((calls(&first, "").await, calls(&first, "").await), (1, 2));
    let second = warm(&bench).await;
    assert_eq!((calls(&second, "").await, calls(&first, "").await), (1, 3));
}

#[tokio::test]
async fn a_trap_a_timeout_and_a_used_up_cpu_time_retire_the_instance_and_a_fault_does_not() {
    let bench = bench();
    let generation = warm(&bench).await;
    assert_eq!(calls(&generation, "").await, 1);
    assert_eq!(generation.send(input(Some("fault"))).await.end, CallEnd::Answered);
    assert_eq!(calls(&generation, "").await, 3);
    assert_eq!(generation.send(input(Some("trap"))).await.end, CallEnd::Trapped);
    assert_eq!(calls(&generation, "").await, 1);
    let short = Limits { wall: Duration::from_millis(50), ..limits() };
    generation.renewal(Secrets::default(), short).unwrap().apply();
    assert_eq!(generation.send(input(Some("sleep"))).await.end, CallEnd::TimedOut);
    generation.renewal(Secrets::default(), limits()).unwrap().apply();
    assert_eq!(calls(&generation, "").await, 1);
}

#[tokio::test]
async fn an_instance_is_retired_after_so_many_calls() {
    let bench = bench();
    let generation = warm(&bench).await;
    for number in 1..=CALLS_MAX {
        assert_eq!(calls(&generation, "").await, number);
    }
    assert_eq!(calls(&generation, "").await, 1);
}

#[tokio::test]
async fn an_instance_whose_memory_grew_is_retired() {
    let bench = bench();
    let generation = warm(&bench).await;
    assert_eq!(calls(&generation, "").await, 1);
    assert_eq!(calls(&generation, "grow:4").await, 2);
    assert_eq!(calls(&generation, "grow:6").await, 3, "4 MiB more than at first were no reason");
    assert_eq!(calls(&generation, "").await, 1, "10 MiB of 64 are");
}

#[tokio::test]
async fn an_instance_that_has_more_memory_than_a_renewed_limit_is_not_called_again() {
    let bench = bench();
    let generation = warm(&bench).await;
    assert_eq!(calls(&generation, "grow:16").await, 1, "what the first call takes is no growth");
    assert_eq!(calls(&generation, "").await, 2);
    let low = Limits { memory_bytes: 8 * 1024 * 1024, ..limits() };
    generation.renewal(Secrets::default(), low).unwrap().apply();
    assert_eq!(calls(&generation, "").await, 1);
}

#[tokio::test]
async fn calls_at_the_same_time_have_instances_of_their_own() {
    let bench = bench();
    let generation = warm(&bench).await;
    let all = (0..IDLE_MAX * 4).map(|_| {
        let generation = Arc::clone(&generation);
        tokio::spawn(async move { calls(&generation, "").await })
    });
    let mut sum = 0;
    for call in all.collect::<Vec<_>>() {
        sum += usize::from(call.await.unwrap() == 1);
    }
    assert!(sum >= 1, "somebody was the first");
    assert_eq!(generation.usage().calls, 64, "and all were answered");
}

#[tokio::test]
async fn limits_and_log_begin_anew_with_each_call_of_a_warm_instance() {
    let bench = bench();
    let generation = warm(&bench).await;
    let one_call = Limits { host_calls: 1, log_lines: 1, ..limits() };
    generation.renewal(Secrets::default(), one_call).unwrap().apply();
    for number in 1..=3 {
        let report = generation.send(input(Some("print"))).await;
        assert!(matches!(report.outcome, Outcome::Delivered(_)), "{:?}", report.outcome);
        let lines: Vec<&str> = report.log.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(lines, [format!("call {number}")]);
        assert_eq!(report.usage.host_calls, 1, "its settings");
    }
}

#[tokio::test]
async fn many_generations_with_idle_instances_never_fill_the_pool() {
    let bench = bench();
    let mut kept = Vec::new();
    for _ in 0..crate::warm::IDLE_TOTAL_MAX + 8 {
        let generation = warm(&bench).await;
        assert_eq!(calls(&generation, "").await, 1);
        kept.push(generation);
    }
    let (first, last) = (kept.first().unwrap(), kept.last().unwrap());
    assert_eq!(calls(first, "").await, 2, "it has kept its instance");
    assert_eq!(calls(last, "").await, 1, "there was no place for one more");
}
