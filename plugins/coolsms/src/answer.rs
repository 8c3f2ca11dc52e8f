//! What the API's answers mean for a delivery.
//!
//! A taken message has a `statusCode`: 2xxx is accepted, 3000 handed to the carrier, 4000 received; 1xxx and the other
//! 3xxx are refusals. A refused request has `errorCode` and `errorMessage`, with an HTTP status that says the rest.

use fanfare_sdk::prelude::*;

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
    match text("statusCode") {
        Some(code) if !is_accepted(code) => {
            let why = text("statusMessage").unwrap_or("no reason given");
            let message = format!("the provider refused the message with code {code}: {why}");
            Err(Fault::new(format!("sms-{}", kebab(code)), message).with_status(response.status).into())
        }
        // Without a code the HTTP status stands: asking again could send the message twice.
        Some(_) | None => Ok(receipt),
    }
}

fn is_accepted(code: &str) -> bool {
    code.starts_with('2') || code == "3000" || code == "4000"
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
    let message = format!("the provider answered {} {code}: {why}", response.status);
    if SIGN_AGAIN.contains(&code) {
        return SendError::Transient(Fault::new(kebab(code), message).with_status(response.status));
    }
    response.refused(kebab(code), message)
}

/// `NotEnoughBalance` to `not-enough-balance`.
fn kebab(code: &str) -> String {
    let mut out = String::new();
    for c in code.chars().take(64) {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
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
        for code in ["1062", "1030", "3059"] {
            let refused = judged(200, &json!({ "statusCode": code, "statusMessage": "발신번호 미등록" }));
            let Err(SendError::Permanent(fault)) = refused else { panic!("{code}") };
            assert_eq!(fault.code, format!("sms-{code}"));
            assert!(fault.message.contains("발신번호 미등록"));
        }
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
        assert!(matches!(of(401, "SignatureDoesNotMatch"), SendError::Permanent(_)));
        assert!(matches!(of(401, "DuplicatedSignature"), SendError::Transient(_)));
    }

    #[test]
    fn an_answer_in_another_form_is_judged_by_its_status_alone() {
        let html = |status| receipt(&Response { status, body: b"<html>".to_vec(), ..Response::default() });
        assert!(matches!(html(502), Err(SendError::Transient(fault)) if fault.code == "http-502"));
        assert!(matches!(html(404), Err(SendError::Permanent(fault)) if fault.code == "http-404"));
    }
}
