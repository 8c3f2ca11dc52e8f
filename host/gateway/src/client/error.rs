//! What can go wrong between a command and the gateway, as a person reads it, and the exit code that a script reads.

use std::process::ExitCode;

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::output::clean;
use crate::api::problem;

const EXIT_REFUSED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_UNREACHABLE: u8 = 3;
const EXIT_ACCESS: u8 = 4;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The arguments or the environment can't be used; nothing was asked.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers at the address.
    #[error(
        "no gateway answers at {url}: {reason}\n  start one with `fanfare serve`, or say with FANFARE_URL or --url where it is"
    )]
    Unreachable {
        /// Where it was looked for.
        url: Url,
        /// What the system says.
        reason: String,
    },
    /// The connection ended or the time was over before the answer was there: the gateway may have acted all the same.
    #[error("{url} did not answer: {reason}\n  it is not known whether it acted; look with `fanfare status`")]
    Interrupted {
        /// Where the request went.
        url: Url,
        /// What happened.
        reason: String,
    },
    /// The answer is none of a gateway's.
    #[error(
        "{url} answered {status}, and not as a Fanfare gateway does: {reason}\n  check FANFARE_URL or --url"
    )]
    Strange {
        /// Where the request went.
        url: Url,
        /// The status of the answer.
        status: StatusCode,
        /// What is strange about it.
        reason: String,
    },
    /// The gateway refused, with a problem.
    #[error("{0}")]
    Refused(Box<Problem>),
}

/// Problem details (RFC 9457) as the gateway writes them.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Problem {
    /// The stable code.
    pub(crate) code: String,
    /// The sentence that says what to change.
    #[serde(default)]
    pub(crate) detail: String,
    /// The status of the answer.
    pub(crate) status: u16,
    /// Where in the body it is.
    pub(crate) pointer: Option<String>,
    /// Seconds after which to come back; from the header.
    #[serde(skip)]
    pub(crate) retry_after_s: Option<u64>,
}

impl Problem {
    /// What to do about it: for keys, in terms of the command line.
    fn remedy(&self) -> Option<&'static str> {
        match self.code.as_str() {
            "access.key-missing" => Some("Set FANFARE_KEY to an API key of this gateway."),
            "access.key-unknown" => Some(
                "Check FANFARE_KEY: the sha256 of the key has to stand in [[keys]] of the gateway's configuration.",
            ),
            code => problem::TABLE.iter().find(|entry| entry.code == code).map(|entry| entry.remedy),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", clean(&self.code))?;
        if let Some(pointer) = self.pointer.as_deref().filter(|pointer| !pointer.is_empty()) {
            write!(f, " at {}", clean(pointer))?;
        }
        write!(f, ": {}", clean(&self.detail))?;
        if let Some(remedy) = self.remedy() {
            write!(f, "\n  {remedy}")?;
        }
        match self.retry_after_s {
            Some(seconds) => write!(f, "\n  Come back in {seconds} s."),
            None => Ok(()),
        }
    }
}

impl ClientError {
    /// The code that the command ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Unreachable { .. } => EXIT_UNREACHABLE,
            Self::Refused(_) if self.is_of_access() => EXIT_ACCESS,
            Self::Refused(_) | Self::Interrupted { .. } | Self::Strange { .. } => EXIT_REFUSED,
        })
    }

    /// What the gateway would say of something that its answer lacks.
    pub(crate) fn absent(code: &str, detail: String) -> Self {
        let (code, status) = (code.to_owned(), StatusCode::NOT_FOUND.as_u16());
        Self::Refused(Box::new(Problem { code, detail, status, pointer: None, retry_after_s: None }))
    }

    /// Whether the key was the reason: then every further call fails, too.
    pub(crate) fn is_of_access(&self) -> bool {
        matches!(self, Self::Refused(problem) if matches!(problem.status, 401 | 403))
    }

    /// For scripts: one object, under the gateway's own code where it has one.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Refused(problem) => json!({
                "code": problem.code, "detail": problem.detail, "status": problem.status,
                "pointer": problem.pointer, "retry_after_s": problem.retry_after_s,
            }),
            other => {
                let code = match other {
                    Self::Usage(_) => "client.usage",
                    Self::Unreachable { .. } => "client.unreachable",
                    Self::Interrupted { .. } => "client.interrupted",
                    Self::Strange { .. } | Self::Refused(_) => "client.strange-answer",
                };
                json!({ "code": code, "detail": other.to_string() })
            }
        }
    }
}
