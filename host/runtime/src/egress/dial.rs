//! From a host to a connected socket: resolve, check each address, connect to one that passed.
//!
//! The only place that resolves names and opens sockets. At most [`ADDRESSES_MAX`] addresses are tried, within
//! one time limit for all.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address::{AddressClass, canonical, classify};
use super::grants::AddressPolicy;
use super::origin::Host;

/// A future that can be kept in a trait object.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// More addresses of one name are not tried.
const ADDRESSES_MAX: usize = 8;

/// Turns names into addresses. Tests script it.
pub trait Resolve: Send + Sync {
    /// The addresses of `host`, best first.
    fn resolve(&self, host: String, port: u16) -> BoxFuture<Result<Vec<IpAddr>, ResolveError>>;
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolveError(pub String);

/// The operating system's resolver, with its hosts file and search rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: String, port: u16) -> BoxFuture<Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await;
            let found = found.map_err(|error| ResolveError(error.to_string()))?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Why no socket came about.
#[derive(Clone, Debug)]
pub(crate) enum DialError {
    /// The name has no address.
    Dns(String),
    /// It has addresses, and none that the policy permits.
    Forbidden { address: IpAddr, class: AddressClass },
    /// Nobody answered.
    Connect(String),
    /// As many connections are open as may be.
    Full(usize),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(reason) => write!(f, "no address: {reason}"),
            Self::Forbidden { address, class } => write!(f, "{address} is {class}"),
            Self::Connect(reason) => f.write_str(reason),
            Self::Full(connections) => write!(f, "{connections} connections are open already"),
        }
    }
}

impl std::error::Error for DialError {}

/// The addresses of `host` that the policy permits, canonical: what is connected afterwards is one of these.
pub(crate) async fn permitted(
    resolver: &dyn Resolve,
    host: &Host,
    port: u16,
    policy: AddressPolicy,
) -> Result<Vec<SocketAddr>, DialError> {
    let name = match (host, policy) {
        // The grant named this very address.
        (Host::Address(address), AddressPolicy::Literal) => return Ok(vec![SocketAddr::new(*address, port)]),
        (Host::Address(address), _) => return check(&[*address], port, policy),
        (Host::Name(name), _) => name,
    };
    let found = resolver.resolve(name.clone(), port).await.map_err(|error| DialError::Dns(error.0))?;
    if found.is_empty() {
        return Err(DialError::Dns("the name exists and has no address".to_owned()));
    }
    check(&found, port, policy)
}

fn check(found: &[IpAddr], port: u16, policy: AddressPolicy) -> Result<Vec<SocketAddr>, DialError> {
    let mut passed = Vec::new();
    let mut refused = None;
    for address in found.iter().copied().map(canonical) {
        let class = classify(address);
        if policy.permits(class) {
            passed.push(SocketAddr::new(address, port));
        } else {
            refused.get_or_insert(DialError::Forbidden { address, class });
        }
    }
    passed.truncate(ADDRESSES_MAX);
    match refused {
        Some(refused) if passed.is_empty() => Err(refused),
        _ => Ok(passed),
    }
}

/// Connects to the first of the addresses that answers. Each gets an equal share of what is left of the time, so
/// that one that swallows packets does not starve the next.
pub(crate) async fn connect(addresses: &[SocketAddr], limit: Duration) -> Result<TcpStream, DialError> {
    let mut last = DialError::Connect("there is no address to connect to".to_owned());
    let shares = u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        match timeout(limit / shares, TcpStream::connect(*address)).await {
            Ok(Ok(stream)) => {
                // Requests are written in one piece, so waiting for more bytes to send gains nothing.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = DialError::Connect(format!("{address}: {}", reason(&error))),
            Err(_) => {
                last =
                    DialError::Connect(format!("{address} did not answer within {} ms", limit.as_millis()));
            }
        }
    }
    Err(last)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => error.to_string(),
    }
}
