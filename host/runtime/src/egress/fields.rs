//! Header fields and methods of a guest's request, and what of them is the door's own business.

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::refusal::Refusal;

/// Bytes of a request's header fields, names and values together.
const HEADER_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("fanfare/", env!("CARGO_PKG_VERSION")));

/// Reads the method. `CONNECT` would make a tunnel, `TRACE` would echo what was put in.
pub(super) fn method(text: &str) -> Result<Method, Refusal> {
    let bad = |why: &str| Refusal::Invalid(format!("the method {:?} {why}", shortened(text)));
    let method = Method::from_bytes(text.as_bytes()).map_err(|_| bad("is no HTTP method"))?;
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(bad("is not carried; use GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS"));
    }
    Ok(method)
}

/// Who decides about a field that a guest gave.
enum Owner {
    Guest,
    /// Set by the door from the URL and the body, so the guest's is dropped.
    Door,
    /// It would change how the message is framed or where it goes.
    Nobody,
}

fn owner(name: &HeaderName) -> Owner {
    match name.as_str() {
        "transfer-encoding" | "te" | "trailer" | "upgrade" | "expect" | "http2-settings" => Owner::Nobody,
        name if name.starts_with("proxy-") => Owner::Nobody,
        // A compressed answer could not be searched for secrets, so the guest does not ask for one.
        "host" | "content-length" | "connection" | "keep-alive" | "accept-encoding" => Owner::Door,
        _ => Owner::Guest,
    }
}

/// Reads the fields. `host`, `content-length`, `connection`, `keep-alive` and `accept-encoding` are dropped,
/// because the door sets them; fields that would change the framing are refused.
pub(super) fn headers(
    given: Vec<(String, Vec<u8>)>,
    mut fill: impl FnMut(Vec<u8>) -> Result<(Vec<u8>, bool), Refusal>,
) -> Result<HeaderMap, Refusal> {
    if given.len() > HEADERS_MAX {
        return Err(Refusal::Limit(format!(
            "{} header fields; at most {HEADERS_MAX} are carried",
            given.len()
        )));
    }
    let mut map = HeaderMap::with_capacity(given.len() + 2);
    let mut bytes = 0_usize;
    for (name, value) in given {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Refusal::Invalid(format!("{:?} is no header name", shortened(&name))))?;
        match owner(&parsed) {
            Owner::Door => continue,
            Owner::Nobody => {
                let sentence =
                    format!("the header {parsed} is not carried, because the gateway frames the request");
                return Err(Refusal::Invalid(sentence));
            }
            Owner::Guest => {}
        }
        let (value, has_secret) = fill(value)?;
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| {
            Refusal::Invalid(format!(
                "the value of the header {parsed} holds a line break or control character"
            ))
        })?;
        value.set_sensitive(has_secret);
        map.append(parsed, value);
    }
    if bytes > HEADER_BYTES_MAX {
        let sentence = format!("{bytes} bytes of header fields; at most {HEADER_BYTES_MAX} are carried");
        return Err(Refusal::Limit(sentence));
    }
    map.entry(header::USER_AGENT).or_insert(USER_AGENT);
    Ok(map)
}

/// Guests' words in sentences are kept short.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
