//! The outside of a rehearsal: scripted replies, and a record of what would have left.
//!
//! Requests get the replies in order, and the last one again and again; without any, all is well. Mails get the same
//! replies with the codes of SMTP. What is recorded has its secrets masked already.

use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_runtime::egress::{Refusal, Response};
use fanfare_runtime::rehearsal::{Script, SentMail, SentRequest};
use fanfare_runtime::smtp::{Reply as MailReply, SmtpRefusal};

/// What the network does in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breakdown {
    Timeout,
    Reset,
    Connect,
    Dns,
    Tls,
}

impl Breakdown {
    pub(super) const ALL: [Self; 5] = [Self::Timeout, Self::Reset, Self::Connect, Self::Dns, Self::Tls];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Connect => "connect",
            Self::Dns => "dns",
            Self::Tls => "tls",
        }
    }

    fn sentence(self) -> String {
        let sentence = match self {
            Self::Timeout => "no complete answer in time",
            Self::Reset => "the exchange broke: connection reset",
            Self::Connect => "no connection: connection refused",
            Self::Dns => "the name has no address",
            Self::Tls => "no trusted connection: the certificate has expired",
        };
        format!("{sentence} (scripted)")
    }

    fn refusal(self) -> Refusal {
        let sentence = self.sentence();
        match self {
            Self::Timeout => Refusal::Timeout(sentence),
            Self::Reset => Refusal::Protocol(sentence),
            Self::Connect => Refusal::Connect(sentence),
            Self::Dns => Refusal::Dns(sentence),
            Self::Tls => Refusal::Tls(sentence),
        }
    }

    fn mail_refusal(self) -> SmtpRefusal {
        let sentence = self.sentence();
        match self {
            Self::Timeout => SmtpRefusal::Timeout(sentence),
            Self::Reset => SmtpRefusal::Protocol(sentence),
            Self::Connect => SmtpRefusal::Connect(sentence),
            Self::Dns => SmtpRefusal::Dns(sentence),
            Self::Tls => SmtpRefusal::Tls(sentence),
        }
    }
}

/// One scripted reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    Breaks(Breakdown),
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn with(self, name: &str, value: &str) -> Self {
        match self {
            Self::Answer { status, mut headers, body } => {
                headers.push((name.to_owned(), value.to_owned()));
                Self::Answer { status, headers, body }
            }
            breaks @ Self::Breaks(_) => breaks,
        }
    }

    pub(super) fn body(self, bytes: impl Into<Vec<u8>>) -> Self {
        match self {
            Self::Answer { status, headers, .. } => Self::Answer { status, headers, body: bytes.into() },
            breaks @ Self::Breaks(_) => breaks,
        }
    }
}

/// A status, or the word of a breakdown.
impl FromStr for Reply {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(breakdown) = Breakdown::ALL.into_iter().find(|one| one.as_str() == text) {
            return Ok(Self::Breaks(breakdown));
        }
        match text.parse() {
            Ok(status @ 100..=999) => Ok(Self::status(status)),
            _ => {
                let words = Breakdown::ALL.map(Breakdown::as_str).join(", ");
                Err(format!("{text:?} is neither a status such as 429 nor one of {words}"))
            }
        }
    }
}

/// What a guest's request met: the reply's status, headers and body length, or what broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchange<S> {
    pub(super) sent: S,
    pub(super) reply: Reply,
}

/// All that would have left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) requests: Vec<Exchange<SentRequest>>,
    pub(super) mails: Vec<Exchange<SentMail>>,
}

impl Seen {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.mails.is_empty()
    }
}

#[derive(Debug, Default)]
struct State {
    replies: Vec<Reply>,
    given: usize,
    seen: Seen,
}

/// The scripted outside; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Replies(Arc<Mutex<State>>);

impl Replies {
    /// Begins anew with these replies.
    pub(super) fn set(&self, replies: &[Reply]) {
        *self.state() = State { replies: replies.to_vec(), ..State::default() };
    }

    /// What was sent since.
    pub(super) fn seen(&self) -> Seen {
        self.state().seen.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<Reply> {
        let reply = self.replies.get(self.given).or(self.replies.last()).cloned();
        self.given += 1;
        reply
    }
}

impl Script for Replies {
    fn http(&self, sent: SentRequest) -> Result<Response, Refusal> {
        let mut state = self.state();
        let reply = state.next().unwrap_or(Reply::status(200));
        state.seen.requests.push(Exchange { sent, reply: reply.clone() });
        match reply {
            Reply::Answer { status, headers, body } => {
                let headers = headers.into_iter().map(|(name, value)| (name, value.into_bytes()));
                Ok(Response { status, headers: headers.collect(), body })
            }
            Reply::Breaks(breakdown) => Err(breakdown.refusal()),
        }
    }

    fn mail(&self, sent: SentMail) -> Result<MailReply, SmtpRefusal> {
        let mut state = self.state();
        let reply = state.next().unwrap_or(Reply::status(250));
        state.seen.mails.push(Exchange { sent, reply: reply.clone() });
        match reply {
            Reply::Answer { status, body, .. } => {
                let text = String::from_utf8_lossy(&body).into_owned();
                let reply = MailReply { code: status, text };
                if status < 400 { Ok(reply) } else { Err(SmtpRefusal::Refused(reply)) }
            }
            Reply::Breaks(breakdown) => Err(breakdown.mail_refusal()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_a_status_or_a_breakdown_and_anything_else_is_refused_with_the_words() {
        assert_eq!("429".parse(), Ok(Reply::status(429)));
        assert_eq!("reset".parse(), Ok(Reply::Breaks(Breakdown::Reset)));
        for text in ["", "9", "1000", "slow", "-1"] {
            assert!(text.parse::<Reply>().unwrap_err().contains("timeout, reset"), "{text}");
        }
    }

    #[test]
    fn replies_come_in_order_and_the_last_one_stays() {
        let replies = Replies::default();
        let request = SentRequest {
            method: "GET".to_owned(),
            url: "https://a.example/".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        let statuses = |count: usize| -> Vec<u16> {
            (0..count).map(|_| replies.http(request.clone()).map_or(0, |answer| answer.status)).collect()
        };
        assert_eq!(statuses(1), [200]);
        replies.set(&[Reply::status(503), Reply::Breaks(Breakdown::Dns), Reply::status(204)]);
        assert_eq!(statuses(4), [503, 0, 204, 204]);
        assert_eq!(replies.seen().requests.len(), 4);
    }
}
