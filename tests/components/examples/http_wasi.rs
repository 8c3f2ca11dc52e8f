//! Posts the notification's body by `wasi:http`, as a guest does that brings an HTTP client of its own: to the address, else
//! to `url`, with the setting `token` as the header `x-token`, as often as the title says. The receipt's detail is the error
//! in WASI's words, or the last answer's status and body.

use fanfare_sdk::Receipt;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

fn post(url: &str, token: &str, text: &[u8]) -> Result<String, ErrorCode> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let at = rest.find('/').unwrap_or(rest.len());
    let headers = Fields::new();
    headers.set("x-token", &[token.as_bytes().to_vec()]).unwrap();
    let request = OutgoingRequest::new(headers);
    request.set_method(&Method::Post).unwrap();
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).unwrap();
    request.set_authority(Some(&rest[..at])).unwrap();
    request.set_path_with_query(Some(if at < rest.len() { &rest[at..] } else { "/" })).unwrap();
    let body = request.body().unwrap();
    let pending = outgoing_handler::handle(request, None)?;
    let stream = body.write().unwrap();
    for part in text.chunks(4_096) {
        // The host may stop reading what is too long; the answer then says so.
        if stream.blocking_write_and_flush(part).is_err() {
            break;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
    pending.subscribe().block();
    let response = pending.get().unwrap().unwrap()?;
    let incoming = response.consume().unwrap();
    let stream = incoming.stream().unwrap();
    let mut answer = Vec::new();
    while let Ok(part) = stream.blocking_read(64 * 1024) {
        answer.extend(part);
    }
    Ok(format!("{} {}", response.status(), String::from_utf8_lossy(&answer)))
}

fanfare_components::channel! {
    send |attempt| {
        let target: fanfare_components::Target = fanfare_sdk::settings()?;
        let text = attempt.notification.body.clone().unwrap_or_default();
        let times: u32 = attempt.notification.title.as_deref().and_then(|title| title.parse().ok()).unwrap_or(1);
        let mut said = String::new();
        for _ in 0..times {
            said = match post(attempt.address_or(&target.url), &target.token, text.as_bytes()) {
                Ok(answer) => answer,
                Err(error) => format!("{error:?}"),
            };
        }
        Ok(Receipt::new().detail(said))
    }
}
