//! The listener: accepts within the connection limit, serves HTTP/1.1 and HTTP/2, and stops gracefully.
//!
//! Over the limit a connection waits in the kernel's queue until another one ends. Every place is given back: a
//! connection that sends nothing, or half a head, is closed after `server.header_timeout`; one on which no request is
//! under way, because its client is silent or does not read its answers, after `server.idle_timeout`; one over HTTP/2
//! whose client is gone, after two pings. What is under way is bounded by the handlers' own times.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Options, Surface, paths};

/// After a failed accept, such as for want of file descriptors, the next one waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A request's line and headers together; `guard` refuses larger ones.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Requests under way at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// An HTTP/2 client that is silent is asked this often whether it is still there, and has as long to answer.
const PING_EVERY: Duration = Duration::from_secs(20);

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Between two looks at a connection that has sent only a part of the preface.
const PREFACE_PAUSE: Duration = Duration::from_millis(20);

/// Serves until `options.stopping`, then lets open requests end within the deadline.
pub async fn serve(listener: TcpListener, options: Options) {
    let deadline = options.server.shutdown_deadline;
    let slots = Arc::new(Semaphore::new(options.server.connections_max.max(1)));
    let door = Arc::new(Door {
        builder: builder(options.server.header_timeout),
        header_timeout: options.server.header_timeout,
        idle_timeout: options.server.idle_timeout,
        stopping: options.stopping.clone(),
        surface: Arc::new(Surface::new(paths(), options)),
    });
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let (slot, accepted) = tokio::select! {
            () = door.stopping.cancelled() => break,
            accepted = accepted => match accepted {
                Some(accepted) => accepted,
                None => break,
            },
        };
        match accepted {
            Ok((stream, _)) => {
                let door = Arc::clone(&door);
                connections.spawn(async move {
                    door.take(stream).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(deadline, connections.wait()).await.is_err() {
        tracing::warn!("connections were still open at the deadline");
    }
}

/// What all connections share.
struct Door {
    builder: Builder<TokioExecutor>,
    surface: Arc<Surface>,
    header_timeout: Duration,
    idle_timeout: Duration,
    stopping: CancellationToken,
}

impl Door {
    /// Serves one connection until it ends, is idle, or the gateway stops and what is under way has been answered.
    async fn take(&self, stream: TcpStream) {
        let begun = tokio::select! {
            () = self.stopping.cancelled() => false,
            begun = has_begun(&stream, self.header_timeout) => begun,
        };
        if !begun {
            return;
        }
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::default());
        let service = service_fn(|request| self.answer(request, &activity));
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            // A client that hangs up is no fault of ours.
            _ = connection.as_mut() => return,
            () = self.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
                return;
            }
            () = activity.idle(self.idle_timeout) => connection.as_mut().graceful_shutdown(),
        }
        // A client that does not read keeps its answers in our memory; that ends here, whatever it does.
        let _ = timeout(self.idle_timeout, connection).await;
    }

    fn answer(
        &self,
        request: hyper::Request<Incoming>,
        activity: &Arc<Activity>,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        let request_open = activity.begin();
        let surface = Arc::clone(&self.surface);
        async move {
            let answered = surface.answer(request.map(Body::new)).await;
            drop(request_open);
            Ok(answered)
        }
    }
}

/// Requests that began and ended on one connection: all there is to say whether it is idle.
#[derive(Debug, Default)]
struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request under way; ends when it is dropped, answered or not.
struct Open(Arc<Activity>);

impl Activity {
    fn begin(self: &Arc<Self>) -> Open {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Waits until nothing began, ended or was under way for a whole `period`. Looked at once in each period, so that a
    /// request costs two additions and no timer; so it takes two periods at the most.
    async fn idle(&self, period: Duration) {
        let mut before = self.counts();
        loop {
            sleep(period).await;
            let now = self.counts();
            if now == before && now.0 == now.1 {
                return;
            }
            before = now;
        }
    }

    fn counts(&self) -> (u64, u64) {
        (self.begun.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether the connection says within `within` which version of HTTP it speaks. The protocol switch behind this
/// waits for that without any limit; what follows has limits of its own.
async fn has_begun(stream: &TcpStream, within: Duration) -> bool {
    let begun = async {
        let mut start = [0; H2_PREFACE.len()];
        loop {
            let Ok(count) = stream.peek(&mut start).await else { return false };
            let seen = start.get(..count).unwrap_or_default();
            if seen.is_empty() || seen == H2_PREFACE || !H2_PREFACE.starts_with(seen) {
                return !seen.is_empty();
            }
            // The same bytes stay readable, so there is nothing to wait for but time.
            sleep(PREFACE_PAUSE).await;
        }
    };
    timeout(within, begun).await.unwrap_or(false)
}

fn builder(header_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Counts from the end of the answer before, so it also ends a connection that is silent in between.
        .header_read_timeout(header_timeout)
        // Where not even the guard gets to see a head: hyper answers with a status alone.
        .max_buf_size(HEAD_BYTES_MAX * 4)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Some(PING_EVERY))
        .keep_alive_timeout(PING_EVERY);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    async fn begun_with(bytes: &[u8], within: Duration) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(bytes).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        has_begun(&stream, within).await
    }

    #[tokio::test]
    async fn either_version_of_http_begins() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"P0", H2_PREFACE, b"\0"] {
            assert!(begun_with(bytes, Duration::from_secs(30)).await, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_silent_connection_and_half_a_preface_are_given_up() {
        for bytes in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n"] {
            assert!(!begun_with(bytes, Duration::from_millis(60)).await, "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_nothing_happened_for_a_whole_period() {
        let activity = Arc::new(Activity::default());
        let open = activity.begin();
        let idle = activity.idle(Duration::from_secs(10));
        tokio::pin!(idle);
        let waits =
            async |idle: &mut std::pin::Pin<&mut _>, s| timeout(Duration::from_secs(s), idle).await.is_err();
        assert!(waits(&mut idle, 1_000).await, "a request was under way");
        drop(open);
        assert!(waits(&mut idle, 9).await, "it ended less than a period ago");
        assert!(!waits(&mut idle, 20).await, "nothing happened for a whole period");
    }
}
