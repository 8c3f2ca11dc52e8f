//! The egress door: the only way by which a guest's bytes leave the gateway.
//!
//! One order, always: the allow-list (scheme, host, port), then name resolution, then a check of the address
//! in its canonical form, then a connection to that very address. What was checked is what is connected, so
//! an answer that changes between the two gains nothing. Nothing is granted by default.
//!
//! Bounds: bodies both ways, header bytes, URL bytes, open and idle connections, time around the whole request.
//! It follows no redirects, decompresses nothing, and reads no proxy from the environment.

mod address;
mod answer;
mod connector;
mod dial;
mod door;
mod fields;
mod grants;
mod origin;
mod pools;
mod refusal;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

pub use address::{AddressClass, canonical, classify};
pub use dial::{BoxFuture, Resolve, ResolveError, SystemResolver};
pub use door::{CallContext, Door, DoorOptions, Request, Response};
pub use grants::{AddressPolicy, Grants};
pub use origin::{BadGrant, Host, HostPattern, OriginPattern, Scheme, ServerPattern, Target};
pub use refusal::{Denial, Refusal};
pub use tls::Roots;

pub(crate) use answer::cause;
pub(crate) use dial::{DialError, permitted};
