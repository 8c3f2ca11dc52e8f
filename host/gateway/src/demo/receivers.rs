//! The receivers of the demo: one HTTP server that plays a webhook, Slack and the SMS provider, and an SMTP one.
//!
//! Loopback only. They keep nothing but counts, and answer as the real ones would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Attempts that the flaky receiver refuses before it recovers.
const FAILURES: u32 = 2;

/// What the receivers got.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) webhooks: AtomicU32,
    pub(super) slack: AtomicU32,
    pub(super) messages: AtomicU32,
    pub(super) mails: AtomicU32,
    flaky: AtomicU32,
    /// Whether the rejecting receiver has been mended.
    pub(super) mended: AtomicBool,
}

/// Running receivers.
#[derive(Debug)]
pub(super) struct Receivers {
    pub(super) http: SocketAddr,
    pub(super) smtp: SocketAddr,
    pub(super) inbox: Arc<Inbox>,
}

impl Receivers {
    /// Listens on two free loopback ports.
    pub(super) async fn start() -> std::io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let http = TcpListener::bind("127.0.0.1:0").await?;
        let smtp = TcpListener::bind("127.0.0.1:0").await?;
        let addresses = (http.local_addr()?, smtp.local_addr()?);
        let routes = Router::new()
            .route("/hook", post(hook))
            .route("/flaky", post(flaky))
            .route("/reject", post(reject))
            .route("/slack/{*token}", post(slack))
            .route("/messages/v4/send", post(sms))
            .with_state(Arc::clone(&inbox));
        tokio::spawn(async move { axum::serve(http, routes).await });
        tokio::spawn(serve_smtp(smtp, Arc::clone(&inbox)));
        Ok(Self { http: addresses.0, smtp: addresses.1, inbox })
    }
}

async fn hook(State(inbox): State<Arc<Inbox>>) -> StatusCode {
    inbox.webhooks.fetch_add(1, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

async fn flaky(State(inbox): State<Arc<Inbox>>) -> StatusCode {
    if inbox.flaky.fetch_add(1, Ordering::Relaxed) < FAILURES {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    hook(State(inbox)).await
}

async fn reject(State(inbox): State<Arc<Inbox>>) -> Response {
    if inbox.mended.load(Ordering::Relaxed) {
        return hook(State(inbox)).await.into_response();
    }
    (StatusCode::BAD_REQUEST, "unknown account").into_response()
}

async fn slack(State(inbox): State<Arc<Inbox>>) -> &'static str {
    inbox.slack.fetch_add(1, Ordering::Relaxed);
    "ok"
}

async fn sms(State(inbox): State<Arc<Inbox>>) -> Response {
    let count = inbox.messages.fetch_add(1, Ordering::Relaxed);
    let answer = serde_json::json!({
        "groupId": "G4V20261121000000DEMO",
        "messageId": format!("M4V2026112100000{count}DEMO"),
        "statusCode": "2000",
        "statusMessage": "accepted",
        "type": "SMS",
    });
    axum::Json(answer).into_response()
}

async fn serve_smtp(listener: TcpListener, inbox: Arc<Inbox>) {
    while let Ok((stream, _)) = listener.accept().await {
        let inbox = Arc::clone(&inbox);
        tokio::spawn(async move { converse(stream, &inbox).await });
    }
}

/// Just enough of RFC 5321 to take a mail.
async fn converse(stream: TcpStream, inbox: &Inbox) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 demo.localhost ESMTP\r\n").await?;
    let mut in_data = false;
    while let Some(line) = lines.next_line().await? {
        if in_data {
            if line == "." {
                in_data = false;
                inbox.mails.fetch_add(1, Ordering::Relaxed);
                write.write_all(b"250 2.0.0 taken\r\n").await?;
            }
            continue;
        }
        let verb: String = line.chars().take(4).collect::<String>().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "EHLO" => b"250-demo.localhost\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
            "DATA" => {
                in_data = true;
                b"354 go on, end with a dot\r\n"
            }
            "QUIT" => {
                write.write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(());
            }
            _ => b"250 2.0.0 ok\r\n",
        };
        write.write_all(answer).await?;
    }
    Ok(())
}
