//! Generations: a plugin with settings and grants, immutable, checked once before it serves.

use std::fmt;
use std::sync::Arc;

use fanfare_model::clock::Clock;
use fanfare_model::fault::{Fault, code};
use fanfare_model::name::ChannelName;
use fanfare_model::notification::Notification;
use fanfare_model::outcome::Outcome;
use fanfare_model::time::Timestamp;
use serde_json::{Map, Value};
use wasmtime::Store;
use wasmtime::component::InstancePre;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use crate::bindings::channel::fanfare::types::types as wit;
use crate::bindings::channel::{Channel, ChannelPre};
use crate::bindings::router::exports::fanfare::router::rules;
use crate::bindings::router::{Router, RouterPre};
use crate::call::{AsyncCall, Executor};
use crate::convert;
use crate::egress::{CallContext, Door, Grants};
use crate::error::StageError;
use crate::guest::{Guest, Outside, Parts};
use crate::inert;
use crate::limits::Limits;
use crate::plugin::Plugin;
use crate::report::{AttemptInput, AttemptReport, Level, LogLine, Person, Plan, RouteReport};
use crate::secrets::{AttemptSecrets, MarkedSettings, Secrets};
use crate::smtp::Mailer;

/// What a guest prints is kept up to this size.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// What a channel's generation is made of.
#[derive(Debug)]
pub struct ChannelSpec {
    /// The channel.
    pub name: ChannelName,
    /// The generation's number.
    pub number: u64,
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// Its settings.
    pub settings: Map<String, Value>,
    /// Its secrets.
    pub secrets: Secrets,
    /// What it may reach.
    pub grants: Grants,
    /// What an attempt may use.
    pub limits: Limits,
}

/// What a router's generation is made of.
#[derive(Debug)]
pub struct RouterSpec {
    /// The router.
    pub name: String,
    /// The generation's number.
    pub number: u64,
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// Its settings.
    pub settings: Map<String, Value>,
    /// What a decision may use.
    pub limits: Limits,
}

/// What both kinds share.
pub(crate) struct Common {
    pub(crate) number: u64,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) settings: MarkedSettings,
    pub(crate) limits: Limits,
    pub(crate) executor: Executor,
    pub(crate) clock: Arc<dyn Clock>,
    /// A channel's clocks and chance stand still too.
    pub(crate) rehearsed: bool,
}

/// A channel's generation.
pub struct ChannelGeneration {
    pub(crate) name: ChannelName,
    pub(crate) common: Common,
    pub(crate) grants: Arc<Grants>,
    pub(crate) door: Door,
    pub(crate) mailer: Mailer,
}

/// A router's generation.
pub struct RouterGeneration {
    pub(crate) name: String,
    pub(crate) common: Common,
}

impl fmt::Debug for ChannelGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelGeneration({} {} of {:?})", self.name, self.common.number, self.common.plugin)
    }
}

impl fmt::Debug for RouterGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouterGeneration({} {} of {:?})", self.name, self.common.number, self.common.plugin)
    }
}

struct Send {
    pre: InstancePre<Guest>,
    attempt: wit::Attempt,
}

impl AsyncCall<Result<wit::Receipt, wit::SendError>> for Send {
    async fn call(self, store: &mut Store<Guest>) -> wasmtime::Result<Result<wit::Receipt, wit::SendError>> {
        let instance: Channel = ChannelPre::new(self.pre)?.instantiate_async(&mut *store).await?;
        instance.fanfare_channel_sender().call_send(store, &self.attempt).await
    }
}

struct Check {
    pre: InstancePre<Guest>,
    router: bool,
}

impl AsyncCall<Result<(), wit::Fault>> for Check {
    async fn call(self, store: &mut Store<Guest>) -> wasmtime::Result<Result<(), wit::Fault>> {
        if self.router {
            let instance: Router = RouterPre::new(self.pre)?.instantiate_async(&mut *store).await?;
            return instance.fanfare_router_rules().call_check(store).await;
        }
        let instance: Channel = ChannelPre::new(self.pre)?.instantiate_async(&mut *store).await?;
        instance.fanfare_channel_sender().call_check(store).await
    }
}

struct Route {
    pre: InstancePre<Guest>,
    notification: wit::Notification,
    people: Vec<rules::Person>,
    now: Timestamp,
}

impl AsyncCall<Result<rules::Plan, wit::Fault>> for Route {
    async fn call(self, store: &mut Store<Guest>) -> wasmtime::Result<Result<rules::Plan, wit::Fault>> {
        let instance: Router = RouterPre::new(self.pre)?.instantiate_async(&mut *store).await?;
        let rules = instance.fanfare_router_rules();
        rules.call_route(store, &self.notification, &self.people, self.now.as_ms()).await
    }
}

impl Common {
    fn parts(
        &self,
        frozen: Option<&Frozen>,
        outside: impl FnOnce(&Arc<AttemptSecrets>) -> Option<Outside>,
    ) -> Parts {
        let (secrets, settings) = self.settings.mark();
        let secrets = Arc::new(secrets);
        let output = MemoryOutputPipe::new(OUTPUT_BYTES_MAX);
        let wasi = inert::wasi(&output, frozen.map(|frozen| (frozen.now, frozen.seed)));
        Parts { limits: self.limits, settings, outside: outside(&secrets), secrets, wasi, output }
    }

    /// Has the guest check its settings; nothing can be reached meanwhile.
    pub(crate) async fn check(&self, router: bool) -> Result<(), StageError> {
        let frozen = Frozen { now: self.clock.now(), seed: 0 };
        let parts = self.parts(router.then_some(&frozen), |_| None);
        let check = Check { pre: self.plugin.pre.clone(), router };
        let fault = match self.executor.run(parts, self.limits, check).await.result {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(fault)) => convert::fault(&fault),
            Err(fault) => fault,
        };
        Err(StageError::Check {
            plugin: self.plugin.manifest.name.clone(),
            fault: fault.code.to_string(),
            message: fault.message,
        })
    }
}

/// What a router takes for time and chance.
struct Frozen {
    now: Timestamp,
    seed: u128,
}

impl ChannelGeneration {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.common.number
    }

    /// Its plugin.
    #[must_use]
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.common.plugin
    }

    /// Makes one attempt, in an instance of its own.
    pub async fn send(&self, input: AttemptInput) -> AttemptReport {
        let common = &self.common;
        let outside = |secrets: &Arc<AttemptSecrets>| {
            let context = CallContext {
                grants: Arc::clone(&self.grants),
                secrets: Arc::clone(secrets),
                body_bytes_max: usize::try_from(common.limits.body_bytes).unwrap_or(usize::MAX),
            };
            Some(Outside { door: self.door.clone(), mailer: self.mailer.clone(), context })
        };
        let now = common.clock.now();
        let seed = u128::from_be_bytes(input.notification.id.to_bytes());
        let frozen = common.rehearsed.then_some(Frozen { now, seed });
        let parts = common.parts(frozen.as_ref(), outside);
        let attempt = convert::attempt(&input, self.name.as_str(), now, common.limits);
        let send = Send { pre: common.plugin.pre.clone(), attempt };
        let ended = common.executor.run(parts, common.limits, send).await;
        let (outcome, mut cuts) = match ended.result {
            Ok(sent) => {
                let cuts = convert::cuts(&sent);
                (convert::outcome(sent), cuts)
            }
            Err(fault) => (Outcome::Transient { fault, retry_after: None }, Vec::new()),
        };
        let (log, log_dropped, requests, log_cuts) = ended
            .guest
            .map_or_else(Default::default, |guest| (guest.log, guest.log_dropped, guest.sent, guest.cuts));
        cuts.extend(log_cuts);
        tell(self.name.as_str(), &log);
        AttemptReport { outcome, usage: ended.usage, log, log_dropped, requests, cuts }
    }
}

/// A guest's lines in the gateway's log.
fn tell(channel: &str, lines: &[LogLine]) {
    for LogLine { level, message } in lines {
        match level {
            Level::Error => tracing::error!(channel, message = message.as_str(), "plugin"),
            Level::Warn => tracing::warn!(channel, message = message.as_str(), "plugin"),
            Level::Info => tracing::info!(channel, message = message.as_str(), "plugin"),
            Level::Debug => tracing::debug!(channel, message = message.as_str(), "plugin"),
        }
    }
}

impl RouterGeneration {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.common.number
    }

    /// Its plugin.
    #[must_use]
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.common.plugin
    }

    /// Decides about one notification. The guest's clock stands at `now` and its chance is the notification's: the same
    /// notification, people and moment give the same plan.
    ///
    /// # Errors
    /// The guest's fault, or the limit that it hit.
    pub async fn route(
        &self,
        about: Arc<Notification>,
        people: Vec<Person>,
        now: Timestamp,
    ) -> Result<Plan, Fault> {
        self.decide(about, people, now).await.result
    }

    /// The same, with all that is known of the decision.
    pub async fn decide(&self, about: Arc<Notification>, people: Vec<Person>, now: Timestamp) -> RouteReport {
        let common = &self.common;
        let frozen = Frozen { now, seed: u128::from_be_bytes(about.id.to_bytes()) };
        let parts = common.parts(Some(&frozen), |_| None);
        let route = Route {
            pre: common.plugin.pre.clone(),
            notification: convert::notification(&about),
            people: people.iter().map(convert::person).collect(),
            now,
        };
        let ended = common.executor.run(parts, common.limits, route).await;
        let (result, mut cuts) = match ended.result {
            Err(fault) => (Err(fault), Vec::new()),
            Ok(decided) => {
                let cuts = convert::plan_cuts(&decided);
                let plan = decided.map_err(|fault| convert::fault(&fault)).and_then(|plan| {
                    convert::plan(plan).map_err(|why| Fault::new(code::PLUGIN_GARBAGE, why))
                });
                (plan, cuts)
            }
        };
        let (log, log_dropped, log_cuts) =
            ended.guest.map_or_else(Default::default, |guest| (guest.log, guest.log_dropped, guest.cuts));
        cuts.extend(log_cuts);
        tell(&self.name, &log);
        RouteReport { result, usage: ended.usage, log, log_dropped, cuts }
    }
}
