//! The receiver: takes deliveries, reads from each when it was submitted, and says how old they were.
//!
//! Latencies are kept one by one, up to [`LATENCIES_MAX`]; further ones are counted only.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::client::Connection;
use crate::load::{self, quantile};
use crate::servers::{self, Answer};

const LATENCIES_MAX: usize = 10_000_000;

/// What the sink has taken since it was last reset.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Taken {
    pub(crate) count: u64,
    /// When the last one came, in nanoseconds since the epoch.
    pub(crate) last_ns: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

#[derive(Default)]
struct State {
    count: u64,
    last_ns: u64,
    latencies_us: Vec<u64>,
}

/// Serves `POST /hook`, `GET /count` (cheap), `GET /taken` and `DELETE /taken`.
pub(crate) async fn serve(stall: bool) -> anyhow::Result<()> {
    let state = Arc::new(Mutex::new(State::default()));
    servers::serve(move |request| answer(Arc::clone(&state), request, stall)).await
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>, stall: bool) -> Answer {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let body = match (request.method(), request.uri().path()) {
        (&Method::GET, "/count") => lock().count.to_string(),
        (&Method::GET, "/taken") => {
            let taken = taken(&mut lock());
            serde_json::to_string(&taken).unwrap_or_default()
        }
        (&Method::DELETE, _) => {
            *lock() = State::default();
            String::new()
        }
        _ => {
            let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
            if stall {
                std::future::pending::<()>().await;
            }
            let now = load::now_ns();
            let mut state = lock();
            state.count += 1;
            state.last_ns = now;
            if let Some(at) = load::stamp_in(&body)
                && state.latencies_us.len() < LATENCIES_MAX
            {
                state.latencies_us.push(now.saturating_sub(at) / 1_000);
            }
            String::new()
        }
    };
    Response::new(Full::new(Bytes::from(body)))
}

fn taken(state: &mut State) -> Taken {
    state.latencies_us.sort_unstable();
    Taken {
        count: state.count,
        last_ns: state.last_ns,
        p50_us: quantile(&state.latencies_us, 0.5),
        p99_us: quantile(&state.latencies_us, 0.99),
    }
}

/// Asks a sink how many it has taken.
pub(crate) async fn count(sink: SocketAddr) -> anyhow::Result<u64> {
    let (_, body) = Connection::open(sink).await?.call(Method::GET, "/count", Bytes::new()).await?;
    Ok(String::from_utf8_lossy(&body).parse()?)
}

/// Asks a sink what it has taken, and resets it.
pub(crate) async fn take(sink: SocketAddr) -> anyhow::Result<Taken> {
    let mut connection = Connection::open(sink).await?;
    let (_, body) = connection.call(Method::GET, "/taken", Bytes::new()).await?;
    connection.call(Method::DELETE, "/taken", Bytes::new()).await?;
    Ok(serde_json::from_slice(&body)?)
}
