//! The door itself: one request in, one response or one refusal out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::header::{self, HeaderMap};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::HttpsConnector;
use tokio::sync::OnceCell;

use super::answer::{explain, read};
use super::connector::{Connector, Connectors};
use super::dial::{Resolve, SystemResolver};
use super::fields;
use super::grants::{Grants, class_of};
use super::origin::{Host, Scheme, Target};
use super::pools::{Drivers, Pools};
use super::refusal::{Denial, Refusal};
use super::tls::{self, Roots};
use crate::rehearsal::{Script, SentRequest};
use crate::secrets::{AttemptSecrets, BodyKind, FillError, Place, SecretEntry};

/// Longer URLs are refused, in bytes.
const URL_BYTES_MAX: usize = 8 * 1024;

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
    /// Answers in place of the network, once a request was found good and granted.
    pub script: Option<Arc<dyn Script>>,
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
            script: None,
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

/// The egress door. Cheap to clone; clones share the pools.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    options: DoorOptions,
    connectors: Connectors,
    drivers: Drivers,
    plain: Pools<Connector>,
    /// Built at the first https request, off the executor: reading the system's certificates takes milliseconds
    /// and megabytes that a gateway without https need not spend.
    secure: OnceCell<Pools<HttpsConnector<Connector>>>,
}

impl Door {
    /// A door with its own, empty pools.
    #[must_use]
    pub fn new(options: DoorOptions) -> Self {
        let connectors = Connectors::new(&options);
        let drivers = Drivers::here();
        let plain = Pools::open(&options, &drivers, |policy| connectors.under(policy));
        Self { inner: Arc::new(Inner { options, connectors, drivers, plain, secure: OnceCell::new() }) }
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
        if matches!(target.host(), Host::Name(name) if context.secrets.is_marked(name)) {
            let sentence = "a secret can't stand for a URL's host; write the origin out, as in https://host/${secret:name}";
            return Err(Refusal::Invalid(sentence.to_owned()));
        }
        let policy =
            context.grants.allows_http(&target).ok_or_else(|| not_granted(&context.grants, &target))?;
        let request = prepare(context, &target, request)?;
        if let Some(script) = &self.inner.options.script {
            return scripted(&**script, context, &target, request).await;
        }
        let answered = match target.scheme {
            Scheme::Http => self.inner.plain.of(policy).request(request).await,
            Scheme::Https => self.secure().await?.of(policy).request(request).await,
        };
        let answer = answered.map_err(|error| explain(&error, &context.grants, &target))?;
        read(context, &target, answer).await
    }

    async fn secure(&self) -> Result<&Pools<HttpsConnector<Connector>>, Refusal> {
        let inner = &self.inner;
        let failed = |error: String| Refusal::Tls(format!("TLS can't be set up: {error}"));
        let open = async {
            let roots = inner.options.roots.clone();
            let config = tokio::task::spawn_blocking(move || tls::client_config(&roots)).await;
            let config = config.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            Ok(Pools::open(&inner.options, &inner.drivers, |policy| {
                hyper_rustls::HttpsConnectorBuilder::new()
                    .with_tls_config(config.clone())
                    .https_only()
                    .enable_all_versions()
                    .wrap_connector(inner.connectors.under(policy))
            }))
        };
        inner.secure.get_or_try_init(|| open).await.map_err(failed)
    }
}

/// The rehearsed exchange: the script sees what would have left, and its answer is read as any other.
async fn scripted(
    script: &dyn Script,
    context: &CallContext,
    target: &Target,
    request: http::Request<Full<Bytes>>,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let secrets = &context.secrets;
    let body = body.collect().await.map_or_else(|never| match never {}, http_body_util::Collected::to_bytes);
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), secrets.mask(value.as_bytes().to_vec())));
    let sent = SentRequest {
        method: head.method.to_string(),
        url: secrets.mask_text(head.uri.to_string()),
        headers: headers.collect(),
        body: secrets.mask(body.to_vec()),
    };
    let Response { status, headers, body } = script.http(sent)?;
    let mut answer = http::Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(name, value);
    }
    let answer = answer
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Refusal::Protocol(format!("the exchange with {target} broke: {error}")))?;
    read(context, target, answer).await
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
    let may_go = |entry: &SecretEntry| match &entry.origins {
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
