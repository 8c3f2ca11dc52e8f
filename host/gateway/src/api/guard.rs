//! What every request passes, both ways: who may come without keys, the trace context, panics, the count and the log
//! line of the answer.
//!
//! Refuses large heads and, without keys, hosts that are not this machine and requests of web pages.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use fanfare_model::text::of_panic;
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, header};
use tokio::sync::SemaphorePermit;
use tower_service::Service as _;

use super::problem::{Problem, SentCode, code};
use super::server::HEAD_BYTES_MAX;
use super::{Api, Surface, headers};
use crate::auth::{has_origin, host_is_loopback};
use crate::telemetry::Metrics;

/// What a client is asked to wait when too many requests are in work.
const PAUSE: Duration = Duration::from_secs(1);

impl Surface {
    /// The answer to one request, whatever comes of it.
    ///
    /// Around the whole router, and not a layer of it: a layer is boxed anew at each path and in each request.
    pub(super) async fn answer(&self, mut request: Request) -> Response {
        let Self { api, router, patterns } = self;
        let method = request.method().clone();
        let route = patterns.at(request.uri().path()).ok().map(|found| *found.value);
        let trace = headers::traceparent(request.headers());
        if let Ok(trace) = HeaderValue::try_from(trace.as_str()) {
            // Written back, so that the submission carries the very trace that the log line names.
            request.headers_mut().insert("traceparent", trace);
        }
        let admitted = admit_head(&request).and_then(|()| admit_origin(api, &request));
        let response = match admitted.and_then(|()| place(api, &method, route)) {
            Ok(_held) => {
                let answered = AssertUnwindSafe(router.clone().call(request)).catch_unwind().await;
                answered.map_or_else(|panic| failed(&api.metrics, &*panic), |Ok(response)| response)
            }
            Err(problem) => problem.into_response(),
        };
        let status = response.status();
        api.metrics.answered(route, &method, status);
        let sent = response.extensions().get::<SentCode>();
        tracing::debug!(
            %method,
            route,
            status = status.as_u16(),
            code = sent.map(|sent| &*sent.code),
            pointer = sent.and_then(|sent| sent.pointer.as_deref()),
            trace_id = headers::trace_id(&trace),
            "answered"
        );
        response
    }
}

/// A handler's panic becomes a count, a log line and a 500.
fn failed(metrics: &Metrics, panic: &(dyn Any + Send)) -> Response {
    metrics.panicked();
    tracing::error!(panic = of_panic(panic), "a request made the gateway panic");
    Problem::new(code::PANIC, "the request met a bug of the gateway").into_response()
}

/// A place among the requests in work. Submissions take theirs from intake, once their body is there; what watches over
/// the gateway is answered whatever else goes on.
fn place<'a>(
    api: &'a Api,
    method: &Method,
    route: Option<&str>,
) -> Result<Option<SemaphorePermit<'a>>, Problem> {
    let free = match route {
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
