//! How a rehearsal is told, to people and to scripts.
//!
//! What came from a guest or a file is made fit for a terminal; JSON has the whole.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_model::outcome::{Outcome, Receipt};
use fanfare_model::text::plain;
use fanfare_runtime::rehearsal::{SentMail, SentRequest};
use fanfare_runtime::{AttemptReport, Cut, Level, Limits, LogLine, Plan, RouteReport, Usage};
use serde_json::{Value, json};

use super::rig::Rig;
use super::script::{Exchange, Reply, Seen};

/// More of a body is for `--json`.
const BODY_CHARS_MAX: usize = 2_000;

pub(super) fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}

fn mib(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let mib = bytes as f64 / (1024.0 * 1024.0);
    format!("{mib:.2} MiB")
}

/// One line on how an attempt ended, as the gateway would take it.
pub(super) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered(Receipt { provider_id, status, detail }) => {
            let mut line = "delivered".to_owned();
            for (name, value) in [
                ("status", status.map(|status| status.to_string())),
                ("provider id", provider_id.clone()),
                ("detail", detail.clone()),
            ] {
                if let Some(value) = value {
                    let _ = write!(line, ", {name} {}", plain(&value));
                }
            }
            line
        }
        Outcome::Transient { fault, retry_after: Some(delay) } => {
            format!("retried after {delay:?} at the least: {} ({})", plain(&fault.message), fault.code)
        }
        Outcome::Transient { fault, retry_after: None } => {
            format!("retried by the channel's policy: {} ({})", plain(&fault.message), fault.code)
        }
        Outcome::Permanent(fault) => format!("dead: {} ({})", plain(&fault.message), fault.code),
    }
}

pub(super) fn outcome_json(outcome: &Outcome) -> Value {
    let word = match outcome {
        Outcome::Transient { retry_after: Some(_), .. } => "retry-after",
        other => other.as_str(),
    };
    let mut json = json!({ "outcome": word });
    match outcome {
        Outcome::Delivered(Receipt { provider_id, status, detail }) => {
            put(
                &mut json,
                "receipt",
                json!({ "provider_id": provider_id, "status": status, "detail": detail }),
            );
        }
        Outcome::Transient { fault, .. } | Outcome::Permanent(fault) => {
            put(
                &mut json,
                "fault",
                json!({ "code": fault.code.as_str(), "message": fault.message, "status": fault.status }),
            );
        }
    }
    if let Outcome::Transient { retry_after: Some(delay), .. } = outcome {
        put(&mut json, "retry_after_ms", json!(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)));
    }
    json
}

fn put(json: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = json {
        members.insert(name.to_owned(), value);
    }
}

/// Both spellings of an attempt.
pub(super) fn attempt(rig: &Rig, report: &AttemptReport, seen: &Seen) -> (Value, String) {
    let mut text = head(rig);
    let _ = writeln!(text, "outcome      {}", outcome(&report.outcome));
    let _ = writeln!(text, "requests     {}", seen.requests.len());
    seen.requests.iter().for_each(|exchange| text.push_str(&request(exchange)));
    if !seen.mails.is_empty() {
        let _ = writeln!(text, "mails        {}", seen.mails.len());
        seen.mails.iter().for_each(|exchange| text.push_str(&mail(exchange)));
    }
    text.push_str(&used(&report.usage, rig.limits()));
    text.push_str(&said(&report.log, report.log_dropped));
    text.push_str(&truncated(&report.cuts, report.log_dropped));
    let mut json = outcome_json(&report.outcome);
    put(&mut json, "plugin", plugin_json(rig));
    put(&mut json, "requests", seen.requests.iter().map(request_json).collect());
    put(&mut json, "mails", seen.mails.iter().map(mail_json).collect());
    common_json(&mut json, rig, &report.usage, &report.log, report.log_dropped, &report.cuts);
    (json, text)
}

/// Both spellings of a router's decision.
pub(super) fn decision(rig: &Rig, report: &RouteReport) -> (Value, String) {
    let mut text = head(rig);
    let mut json = match &report.result {
        Ok(plan) => {
            let _ = writeln!(text, "outcome      a plan of {} targets", plan.targets.len());
            text.push_str(&plan_text(plan));
            json!({ "outcome": "plan", "plan": plan_json(plan) })
        }
        Err(fault) => {
            let message = plain(&fault.message);
            let _ = writeln!(text, "outcome      routed again later: {message} ({})", fault.code);
            json!({ "outcome": "fault", "fault": { "code": fault.code.as_str(), "message": fault.message } })
        }
    };
    text.push_str(&used(&report.usage, rig.limits()));
    text.push_str(&said(&report.log, report.log_dropped));
    text.push_str(&truncated(&report.cuts, report.log_dropped));
    put(&mut json, "plugin", plugin_json(rig));
    common_json(&mut json, rig, &report.usage, &report.log, report.log_dropped, &report.cuts);
    (json, text)
}

fn head(rig: &Rig) -> String {
    let manifest = rig.manifest();
    let (name, version) = (plain(&manifest.name), plain(&manifest.version));
    let mut text = format!("plugin       {name} {version}, a {}\n", manifest.kind.as_str());
    if rig.guessed && !rig.settings.is_empty() {
        let settings = Value::Object(rig.settings.clone());
        let _ = writeln!(text, "settings     {settings}, made up; give others with --settings or --input");
    }
    text
}

pub(super) fn plugin_json(rig: &Rig) -> Value {
    let manifest = rig.manifest();
    json!({
        "name": manifest.name, "version": manifest.version, "kind": manifest.kind.as_str(),
        "digest": rig.plugin.digest().to_string(), "settings": rig.settings, "settings_made_up": rig.guessed,
    })
}

fn common_json(json: &mut Value, rig: &Rig, usage: &Usage, log: &[LogLine], dropped: u32, cuts: &[Cut]) {
    let limits = rig.limits();
    put(
        json,
        "usage",
        json!({
            "cpu_ms": usage.cpu.as_secs_f64() * 1_000.0, "cpu_ms_max": limits.cpu.as_millis(),
            "wall_ms": usage.wall.as_secs_f64() * 1_000.0, "wall_ms_max": limits.wall.as_millis(),
            "memory_bytes_peak": usage.memory_bytes_peak, "memory_bytes_max": limits.memory_bytes,
            "host_calls": usage.host_calls, "host_calls_max": limits.host_calls,
            "bytes_out": usage.bytes_out, "bytes_in": usage.bytes_in,
        }),
    );
    put(
        json,
        "log",
        log.iter().map(|line| json!({ "level": level(line.level), "message": line.message })).collect(),
    );
    put(json, "log_dropped", json!(dropped));
    put(
        json,
        "truncated",
        cuts.iter()
            .map(|cut| json!({ "what": cut.what, "given": cut.given, "kept": cut.kept, "unit": cut.unit }))
            .collect(),
    );
}

fn used(usage: &Usage, limits: Limits) -> String {
    format!(
        "cpu          {} of {} ms\npeak memory  {} of {}\nhost calls   {} of {}\n",
        ms(usage.cpu),
        limits.cpu.as_millis(),
        mib(usage.memory_bytes_peak),
        mib(limits.memory_bytes),
        usage.host_calls,
        limits.host_calls
    )
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

fn said(log: &[LogLine], dropped: u32) -> String {
    let mut text = format!("log          {} lines\n", u64::from(dropped) + log.len() as u64);
    for line in log {
        let _ = writeln!(text, "  {:<5} {}", level(line.level), plain(&line.message));
    }
    text
}

fn truncated(cuts: &[Cut], dropped: u32) -> String {
    let mut text = "truncated   ".to_owned();
    if cuts.is_empty() && dropped == 0 {
        return text + " nothing\n";
    }
    text.push('\n');
    for cut in cuts {
        let _ = writeln!(text, "  {cut}");
    }
    if dropped > 0 {
        let _ = writeln!(text, "  the log: {dropped} lines more than are kept");
    }
    text
}

fn request(exchange: &Exchange<SentRequest>) -> String {
    let SentRequest { method, url, headers, body } = &exchange.sent;
    let mut text = format!("  {method} {}\n", plain(url));
    for (name, value) in headers {
        let _ = writeln!(text, "    {name}: {}", plain(&String::from_utf8_lossy(value)));
    }
    text.push_str(&body_text(body));
    text + &reply(&exchange.reply)
}

fn mail(exchange: &Exchange<SentMail>) -> String {
    let SentMail { server, to, message } = &exchange.sent;
    let to: Vec<String> = to.iter().map(|to| plain(to)).collect();
    format!(
        "  through {} to {}\n{}{}",
        plain(server),
        to.join(", "),
        body_text(message),
        reply(&exchange.reply)
    )
}

fn body_text(body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else { return format!("    {} bytes, no text\n", body.len()) };
    let mut shown = String::new();
    for line in text.chars().take(BODY_CHARS_MAX).collect::<String>().lines() {
        let _ = writeln!(shown, "    {}", plain(line));
    }
    if text.chars().nth(BODY_CHARS_MAX).is_some() {
        let _ = writeln!(shown, "    ... of {} bytes; --json has the whole", body.len());
    }
    shown
}

fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Breaks(breakdown) => format!("    <- {}\n", breakdown.as_str()),
        Reply::Answer { status, headers, body } => {
            let mut text = format!("    <- {status}");
            for (name, value) in headers {
                let _ = write!(text, ", {}: {}", plain(name), plain(value));
            }
            text + &format!(", {} bytes\n", body.len())
        }
    }
}

fn reply_json(reply: &Reply) -> Value {
    match reply {
        Reply::Breaks(breakdown) => json!({ "fails": breakdown.as_str() }),
        Reply::Answer { status, headers, body } => {
            let headers: Vec<Value> = headers.iter().map(|(name, value)| json!([name, value])).collect();
            json!({ "status": status, "headers": headers, "bytes": body.len() })
        }
    }
}

/// Text where it is text, base64 where it is not.
fn bytes_json(json: &mut Value, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => put(json, name, json!(text)),
        Err(_) => put(json, &format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    }
}

fn request_json(exchange: &Exchange<SentRequest>) -> Value {
    let SentRequest { method, url, headers, body } = &exchange.sent;
    let headers = headers.iter().map(|(name, value)| json!([name, String::from_utf8_lossy(value)]));
    let mut json = json!({ "method": method, "url": url, "headers": headers.collect::<Vec<_>>() });
    bytes_json(&mut json, "body", body);
    put(&mut json, "reply", reply_json(&exchange.reply));
    json
}

fn mail_json(exchange: &Exchange<SentMail>) -> Value {
    let SentMail { server, to, message } = &exchange.sent;
    let mut json = json!({ "server": server, "to": to });
    bytes_json(&mut json, "message", message);
    put(&mut json, "reply", reply_json(&exchange.reply));
    json
}

fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    for target in &plan.targets {
        let _ = write!(text, "  {}", plain(&target.channel));
        for (word, value) in [("for", &target.user), ("at", &target.address)] {
            if let Some(value) = value {
                let _ = write!(text, " {word} {}", plain(value));
            }
        }
        if !target.delay.is_zero() {
            let _ = write!(text, " after {:?}", target.delay);
        }
        if target.fallback_order > 0 {
            let _ = write!(text, " as fallback {}", target.fallback_order);
        }
        let _ = writeln!(text, ": {}", plain(&target.reason));
    }
    for note in &plan.notes {
        let _ = writeln!(text, "  note: {}", plain(note));
    }
    text
}

fn plan_json(plan: &Plan) -> Value {
    let targets = plan.targets.iter().map(|target| {
        json!({
            "channel": target.channel, "user": target.user, "address": target.address,
            "delay_ms": u64::try_from(target.delay.as_millis()).unwrap_or(u64::MAX),
            "fallback_order": target.fallback_order, "reason": target.reason,
        })
    });
    json!({ "targets": targets.collect::<Vec<_>>(), "notes": plan.notes })
}
