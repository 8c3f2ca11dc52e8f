//! The listener: accepts within the connection limit, serves HTTP/1.1 and HTTP/2, and stops gracefully.
//!
//! Over the limit a connection waits in the kernel's queue until another one ends. One that sends nothing is closed
//! after `server.header_timeout`, so that silent connections can't hold all the places.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Options, routes};

/// After a failed accept, such as for want of file descriptors, the next one waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A request's line and headers together.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Between two looks at a connection that has sent only a part of the preface.
const PREFACE_PAUSE: Duration = Duration::from_millis(20);

/// Serves until `options.stopping`, then lets open requests end within the deadline.
pub async fn serve(listener: TcpListener, options: Options) {
    let stopping = options.stopping.clone();
    let deadline = options.server.shutdown_deadline;
    let slots = Arc::new(Semaphore::new(options.server.connections_max.max(1)));
    let header_timeout = options.server.header_timeout;
    let builder = builder(header_timeout);
    let service = TowerToHyperService::new(routes(options));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let (slot, accepted) = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = accepted => match accepted {
                Some(accepted) => accepted,
                None => break,
            },
        };
        match accepted {
            Ok((stream, _)) => {
                let (watcher, stopping) = (graceful.watcher(), stopping.clone());
                let (builder, service) = (builder.clone(), service.clone());
                tokio::spawn(async move {
                    let begun = tokio::select! {
                        () = stopping.cancelled() => false,
                        begun = has_begun(&stream, header_timeout) => begun,
                    };
                    if begun {
                        let connection = connect(&builder, stream, service);
                        // A client that hangs up is no fault of ours.
                        let _ = watcher.watch(connection.into_owned()).await;
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(deadline, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open at the deadline");
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
            tokio::time::sleep(PREFACE_PAUSE).await;
        }
    };
    tokio::time::timeout(within, begun).await.unwrap_or(false)
}

fn builder(header_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEAD_BYTES_MAX * 4)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_concurrent_streams(256)
        .keep_alive_interval(Some(Duration::from_secs(20)));
    builder
}

fn connect(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    service: TowerToHyperService<axum::Router>,
) -> hyper_util::server::conn::auto::Connection<
    '_,
    TokioIo<TcpStream>,
    TowerToHyperService<axum::Router>,
    TokioExecutor,
> {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    builder.serve_connection(TokioIo::new(stream), service)
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
}
