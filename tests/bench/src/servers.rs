//! The limits that serve: (a) answers, (b) makes durable and answers, (d) also posts to the sink. Nothing else, so that
//! what the gateway does beyond them shows.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::client::Connection;
use crate::journal::Journal;
use crate::load::CONNECTIONS;

pub(crate) type Answer = Response<Full<Bytes>>;

/// (a)
pub(crate) async fn accept() -> anyhow::Result<()> {
    listen(|_| async { StatusCode::ACCEPTED }).await
}

/// (b)
pub(crate) async fn durable(journal: &Path) -> anyhow::Result<()> {
    let journal = Journal::create(journal)?;
    listen(move |body| append(journal.clone(), body)).await
}

/// (d)
pub(crate) async fn relay(journal: &Path, sink: SocketAddr) -> anyhow::Result<()> {
    let journal = Journal::create(journal)?;
    // Unbounded like the gateway's disk, but in memory: a limit may take what a product may not.
    let (posts, queue) = mpsc::unbounded_channel::<Bytes>();
    let queue = std::sync::Arc::new(tokio::sync::Mutex::new(queue));
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(sink).await?;
        let queue = std::sync::Arc::clone(&queue);
        tokio::spawn(async move {
            loop {
                let next = queue.lock().await.recv().await;
                let Some(body) = next else { return };
                if let Err(error) = connection.post("/hook", body).await {
                    eprintln!("relay: {error}");
                    return;
                }
            }
        });
    }
    listen(move |body: Bytes| {
        let (journal, posts) = (journal.clone(), posts.clone());
        async move {
            let status = append(journal, body.clone()).await;
            if status == StatusCode::ACCEPTED && posts.send(body).is_err() {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            status
        }
    })
    .await
}

async fn append(journal: Journal, body: Bytes) -> StatusCode {
    match journal.append(body).await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::INSUFFICIENT_STORAGE,
    }
}

async fn listen<F, S>(status_of: F) -> anyhow::Result<()>
where
    F: Fn(Bytes) -> S + Clone + Send + 'static,
    S: Future<Output = StatusCode> + Send + 'static,
{
    serve(move |request| {
        let status_of = status_of.clone();
        async move {
            let status = match request.into_body().collect().await {
                Ok(body) => status_of(body.to_bytes()).await,
                Err(_) => StatusCode::BAD_REQUEST,
            };
            let mut response = Response::new(Full::new(Bytes::new()));
            *response.status_mut() = status;
            response
        }
    })
    .await
}

/// Serves on a port that the system chooses, and prints the address as its first line.
pub(crate) async fn serve<F, A>(answer: F) -> anyhow::Result<()>
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // A connection that breaks shows in the load's own count.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
