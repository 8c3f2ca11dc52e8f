//! The cases of channels.

use std::sync::Arc;
use std::time::Duration;

use fanfare_model::clock::ManualClock;
use fanfare_model::notification::Notification;
use fanfare_model::outcome::Outcome;
use fanfare_model::time::Timestamp;
use fanfare_runtime::rehearsal::SentRequest;
use fanfare_runtime::{AttemptInput, AttemptReport, ChannelGeneration, RecipientInfo, StageError};
use serde_json::{Map, Value};

use super::super::failure::Failure;
use super::super::input::NOW_MS;
use super::super::rig::Rig;
use super::super::run::is_of_host;
use super::super::script::{Reply, Seen};
use super::super::tell;
use super::table::{self, Expect, Row};
use super::{Verdict, Verdicts, cut, texts};

/// Tried where the plain attempt sends nothing: a channel may have no destination of its own.
const ADDRESSES: [&str; 3] = ["ann@receiver.example", "01012345678", "https://receiver.example/in"];

struct Suite<'s> {
    rig: &'s Rig,
    generation: &'s ChannelGeneration,
    only: &'s str,
    verdicts: Verdicts,
}

/// All cases whose names begin with `only`.
pub(super) async fn suite(
    rig: &Rig,
    generation: &ChannelGeneration,
    only: &str,
) -> Result<Verdicts, Failure> {
    let mut suite = Suite { rig, generation, only, verdicts: Verdicts::default() };
    let (plain, sends) = suite.plain().await?;
    let rows = match sends {
        Sends::Mails => table::smtp(),
        Sends::Requests | Sends::Nothing => table::http(),
    };
    for Row { name, reply, expect } in rows {
        suite.case(name, &plain, &[reply], expect).await;
    }
    for (name, notification) in texts::notifications(&plain.notification) {
        let input = AttemptInput { notification: Arc::new(notification), ..plain.clone() };
        suite.case(name, &input, &[], Expect::Answer).await;
    }
    for (name, input) in recipients(&plain) {
        suite.case(name, &input, &[], Expect::Answer).await;
    }
    suite.moments(&plain).await;
    suite.settings().await;
    Ok(suite.verdicts)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sends {
    Requests,
    Mails,
    Nothing,
}

impl Suite<'_> {
    /// The attempt that the others are variations of, and what it sends.
    async fn plain(&mut self) -> Result<(AttemptInput, Sends), Failure> {
        let given = self.rig.input.attempt()?;
        let mut plain = given.clone();
        if given.notification.title.is_none() && given.notification.body.is_none() {
            let (title, body) = (Some("Payment failed".to_owned()), Some("Order 1042.".to_owned()));
            plain.notification = Arc::new(Notification { title, body, ..(*given.notification).clone() });
        }
        let own = plain.address.clone();
        let addresses = [own.clone()].into_iter().chain(ADDRESSES.map(|address| Some(address.to_owned())));
        for address in addresses.take(if own.is_some() { 1 } else { 4 }) {
            plain.address = address;
            let (_, seen) = self.attempt(&plain, &[]).await;
            match (seen.requests.is_empty(), seen.mails.is_empty()) {
                (false, _) => return Ok((plain, Sends::Requests)),
                (true, false) => return Ok((plain, Sends::Mails)),
                (true, true) => {}
            }
        }
        plain.address = own;
        let (report, _) = self.attempt(&plain, &[]).await;
        self.verdicts.notes.push(format!(
            "the plain attempt sends nothing, so what is answered was not tried ({}); if it should send, give --input",
            tell::outcome(&report.outcome)
        ));
        Ok((plain, Sends::Nothing))
    }

    async fn attempt(&self, input: &AttemptInput, replies: &[Reply]) -> (AttemptReport, Seen) {
        self.rig.script.set(replies);
        let report = self.generation.send(input.clone()).await;
        (report, self.rig.script.seen())
    }

    async fn case(&mut self, name: String, input: &AttemptInput, replies: &[Reply], expect: Expect) {
        if !name.starts_with(self.only) || self.verdicts.is_over() {
            return;
        }
        let (one, seen) = self.attempt(input, replies).await;
        if let Some(fault) = one.outcome.fault().filter(|fault| is_of_host(fault)) {
            let fault = Some(self.verdicts.ended(fault));
            return self.verdicts.all.push(Verdict { name, outcome: tell::outcome(&one.outcome), fault });
        }
        let (two, seen_again) = self.attempt(input, replies).await;
        let fault = judge(&one, &seen, expect).or_else(|| {
            let same = one.outcome == two.outcome && alike(&seen, &seen_again);
            (!same).then(|| {
                format!(
                    "the same attempt ends in another way the second time: {}",
                    tell::outcome(&two.outcome)
                )
            })
        });
        self.verdicts.all.push(Verdict { name, outcome: tell::outcome(&one.outcome), fault });
    }

    async fn moments(&mut self, plain: &AttemptInput) {
        let clock: &ManualClock = &self.rig.clock;
        for (name, ms) in [("epoch", 0), ("leap-day", 1_709_164_800_000), ("year-9999", 253_402_214_400_000)]
        {
            clock.step_wall(Timestamp::from_ms(ms));
            self.case(format!("moment/{name}"), plain, &[], Expect::Answer).await;
        }
        clock.step_wall(Timestamp::from_ms(NOW_MS));
    }

    /// Settings that an operator might write by mistake: refusing them is right, trapping is not.
    async fn settings(&mut self) {
        for (name, settings) in settings(&self.rig.settings) {
            if !name.starts_with(self.only) || self.verdicts.is_over() {
                continue;
            }
            let staged = self.rig.stage_with(&settings).await;
            let (outcome, fault) = match &staged {
                Ok(_) => ("good".to_owned(), None),
                Err(error @ StageError::Check { fault, .. }) if !fault.starts_with("channel.") => {
                    (error.to_string(), Some("check() has to answer a fault, and not to trap".to_owned()))
                }
                Err(error) => (error.to_string(), None),
            };
            self.verdicts.all.push(Verdict { name, outcome, fault });
        }
    }
}

/// Each text of the settings replaced by odd ones.
fn settings(plain: &Map<String, Value>) -> Vec<(String, Map<String, Value>)> {
    let mut all = vec![("settings/none".to_owned(), Map::new())];
    for (key, _) in plain.iter().filter(|(_, value)| value.is_string()) {
        for (word, text) in
            [("empty", ""), ("blank", " "), ("nul", "a\0b"), ("unicode", "한\u{202e}👩‍👩‍👧"), ("no-url", "://")]
        {
            let mut settings = plain.clone();
            settings.insert(key.clone(), Value::from(text));
            all.push((format!("settings/{key}-{word}"), settings));
        }
    }
    all
}

fn recipients(plain: &AttemptInput) -> Vec<(String, AttemptInput)> {
    let mut all = Vec::new();
    let text = |text: &str| Some(text.to_owned());
    for (name, user, display_name, locale, zone) in [
        ("nobody", None, None, None, None),
        ("user-alone", text("ann"), None, None, None),
        ("empty", text(""), text(""), text(""), text("")),
        ("unicode", text("앤"), text("앤 \u{202e}\r\nBcc: x"), text("ko-KR"), text("Asia/Seoul")),
        ("nonsense", text("ann"), text("Ann"), text("xx-🦀"), text("Mars/Olympus")),
    ] {
        let recipient = RecipientInfo { user, display_name, locale, zone };
        all.push((format!("recipient/{name}"), AttemptInput { recipient, ..plain.clone() }));
    }
    let long = format!("https://receiver.example/{}", "a".repeat(3_000));
    for (name, address) in [
        ("none", None),
        ("empty", Some("")),
        ("blank", Some(" ")),
        ("unicode", Some("앤@예시.한국")),
        ("injection", Some("a@b.example\r\nBcc: c@d.example")),
        ("nul", Some("a\0b")),
        ("long", Some(long.as_str())),
        ("metadata-address", Some("http://169.254.169.254/latest/meta-data")),
        ("script", Some("javascript:alert(1)")),
        ("elsewhere", Some("https://nobody-granted.example/")),
    ] {
        let address = address.map(str::to_owned);
        all.push((format!("address/{name}"), AttemptInput { address, ..plain.clone() }));
    }
    for number in [2, 4, u32::MAX] {
        all.push((format!("attempt/{number}"), AttemptInput { number, ..plain.clone() }));
    }
    all
}

/// Whether the same was sent. Of a mail the host itself makes the boundaries between its parts, by chance.
fn alike(one: &Seen, two: &Seen) -> bool {
    let envelopes = |seen: &Seen| -> Vec<(String, Vec<String>, usize)> {
        let mails = seen.mails.iter().map(|exchange| &exchange.sent);
        mails.map(|mail| (mail.server.clone(), mail.to.clone(), mail.message.len())).collect()
    };
    one.requests == two.requests && envelopes(one) == envelopes(two)
}

/// What is wrong about an attempt.
fn judge(report: &AttemptReport, seen: &Seen, expect: Expect) -> Option<String> {
    if let Some(cut) = cut(&report.cuts) {
        return Some(cut);
    }
    if let Some(why) = seen.requests.iter().find_map(|exchange| broken_json(&exchange.sent)) {
        return Some(why);
    }
    // Without anything sent there was no reply to judge.
    if seen.is_empty() { None } else { unexpected(&report.outcome, expect) }
}

fn unexpected(outcome: &Outcome, expect: Expect) -> Option<String> {
    let wrong = match (expect, outcome) {
        (Expect::Answer, _)
        | (Expect::Dead, Outcome::Permanent(_))
        | (Expect::Retry(Duration::ZERO), Outcome::Transient { .. }) => return None,
        (Expect::Retry(least), Outcome::Transient { retry_after: Some(delay), .. }) if *delay >= least => {
            return None;
        }
        (Expect::Retry(least), Outcome::Transient { .. }) => {
            format!(
                "the receiver asked to be left alone for {least:?}: answer retry-after with at least that"
            )
        }
        (Expect::Retry(_), _) => "it may work later: answer transient or retry-after".to_owned(),
        (Expect::Dead, Outcome::Delivered(_)) => "the receiver refused it, so it is not delivered".to_owned(),
        (Expect::Dead, Outcome::Transient { .. }) => {
            "it will never work as it is: answer permanent, or it is sent again in vain".to_owned()
        }
    };
    Some(wrong)
}

/// What says that it is JSON has to be.
fn broken_json(request: &SentRequest) -> Option<String> {
    let is_json = request.headers.iter().any(|(name, value)| {
        name == "content-type" && value.to_ascii_lowercase().starts_with(b"application/json")
    });
    if !is_json {
        return None;
    }
    let error = serde_json::from_slice::<serde::de::IgnoredAny>(&request.body).err()?;
    Some(format!("a request says that its body is JSON, and it is not: {error}"))
}
