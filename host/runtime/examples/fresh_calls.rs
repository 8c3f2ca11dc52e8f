//! What one call costs: `cargo run --release -p fanfare-runtime --example fresh_calls -- deliver 50000`, on its own for
//! the time of a call, or under `perf stat -e instructions:u` for its instructions.
//!
//! The component is one of the test components, called again and again by as many callers as the third argument says (1), with the isolation that
//! the fourth one says (fresh).

#![allow(clippy::unwrap_used, reason = "a program for developers, which may stop at what it did not expect")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_model::clock::ManualClock;
use fanfare_model::id::{DeliveryId, IdGenerator, Shard};
use fanfare_model::notification::Notification;
use fanfare_model::time::Timestamp;
use fanfare_runtime::egress::Grants;
use fanfare_runtime::secrets::Secrets;
use fanfare_runtime::{
    AttemptInput, ChannelGeneration, ChannelSpec, Compiler, Concurrency, Isolation, Limits, RecipientInfo,
    Runtime, RuntimeOptions, Source,
};

const NOW: Timestamp = Timestamp::EPOCH;

fn notification() -> Notification {
    Notification {
        title: Some("A title of usual length".to_owned()),
        body: Some("x".repeat(1_024)),
        ..Notification::new(
            IdGenerator::default().next(Shard::EMBEDDED, NOW),
            "bench.event".parse().unwrap(),
            NOW,
        )
    }
}

async fn generation(runtime: &Runtime, name: &str, isolation: Isolation) -> Arc<ChannelGeneration> {
    let (_, bytes) = fanfare_test_components::ALL.iter().find(|(known, _)| *known == name).unwrap();
    let source = Source { label: name.to_owned(), bytes: (*bytes).into() };
    let spec = ChannelSpec {
        name: "bench".parse().unwrap(),
        number: 1,
        plugin: runtime.load(source).await.unwrap(),
        settings: serde_json::Map::new(),
        secrets: Secrets::default(),
        grants: Grants::default(),
        limits: Limits::default(),
    };
    let generation = runtime.stage_channel(spec).await.unwrap();
    generation.set_isolation(isolation);
    generation
}

fn input(notification: &Arc<Notification>) -> AttemptInput {
    AttemptInput {
        delivery: DeliveryId { notification: notification.id, index: 0 },
        number: 1,
        notification: Arc::clone(notification),
        recipient: RecipientInfo::default(),
        address: None,
        traceparent: None,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "deliver".to_owned());
    let calls: u32 = arguments.next().map_or(10_000, |text| text.parse().unwrap());
    let callers: u32 = arguments.next().map_or(1, |text| text.parse().unwrap());
    let isolation = arguments.next().map_or(Isolation::Fresh, |text| text.parse().unwrap());
    let cache = std::env::temp_dir().join("fanfare-fresh-calls");
    let runtime = Runtime::start(RuntimeOptions {
        cache_dir: cache,
        compiler: Compiler::InProcess,
        concurrency: Concurrency { instances_max: 64, guest_threads: 1 },
        ceilings: Limits::default(),
        clock: Arc::new(ManualClock::at(NOW)),
    });
    let runtime = runtime.unwrap();
    let generation = generation(&runtime, &name, isolation).await;
    let about = Arc::new(notification());
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..callers {
        let (generation, about) = (Arc::clone(&generation), Arc::clone(&about));
        tasks.push(tokio::spawn(async move {
            let mut cpu = Duration::ZERO;
            for _ in 0..calls / callers {
                cpu += generation.send(input(&about)).await.usage.cpu;
            }
            cpu
        }));
    }
    let mut cpu = Duration::ZERO;
    for task in tasks {
        cpu += task.await.unwrap();
    }
    let (wall, cpu) = (began.elapsed() / calls, cpu / calls);
    println!(
        "{calls} {isolation} calls of {name} by {callers}: {wall:?} each, of which {cpu:?} in the guest's polls"
    );
}
