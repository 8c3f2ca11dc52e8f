//! The answer to a submission: made once, kept under its idempotency key, and given again.
//!
//! A kept answer is one line, `1 STATUS LOCATION` (`-` for none), and the body behind it. The number in front is
//! the format's version. Bounded by the body, which is bounded by [`super::view::PAGE`] deliveries or a batch's
//! results.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::problem::{Problem, code};

const VERSION: &str = "1";

/// Says that an answer is a repetition.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Status, place and body of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) location: Option<String>,
    pub(super) json: Vec<u8>,
}

impl Answer {
    /// The bytes to keep.
    pub(super) fn to_kept(&self) -> Vec<u8> {
        let location = self.location.as_deref().unwrap_or("-");
        let mut kept = format!("{VERSION} {} {location}\n", self.status.as_u16()).into_bytes();
        kept.extend_from_slice(&self.json);
        kept
    }

    /// The answer in kept bytes.
    pub(super) fn from_kept(kept: &[u8]) -> Result<Self, Problem> {
        let broken = || Problem::new(code::INTERNAL, "the kept answer to this idempotency key can't be read");
        let end = kept.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
        let (head, json) = kept.split_at(end);
        let head = std::str::from_utf8(head).map_err(|_| broken())?;
        let mut words = head.split(' ');
        let (Some(VERSION), Some(status), Some(location), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(broken());
        };
        let status = status.parse().map_err(|_| broken())?;
        Ok(Self {
            status,
            location: Some(location).filter(|location| *location != "-").map(ToOwned::to_owned),
            json: json.get(1..).unwrap_or_default().to_vec(),
        })
    }

    /// The answer as it is sent.
    pub(super) fn into_response(self) -> Response {
        let mut response = json_response(self.status, self.json);
        let location = self.location.and_then(|location| HeaderValue::try_from(location).ok());
        if let Some(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// A response with a JSON body.
pub(super) fn json_response(status: StatusCode, json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A value as JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Views hold strings, numbers and lists; none of them can fail to be written to memory.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_answer_comes_back_whole() {
        for location in [None, Some("/api/v1/notifications/x".to_owned())] {
            let json = b"{\"a\":\n\"b\"}".to_vec();
            let answer = Answer { status: StatusCode::ACCEPTED, location, json };
            assert_eq!(Answer::from_kept(&answer.to_kept()).unwrap(), answer);
        }
    }

    #[test]
    fn what_was_never_kept_is_an_error_and_no_panic() {
        for kept in
            [&b""[..], b"1 202 -", b"2 202 -\n{}", b"1 abc -\n", b"1 202\n", b"\xff\n", b"1 202 - x\n"]
        {
            assert_eq!(Answer::from_kept(kept).unwrap_err().code(), "server.internal");
        }
    }
}
