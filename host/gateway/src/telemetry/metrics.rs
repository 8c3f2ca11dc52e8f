//! Metrics in the OpenMetrics text format. Labels are bounded sets: channels of the configuration, and codes of the
//! host or of a plugin, of which each channel has [`CODES_MAX`] at the most.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfare_model::name::ChannelName;
use fanfare_runtime::Runtime;
use fanfare_store::engine::Class;
use fanfare_store::{CommitEnd, Observer, StoreFigures};
use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::channels::ChannelStates;
use super::plugins::PluginUsage;
use crate::dispatch::LaneDepth;
use crate::registry::Setup;

/// Further codes of a channel are counted as `other`: a plugin makes them up.
const CODES_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    channel: String,
    outcome: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChannelLabels {
    channel: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    channel: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommitLabels {
    class: &'static str,
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: &'static str,
}

/// All metrics of one gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    accepted: Counter,
    refused: Family<CodeLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    ended: Family<EndLabels, Counter>,
    seconds: Family<ChannelLabels, Histogram, fn() -> Histogram>,
    waiting: Family<ChannelLabels, Gauge>,
    running: Family<ChannelLabels, Gauge>,
    parked: Family<ChannelLabels, Gauge>,
    dead_letters: Family<ChannelLabels, Gauge>,
    queue_age: Family<ChannelLabels, Gauge<f64, AtomicU64>>,
    waiting_for_space: Gauge,
    commits: Family<CommitLabels, Counter>,
    intake_seconds: Histogram,
    settle_seconds: Histogram,
    requests: Family<RequestLabels, Counter>,
    panics: Counter,
    codes: Mutex<HashSet<(ChannelName, String)>>,
}

/// What is counted of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct AttemptFacts<'a> {
    /// `delivered`, `transient` or `permanent`.
    pub outcome: &'static str,
    /// The fault's code.
    pub code: Option<&'a str>,
    /// What followed: `delivered`, `retrying`, `dead`, ...
    pub status: &'static str,
    /// Around the whole call.
    pub took: Duration,
}

fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Metrics {
    /// Metrics at zero; those of plugins are read from the runtime, if there is one, when somebody asks.
    #[must_use]
    pub fn new(runtime: Option<&Runtime>) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("fanfare"),
            accepted: Counter::default(),
            refused: Family::default(),
            attempts: Family::default(),
            ended: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            waiting: Family::default(),
            running: Family::default(),
            parked: Family::default(),
            dead_letters: Family::default(),
            queue_age: Family::default(),
            waiting_for_space: Gauge::default(),
            commits: Family::default(),
            intake_seconds: buckets(),
            settle_seconds: buckets(),
            requests: Family::default(),
            panics: Counter::default(),
            codes: Mutex::default(),
        };
        metrics.register();
        if let Some(runtime) = runtime {
            metrics.registry.register_collector(Box::new(PluginUsage::of(runtime.clone())));
        }
        metrics
    }

    /// How channels are is told from now on.
    pub fn tell_of(&mut self, setup: watch::Receiver<Arc<Setup>>) {
        self.registry.register_collector(Box::new(ChannelStates::of(setup)));
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("notifications_accepted", "Notifications on disk", self.accepted.clone());
        r.register("submissions_refused", "Submissions refused, by code", self.refused.clone());
        r.register("attempts", "Attempts that ended", self.attempts.clone());
        r.register("deliveries_settled", "What followed from attempts", self.ended.clone());
        r.register("attempt_duration_seconds", "Time around an attempt", self.seconds.clone());
        r.register("lane_waiting", "Deliveries in memory that wait for a slot", self.waiting.clone());
        r.register("lane_running", "Attempts under way", self.running.clone());
        r.register("lane_parked", "1 where the lane's channel is stopped or not there", self.parked.clone());
        let help = "Notifications whose outcomes are in memory until there is disk space";
        r.register("store_waiting_for_space", help, self.waiting_for_space.clone());
        r.register(
            "store_commits",
            "Commits, by what they were for and how they ended",
            self.commits.clone(),
        );
        let durable = Family::<ClassLabels, Histogram, fn() -> Histogram>::new_with_constructor(buckets);
        self.intake_seconds = durable.get_or_create(&ClassLabels { class: class(Class::Intake) }).clone();
        self.settle_seconds = durable.get_or_create(&ClassLabels { class: class(Class::Settle) }).clone();
        r.register("store_commit_duration_seconds", "From a commit's call until its sync is over", durable);
        r.register("dead_letters", "Dead letters that wait for a person", self.dead_letters.clone());
        let help = "For how long the oldest delivery has been due without having ended";
        r.register("queue_age_seconds", help, self.queue_age.clone());
        r.register("http_requests", "Requests answered", self.requests.clone());
        r.register("panics", "Panics that were caught: each one is a bug", self.panics.clone());
    }

    /// Notifications were accepted.
    pub fn accepted(&self, count: usize) {
        self.accepted.inc_by(count as u64);
    }

    /// A submission was refused.
    pub fn refused(&self, code: &str) {
        self.refused.get_or_create(&CodeLabels { code: code.to_owned() }).inc();
    }

    /// A request was answered. `route` is the pattern of the path, not the path; none when there is nothing there.
    pub fn answered(&self, route: Option<&str>, method: &Method, status: StatusCode) {
        let method = match *method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::DELETE => "DELETE",
            // Clients make methods up.
            _ => "other",
        };
        let route = route.unwrap_or("none").to_owned();
        self.requests.get_or_create(&RequestLabels { route, method, status: status.as_u16() }).inc();
    }

    /// A panic was caught.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// An attempt ended.
    pub fn attempt(&self, channel: &ChannelName, facts: AttemptFacts<'_>) {
        let labels = ChannelLabels { channel: channel.to_string() };
        let code = facts.code.map(|code| self.bounded(channel, code)).unwrap_or_default();
        let attempt = AttemptLabels { channel: channel.to_string(), outcome: facts.outcome, code };
        self.attempts.get_or_create(&attempt).inc();
        self.ended.get_or_create(&EndLabels { channel: channel.to_string(), status: facts.status }).inc();
        self.seconds.get_or_create(&labels).observe(facts.took.as_secs_f64());
    }

    fn bounded(&self, channel: &ChannelName, code: &str) -> String {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (channel.clone(), code.to_owned());
        if codes.contains(&key) {
            return key.1;
        }
        if codes.iter().filter(|(of, _)| of == channel).count() >= CODES_MAX {
            return "other".to_owned();
        }
        codes.insert(key.clone());
        key.1
    }

    /// The text of all metrics, with the lanes and the store as they are now.
    #[must_use]
    pub fn encode(&self, lanes: &[LaneDepth], store: &StoreFigures) -> String {
        self.waiting_for_space.set(gauge(store.waiting_for_space));
        // A lane that is gone must not show its last depth for ever.
        for family in [&self.waiting, &self.running, &self.parked] {
            family.clear();
        }
        self.dead_letters.clear();
        self.queue_age.clear();
        for (channel, count) in &store.dead_letters {
            self.dead_letters.get_or_create(&ChannelLabels { channel: channel.clone() }).set(*count);
        }
        for (lane, age) in &store.queue_ages {
            self.queue_age.get_or_create(&ChannelLabels { channel: lane.to_string() }).set(age.as_secs_f64());
        }
        for lane in lanes {
            let labels = ChannelLabels { channel: lane.lane.to_string() };
            self.waiting.get_or_create(&labels).set(gauge(lane.waiting));
            self.running.get_or_create(&labels).set(gauge(lane.running));
            self.parked.get_or_create(&labels).set(lane.parked.into());
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Observer for Metrics {
    fn commit(&self, of: Class, took: Duration, end: CommitEnd) {
        self.commits.get_or_create(&CommitLabels { class: class(of), end: end.as_str() }).inc();
        if end == CommitEnd::Durable {
            let seconds = match of {
                Class::Intake => &self.intake_seconds,
                Class::Settle => &self.settle_seconds,
            };
            seconds.observe(took.as_secs_f64());
        }
    }
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Intake => "intake",
        Class::Settle => "settle",
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_makes_up_codes_does_not_flood_the_labels() {
        let metrics = Metrics::new(None);
        let channel: ChannelName = "hook".parse().unwrap();
        for number in 0..CODES_MAX * 2 {
            let code = format!("channel.c{number}");
            let facts = AttemptFacts {
                outcome: "permanent",
                code: Some(&code),
                status: "dead",
                took: Duration::from_millis(2),
            };
            metrics.attempt(&channel, facts);
        }
        let text = metrics.encode(&[], &StoreFigures::default());
        assert_eq!(text.matches("fanfare_attempts_total{").count(), CODES_MAX + 1, "{text}");
        assert!(text.contains("code=\"other\"} 64"), "{text}");
    }

    #[test]
    fn lanes_are_shown_as_they_are_and_not_as_they_were() {
        let metrics = Metrics::new(None);
        let lane: ChannelName = "hook".parse().unwrap();
        let text = metrics
            .encode(&[LaneDepth { lane, waiting: 3, running: 1, parked: true }], &StoreFigures::default());
        for line in
            ["waiting{channel=\"hook\"} 3", "running{channel=\"hook\"} 1", "parked{channel=\"hook\"} 1"]
        {
            assert!(text.contains(&format!("fanfare_lane_{line}")), "{text}");
        }
        assert!(!metrics.encode(&[], &StoreFigures::default()).contains("hook"));
    }

    #[test]
    fn requests_are_counted_by_route_and_a_made_up_method_is_other() {
        let metrics = Metrics::new(None);
        metrics.answered(Some("/livez"), &Method::GET, StatusCode::OK);
        metrics.answered(None, &Method::from_bytes(b"BREW").unwrap(), StatusCode::NOT_FOUND);
        let text = metrics.encode(&[], &StoreFigures::default());
        assert!(
            text.contains("fanfare_http_requests_total{route=\"/livez\",method=\"GET\",status=\"200\"} 1"),
            "{text}"
        );
        assert!(text.contains("{route=\"none\",method=\"other\",status=\"404\"} 1"), "{text}");
    }

    #[test]
    fn the_store_shows_its_commits_its_dead_letters_and_the_age_of_its_queues() {
        let metrics = Metrics::new(None);
        metrics.commit(Class::Intake, Duration::from_millis(3), CommitEnd::Durable);
        metrics.commit(Class::Settle, Duration::from_millis(3), CommitEnd::Full);
        let store = StoreFigures {
            waiting_for_space: 2,
            dead_letters: vec![("hook".to_owned(), 4)],
            queue_ages: vec![("mail".parse().unwrap(), Duration::from_millis(1_500))],
        };
        let text = metrics.encode(&[], &store);
        for line in [
            "store_commits_total{class=\"intake\",end=\"durable\"} 1",
            "store_commits_total{class=\"settle\",end=\"full\"} 1",
            "store_commit_duration_seconds_count{class=\"intake\"} 1",
            "store_commit_duration_seconds_count{class=\"settle\"} 0",
            "store_waiting_for_space 2",
            "dead_letters{channel=\"hook\"} 4",
            "queue_age_seconds{channel=\"mail\"} 1.5",
        ] {
            assert!(text.contains(&format!("fanfare_{line}")), "{line}: {text}");
        }
    }
}
