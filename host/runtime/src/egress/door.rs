//! The door itself: one request in, one response or one refusal out.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::header::{self, HeaderMap};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;

use super::connector::Connector;
use super::dial::{DialError, Resolve, SystemResolver};
use super::fields;
use super::grants::{AddressPolicy, Grants, class_of};
use super::origin::Target;
use super::refusal::{Denial, Refusal};
use super::tls::{self, Roots};
use crate::secrets::{AttemptSecrets, BodyKind, FillError, Place};

/// Longer URLs are refused, in bytes.
const URL_BYTES_MAX: usize = 8 * 1024;
/// A response's status line and header fields, in bytes.
const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;

/// What the door is built with.
#[derive(Clone)]
pub struct DoorOptions {
    /// Turns names into addresses.
    pub resolver: Arc<dyn Resolve>,
    /// Whom to trust.
    pub roots: Roots,
    /// Time for resolving and connecting together.
    pub connect_timeout: Duration,
    /// Idle connections kept for one origin and policy.
    pub idle_per_origin_max: usize,
    /// Idle connections are closed after this.
    pub idle_timeout: Duration,
    /// Connections open at a time, idle ones included; further ones are refused.
    pub connections_max: usize,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self {
            resolver: Arc::new(SystemResolver),
            roots: Roots::System,
            connect_timeout: Duration::from_secs(5),
            idle_per_origin_max: 128,
            idle_timeout: Duration::from_secs(30),
            connections_max: 4_096,
        }
    }
}

/// On whose behalf a request goes out.
#[derive(Clone)]
pub struct CallContext {
    /// The channel's grants.
    pub grants: Arc<Grants>,
    /// The attempt's secrets.
    pub secrets: Arc<AttemptSecrets>,
    /// The longest body, either way, in bytes.
    pub body_bytes_max: usize,
}

/// A guest's request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Such as `POST`.
    pub method: String,
    /// Absolute, `http` or `https`; may hold secrets' markers in path and query.
    pub url: String,
    /// Names and values; values may hold markers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// For everything: resolving, connecting, sending and reading.
    pub timeout: Duration,
}

/// What came back, with secrets masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The header fields, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
}

type Pool = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// The egress door. Cheap to clone; clones share the pools.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    options: DoorOptions,
    /// Built at the first request: reading the system's certificates takes milliseconds that a start need not wait for.
    pools: OnceLock<Result<Pools, String>>,
}

struct Pools {
    literal: Pool,
    public: Pool,
    private: Pool,
}

impl Pools {
    fn open(options: &DoorOptions) -> Result<Self, String> {
        let config = tls::client_config(&options.roots).map_err(|error| error.to_string())?;
        let open = Arc::new(Semaphore::new(options.connections_max));
        let pool = |policy| {
            let connector = Connector {
                resolver: Arc::clone(&options.resolver),
                policy,
                connect_timeout: options.connect_timeout,
                open: Arc::clone(&open),
                connections_max: options.connections_max,
            };
            let connector = hyper_rustls::HttpsConnectorBuilder::new()
                .with_tls_config(config.clone())
                .https_or_http()
                .enable_all_versions()
                .wrap_connector(connector);
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(options.idle_timeout)
                .pool_max_idle_per_host(options.idle_per_origin_max)
                .http1_max_buf_size(RESPONSE_HEAD_BYTES_MAX)
                .http2_max_header_list_size(u32::try_from(RESPONSE_HEAD_BYTES_MAX).unwrap_or(u32::MAX))
                .build(connector)
        };
        Ok(Self {
            literal: pool(AddressPolicy::Literal),
            public: pool(AddressPolicy::Public),
            private: pool(AddressPolicy::Private),
        })
    }

    fn of(&self, policy: AddressPolicy) -> &Pool {
        match policy {
            AddressPolicy::Literal => &self.literal,
            AddressPolicy::Public => &self.public,
            AddressPolicy::Private => &self.private,
        }
    }
}

impl Door {
    /// A door with its own, empty pools.
    #[must_use]
    pub fn new(options: DoorOptions) -> Self {
        Self { inner: Arc::new(Inner { options, pools: OnceLock::new() }) }
    }

    /// Sends one request, if it may go where it wants to go.
    ///
    /// # Errors
    ///
    /// [`Refusal`], with every secret of the context masked.
    pub async fn send(&self, context: &CallContext, request: Request) -> Result<Response, Refusal> {
        let limit = request.timeout;
        // Boxed, because the client's futures are large and this one lives inside a guest's fiber.
        let work = Box::pin(self.carry(context, request));
        let late = || Refusal::Timeout(format!("no complete answer within {} ms", limit.as_millis()));
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
    }

    async fn carry(&self, context: &CallContext, request: Request) -> Result<Response, Refusal> {
        if request.url.len() > URL_BYTES_MAX {
            let sentence =
                format!("a URL of {} bytes; at most {URL_BYTES_MAX} are carried", request.url.len());
            return Err(Refusal::Limit(sentence));
        }
        let target = Target::parse(&request.url).map_err(Refusal::Invalid)?;
        if context.secrets.is_marked(&target.to_string()) {
            let sentence = "a secret can't stand for a URL's host; write the origin out, as in https://host/${secret:name}";
            return Err(Refusal::Invalid(sentence.to_owned()));
        }
        let policy =
            context.grants.allows_http(&target).ok_or_else(|| not_granted(&context.grants, &target))?;
        let request = prepare(context, &target, request)?;
        let pools = self.inner.pools.get_or_init(|| Pools::open(&self.inner.options));
        let pools = pools.as_ref().map_err(|error| Refusal::Tls(format!("TLS can't be set up: {error}")))?;
        let answered = pools.of(policy).request(request).await;
        let answer = answered.map_err(|error| explain(&error, &context.grants, &target))?;
        read(context, &target, answer).await
    }
}

fn not_granted(grants: &Grants, target: &Target) -> Refusal {
    let place = match class_of(target.host()) {
        Some(class) => format!("{target} ({class})"),
        None => target.to_string(),
    };
    Refusal::Denied(Denial::NotGranted { place, line: grants.line_with_http(&target.to_string()) })
}

/// Checks the request and puts the secrets in.
fn prepare(
    context: &CallContext,
    target: &Target,
    request: Request,
) -> Result<http::Request<Full<Bytes>>, Refusal> {
    let secrets = &context.secrets;
    let may_go = |entry: &crate::secrets::SecretEntry| match &entry.origins {
        Some(origins) => origins.iter().any(|origin| origin.matches(target)),
        None => context.grants.names(target),
    };
    let fill = |bytes: Vec<u8>, place| {
        secrets.fill(bytes, place, &may_go).map_err(|error| unfit(error, context, target))
    };
    let method = fields::method(&request.method)?;
    let uri = uri(target, |part, place| fill(part.as_bytes().to_vec(), place).map(|(filled, _)| filled))?;
    let headers = fields::headers(request.headers, |value| fill(value, Place::Header))?;
    let (body, _) = fill(request.body, Place::Body(body_kind(&headers)))?;
    if body.len() > context.body_bytes_max {
        let max = context.body_bytes_max;
        return Err(Refusal::Limit(format!(
            "a request body of {} bytes; at most {max} are carried",
            body.len()
        )));
    }
    let mut built = http::Request::new(Full::new(Bytes::from(body)));
    *built.method_mut() = method;
    *built.uri_mut() = uri;
    *built.headers_mut() = headers;
    Ok(built)
}

/// The URL as it is sent: canonical host, secrets in path and query, no fragment.
fn uri(target: &Target, fill: impl Fn(&str, Place) -> Result<Vec<u8>, Refusal>) -> Result<Uri, Refusal> {
    let mut path = fill(target.url.path(), Place::Path)?;
    if let Some(query) = target.url.query() {
        path.push(b'?');
        path.extend(fill(query, Place::Query)?);
    }
    let built = Uri::builder()
        .scheme(target.scheme.as_str())
        .authority(target.authority())
        .path_and_query(path.as_slice())
        .build();
    built.map_err(|error| Refusal::Invalid(format!("the URL can't be sent ({error})")))
}

fn body_kind(headers: &HeaderMap) -> BodyKind {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") {
        return BodyKind::Json;
    }
    if essence == "application/x-www-form-urlencoded" { BodyKind::Form } else { BodyKind::Raw }
}

fn unfit(error: FillError, context: &CallContext, target: &Target) -> Refusal {
    match error {
        FillError::Elsewhere { secret, bound: Some(bound) } => {
            Refusal::Denied(Denial::SecretBound { secret, place: target.to_string(), bound })
        }
        FillError::Elsewhere { secret, bound: None } => Refusal::Denied(Denial::SecretElsewhere {
            secret,
            place: target.to_string(),
            line: context.grants.line_with_http(&target.to_string()),
        }),
        FillError::Body { secret } => Refusal::Denied(Denial::SecretInBody(secret)),
        FillError::LineBreak { secret } => Refusal::Invalid(format!(
            "the secret {secret:?} holds a line break or NUL and can't stand in a header; check the file or variable it comes from for a trailing newline"
        )),
    }
}

/// What the client's error means. Its own text says little, so the causes below it are looked at.
fn explain(error: &ClientError, grants: &Grants, target: &Target) -> Refusal {
    if let Some(dial) = cause::<DialError>(error) {
        return of_dial(dial, grants, target);
    }
    if error.is_connect() {
        let reason = cause::<rustls::Error>(error)
            .map_or_else(|| "the connection closed during the handshake".to_owned(), ToString::to_string);
        return Refusal::Tls(format!("no trusted connection to {target}: {reason}"));
    }
    match cause::<hyper::Error>(error) {
        Some(inner) if inner.is_parse_too_large() => head_too_long(target),
        Some(inner) => Refusal::Protocol(format!("the exchange with {target} broke: {inner}")),
        None => Refusal::Protocol(format!("the exchange with {target} broke: {error}")),
    }
}

fn head_too_long(target: &Target) -> Refusal {
    Refusal::Limit(format!(
        "{target} answered with more than {RESPONSE_HEAD_BYTES_MAX} bytes of header fields"
    ))
}

fn of_dial(error: &DialError, grants: &Grants, target: &Target) -> Refusal {
    match error {
        DialError::Dns(reason) => Refusal::Dns(format!("{} has no address: {reason}", target.host())),
        DialError::Connect(reason) => Refusal::Connect(format!("no connection to {target}: {reason}")),
        DialError::Full(max) => {
            Refusal::Connect(format!("no connection to {target}: {max} connections are open already"))
        }
        DialError::Forbidden { address, class } => {
            let literal =
                format!("{}://{}:{}", target.scheme.as_str(), super::Host::Address(*address), target.port);
            let opens = class.opens_with_allow_private() && grants.names(target);
            let line = if opens { grants.line_with_private() } else { grants.line_with_http(&literal) };
            let place = target.to_string();
            Refusal::Denied(Denial::Address { place, address: *address, class: *class, line })
        }
    }
}

/// The first cause of type `E`. An I/O error hides what it wraps from `source`, so that is opened too.
pub(crate) fn cause<'e, E: std::error::Error + 'static>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    None
}

async fn read(
    context: &CallContext,
    target: &Target,
    answer: http::Response<Incoming>,
) -> Result<Response, Refusal> {
    let (head, body) = answer.into_parts();
    // The client's buffer bounds what is read; this bounds what the guest is handed.
    let head_bytes =
        head.headers.iter().fold(0_usize, |sum, (name, value)| sum + name.as_str().len() + value.len());
    if head_bytes > RESPONSE_HEAD_BYTES_MAX {
        return Err(head_too_long(target));
    }
    let encoded = head.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    if encoded && !context.secrets.is_empty() {
        return Err(Refusal::Protocol(format!(
            "{target} compressed its answer unasked, so it can't be searched for secrets"
        )));
    }
    let body = collect(body, target, context.body_bytes_max).await?;
    let secrets = &context.secrets;
    let fields = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), secrets.mask(value.as_bytes().to_vec())));
    Ok(Response { status: head.status.as_u16(), headers: fields.collect(), body: secrets.mask(body) })
}

/// Reads the body and stops at the limit, whatever length was announced.
async fn collect(mut body: Incoming, target: &Target, max: usize) -> Result<Vec<u8>, Refusal> {
    let too_long = || Refusal::Limit(format!("{target} answered with a body of more than {max} bytes"));
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max {
        return Err(too_long());
    }
    let mut collected = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Refusal::Protocol(format!("the answer of {target} broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len().saturating_add(data.len()) > max {
            return Err(too_long());
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected)
}
