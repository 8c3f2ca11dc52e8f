//! `[server]`, `[store]`, `[log]` and `[runtime]`: what the process is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::error::Place;
use super::read::section::Section;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// `[server]`: where it listens and what one client may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The address; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The largest body of one notification.
    pub notification_bytes: usize,
    /// The largest body of a batch.
    pub batch_bytes: usize,
    /// A request's head has to arrive within this time.
    pub header_timeout: Duration,
    /// A request's body has to arrive within this time.
    pub read_timeout: Duration,
    /// A connection on which no request is under way is closed after this time.
    pub idle_timeout: Duration,
    /// Connections open at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// Requests that submit, in work at once, and as many others; further ones are answered 503.
    pub requests_in_flight_max: usize,
    /// The longest that `Prefer: wait` waits.
    pub wait_max: Duration,
    /// Notifications waited for so at once; requests with further ones are answered without waiting.
    pub waits_max: usize,
    /// Attempts under way get so long to end when the gateway stops.
    pub shutdown_deadline: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            notification_bytes: 256 << 10,
            batch_bytes: 16 << 20,
            header_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            connections_max: 4_096,
            requests_in_flight_max: 1_024,
            wait_max: Duration::from_secs(60),
            waits_max: 1_024,
            shutdown_deadline: Duration::from_secs(20),
        }
    }
}

/// `[store]`: where accepted notifications are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder.
    pub path: PathBuf,
    /// How long an idempotency key gives its first answer again.
    pub idempotency_window: Duration,
    /// How long what was submitted is kept after its end.
    pub keep_bodies: Duration,
    /// How long everything else about it is; at least as long.
    pub keep_history: Duration,
    /// The share of the time, in percent, that giving disk space back may take.
    pub reclaim_percent: u32,
}

/// `[log]`: what is written to standard error, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter in the syntax of `tracing`, such as `info` or `info,fanfare_runtime=debug`.
    pub filter: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// `[runtime]`: how much of the machine plugins get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Plugin instances alive at once, and so attempts under way on all channels.
    pub instances: usize,
    /// Threads that run plugins; none means one for each core, two at least.
    pub guest_threads: Option<usize>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self { instances: 256, guest_threads: None }
    }
}

/// The address with the place it came from, for the check against the keys.
pub(super) struct Listen {
    pub(super) address: SocketAddr,
    pub(super) place: Option<Place>,
}

pub(super) fn server(section: Option<Section<'_>>) -> (ServerConfig, Listen) {
    let mut config = ServerConfig::default();
    let Some(mut section) = section else {
        let listen = Listen { address: config.listen, place: None };
        return (config, listen);
    };
    let entry = section.take("listen");
    let place = entry.as_ref().map(|entry| entry.place().clone());
    let remedy = r#"write it as "127.0.0.1:8080", "[::1]:8080" or "0.0.0.0:8080""#;
    set(&mut config.listen, entry.and_then(|entry| entry.parse(remedy)));
    let bytes = section.take("notification_bytes").and_then(|entry| entry.size(KIB..=512 * KIB));
    set(&mut config.notification_bytes, bytes);
    let bytes = section.take("batch_bytes").and_then(|entry| entry.size(KIB..=32 * MIB));
    set(&mut config.batch_bytes, bytes);
    set(&mut config.header_timeout, duration(&mut section, "header_timeout", 10 * MS, 300 * SECOND));
    set(&mut config.read_timeout, duration(&mut section, "read_timeout", 10 * MS, 600 * SECOND));
    set(&mut config.idle_timeout, duration(&mut section, "idle_timeout", 10 * MS, HOUR));
    set(&mut config.connections_max, count(&mut section, "connections_max", 65_536));
    set(&mut config.requests_in_flight_max, count(&mut section, "requests_in_flight_max", 65_536));
    set(&mut config.wait_max, duration(&mut section, "wait_max", Duration::ZERO, 600 * SECOND));
    set(&mut config.waits_max, count(&mut section, "waits_max", 65_536));
    set(&mut config.shutdown_deadline, duration(&mut section, "shutdown_deadline", Duration::ZERO, HOUR));
    section.finish();
    let address = config.listen;
    (config, Listen { address, place })
}

/// Relative paths begin in `folder`.
pub(super) fn store(section: Option<Section<'_>>, folder: &Path) -> StoreConfig {
    let mut config = StoreConfig {
        path: folder.join("fanfare-data"),
        idempotency_window: Duration::from_secs(24 * 3_600),
        keep_bodies: 7 * DAY,
        keep_history: 30 * DAY,
        reclaim_percent: 25,
    };
    if let Some(mut section) = section {
        let path = section.take("path").and_then(|entry| entry.word().map(|text| folder.join(text)));
        set(&mut config.path, path);
        let window = duration(&mut section, "idempotency_window", SECOND, 30 * 24 * HOUR);
        set(&mut config.idempotency_window, window);
        set(&mut config.keep_bodies, duration(&mut section, "keep_bodies", SECOND, 3_650 * DAY));
        let history = section.take("keep_history");
        set(
            &mut config.keep_history,
            history.as_ref().and_then(|entry| entry.duration(SECOND..=3_650 * DAY)),
        );
        if config.keep_history < config.keep_bodies {
            let remedy = "make `keep_history` at least as long as `keep_bodies`";
            let text = "bodies would be kept longer than the history that they belong to".to_owned();
            match &history {
                Some(entry) => entry.wrong(text, remedy),
                None => config.keep_history = config.keep_bodies,
            }
        }
        let percent = count(&mut section, "reclaim_percent", 100).and_then(|n| u32::try_from(n).ok());
        set(&mut config.reclaim_percent, percent);
        section.finish();
    }
    config
}

pub(super) fn log(section: Option<Section<'_>>) -> LogConfig {
    let mut config = LogConfig::default();
    if let Some(mut section) = section {
        if let Some(entry) = section.take("filter")
            && let Some(filter) = entry.word()
        {
            match EnvFilter::try_new(filter) {
                Ok(_) => filter.clone_into(&mut config.filter),
                Err(error) => entry.wrong(
                    format!("{filter:?} is not a filter: {error}"),
                    r#"write a level (error, warn, info, debug, trace) or "info,fanfare_runtime=debug""#,
                ),
            }
        }
        if let Some(entry) = section.take("format") {
            match entry.text() {
                Some("text") => config.format = LogFormat::Text,
                Some("json") => config.format = LogFormat::Json,
                Some(other) => entry.wrong(format!("{other:?} is not a format"), r#"write "text" or "json""#),
                None => {}
            }
        }
        section.finish();
    }
    config
}

pub(super) fn runtime(section: Option<Section<'_>>) -> RuntimeConfig {
    let mut config = RuntimeConfig::default();
    if let Some(mut section) = section {
        set(&mut config.instances, count(&mut section, "instances", 1_000));
        config.guest_threads = count(&mut section, "guest_threads", 256);
        section.finish();
    }
    config
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn duration(
    section: &mut Section<'_>,
    name: &'static str,
    least: Duration,
    most: Duration,
) -> Option<Duration> {
    section.take(name)?.duration(least..=most)
}

fn count(section: &mut Section<'_>, name: &'static str, most: u64) -> Option<usize> {
    section.take(name)?.count(1..=most)
}
