//! What the pooled client connects with: [`super::dial`] under one address policy, counted.
//!
//! A pooled connection was checked when it was opened, and
//! stays at that address.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use super::dial::{self, DialError, Resolve};
use super::door::DoorOptions;
use super::grants::AddressPolicy;
use super::origin::Host;

/// Makes connectors that share one count of open connections.
pub(super) struct Connectors {
    resolver: Arc<dyn Resolve>,
    connect_timeout: Duration,
    open: Arc<Semaphore>,
    connections_max: usize,
}

impl Connectors {
    pub(super) fn new(options: &DoorOptions) -> Self {
        Self {
            resolver: Arc::clone(&options.resolver),
            connect_timeout: options.connect_timeout,
            open: Arc::new(Semaphore::new(options.connections_max)),
            connections_max: options.connections_max,
        }
    }

    pub(super) fn under(&self, policy: AddressPolicy) -> Connector {
        Connector {
            resolver: Arc::clone(&self.resolver),
            policy,
            connect_timeout: self.connect_timeout,
            open: Arc::clone(&self.open),
            connections_max: self.connections_max,
        }
    }
}

/// Opens checked connections under one policy.
#[derive(Clone)]
pub(super) struct Connector {
    resolver: Arc<dyn Resolve>,
    policy: AddressPolicy,
    connect_timeout: Duration,
    open: Arc<Semaphore>,
    connections_max: usize,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Checked, DialError> {
        let permit = Arc::clone(&self.open).try_acquire_owned();
        let permit = permit.map_err(|_| DialError::Full(self.connections_max))?;
        let host = uri.host().unwrap_or_default();
        let host = Host::parse(host).map_err(DialError::Dns)?;
        let default_port = if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let work = async {
            let addresses = dial::permitted(&*self.resolver, &host, port, self.policy).await?;
            dial::connect(&addresses, self.connect_timeout).await
        };
        let late =
            || DialError::Connect(format!("no connection within {} ms", self.connect_timeout.as_millis()));
        let stream = tokio::time::timeout(self.connect_timeout, work).await.map_err(|_| late())??;
        Ok(Checked { stream: TokioIo::new(stream), _permit: permit })
    }
}

impl Service<Uri> for Connector {
    type Response = Checked;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Checked, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection to an address that passed the check; it counts until it closes.
pub(super) struct Checked {
    stream: TokioIo<TcpStream>,
    _permit: OwnedSemaphorePermit,
}

impl Connection for Checked {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Checked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Checked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }
}
