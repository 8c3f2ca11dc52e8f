//! What the API's answers mean for a delivery.
//!
//! An accepted request names the message and its `statusCode`, which [`crate::codes`] judges. A refused one has `errorCode` and
//! `errorMessage`, with an HTTP status that says the rest (`solapi/documents`: `authentication/api-key.md` for the 403s,
//! `1. simpleMessage.md` of messages-v4 for 400, 402 and 500); with `InvalidStatusCode` comes the message's own code.

use fanfare_sdk::prelude::*;

use crate::codes::{Verdict, judge};

/// Refusals that another signature, with the next attempt's salt and date, mends.
const SIGN_AGAIN: [&str; 2] = ["DuplicatedSignature", "RequestTimeTooSkewed"];

pub(crate) fn receipt(response: &Response) -> Result<Receipt, SendError> {
    if !response.is_success() {
        return Err(refusal(response));
    }
    let answer = response.json();
    let text = |key: &str| answer.get(key).and_then(Value::as_str);
    let mut receipt = Receipt::new().status(response.status);
    receipt.provider_id = text("messageId").or(text("groupId")).map(str::to_owned);
    // Without a code the HTTP status stands: asking again could send the message twice.
    match text("statusCode").and_then(|code| fault(code, text("statusMessage"), response.status)) {
        Some(refused) => Err(refused),
        None => Ok(receipt),
    }
}

/// What follows from a message's code; nothing when it is good news.
fn fault(code: &str, message: Option<&str>, status: u16) -> Option<SendError> {
    let (verdict, words) = judge(code);
    let said = message.map_or_else(String::new, |message| format!(": {}", message.trim()));
    let message = format!("the provider answered {code}, {words}{said}");
    let fault = Fault::new(format!("sms-{}", kebab(code)), message).with_status(status);
    match verdict {
        Verdict::Accepted => None,
        Verdict::TryAgain => Some(SendError::Transient(fault)),
        Verdict::Refused => Some(SendError::Permanent(fault)),
    }
}

fn refusal(response: &Response) -> SendError {
    let answer = response.json();
    let Some(code) = answer.get("errorCode").and_then(Value::as_str) else {
        return response
            .receipt()
            .err()
            .unwrap_or_else(|| SendError::transient("no-answer", "an empty answer"));
    };
    let why = answer.get("errorMessage").and_then(Value::as_str).unwrap_or("no reason given");
    let own = answer.get("statusCode").and_then(Value::as_str);
    if let Some(refused) = own.and_then(|own| fault(own, Some(why), response.status)) {
        return refused;
    }
    let message = format!("the provider answered {} {code}: {why}", response.status);
    if SIGN_AGAIN.contains(&code) {
        return SendError::Transient(Fault::new(kebab(code), message).with_status(response.status));
    }
    response.refused(kebab(code), message)
}

/// `NotEnoughBalance` to `not-enough-balance`, and `InvalidAPIKey` to `invalid-api-key`.
fn kebab(code: &str) -> String {
    let mut out = String::new();
    let (mut before, mut rest) = (None::<char>, code.chars().take(64).peekable());
    while let Some(c) = rest.next() {
        let begins = rest.peek().is_some_and(char::is_ascii_lowercase);
        if c.is_ascii_uppercase() && before.is_some_and(|before| before.is_ascii_lowercase() || begins) {
            out.push('-');
        }
        out.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
        before = Some(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &Value) -> Result<Receipt, SendError> {
        receipt(&Response { status, body: body.to_string().into_bytes(), ..Response::default() })
    }

    #[test]
    fn accepted_messages_carry_the_providers_id() {
        for code in ["2000", "3000", "4000"] {
            let taken = judged(200, &json!({ "messageId": "M4V1", "statusCode": code }));
            assert_eq!(taken, Ok(Receipt::new().status(200).provider_id("M4V1")), "{code}");
        }
        assert_eq!(judged(200, &json!({ "groupId": "G4V1" })).unwrap().provider_id.as_deref(), Some("G4V1"));
    }

    #[test]
    fn refused_messages_keep_the_providers_code() {
        let of = |code: &str| {
            judged(200, &json!({ "statusCode": code, "statusMessage": "발신번호 미등록" })).unwrap_err()
        };
        let SendError::Permanent(fault) = of("1062") else { panic!("it is permanent") };
        assert_eq!(fault.code, "sms-1062");
        let words = "the provider answered 1062, the sender's number is not registered: 발신번호 미등록";
        assert_eq!(fault.message, words);
        assert!(matches!(of("2024"), SendError::Transient(fault) if fault.code == "sms-2024"));
        assert!(matches!(of("2254"), SendError::Permanent(_)), "not every 2xxx is accepted");
    }

    #[test]
    fn a_refused_request_that_names_the_messages_code_is_judged_by_it() {
        let of = |own: &str| {
            judged(400, &json!({ "errorCode": "InvalidStatusCode", "errorMessage": "m", "statusCode": own }))
        };
        assert!(matches!(of("1062"), Err(SendError::Permanent(fault)) if fault.code == "sms-1062"));
        assert!(matches!(of("1024"), Err(SendError::Transient(fault)) if fault.code == "sms-1024"));
        let contradictory = of("2000");
        assert!(
            matches!(contradictory, Err(SendError::Permanent(fault)) if fault.code == "invalid-status-code")
        );
    }

    #[test]
    fn refused_requests_are_judged_by_their_status() {
        let of = |status, code: &str| {
            judged(status, &json!({ "errorCode": code, "errorMessage": "m" })).unwrap_err()
        };
        assert!(
            matches!(of(400, "ValidationError"), SendError::Permanent(fault) if fault.code == "validation-error")
        );
        assert!(
            matches!(of(402, "NotEnoughBalance"), SendError::Permanent(fault) if fault.code == "not-enough-balance")
        );
        assert!(
            matches!(of(429, "TooManyRequests"), SendError::Transient(fault) if fault.code == "too-many-requests")
        );
        assert!(matches!(of(500, "InternalError"), SendError::Transient(_)));
        assert!(matches!(of(403, "SignatureDoesNotMatch"), SendError::Permanent(_)));
        assert!(
            matches!(of(403, "InvalidAPIKey"), SendError::Permanent(fault) if fault.code == "invalid-api-key")
        );
        assert!(matches!(of(403, "RequestTimeTooSkewed"), SendError::Transient(_)));
        assert!(matches!(of(403, "DuplicatedSignature"), SendError::Transient(_)));
    }

    #[test]
    fn an_answer_in_another_form_is_judged_by_its_status_alone() {
        let html = |status| receipt(&Response { status, body: b"<html>".to_vec(), ..Response::default() });
        assert!(matches!(html(502), Err(SendError::Transient(fault)) if fault.code == "http-502"));
        assert!(matches!(html(404), Err(SendError::Permanent(fault)) if fault.code == "http-404"));
    }
}
