//! `wasi:http`, for guests that bring an HTTP client of their own: the same egress door, by another handle.
//!
//! What `fanfare:host/http` checks is checked here too, because the door does it: grants, addresses, secrets, sizes, time.
//! The default implementation, which opens a connection to anywhere for each request, is not even compiled in. WASI's errors
//! carry no text, so what a person needs to know of a refusal goes to the plugin's log.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

use crate::egress::{CallContext, Door, Refusal, Request, Response};
use crate::report::RequestSummary;

/// The state of `wasi:http` in one call.
pub(crate) struct Web {
    pub(crate) context: WasiHttpCtx,
    pub(crate) hooks: WebDoor,
}

/// The way out; closed while a generation checks itself.
pub(crate) struct WebDoor {
    outside: Option<(Door, CallContext)>,
    ends: Instant,
    /// Requests that may still be made, and those that were.
    pub(crate) requests_left: u32,
    pub(crate) requests: u32,
    tally: Arc<Mutex<Tally>>,
}

/// What requests add up to, when they have ended.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) sent: Vec<RequestSummary>,
    pub(crate) refusals: Vec<String>,
}

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl Web {
    pub(crate) fn new(outside: Option<(Door, CallContext)>, remaining: Duration) -> Box<Self> {
        let ends = Instant::now() + remaining;
        let hooks = WebDoor { outside, ends, requests_left: 0, requests: 0, tally: Arc::default() };
        Box::new(Self { context: WasiHttpCtx::new(), hooks })
    }

    /// What was done up to now; what is under way is not in it.
    pub(crate) fn take_tally(&self) -> Tally {
        std::mem::take(&mut *lock(&self.hooks.tally))
    }
}

impl WasiHttpHooks for WebDoor {
    /// The door writes it, from the URL that it checked.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let tally = Arc::clone(&self.tally);
        self.requests += 1;
        if self.requests > self.requests_left {
            let most = self.requests_left;
            lock(&tally).refusals.push(format!("no more than {most} requests are made in this attempt"));
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        }
        let Some((door, context)) = self.outside.clone() else {
            lock(&tally).refusals.push(crate::guest::CLOSED.to_owned());
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        };
        let remaining = self.ends.saturating_duration_since(Instant::now());
        let asked = options.and_then(|options| options.first_byte_timeout).unwrap_or(remaining);
        Box::new(carry(door, context, request, asked.min(remaining), tally))
    }
}

async fn carry(
    door: Door,
    context: CallContext,
    request: http::Request<WasiBody>,
    timeout: Duration,
    tally: Arc<Mutex<Tally>>,
) -> Sent {
    let began = Instant::now();
    let (head, body) = request.into_parts();
    let body = Limited::new(body, context.body_bytes_max).collect().await;
    let body = body.map_err(|_| Error::HttpRequestBodySize(None))?.to_bytes().to_vec();
    let body_bytes = body.len() as u64;
    let request = Request {
        method: head.method.to_string(),
        url: head.uri.to_string(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect(),
        body,
        timeout: timeout.saturating_sub(began.elapsed()),
    };
    let mut summary = RequestSummary::of(&request.method, &request.url);
    let answer = door.send(&context, request).await;
    summary.took = began.elapsed();
    summary.status = answer.as_ref().ok().map(|response| response.status);
    let mut tally = lock(&tally);
    tally.sent.push(summary);
    if answer.as_ref().err().is_none_or(|refusal| refusal.has_left(true)) {
        tally.bytes_out += body_bytes;
    }
    match answer {
        Ok(response) => {
            tally.bytes_in += response.body.len() as u64;
            Ok((answered(response)?, Box::new(std::future::ready(Ok(())))))
        }
        Err(refusal) => {
            tally.refusals.push(refusal.to_string());
            Err(error(&refusal))
        }
    }
}

fn answered(response: Response) -> Result<http::Response<WasiBody>, Error> {
    let mut built = http::Response::builder().status(response.status);
    for (name, value) in response.headers {
        built = built.header(name, value);
    }
    let body = Full::new(Bytes::from(response.body)).map_err(Error::from).boxed_unsync();
    built.body(body).map_err(|_| Error::HttpProtocolError)
}

fn error(refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Denied(_) => Error::HttpRequestDenied,
        Refusal::Invalid(_) => Error::HttpRequestUriInvalid,
        Refusal::Limit(_) => Error::HttpResponseBodySize(None),
        Refusal::Dns(_) => Error::DnsError { rcode: None, info_code: None },
        Refusal::Connect(_) => Error::ConnectionRefused,
        Refusal::Tls(_) => Error::TlsProtocolError,
        Refusal::Timeout(_) => Error::HttpResponseTimeout,
        Refusal::Protocol(_) => Error::HttpProtocolError,
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
