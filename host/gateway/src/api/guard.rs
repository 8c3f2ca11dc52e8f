//! What every request passes, both ways: who may come without keys, the trace context, panics, the count and the log
//! line of the answer.
//!
//! Refuses large heads and, without keys, hosts that are not this machine and requests of web pages.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, header};
use tokio::sync::SemaphorePermit;
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};

use super::problem::{Problem, SentCode, code};
use super::server::HEAD_BYTES_MAX;
use super::{Api, headers};
use crate::auth::{has_origin, host_is_loopback};
use crate::telemetry::Metrics;

/// What a client is asked to wait when too many requests are in work.
const PAUSE: Duration = Duration::from_secs(1);

/// Turns a handler's panic into a count, a log line and a 500. Inside [`guard`], so that this answer is counted too.
pub(super) fn catch(metrics: Arc<Metrics>) -> CatchPanicLayer<impl ResponseForPanic<ResponseBody = Body>> {
    CatchPanicLayer::custom(move |panic: Box<dyn std::any::Any + Send>| {
        metrics.panicked();
        let what = panic.downcast_ref::<&str>().map(ToString::to_string);
        let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!(panic = what, "a request made the gateway panic");
        Problem::new(code::PANIC, "the request met a bug of the gateway").into_response()
    })
}

/// Without keys: only this machine's names, and no web pages.
pub(super) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let (method, route) = (request.method().clone(), request.extensions().get::<MatchedPath>().cloned());
    let trace = headers::traceparent(request.headers());
    if let Ok(trace) = HeaderValue::try_from(trace.as_str()) {
        // Written back, so that the submission carries the very trace that the log line names.
        request.headers_mut().insert("traceparent", trace);
    }
    let admitted = admit_head(&request).and_then(|()| admit_origin(&api, &request));
    let place = admitted.and_then(|()| place(&api, &method, route.as_ref()));
    let response = match place {
        Ok(_held) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let status = response.status();
    api.metrics.answered(route.as_ref().map(MatchedPath::as_str), &method, status);
    let sent = response.extensions().get::<SentCode>();
    tracing::debug!(
        %method,
        route = route.as_ref().map(MatchedPath::as_str),
        status = status.as_u16(),
        code = sent.map(|sent| &*sent.code),
        pointer = sent.and_then(|sent| sent.pointer.as_deref()),
        trace_id = headers::trace_id(&trace),
        "answered"
    );
    response
}

/// A place among the requests in work. Submissions take theirs from intake, once their body is there; what watches over
/// the gateway is answered whatever else goes on.
fn place<'a>(
    api: &'a Api,
    method: &Method,
    route: Option<&MatchedPath>,
) -> Result<Option<SemaphorePermit<'a>>, Problem> {
    let free = match route.map(MatchedPath::as_str) {
        Some("/api/v1/notifications" | "/api/v1/notifications/batch") => method == Method::POST,
        Some(path) => !path.starts_with("/api/"),
        None => true,
    };
    if free {
        return Ok(None);
    }
    api.others.try_acquire().map(Some).map_err(|_| {
        let detail = "too many requests are in work; server.requests_in_flight_max says how many may be";
        Problem::new(code::OVERLOADED, detail).retry_after(PAUSE)
    })
}

fn admit_head(request: &Request) -> Result<(), Problem> {
    let line = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    if line + fields.sum::<usize>() <= HEAD_BYTES_MAX {
        return Ok(());
    }
    let detail =
        format!("the request's line and headers have over {HEAD_BYTES_MAX} bytes, which is the most here");
    Err(Problem::new(code::HEAD_TOO_LARGE, detail))
}

fn admit_origin(api: &Api, request: &Request) -> Result<(), Problem> {
    if !api.access.current().is_open() {
        return Ok(());
    }
    let headers =
        request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    // Every name that the request gives counts: which of them a client means is not ours to guess.
    let mut hosts = headers.chain(authority).peekable();
    let foreign = if hosts.peek().is_none() { Some("") } else { hosts.find(|host| !host_is_loopback(host)) };
    if let Some(host) = foreign {
        let host: String = host.chars().take(80).collect();
        let detail = format!("{host:?} is not a name of this machine, and no key is configured");
        return Err(Problem::new(code::HOST, detail));
    }
    if has_origin(request.headers()) {
        return Err(Problem::new(code::ORIGIN, "the request carries an Origin, and no key is configured"));
    }
    Ok(())
}
