//! What came back: the answer within its limits, or what the client's error means.

use bytes::Bytes;
use http::header;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use hyper_util::client::legacy::Error as ClientError;

use super::dial::DialError;
use super::door::{CallContext, Response};
use super::grants::Grants;
use super::origin::{Host, Target};
use super::pools::RESPONSE_HEAD_BYTES_MAX;
use super::refusal::{Denial, Refusal};

/// What the client's error means. Its own text says little, so the causes below it are looked at.
pub(super) fn explain(error: &ClientError, grants: &Grants, target: &Target) -> Refusal {
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
            let literal = format!("{}://{}:{}", target.scheme.as_str(), Host::Address(*address), target.port);
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

/// The answer as the guest gets it: bounded, with secrets masked.
pub(super) async fn read<B>(
    context: &CallContext,
    target: &Target,
    answer: http::Response<B>,
) -> Result<Response, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
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
async fn collect<B>(mut body: B, target: &Target, max: usize) -> Result<Vec<u8>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
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
