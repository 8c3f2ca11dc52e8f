//! The HTTP surface: parses once, hands over, and answers. Nothing behind it knows HTTP.
//!
//! Bounded by the connections, by the size and time of heads and bodies, and by the memory of all bodies together.
//! It refuses with problem details under a stable code.

mod acts;
mod answer;
mod batch;
mod batch_items;
mod body;
mod channels;
mod codes;
mod faults;
mod guard;
mod headers;
mod letters;
mod notifications;
mod pages;
mod plugins;
pub mod problem;
mod problems;
mod query;
mod routers;
mod server;
mod status;
mod submit;
mod trace;
mod view;
pub mod wire;

use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, post};
use fanfare_model::time::Timestamp;
use fanfare_store::engine::ReadError;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::body::Bodies;
use self::problem::{Entry, Problem, code};
pub use self::server::serve;
use crate::auth::{AuthError, Authenticator, Identity, Limited};
use crate::config::{Scope, ServerConfig};
use crate::desk::{Desk, DeskError};
use crate::intake::Intake;
use crate::plugins::{ActError, COMPONENT_BYTES_MAX, Plugins};
use crate::telemetry::Metrics;

/// What components that are being installed hold: one of the largest, with room for how it comes in pieces.
const UPLOADS_MEMORY: usize = COMPONENT_BYTES_MAX + COMPONENT_BYTES_MAX / 4;

/// What the surface needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Limits and times.
    pub server: ServerConfig,
    /// Takes submissions.
    pub intake: Intake,
    /// Answers everything else.
    pub desk: Desk,
    /// Changes plugins and channels.
    pub plugins: Plugins,
    /// Who may come in.
    pub access: Access,
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
    /// Ends the surface.
    pub stopping: CancellationToken,
}

/// The keys that count now; a reload replaces them.
#[derive(Clone, Debug)]
pub struct Access(Arc<RwLock<Arc<Authenticator>>>);

impl Access {
    /// Access by these keys.
    #[must_use]
    pub fn new(authenticator: Authenticator) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(authenticator))))
    }

    /// These keys count from the next request on.
    pub fn replace(&self, authenticator: Authenticator) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(authenticator.following(&current));
    }

    fn current(&self) -> Arc<Authenticator> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What every handler shares; behind one pointer, because each request clones it several times.
type Api = Arc<Shared>;

struct Shared {
    server: Arc<ServerConfig>,
    intake: Intake,
    desk: Desk,
    plugins: Plugins,
    access: Access,
    metrics: Arc<Metrics>,
    stopping: CancellationToken,
    bodies: Bodies,
    /// For components, which are large.
    uploads: Bodies,
    /// Large bodies are parsed by so many threads at once; the others wait, within [`Bodies`]' budget.
    parsers: Arc<Semaphore>,
    /// Requests in work that do not submit; intake bounds those that do.
    others: Semaphore,
    /// Places for notifications whose end is waited for; nobody queues for one.
    waits: Semaphore,
}

impl Shared {
    fn now(&self) -> Timestamp {
        self.desk.store().clock().now()
    }

    fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Identity, Problem> {
        self.access.current().check(headers.get(header::AUTHORIZATION), scope).map_err(|error| {
            let entry = match error {
                AuthError::Missing => code::KEY_MISSING,
                AuthError::Unknown => code::KEY_UNKNOWN,
                AuthError::Scope { .. } => code::SCOPE,
            };
            Problem::new(entry, error.to_string())
        })
    }

    /// Takes the right to submit `count` notifications from the caller's key.
    fn spend(&self, who: &Identity, count: usize) -> Result<(), Problem> {
        who.spend(count, self.desk.store().clock().elapsed()).map_err(|limited| {
            let detail = limited.to_string();
            match limited {
                Limited::Wait { retry_after, .. } => {
                    Problem::new(code::RATE, detail).retry_after(retry_after)
                }
                Limited::Never { .. } => Problem::new(code::TOO_LARGE, detail),
            }
        })
    }
}

/// What answers requests: the paths, behind what every request passes.
struct Surface {
    api: Api,
    router: Router,
    /// Which of the paths a request is for, asked before it is served.
    patterns: matchit::Router<&'static str>,
}

impl Surface {
    fn new(paths: Vec<(&'static str, MethodRouter<Api>)>, options: Options) -> Self {
        let api = Arc::new(Shared {
            bodies: Bodies::new(options.server.read_timeout),
            uploads: Bodies::within(UPLOADS_MEMORY, options.server.read_timeout),
            plugins: options.plugins,
            parsers: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))),
            others: Semaphore::new(options.server.requests_in_flight_max),
            waits: Semaphore::new(options.server.waits_max),
            server: Arc::new(options.server),
            intake: options.intake,
            desk: options.desk,
            access: options.access,
            metrics: options.metrics,
            stopping: options.stopping,
        });
        let (mut router, mut patterns) = (Router::new(), matchit::Router::new());
        for (path, methods) in paths {
            router = router.route(path, methods);
            // The router takes the same paths, and would have stopped at one that is none.
            let _ = patterns.insert(path, path);
        }
        let router =
            router.fallback(unknown).method_not_allowed_fallback(method).with_state(Arc::clone(&api));
        Self { api, router, patterns }
    }
}

fn paths() -> Vec<(&'static str, MethodRouter<Api>)> {
    vec![
        ("/api/v1/notifications", post(submit::one).get(notifications::list)),
        ("/api/v1/notifications/batch", post(batch::batch)),
        ("/api/v1/notifications/{id}", get(notifications::get).delete(notifications::cancel)),
        ("/api/v1/notifications/{id}/trace", get(notifications::trace)),
        ("/api/v1/admin/dlq", get(letters::list)),
        ("/api/v1/admin/dlq/retry-all", post(letters::retry_all)),
        ("/api/v1/admin/dlq/{id}", delete(letters::discard)),
        ("/api/v1/admin/dlq/{id}/retry", post(letters::retry)),
        ("/api/v1/admin/status", get(status::status)),
        ("/api/v1/admin/plugins", get(plugins::list).post(plugins::install)),
        ("/api/v1/admin/plugins/{name}", get(plugins::show).delete(plugins::remove)),
        ("/api/v1/admin/channels", get(channels::list)),
        ("/api/v1/admin/channels/{name}", get(channels::show)),
        ("/api/v1/admin/channels/{name}/activate", post(channels::activate)),
        ("/api/v1/admin/channels/{name}/rollback", post(channels::rollback)),
        ("/api/v1/admin/channels/{name}/pause", post(channels::pause)),
        ("/api/v1/admin/channels/{name}/resume", post(channels::resume)),
        ("/api/v1/admin/channels/{name}/test", post(channels::test)),
        ("/api/v1/admin/routers", get(routers::list)),
        ("/api/v1/admin/routers/{name}", get(routers::show)),
        ("/api/v1/admin/routers/{name}/activate", post(routers::activate)),
        ("/api/v1/admin/routers/{name}/rollback", post(routers::rollback)),
        ("/api/v1/admin/audit", get(plugins::audit)),
        ("/problems", get(problems::list)),
        ("/problems/{code}", get(problems::get)),
        ("/livez", get(live)),
        ("/readyz", get(ready)),
        ("/metrics", get(metrics_text)),
    ]
}

/// The one parameter of a path; what is no UTF-8 is no id or name of ours.
struct Segment(String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segment = Path::<String>::from_request_parts(parts, state).await;
        segment.map(|Path(text)| Self(text)).map_err(|error| Problem::new(code::BAD_ID, error.body_text()))
    }
}

async fn unknown(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(200).collect();
    Problem::new(code::NOT_FOUND, format!("there is nothing at {path}"))
}

/// The router adds which methods the path takes, as `Allow`.
async fn method(request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let path: String = request.uri().path().chars().take(200).collect();
    let detail = format!("{path} does not take {}; the header Allow names what it takes", request.method());
    Problem::new(code::METHOD, detail).into_response()
}

async fn live() -> &'static str {
    "live\n"
}

/// Why work can't be taken now; empty when it can.
fn unready(api: &Api) -> Vec<String> {
    let mut reasons = Vec::new();
    if api.stopping.is_cancelled() {
        reasons.push("the gateway is stopping".to_owned());
    }
    reasons.extend(api.desk.store().refusal().map(|refusal| refusal.to_string()));
    reasons
}

async fn ready(State(api): State<Api>) -> Response {
    let reasons = unready(&api);
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let view = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    answer::json_response(status, answer::json(&view))
}

async fn metrics_text(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    api.admit(request.headers(), Scope::Read)?;
    let depths = api.desk.dispatch().depths();
    let lanes: Vec<_> = depths.iter().map(|depth| depth.lane.clone()).collect();
    let figures = api.desk.store().figures(&lanes).await.map_err(read_problem)?;
    let text = api.metrics.encode(&depths, &figures);
    let mut response = text.into_response();
    let media = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    Ok(response)
}

#[allow(clippy::needless_pass_by_value, reason = "taken straight from map_err")]
fn read_problem(error: ReadError) -> Problem {
    tracing::error!(error = %error, "the store could not be read");
    Problem::new(code::INTERNAL, "the store could not be read; the log says why")
}

#[allow(clippy::needless_pass_by_value, reason = "taken straight from map_err")]
fn desk_problem(error: DeskError, unknown: &'static Entry) -> Problem {
    let detail = error.to_string();
    match error {
        DeskError::NotFound => Problem::new(unknown, detail),
        DeskError::NotDead => Problem::new(code::NOT_DEAD, detail),
        DeskError::AlreadyEnded => Problem::new(code::ENDED, detail),
        DeskError::StoreFull(_) => Problem::new(code::STORE_FULL, detail),
        DeskError::StoreFailed(_) => Problem::new(code::STORE_FAILED, detail),
    }
}

/// Why an act on plugins or channels was not done.
fn act_problem(error: ActError) -> Problem {
    match error {
        ActError::Absent(refused) => Problem::of_act(&refused, code::PLUGIN_UNKNOWN),
        ActError::Conflict(refused) => Problem::of_act(&refused, code::PLUGIN_IN_USE),
        ActError::Refused(refused) => Problem::of_act(&refused, code::PLUGIN_INVALID),
        ActError::Read(error) => read_problem(error),
        ActError::Commit(error) => desk_problem(error.into(), code::NOT_FOUND),
        ActError::Stopping => Problem::new(code::SHUTTING_DOWN, "the gateway is stopping"),
    }
}

#[cfg(test)]
mod tests;
