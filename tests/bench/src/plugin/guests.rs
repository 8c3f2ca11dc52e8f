//! The plugins that are measured, staged in a runtime as the gateway stages them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use fanfare_model::clock::SystemClock;
use fanfare_model::id::{DeliveryId, IdGenerator, Shard};
use fanfare_model::notification::Notification;
use fanfare_model::outcome::Outcome;
use fanfare_model::time::Timestamp;
use fanfare_runtime::egress::Grants;
use fanfare_runtime::secrets::Secrets;
use fanfare_runtime::{
    AttemptInput, ChannelGeneration, ChannelSpec, Compiler, Concurrency, Limits, RecipientInfo,
    RouterGeneration, RouterSpec, Runtime, RuntimeOptions, Source,
};
use serde_json::{Map, Value, json};

/// A runtime as the gateway starts one, with compiled components in `cache`.
pub(super) fn runtime(cache: &Path) -> anyhow::Result<Runtime> {
    Ok(Runtime::start(RuntimeOptions {
        cache_dir: cache.to_owned(),
        compiler: Compiler::InProcess,
        concurrency: Concurrency::default(),
        ceilings: Limits::default(),
        clock: Arc::new(SystemClock::new()),
    })?)
}

fn source(name: &str, bytes: &'static [u8]) -> Source {
    Source { label: name.to_owned(), bytes: bytes.into() }
}

/// One of the test components: small, with one behaviour.
pub(super) fn component(name: &str) -> anyhow::Result<Source> {
    let found = fanfare_test_components::ALL.iter().find(|(known, _)| *known == name);
    let (_, bytes) = found.with_context(|| format!("there is no test component {name}"))?;
    Ok(source(name, bytes))
}

/// Stages `source` as the channel `name`, which may post to `sink`.
pub(super) async fn channel(
    runtime: &Runtime,
    name: &str,
    source: Source,
    sink: SocketAddr,
    number: u64,
) -> anyhow::Result<Arc<ChannelGeneration>> {
    let origin = format!("http://{sink}");
    let mut settings = Map::new();
    settings.insert("url".to_owned(), Value::String(format!("{origin}/hook")));
    let spec = ChannelSpec {
        name: name.parse()?,
        number,
        plugin: runtime.load(source).await?,
        settings,
        secrets: Secrets::default(),
        grants: Grants::parse(&[origin], &[], true)?,
        limits: Limits::default(),
    };
    Ok(runtime.stage_channel(spec).await?)
}

/// The first-party router, with ten rules of which the last matches.
pub(super) async fn router(runtime: &Runtime) -> anyhow::Result<Arc<RouterGeneration>> {
    let bytes = fanfare_gateway::embedded::find("rules").context("the router `rules` is not embedded")?;
    let rule = |nth: usize| {
        let pattern = if nth == 9 { "bench.*".to_owned() } else { format!("other-{nth}.*") };
        json!({ "name": format!("rule-{nth}"), "when": { "type": pattern }, "then": { "channels": ["hook"] } })
    };
    let rules: Vec<Value> = (0..10).map(rule).collect();
    let mut settings = Map::new();
    settings.insert("rules".to_owned(), Value::Array(rules));
    let plugin = runtime.load(source("rules", bytes)).await?;
    let spec =
        RouterSpec { name: "bench".to_owned(), number: 1, plugin, settings, limits: Limits::default() };
    Ok(runtime.stage_router(spec).await?)
}

/// A notification with a body of `bytes`.
pub(super) fn notification(bytes: usize) -> Arc<Notification> {
    Arc::new(Notification {
        body: Some("x".repeat(bytes)),
        ..Notification::new(
            IdGenerator::default().next(Shard::EMBEDDED, Timestamp::EPOCH),
            event_type(),
            Timestamp::EPOCH,
        )
    })
}

#[allow(clippy::expect_used, reason = "the text is a constant, and a test parses it")]
fn event_type() -> fanfare_model::name::EventType {
    "bench.tick".parse().expect("a dotted name")
}

/// The first attempt of the only delivery of `notification`.
pub(super) fn attempt(notification: &Arc<Notification>) -> AttemptInput {
    AttemptInput {
        delivery: DeliveryId { notification: notification.id, index: 0 },
        number: 1,
        notification: Arc::clone(notification),
        recipient: RecipientInfo::default(),
        address: None,
        traceparent: None,
    }
}

/// One attempt that must be delivered.
pub(super) async fn deliver(
    generation: &ChannelGeneration,
    notification: &Arc<Notification>,
) -> anyhow::Result<()> {
    let report = generation.send(attempt(notification)).await;
    ensure!(matches!(report.outcome, Outcome::Delivered(_)), "an attempt of the bench: {:?}", report.outcome);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_notification_of_the_bench_has_a_type_that_parses() {
        assert_eq!(super::notification(3).body.as_deref(), Some("xxx"));
    }
}
