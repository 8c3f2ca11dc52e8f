//! Generations: a plugin with settings and grants, immutable, checked once before it serves.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use fanfare_model::clock::Clock;
use fanfare_model::fault::{Fault, code};
use fanfare_model::name::ChannelName;
use fanfare_model::notification::Notification;
use fanfare_model::outcome::Outcome;
use fanfare_model::time::Timestamp;
use serde_json::{Map, Value};
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::account::{Account, Totals};
use crate::bindings::channel::fanfare::types::types as wit;
use crate::bindings::router::exports::fanfare::router::rules;
use crate::call::{Callee, Ended, Executor, GuestCall, Said};
use crate::convert;
use crate::egress::{CallContext, Door, Grants};
use crate::error::StageError;
use crate::guest::{Guest, Outside, Parts};
use crate::inert::Frozen;
use crate::limits::Limits;
use crate::manifest::Kind;
use crate::plugin::{Exports, Plugin};
use crate::report::{AttemptInput, AttemptReport, Level, LogLine, Person, Plan, RouteReport};
use crate::secrets::{AttemptSecrets, MarkedSettings, Secrets};
use crate::smtp::Mailer;
use crate::stage;
use crate::warm::Isolation;

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
    pub(crate) callee: Arc<Callee>,
    pub(crate) live: RwLock<Arc<Live>>,
    pub(crate) ceilings: Limits,
    pub(crate) executor: Executor,
    pub(crate) clock: Arc<dyn Clock>,
    /// A channel's clocks and chance stand still too.
    pub(crate) rehearsed: bool,
    pub(crate) account: Arc<Account>,
}

/// What may change without a new generation: the values of secrets, and limits. A call takes it as it is when it begins.
pub(crate) struct Live {
    pub(crate) settings: MarkedSettings,
    pub(crate) limits: Limits,
}

/// A channel's generation.
pub struct ChannelGeneration {
    pub(crate) name: ChannelName,
    pub(crate) common: Common,
    pub(crate) settings: Map<String, Value>,
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
        write!(
            f,
            "ChannelGeneration({} {} of {:?})",
            self.name, self.common.number, self.common.callee.plugin
        )
    }
}

impl fmt::Debug for RouterGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouterGeneration({} {} of {:?})", self.name, self.common.number, self.common.callee.plugin)
    }
}

type Checked = Result<(), wit::Fault>;
type Sent = Result<wit::Receipt, wit::SendError>;
type Routed = Result<rules::Plan, wit::Fault>;

struct Send(wit::Attempt);

impl GuestCall for Send {
    type Value = Sent;
    const MAY_BE_WARM: bool = true;

    async fn call(
        self,
        instance: Instance,
        exports: Exports,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<Sent> {
        let send = instance.get_typed_func::<(&wit::Attempt,), (Sent,)>(&mut *store, exports.work)?;
        Ok(send.call_async(store, (&self.0,)).await?.0)
    }
}

/// The same for channels and routers.
struct Check;

impl GuestCall for Check {
    type Value = Checked;

    async fn call(
        self,
        instance: Instance,
        exports: Exports,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<Checked> {
        let check = instance.get_typed_func::<(), (Checked,)>(&mut *store, exports.check)?;
        Ok(check.call_async(store, ()).await?.0)
    }
}

struct Route {
    notification: wit::Notification,
    people: Vec<rules::Person>,
    now: Timestamp,
}

impl GuestCall for Route {
    type Value = Routed;

    async fn call(
        self,
        instance: Instance,
        exports: Exports,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<Routed> {
        type Asked<'a> = (&'a wit::Notification, &'a [rules::Person], u64);
        let route = instance.get_typed_func::<Asked<'_>, (Routed,)>(&mut *store, exports.work)?;
        let asked = (&self.notification, self.people.as_slice(), self.now.as_ms());
        Ok(route.call_async(store, asked).await?.0)
    }
}

impl Common {
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn parts(
        live: &Live,
        frozen: Option<Frozen>,
        outside: impl FnOnce(&Arc<AttemptSecrets>) -> Option<Outside>,
    ) -> Parts {
        let (secrets, settings) = live.settings.mark();
        let secrets = Arc::new(secrets);
        Parts { limits: live.limits, settings, outside: outside(&secrets), secrets, frozen }
    }

    /// Has the guest check its settings; nothing can be reached meanwhile. It counts in no account.
    pub(crate) async fn check(&self) -> Result<(), StageError> {
        let live = self.live();
        let frozen = Frozen { now: self.clock.now(), seed: 0 };
        let frozen = (self.callee.plugin.manifest.kind == Kind::Router).then_some(frozen);
        let parts = Self::parts(&live, frozen, |_| None);
        let result = self.executor.run(&self.callee, parts, Check).await.result;
        let fault = match result {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(fault)) => convert::fault(&fault),
            Err(fault) => fault,
        };
        Err(StageError::Check {
            plugin: self.callee.plugin.manifest.name.clone(),
            fault: fault.code.to_string(),
            message: fault.message,
        })
    }

    fn count<T>(&self, ended: &Ended<T>) -> u32 {
        self.account.count(&ended.usage, ended.end, ended.said.log_dropped)
    }
}

/// Values of secrets, and limits, that are known to fit a generation.
#[must_use = "nothing changes until it is applied"]
pub struct Renewal {
    generation: Arc<ChannelGeneration>,
    live: Arc<Live>,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Renewal(of {:?})", self.generation)
    }
}

impl Renewal {
    /// From the next call on; those under way keep what they began with.
    pub fn apply(self) {
        *self.generation.common.live.write().unwrap_or_else(PoisonError::into_inner) = self.live;
    }
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
        &self.common.callee.plugin
    }

    /// What its calls used together.
    #[must_use]
    pub fn usage(&self) -> Totals {
        self.common.account.totals()
    }

    /// How many calls in a row a trap has ended, up to now.
    #[must_use]
    pub fn traps_in_a_row(&self) -> u32 {
        self.common.account.traps_in_a_row()
    }

    /// Begins to count traps in a row at 0 again, as after a suspension that an operator has lifted.
    pub fn forgive_traps(&self) {
        self.common.account.forgive();
    }

    /// Whether attempts share instances, from the next one on; fresh at first. In a rehearsal each attempt has its own
    /// whatever this says, or its clock and chance would not stand where they should.
    pub fn set_isolation(&self, isolation: Isolation) {
        let isolation = if self.common.rehearsed { Isolation::Fresh } else { isolation };
        self.common.callee.warm.set(isolation);
    }

    /// Makes ready to take other values for the secrets, and other limits. Neither makes a new generation, and neither
    /// is taken before [`Renewal::apply`].
    ///
    /// # Errors
    /// A secret is missing or too many.
    pub fn renewal(self: &Arc<Self>, secrets: Secrets, limits: Limits) -> Result<Renewal, StageError> {
        let manifest = &self.common.callee.plugin.manifest;
        let settings = stage::marked(manifest, &self.settings, secrets)?;
        let limits = manifest.limits.below(limits.lower_of(self.common.ceilings));
        Ok(Renewal { generation: Arc::clone(self), live: Arc::new(Live { settings, limits }) })
    }

    /// Makes one attempt.
    pub async fn send(&self, input: AttemptInput) -> AttemptReport {
        let common = &self.common;
        let live = common.live();
        let outside = |secrets: &Arc<AttemptSecrets>| {
            let context = CallContext {
                grants: Arc::clone(&self.grants),
                secrets: Arc::clone(secrets),
                body_bytes_max: usize::try_from(live.limits.body_bytes).unwrap_or(usize::MAX),
            };
            Some(Outside { door: self.door.clone(), mailer: self.mailer.clone(), context })
        };
        let now = common.clock.now();
        let seed = u128::from_be_bytes(input.notification.id.to_bytes());
        let frozen = common.rehearsed.then_some(Frozen { now, seed });
        let parts = Common::parts(&live, frozen, outside);
        let attempt = convert::attempt(&input, self.name.as_str(), now, live.limits);
        let ended = common.executor.run(&common.callee, parts, Send(attempt)).await;
        let traps_in_a_row = common.count(&ended);
        let (outcome, mut cuts) = match ended.result {
            Ok(sent) => {
                let cuts = convert::cuts(&sent);
                (convert::outcome(sent), cuts)
            }
            Err(fault) => (Outcome::Transient { fault, retry_after: None }, Vec::new()),
        };
        let Said { log, log_dropped, cuts: log_cuts, sent } = ended.said;
        cuts.extend(log_cuts);
        tell(self.name.as_str(), &log);
        AttemptReport {
            outcome,
            end: ended.end,
            traps_in_a_row,
            usage: ended.usage,
            log,
            log_dropped,
            requests: sent,
            cuts,
        }
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
        &self.common.callee.plugin
    }

    /// What its calls used together.
    #[must_use]
    pub fn usage(&self) -> Totals {
        self.common.account.totals()
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
        let live = common.live();
        let frozen = Frozen { now, seed: u128::from_be_bytes(about.id.to_bytes()) };
        let parts = Common::parts(&live, Some(frozen), |_| None);
        let route = Route {
            notification: convert::notification(&about),
            people: people.iter().map(convert::person).collect(),
            now,
        };
        let ended = common.executor.run(&common.callee, parts, route).await;
        common.count(&ended);
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
        let Said { log, log_dropped, cuts: log_cuts, .. } = ended.said;
        cuts.extend(log_cuts);
        tell(&self.name, &log);
        RouteReport { result, usage: ended.usage, log, log_dropped, cuts }
    }
}
