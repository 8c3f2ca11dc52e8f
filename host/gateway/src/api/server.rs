//! The listener: accepts within the connection limit, serves HTTP/1.1 and HTTP/2, and stops gracefully.
//!
//! Over the limit a connection waits in the kernel's queue until another one ends.

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

/// Serves until `options.stopping`, then lets open requests end within the deadline.
pub async fn serve(listener: TcpListener, options: Options) {
    let stopping = options.stopping.clone();
    let deadline = options.server.shutdown_deadline;
    let slots = Arc::new(Semaphore::new(options.server.connections_max.max(1)));
    let builder = builder(options.server.header_timeout);
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
                let connection = connect(&builder, stream, service.clone());
                let connection = graceful.watch(connection.into_owned());
                tokio::spawn(async move {
                    // A client that hangs up is no fault of ours.
                    let _ = connection.await;
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
