//! Who serves after a start, a reload, an activation, a trial; with real plugins, and a store in memory that outlives restarts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::clock::{Clock, SystemClock};
use fanfare_model::fault::{Fault, code};
use fanfare_model::id::{IdGenerator, Shard};
use fanfare_model::outcome::Outcome;
use fanfare_model::time::Timestamp;
use fanfare_runtime::{CallEnd, Usage};
use fanfare_store::memory::MemoryEngine;
use fanfare_test_components as components;

use super::*;
use crate::registry::{Halt, Lineup, State};
use crate::testing::runtime;

type Variables = BTreeMap<String, String>;

/// What outlives a restart.
struct House {
    engine: Arc<MemoryEngine>,
    runtime: Runtime,
    clock: Arc<dyn Clock>,
    _cache: tempfile::TempDir,
}

const LOG: &str = "[channels.log]\nplugin = \"console\"\n";
const HOOK: &str = "[channels.hook]\nplugin = \"webhook\"\nsettings = { url = \"https://a.example/x\" }\n\
                    grants = { http = [\"https://a.example\"] }\n";

fn house() -> House {
    let cache = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let runtime = runtime(cache.path(), &clock);
    House { engine: Arc::new(MemoryEngine::new()), runtime, clock, _cache: cache }
}

fn config(text: &str, variables: &Variables) -> Config {
    Config::read(None, text, variables).unwrap()
}

impl House {
    async fn try_start(&self, text: &str, variables: &Variables) -> Result<Plugins, Vec<SetupError>> {
        let store =
            Store::open(Arc::<MemoryEngine>::clone(&self.engine), Arc::clone(&self.clock)).await.unwrap();
        let environment = Arc::new(variables.clone());
        let options = Options { runtime: self.runtime.clone(), store, environment };
        Plugins::start(options, &config(text, variables)).await
    }

    async fn start(&self, text: &str) -> Plugins {
        self.try_start(text, &Variables::new()).await.unwrap()
    }
}

fn name(text: &str) -> ChannelName {
    text.parse().unwrap()
}

/// The number and the plugin that serve, and the channel's state.
fn serves(plugins: &Plugins, channel: &str) -> (u64, String, &'static str) {
    let setup = plugins.setup();
    let channel = &setup.channels[channel];
    (channel.generation, channel.plugin.clone(), channel.word())
}

fn lineup(plugins: &Plugins, channel: &str) -> Lineup {
    match &plugins.setup().channels[channel].state {
        State::Open(lineup) => lineup.clone(),
        State::Halted(halt) => panic!("{channel} is halted: {halt:?}"),
    }
}

/// Waits until the channel is in the state.
async fn until(plugins: &Plugins, channel: &str, state: &str) {
    let mut setup = plugins.subscribe();
    setup.wait_for(|setup| setup.channels[channel].word() == state).await.unwrap();
}

async fn install(plugins: &Plugins, bytes: &[u8]) -> String {
    plugins.install(bytes.to_vec(), "ann").await.unwrap().0.digest.to_string()
}

async fn activate(plugins: &Plugins, channel: &str, plugin: &str) -> Result<(), ActError> {
    let activation = plugins.activation(plugin).await?;
    plugins.activate(&name(channel), activation, "ann").await
}

async fn try_out(plugins: &Plugins, channel: &str, plugin: &str) {
    let mut activation = plugins.activation(plugin).await.unwrap();
    activation.canary = Some(Trial { share: 1_000, ratio_percent: 200, attempts_min: 20 });
    plugins.activate(&name(channel), activation, "ann").await.unwrap();
}

fn report(outcome: Outcome, end: CallEnd) -> AttemptReport {
    AttemptReport {
        outcome,
        end,
        traps_in_a_row: 0,
        usage: Usage::default(),
        log: Vec::new(),
        log_dropped: 0,
        requests: Vec::new(),
        cuts: Vec::new(),
    }
}

fn good() -> AttemptReport {
    report(Outcome::Delivered(fanfare_model::outcome::Receipt::default()), CallEnd::Answered)
}

fn trap() -> AttemptReport {
    let fault = Fault::new(code::PLUGIN_TRAP, "unreachable");
    report(Outcome::Transient { fault, retry_after: None }, CallEnd::Trapped)
}

fn input() -> AttemptInput {
    let now = Timestamp::EPOCH;
    let notification = Notification {
        title: Some("title".to_owned()),
        ..Notification::new(
            IdGenerator::default().next(Shard::EMBEDDED, now),
            "test.event".parse().unwrap(),
            now,
        )
    };
    AttemptInput {
        delivery: DeliveryId { notification: notification.id, index: 0 },
        number: 1,
        notification: Arc::new(notification),
        recipient: RecipientInfo::default(),
        address: None,
        traceparent: None,
    }
}

#[tokio::test]
async fn a_restart_makes_no_generation_and_an_activation_outlives_it_until_the_section_says_something_new() {
    let house = house();
    let plugins = house.start(LOG).await;
    assert_eq!(serves(&plugins, "log"), (1, "console 0.1.0".to_owned(), "serving"));
    plugins.stop().await;

    let plugins =
        house.start(&format!("# a comment\n{LOG}concurrency = 3\nlimits = {{ cpu_ms = 100 }}\n")).await;
    assert_eq!(serves(&plugins, "log").0, 1, "neither a comment nor limits make one");
    let digest = install(&plugins, components::DELIVER).await;
    activate(&plugins, "log", &digest).await.unwrap();
    assert_eq!(serves(&plugins, "log"), (2, "deliver 0.1.0".to_owned(), "serving"));
    plugins.stop().await;

    let plugins = house.start(LOG).await;
    assert_eq!(
        serves(&plugins, "log"),
        (2, "deliver 0.1.0".to_owned(), "serving"),
        "the activation is later"
    );
    plugins.reload(config(LOG, &Variables::new())).await.unwrap();
    assert_eq!(serves(&plugins, "log").0, 2);
    plugins.stop().await;

    let plugins = house.start(&format!("{LOG}grants = {{ http = [\"https://b.example\"] }}\n")).await;
    assert_eq!(serves(&plugins, "log"), (3, "console 0.1.0".to_owned(), "serving"), "now the file is later");
    plugins.rollback(&name("log"), "ann").await.unwrap();
    assert_eq!(serves(&plugins, "log"), (2, "deliver 0.1.0".to_owned(), "serving"));
    let acts: Vec<String> = plugins
        .audit(Some("channel log"), 10)
        .await
        .unwrap()
        .iter()
        .map(|e| format!("{} {}", e.by, e.act))
        .collect();
    assert_eq!(acts, ["ann rollback", "file activate", "ann activate", "file activate"]);
    plugins.stop().await;
}

#[tokio::test]
async fn activating_what_serves_makes_a_generation_and_a_rollback_goes_back_to_the_first() {
    let house = house();
    let plugins = house.start(LOG).await;
    let refused = plugins.rollback(&name("log"), "ann").await.unwrap_err();
    assert!(refused.to_string().contains("is the first"), "{refused}");
    activate(&plugins, "log", "console").await.unwrap();
    assert_eq!(serves(&plugins, "log").0, 2);
    plugins.rollback(&name("log"), "ann").await.unwrap();
    assert_eq!(serves(&plugins, "log").0, 1);
    activate(&plugins, "log", "console").await.unwrap();
    assert_eq!(serves(&plugins, "log").0, 3, "a number is never given twice");
    plugins.stop().await;
}

#[tokio::test]
async fn what_an_activation_leaves_out_is_inherited_and_more_permissions_need_approval_and_grants() {
    let house = house();
    let plugins = house.start(&format!("{HOOK}{LOG}")).await;
    let digest = install(&plugins, components::HTTP_POST).await;
    let refused = activate(&plugins, "log", &digest).await.unwrap_err();
    let ActError::Conflict(refused) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.code, "plugin.approval");
    assert!(refused.message.contains("http {settings.url}. Approve it with --approve"), "{refused}");

    let mut activation = plugins.activation(&digest).await.unwrap();
    activation.approve = true;
    activation.settings = serde_json::json!({ "url": "https://b.example/y" }).as_object().cloned();
    let refused = plugins.activate(&name("log"), activation.clone(), "ann").await.unwrap_err();
    assert!(
        refused.to_string().contains("[channels.log.grants]\nhttp = [\"https://b.example\"]\n"),
        "the lines to paste: {refused}"
    );
    assert_eq!(serves(&plugins, "log").0, 1, "nothing has changed");
    activation.grants = Some(fanfare_store::plugins::GrantLines {
        http: vec!["https://b.example".to_owned()],
        ..Default::default()
    });
    plugins.activate(&name("log"), activation, "ann").await.unwrap();
    let entry = plugins.audit(None, 1).await.unwrap().remove(0);
    assert_eq!(entry.added, ["asks for http {settings.url}", "granted http https://b.example"]);

    // The webhook asks for the same already, so nothing is to be approved, and settings and grants are inherited.
    activate(&plugins, "hook", &digest).await.unwrap();
    let record = plugins.channel(&name("hook")).await.unwrap();
    let current = record.generation(record.usage.current).unwrap();
    assert_eq!(current.grants.http, ["https://a.example"]);
    assert!(current.settings.contains("https://a.example/x"));
    plugins.stop().await;
}

#[tokio::test]
async fn a_new_section_that_cannot_serve_stops_the_start_and_one_that_served_comes_up_suspended() {
    let house = house();
    let bad = "[channels.bad]\nplugin = \"webhook\"\nsettings = { url = \"https://a.example/x\" }\n";
    let errors = house.try_start(&format!("{LOG}{bad}"), &Variables::new()).await.unwrap_err();
    assert_eq!((errors.len(), errors[0].code.as_str()), (1, "config.grant"));
    assert!(errors[0].message.contains("grants = { http = [\"https://a.example\"] }"), "{}", errors[0]);

    let plugins = house.start(&format!("{LOG}{HOOK}")).await;
    let digest = install(&plugins, components::DELIVER).await;
    activate(&plugins, "log", &digest).await.unwrap();
    plugins.stop().await;
    // Its component is lost: nothing that the file says is wrong, and everything else serves.
    let store =
        Store::open(Arc::<MemoryEngine>::clone(&house.engine), Arc::clone(&house.clock)).await.unwrap();
    let entry = plugins.audit(None, 1).await.unwrap().remove(0);
    assert!(store.plugins().remove(digest.parse().unwrap(), &entry).await.unwrap());

    let plugins = house.start(&format!("{LOG}{HOOK}")).await;
    assert_eq!(serves(&plugins, "hook").2, "serving");
    assert_eq!(serves(&plugins, "log"), (2, "deliver 0.1.0".to_owned(), "suspended"));
    let setup = plugins.setup();
    let State::Halted(Halt::Suspended { code, message, .. }) = &setup.channels["log"].state else { panic!() };
    assert_eq!(code, "plugin.unknown");
    assert!(message.contains("fanfare plugin install"), "{message}");
    assert!(matches!(plugins.resume(&name("log"), "ann").await, Err(ActError::Refused(_))));
    install(&plugins, components::DELIVER).await;
    plugins.resume(&name("log"), "ann").await.unwrap();
    assert_eq!(serves(&plugins, "log").2, "serving");
    plugins.stop().await;
}

#[tokio::test]
async fn traps_in_a_row_suspend_a_channel_and_a_probe_that_ends_by_itself_reopens_it_also_after_a_restart() {
    let house = house();
    let section = format!("{LOG}suspend_after = 3\nprobe_after = \"10ms\"\n");
    let plugins = house.start(&section).await;
    let vigil = Arc::clone(&plugins.setup().channels["log"].vigil);
    for report in [trap(), trap(), good(), trap(), report(trap().outcome, CallEnd::TimedOut), trap()] {
        vigil.serving_ended(&report);
    }
    assert_eq!(vigil.seen().traps, 2, "what ended by itself begins the row anew");
    vigil.serving_ended(&trap());
    // Suspended, and after ten milliseconds probed.
    until(&plugins, "log", "probing").await;
    let setup = plugins.setup();
    let vigil = Arc::clone(&setup.channels["log"].vigil);
    assert_eq!(setup.channels["log"].open_slots(), Some(1));
    assert!(vigil.admits());
    assert!(!vigil.admits(), "one delivery is tried at a time");
    vigil.serving_ended(&trap());
    until(&plugins, "log", "probing").await;
    let mut setup = plugins.subscribe();
    setup.wait_for(|setup| !Arc::ptr_eq(&setup.channels["log"].vigil, &vigil)).await.unwrap();
    plugins.stop().await;

    let plugins = house.start(&section).await;
    until(&plugins, "log", "probing").await;
    let audit = plugins.audit(Some("channel log"), 1).await.unwrap().remove(0);
    assert_eq!((audit.by.as_str(), audit.act.as_str()), ("watch", "suspend"));
    assert!(audit.detail.contains("3 attempts in a row"), "{}", audit.detail);
    let vigil = Arc::clone(&plugins.setup().channels["log"].vigil);
    assert!(vigil.admits());
    vigil.serving_ended(&good());
    until(&plugins, "log", "serving").await;
    plugins.stop().await;
    let plugins = house.start(&section).await;
    assert_eq!(serves(&plugins, "log").2, "serving");
    plugins.stop().await;
}

#[tokio::test]
async fn a_probe_that_ran_out_of_time_gives_its_place_back_and_what_was_left_meanwhile_is_called() {
    let house = house();
    let plugins = house.start(&format!("{LOG}suspend_after = 1\nprobe_after = \"10ms\"\n")).await;
    plugins.setup().channels["log"].vigil.serving_ended(&trap());
    until(&plugins, "log", "probing").await;
    let mut setup = plugins.subscribe();
    let vigil = Arc::clone(&setup.borrow_and_update().channels["log"].vigil);
    assert!(vigil.admits());
    vigil.serving_ended(&report(trap().outcome, CallEnd::TimedOut));
    // Whoever was not admitted meanwhile waits for a new setup.
    setup.changed().await.unwrap();
    assert_eq!(serves(&plugins, "log").2, "probing");
    assert!(plugins.setup().channels["log"].vigil.admits(), "another attempt has to show it");
    plugins.stop().await;
}

#[tokio::test]
async fn a_suspended_channel_is_reopened_at_once_by_a_person_or_another_generation() {
    let house = house();
    let plugins = house.start(&format!("{LOG}suspend_after = 1\n")).await;
    for act in ["resume", "activate"] {
        plugins.setup().channels["log"].vigil.serving_ended(&trap());
        until(&plugins, "log", "suspended").await;
        assert_eq!(plugins.setup().channels["log"].open_slots(), None);
        let mut activation = plugins.activation("console").await.unwrap();
        activation.canary = Some(Trial { share: 1_000, ratio_percent: 200, attempts_min: 20 });
        let refused = plugins.activate(&name("log"), activation, "ann").await.unwrap_err();
        assert!(refused.to_string().contains("without a canary"), "{refused}");
        match act {
            "resume" => plugins.resume(&name("log"), "ann").await.unwrap(),
            _ => activate(&plugins, "log", "console").await.unwrap(),
        }
        assert_eq!(serves(&plugins, "log").2, "serving");
    }
    plugins.stop().await;
}

#[tokio::test]
async fn a_pause_outlives_a_restart_and_a_change_of_the_section() {
    let house = house();
    let plugins = house.start(LOG).await;
    plugins.pause(&name("log"), "ann").await.unwrap();
    plugins.stop().await;
    let plugins = house.start(&format!("{LOG}grants = {{ http = [\"https://b.example\"] }}\n")).await;
    assert_eq!(serves(&plugins, "log"), (2, "console 0.1.0".to_owned(), "paused"));
    plugins.resume(&name("log"), "ann").await.unwrap();
    assert_eq!(serves(&plugins, "log").2, "serving");
    plugins.stop().await;
}

#[tokio::test]
async fn a_good_candidate_is_promoted_by_itself_and_its_score_outlives_a_restart() {
    let house = house();
    let plugins = house.start(LOG).await;
    let digest = install(&plugins, components::DELIVER).await;
    try_out(&plugins, "log", &digest).await;
    assert_eq!(serves(&plugins, "log"), (1, "console 0.1.0".to_owned(), "canary"));
    let vigil = Arc::clone(&plugins.setup().channels["log"].vigil);
    for _ in 0..19 {
        vigil.candidate_ended(&good());
        vigil.serving_ended(&good());
    }
    plugins.stop().await;

    let plugins = house.start(LOG).await;
    assert_eq!(serves(&plugins, "log").2, "canary");
    let vigil = Arc::clone(&plugins.setup().channels["log"].vigil);
    assert_eq!((vigil.seen().new.attempts, vigil.seen().old.attempts), (19, 19));
    vigil.candidate_ended(&good());
    until(&plugins, "log", "serving").await;
    assert_eq!(serves(&plugins, "log"), (2, "deliver 0.1.0".to_owned(), "serving"));
    plugins.stop().await;
    let plugins = house.start(LOG).await;
    assert_eq!(serves(&plugins, "log"), (2, "deliver 0.1.0".to_owned(), "serving"));
    let entry = plugins.audit(None, 1).await.unwrap().remove(0);
    assert_eq!((entry.by.as_str(), entry.act.as_str()), ("canary", "promote"));
    plugins.stop().await;
}

#[tokio::test]
async fn a_candidate_that_fails_more_often_than_the_other_is_rolled_back_by_itself() {
    let house = house();
    let plugins = house.start(LOG).await;
    try_out(&plugins, "log", "console").await;
    let vigil = Arc::clone(&plugins.setup().channels["log"].vigil);
    for number in 0..20 {
        vigil.serving_ended(&good());
        vigil.candidate_ended(&if number == 7 { trap() } else { good() });
    }
    until(&plugins, "log", "serving").await;
    assert_eq!(serves(&plugins, "log").0, 1);
    let entry = plugins.audit(None, 1).await.unwrap().remove(0);
    assert_eq!((entry.by.as_str(), entry.act.as_str()), ("canary", "rollback"));
    assert!(entry.detail.starts_with("1 of 20 attempts of generation 2"), "{}", entry.detail);
    plugins.stop().await;
}

#[tokio::test]
async fn a_candidate_takes_its_share_and_what_it_traps_on_is_sent_by_the_generation_that_serves() {
    let house = house();
    let plugins = house.start(LOG).await;
    let digest = install(&plugins, components::TRAP_SEND).await;
    let mut activation = plugins.activation(&digest).await.unwrap();
    activation.canary = Some(Trial { share: 5_000, ratio_percent: 200, attempts_min: 1_000 });
    plugins.activate(&name("log"), activation, "ann").await.unwrap();
    let lineup = lineup(&plugins, "log");
    let vigil = Arc::clone(&plugins.setup().channels["log"].vigil);
    let mut fell_back = 0_u64;
    for _ in 0..200 {
        let input = input();
        let first = lineup.attempt(&vigil, input.clone()).await;
        assert!(matches!(first.report.outcome, Outcome::Delivered(_)), "{:?}", first.report.outcome);
        assert_eq!(first.generation, 1);
        let again = lineup.attempt(&vigil, AttemptInput { number: 2, ..input }).await;
        assert_eq!(
            again.fell_back.is_some(),
            first.fell_back.is_some(),
            "a retry goes where the first one went"
        );
        fell_back += u64::from(first.fell_back.is_some());
    }
    assert!((40..=160).contains(&fell_back), "{fell_back} of 200 with a share of a half");
    assert_eq!(vigil.seen().new.faults, fell_back * 2);
    assert_eq!(vigil.seen().traps, 0, "a candidate's traps do not suspend the channel");
    plugins.rollback(&name("log"), "ann").await.unwrap();
    assert_eq!(serves(&plugins, "log"), (1, "console 0.1.0".to_owned(), "serving"));
    plugins.stop().await;
}

#[tokio::test]
async fn a_component_that_somebody_needs_is_not_removed() {
    let house = house();
    let plugins = house.start(LOG).await;
    let digest = install(&plugins, components::DELIVER).await;
    activate(&plugins, "log", &digest[..12]).await.unwrap();
    let refused = plugins.remove("deliver", "ann").await.unwrap_err();
    assert!(refused.to_string().contains("channel log uses it"), "{refused}");
    activate(&plugins, "log", "console").await.unwrap();
    let refused = plugins.remove("deliver", "ann").await.unwrap_err();
    assert!(refused.to_string().contains("may roll back to it"), "{refused}");
    activate(&plugins, "log", "console").await.unwrap();
    plugins.remove("deliver", "ann").await.unwrap();
    assert!(matches!(plugins.remove("deliver", "ann").await, Err(ActError::Absent(_))));
    assert!(plugins.remove("console", "ann").await.is_err(), "the built-in one is in use");
    plugins.stop().await;
}

#[tokio::test]
async fn what_is_no_plugin_is_not_installed_and_a_failed_activation_changes_nothing() {
    let house = house();
    let plugins = house.start(LOG).await;
    let refused = plugins.install(b"no component".to_vec(), "ann").await.unwrap_err();
    assert!(
        matches!(&refused, ActError::Refused(refused) if refused.code == "plugin.invalid"),
        "{refused:?}"
    );
    let digest = install(&plugins, components::CHECK_FAULT).await;
    let refused = activate(&plugins, "log", &digest).await.unwrap_err();
    assert!(matches!(&refused, ActError::Refused(refused) if refused.code == "plugin.check"), "{refused:?}");
    let router = install(&plugins, components::ROUTER_PROBE).await;
    let refused = activate(&plugins, "log", &router).await.unwrap_err();
    assert!(matches!(&refused, ActError::Refused(refused) if refused.code == "plugin.kind"), "{refused:?}");
    let refused = activate(&plugins, "nowhere", "console").await.unwrap_err();
    assert!(refused.to_string().contains("[channels.nowhere]"), "{refused}");
    assert_eq!(serves(&plugins, "log").0, 1);
    let acts = plugins.audit(Some("channel log"), 10).await.unwrap();
    assert_eq!(acts.len(), 1);
    plugins.stop().await;
}

#[tokio::test]
async fn the_router_keeps_its_generation_over_a_restart() {
    let house = house();
    let text = "[routers.default]\nplugin = \"rules\"\nsettings = { rules = [] }\n";
    let number = |plugins: &Plugins| plugins.setup().router.as_ref().unwrap().number;
    let plugins = house.start(text).await;
    assert_eq!(number(&plugins), 1);
    plugins.stop().await;
    let plugins = house.start(&format!("{text}deadline = \"2s\"\n")).await;
    assert_eq!(number(&plugins), 1);
    assert_eq!(plugins.setup().router.as_ref().unwrap().deadline, Duration::from_secs(2));
    plugins.stop().await;
}
