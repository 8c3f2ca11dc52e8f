//! Names, connections, TLS.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::support::*;
use crate::egress::{Door, DoorOptions, Resolve};

#[tokio::test]
async fn a_name_without_an_address_is_a_dns_refusal() {
    let context = context(grants(&["https://gone.example"], false));
    let refusal = refused(&plain_door(), &context, get("https://gone.example/")).await;
    assert_eq!(refusal, ("egress.dns", "gone.example has no address: no such name".to_owned()));
}

#[tokio::test]
async fn a_closed_port_is_a_connect_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let context = context(grants(&[&format!("http://{address}")], false));
    let refusal = refused(&plain_door(), &context, get(format!("http://{address}/"))).await;
    let text = format!("no connection to http://{address}: {address}: connection refused");
    assert_eq!(refusal, ("egress.connect", text));
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_protocol_refusal() {
    let address = raw(b"220 mail.example ESMTP\r\n").await;
    let context = context(grants(&[&format!("http://{address}")], false));
    let (code, text) = refused(&plain_door(), &context, get(format!("http://{address}/"))).await;
    assert_eq!(code, "egress.protocol");
    assert!(text.starts_with(&format!("the exchange with http://{address} broke: ")), "{text}");
}

#[tokio::test]
async fn https_goes_over_http_2_to_the_checked_address_with_the_name_verified() {
    let sink = Sink::start_tls(|parts, _| answer(200, &format!("{:?}", parts.version))).await;
    let port = sink.address.port();
    let door = door(&Script::new(&[&["127.0.0.1"]]));
    let context = context(grants(&[&format!("https://*.server.example:{port}")], true));
    let url = format!("https://a.server.example:{port}/x");
    let response = door.send(&context, get(&url)).await.unwrap();
    assert_eq!(response.body, b"HTTP/2.0");
    door.send(&context, get(&url)).await.unwrap();
    assert_eq!(sink.connections(), 1);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_a_tls_refusal() {
    let sink = Sink::start_tls(|_, _| answer(200, "")).await;
    let port = sink.address.port();
    let door = door(&Script::new(&[&["127.0.0.1"]]));
    let context = context(grants(&[&format!("https://other.example:{port}")], true));
    let (code, text) = refused(&door, &context, get(format!("https://other.example:{port}/"))).await;
    assert_eq!(code, "egress.tls");
    assert!(
        text.starts_with(&format!(
            "no trusted connection to https://other.example:{port}: invalid peer certificate"
        )),
        "{text}"
    );
    assert!(sink.seen().is_empty());
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_a_tls_refusal() {
    let address = raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let port = address.port();
    let door = door(&Script::new(&[&["127.0.0.1"]]));
    let context = context(grants(&[&format!("https://server.example:{port}")], true));
    let (code, _) = refused(&door, &context, get(format!("https://server.example:{port}/"))).await;
    assert_eq!(code, "egress.tls");
}

#[tokio::test]
async fn connections_have_a_limit() {
    let script = Script::new(&[]);
    let resolver: Arc<dyn Resolve> = script;
    let door =
        Door::new(DoorOptions { resolver, connections_max: 0, roots: authority(), ..DoorOptions::default() });
    let context = context(grants(&["http://127.0.0.1:9"], false));
    let refusal = refused(&door, &context, get("http://127.0.0.1:9/")).await;
    let text = "no connection to http://127.0.0.1:9: 0 connections are open already".to_owned();
    assert_eq!(refusal, ("egress.connect", text));
}
