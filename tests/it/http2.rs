//! HTTP/2 with prior knowledge: the same surface, many requests on one connection, and the same patience.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

use crate::house::{House, LOG, NOTIFICATIONS, TO_LOG};

#[tokio::test]
async fn many_requests_share_one_connection() {
    let house = House::start("", LOG);
    let to = house.gateway.address;
    let stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let ask = |method: &str, host: &str, path: &str, body: &'static str| {
        let request = Request::builder().method(method).uri(format!("http://{host}{path}"));
        let (mut sender, request) = (sender.clone(), request.body(Full::new(Bytes::from(body))).unwrap());
        async move {
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice::<Value>(&body).unwrap_or_default())
        }
    };
    let submissions: Vec<_> =
        (0..200).map(|_| tokio::spawn(ask("POST", "localhost", NOTIFICATIONS, TO_LOG))).collect();
    for submission in submissions {
        let (status, answer) = submission.await.unwrap();
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        let path = format!("{NOTIFICATIONS}/{}", answer["id"].as_str().unwrap());
        assert_eq!(ask("GET", "localhost", &path, "").await.0, StatusCode::OK);
    }
    let (status, answer) = ask("POST", "localhost", NOTIFICATIONS, "{").await;
    assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &Value::from("request.invalid-json")));
    let (status, answer) = ask("GET", "gateway.example", "/livez", "").await;
    assert_eq!((status, &answer["code"]), (StatusCode::MISDIRECTED_REQUEST, &Value::from("access.host")));
}

/// The preface, and settings by which the client takes no byte of any answer's body.
const TAKES_NOTHING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00";

/// `GET /problems` of `localhost` on stream 1: static fields, and two literals that are not indexed.
const GET_PROBLEMS: &[u8] = b"\x00\x00\x18\x01\x05\x00\x00\x00\x01\x82\x86\x04\x09/problems\x01\x09localhost";

const HEADERS: u8 = 1;

/// The types of the frames that the gateway sent.
fn frames(mut said: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = said {
        types.push(*kind);
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        said = rest.get(length..).unwrap_or_default();
    }
    types
}

#[test]
fn a_client_that_never_takes_its_answer_is_let_go() {
    let house = House::start("idle_timeout = \"100ms\"", LOG);
    for (requests, answered) in [(&b""[..], false), (GET_PROBLEMS, true)] {
        let mut stream = TcpStream::connect(house.gateway.address).unwrap();
        stream.write_all(TAKES_NOTHING).unwrap();
        stream.write_all(requests).unwrap();
        let mut said = Vec::new();
        // Ends when the gateway closes; nothing else ends it.
        let _ = stream.read_to_end(&mut said);
        assert_eq!(frames(&said).contains(&HEADERS), answered, "{:?}", frames(&said));
    }
    assert_eq!(house.call("POST", NOTIFICATIONS, TO_LOG).0, 202);
}
