//! Calls of the API: one request, one JSON answer, or a [`ClientError`].
//!
//! Bounded by the time to connect, by the time of each call, and by [`ANSWER_BYTES_MAX`]. Redirects are not followed: the key
//! is for the address that was named.

use std::sync::Once;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use super::ClientError;
use super::error::Problem;

/// A page of a list stays far below.
const ANSWER_BYTES_MAX: usize = 32 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take, unless it says so itself.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one gateway; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<HeaderValue>,
}

/// What the gateway answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status, which is one of success.
    pub(crate) status: StatusCode,
    /// The body; null when there was none.
    pub(crate) body: Value,
}

/// A request that is being put together.
#[derive(Debug)]
#[must_use]
pub(crate) struct Call {
    request: reqwest::RequestBuilder,
    url: Url,
}

impl Client {
    /// A client of the gateway at `base`.
    ///
    /// # Errors
    /// [`ClientError::Usage`] when the TLS of this machine can't be set up.
    pub(crate) fn new(base: Url, key: Option<HeaderValue>) -> Result<Self, ClientError> {
        static PROVIDER: Once = Once::new();
        // Refused only where another provider is there already, which serves as well.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ClientError::Usage(format!("no client can be set up: {}", reason(&error))))?;
        Ok(Self { http, base, key })
    }

    /// Where the gateway is.
    pub(crate) fn url(&self) -> &Url {
        &self.base
    }

    /// A call of the path that these segments make, each escaped as it needs.
    pub(crate) fn call(&self, method: Method, path: &[&str]) -> Call {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.request(method, url.clone()).timeout(CALL_TIMEOUT);
        request = request.header(USER_AGENT, concat!("fanfare/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        Call { request, url }
    }

    /// `GET`.
    pub(crate) fn get(&self, path: &[&str]) -> Call {
        self.call(Method::GET, path)
    }

    /// `POST`, without a body so far.
    pub(crate) fn post(&self, path: &[&str]) -> Call {
        self.call(Method::POST, path)
    }

    /// `DELETE`.
    pub(crate) fn delete(&self, path: &[&str]) -> Call {
        self.call(Method::DELETE, path)
    }
}

impl Call {
    /// With these parameters.
    pub(crate) fn query(mut self, parameters: &[(&str, String)]) -> Self {
        if !parameters.is_empty() {
            self.request = self.request.query(parameters);
        }
        self
    }

    /// With a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// With a body.
    pub(crate) fn body(mut self, media_type: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        self.request =
            self.request.header(CONTENT_TYPE, HeaderValue::from_static(media_type)).body(bytes.into());
        self
    }

    /// With a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// May take `longer` than other calls.
    pub(crate) fn takes_longer(mut self, longer: Duration) -> Self {
        self.request = self.request.timeout(CALL_TIMEOUT.saturating_add(longer));
        self
    }

    /// Makes the call.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal is [`ClientError::Refused`].
    pub(crate) async fn send(self) -> Result<Answer, ClientError> {
        let url = self.url.clone();
        let (answer, retry_after_s) = self.exchange().await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        match serde_json::from_value::<Problem>(answer.body) {
            Ok(problem) => Err(ClientError::Refused(Box::new(Problem { retry_after_s, ..problem }))),
            Err(_) => {
                let reason = "the body is no problem details".to_owned();
                Err(ClientError::Strange { url, status: answer.status, reason })
            }
        }
    }

    async fn exchange(self) -> Result<(Answer, Option<u64>), ClientError> {
        let url = self.url;
        let failed = |error: reqwest::Error| {
            let reason = reason(&error);
            if error.is_connect() || error.is_builder() {
                ClientError::Unreachable { url: origin(&url), reason }
            } else {
                ClientError::Interrupted { url: url.clone(), reason }
            }
        };
        let mut response = self.request.send().await.map_err(failed)?;
        let status = response.status();
        let strange = |reason: &str| {
            let (url, reason) = (url.clone(), reason.to_owned());
            ClientError::Strange { url, status, reason }
        };
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(strange("the body is larger than 32 MiB"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(|_| strange("the body is no JSON"))?
        };
        Ok((Answer { status, body }, retry_after))
    }
}

/// What of an address says which gateway it is.
fn origin(url: &Url) -> Url {
    let mut origin = url.clone();
    origin.set_path("");
    origin.set_query(None);
    origin
}

/// The innermost cause, which is what a person can act on; the layers above say only that it happened.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "the time was over".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
