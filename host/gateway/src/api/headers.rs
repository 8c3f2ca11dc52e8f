//! The request headers that mean something here: `Prefer`, `Idempotency-Key` and `traceparent`.
//!
//! Each is parsed once into a value. A preference that can't be understood is left out of account, as RFC 7240
//! asks; a bad idempotency key is refused, because a client relies on it; a bad trace context is replaced by a
//! new one, as the W3C recommendation asks.

use std::time::Duration;

use http::HeaderMap;

use super::problem::{Problem, code};

/// Longer idempotency keys are refused.
pub(super) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// How long the client would wait for all deliveries to end: `Prefer: wait=SECONDS`, cut at `at_most`.
pub(super) fn wait(headers: &HeaderMap, at_most: Duration) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split([',', ';']));
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("wait") { value.parse().ok() } else { None }
    })?;
    Some(Duration::from_secs(seconds).min(at_most)).filter(|wait| !wait.is_zero())
}

/// The client's idempotency key.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bytes = value.as_bytes();
    let printable = bytes.iter().all(|byte| (0x20..=0x7e).contains(byte));
    match value.to_str() {
        Ok(key)
            if values.next().is_none()
                && printable
                && (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) =>
        {
            Ok(Some(key.to_owned()))
        }
        _ => Err(Problem::new(
            code::BAD_HEADER,
            format!(
                "Idempotency-Key is one value of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters"
            ),
        )),
    }
}

/// The W3C trace context of the request, version 00: the client's when it is valid, else a new one.
pub(super) fn traceparent(headers: &HeaderMap) -> String {
    let mut values = headers.get_all("traceparent").iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(valid_traceparent),
        _ => None,
    }
    .unwrap_or_else(new_traceparent)
}

/// The trace id inside a valid trace context.
pub(super) fn trace_id(traceparent: &str) -> &str {
    traceparent.get(3..35).unwrap_or("")
}

/// A later version may carry more behind the flags; only what version 00 defines is carried on.
fn valid_traceparent(text: &str) -> Option<String> {
    let mut parts = text.splitn(5, '-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |part: &str| part.bytes().any(|byte| byte != b'0');
    let valid = hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && some(trace)
        && hex(span, 16)
        && some(span)
        && hex(flags, 2)
        && (version != "00" || parts.next().is_none());
    valid.then(|| format!("00-{trace}-{span}-{flags}"))
}

fn new_traceparent() -> String {
    // An id of zeros means none, and chance gives it once in 2^64 spans.
    let (trace, span) = (rand::random::<u128>().max(1), rand::random::<u64>().max(1));
    ["00-", &hex::encode(trace.to_be_bytes()), "-", &hex::encode(span.to_be_bytes()), "-00"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn with(name: &'static str, values: &[&str]) -> HeaderMap {
        let value = |text: &&str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        values.iter().map(|text| (HeaderName::from_static(name), value(text))).collect()
    }

    #[test]
    fn a_wait_is_found_among_preferences_and_cut() {
        let most = Duration::from_secs(60);
        let wait = |values: &[&str]| wait(&with("prefer", values), most).map(|wait| wait.as_secs());
        assert_eq!(wait(&["wait=5"]), Some(5));
        assert_eq!(wait(&["respond-async, WAIT = \"7\""]), Some(7));
        assert_eq!(wait(&["return=minimal", "wait=9"]), Some(9));
        assert_eq!(wait(&["wait=100000"]), Some(60));
        for value in ["wait", "wait=", "wait=-1", "wait=x", "wait=0", "waiting=5"] {
            assert_eq!(wait(&[value]), None, "{value}");
        }
    }

    #[test]
    fn an_idempotency_key_is_printable_ascii() {
        let key = |values: &[&str]| idempotency_key(&with("idempotency-key", values));
        assert_eq!(key(&[]).unwrap(), None);
        assert_eq!(key(&["a b-1"]).unwrap().as_deref(), Some("a b-1"));
        assert!(key(&[&"x".repeat(255)]).is_ok());
        let long = "x".repeat(256);
        for bad in [vec![""], vec!["열쇠"], vec![long.as_str()], vec!["a", "b"]] {
            let problem = key(&bad).unwrap_err();
            assert_eq!(problem.code(), "request.bad-header");
            assert!(problem.detail().contains("1 to 255 printable ASCII"), "{}", problem.detail());
        }
    }

    #[test]
    fn a_valid_trace_context_is_kept_and_any_other_replaced() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&with("traceparent", &[given])), given);
        assert_eq!(trace_id(given), "0af7651916cd43dd8448eb211c80319c");
        let later = given.replacen("00-", "cc-", 1) + "-more";
        assert_eq!(traceparent(&with("traceparent", &[&later])), given);
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let upper = given.to_uppercase();
        let longer = format!("{given}-more");
        for bad in [vec![], vec![""], vec![zeros], vec![&upper], vec![&longer], vec![given, given]] {
            let made = traceparent(&with("traceparent", &bad));
            assert_ne!(made, given);
            assert_eq!(valid_traceparent(&made).as_deref(), Some(made.as_str()));
        }
    }
}
