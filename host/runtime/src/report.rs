//! What is told of an attempt beside its outcome, and what goes into one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::fault::Fault;
use fanfare_model::id::DeliveryId;
use fanfare_model::name::{ChannelName, UserId};
use fanfare_model::notification::Notification;
use fanfare_model::outcome::Outcome;

use crate::guest::cut;

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Something happened.
    Info,
    /// For its author.
    Debug,
}

/// A line of a guest's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How loud it is.
    pub level: Level,
    /// Cut at the limit, secrets masked.
    pub message: String,
}

/// A request that a guest made. Without its path, which may hold a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSummary {
    /// The method.
    pub method: String,
    /// Scheme, host and port.
    pub origin: String,
    /// What came back; none when nothing did.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
}

impl RequestSummary {
    pub(crate) fn of(method: &str, url: &str) -> Self {
        let end =
            url.find("://").and_then(|at| url.get(at + 3..)?.find(['/', '?', '#']).map(|cut| at + 3 + cut));
        let origin = url.get(..end.unwrap_or(url.len())).unwrap_or_default();
        Self { method: cut(method, 16), origin: cut(origin, 200), status: None, took: Duration::ZERO }
    }
}

/// What an attempt used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a thread: the guest's code, the host functions that it called, and the instantiation; not what it waited
    /// for the outside. In nanoseconds, and never too little; below 10 ms it may hold what the kernel gave to other
    /// threads meanwhile.
    pub cpu: Duration,
    /// Around the whole call.
    pub wall: Duration,
    /// Memories and tables at their largest.
    pub memory_bytes_peak: u64,
    /// Calls of the host.
    pub host_calls: u32,
    /// HTTP requests and mails, those included that were refused.
    pub requests: u32,
    /// Bodies of requests and mails.
    pub bytes_out: u64,
    /// Response bodies.
    pub bytes_in: u64,
}

/// Something of a guest's that the host shortened or changed, because it was over a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// What it was, such as `the fault's message`.
    pub what: &'static str,
    /// How much the guest gave.
    pub given: usize,
    /// How much was kept.
    pub kept: usize,
    /// Of what, such as `bytes`.
    pub unit: &'static str,
}

impl Cut {
    pub(crate) const LOG_LINE: &str = "a line of log";

    /// Whether it was a line of the log, and no part of the answer.
    #[must_use]
    pub fn is_of_log(&self) -> bool {
        self.what == Self::LOG_LINE
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, given, kept, unit } = self;
        write!(f, "{what}: {given} {unit} given, {kept} kept")
    }
}

/// All that is known of a decision.
#[derive(Clone, Debug)]
pub struct RouteReport {
    /// The plan, or why there is none.
    pub result: Result<Plan, Fault>,
    /// What it used.
    pub usage: Usage,
    /// What the guest said.
    pub log: Vec<LogLine>,
    /// Lines over the limit.
    pub log_dropped: u32,
    /// What was shortened.
    pub cuts: Vec<Cut>,
}

/// What ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The guest answered, be it with a fault.
    Answered,
    /// A trap, or a limit other than time.
    Trapped,
    /// The wall-clock limit.
    TimedOut,
    /// The host: it stops, or it failed.
    GivenUp,
}

/// All that is known of an attempt.
#[derive(Clone, Debug)]
pub struct AttemptReport {
    /// How it ended.
    pub outcome: Outcome,
    /// What ended the call.
    pub end: CallEnd,
    /// How many calls of this generation in a row a trap has ended, this one included. Any that ends by itself makes it 0.
    pub traps_in_a_row: u32,
    /// What it used.
    pub usage: Usage,
    /// What the guest said.
    pub log: Vec<LogLine>,
    /// Lines over the limit.
    pub log_dropped: u32,
    /// What it sent.
    pub requests: Vec<RequestSummary>,
    /// What was shortened.
    pub cuts: Vec<Cut>,
}

/// Who receives.
#[derive(Clone, Debug, Default)]
pub struct RecipientInfo {
    /// The user's id.
    pub user: Option<String>,
    /// For people.
    pub display_name: Option<String>,
    /// BCP 47.
    pub locale: Option<String>,
    /// IANA time zone.
    pub zone: Option<String>,
}

/// What an attempt is given.
#[derive(Clone, Debug)]
pub struct AttemptInput {
    /// The delivery.
    pub delivery: DeliveryId,
    /// 1 for the first attempt.
    pub number: u32,
    /// What was submitted.
    pub notification: Arc<Notification>,
    /// Who receives.
    pub recipient: RecipientInfo,
    /// Replaces the channel's own destination.
    pub address: Option<String>,
    /// The W3C trace context.
    pub traceparent: Option<String>,
}

/// A way to reach a person.
#[derive(Clone, Debug)]
pub struct Contact {
    /// By this channel.
    pub channel: ChannelName,
    /// At this address.
    pub address: Option<String>,
}

/// Someone whom a notification names.
#[derive(Clone, Debug)]
pub struct Person {
    /// The user's id.
    pub user: UserId,
    /// For people.
    pub display_name: Option<String>,
    /// BCP 47.
    pub locale: Option<String>,
    /// IANA time zone.
    pub zone: Option<String>,
    /// Ways to reach them, in order of preference.
    pub contacts: Vec<Contact>,
}

/// One delivery that a router wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTarget {
    /// The channel's name, not looked up yet.
    pub channel: String,
    /// For this user.
    pub user: Option<String>,
    /// To this address.
    pub address: Option<String>,
    /// After this time.
    pub delay: Duration,
    /// 0 is sent at once.
    pub fallback_order: u32,
    /// Why.
    pub reason: String,
}

/// What a router decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Deliveries to make.
    pub targets: Vec<PlanTarget>,
    /// Decisions about the whole.
    pub notes: Vec<String>,
}
