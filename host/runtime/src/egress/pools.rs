//! Pooled clients, one for each address policy, so that no channel rides on a connection that it could not
//! have opened.

use bytes::Bytes;
use http_body_util::Full;
use hyper::rt::Executor;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioTimer;
use tokio::runtime::Handle;

use super::door::DoorOptions;
use super::grants::AddressPolicy;

/// A response's status line and header fields, in bytes.
pub(super) const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;

type Pool<C> = Client<C, Full<Bytes>>;

/// Drives connections where the door was made, for whoever opened them: a connection serves other channels afterwards, and
/// they must not wait for the guests of long calls, on whose threads it may have been opened.
#[derive(Clone, Debug)]
pub(super) struct Drivers(Option<Handle>);

impl Drivers {
    pub(super) fn here() -> Self {
        Self(Handle::try_current().ok())
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Drivers {
    fn execute(&self, driver: F) {
        match &self.0 {
            Some(handle) => drop(handle.spawn(driver)),
            None => drop(tokio::spawn(driver)),
        }
    }
}

/// The clients over one kind of connector.
pub(super) struct Pools<C> {
    literal: Pool<C>,
    public: Pool<C>,
    private: Pool<C>,
}

impl<C: Connect + Clone> Pools<C> {
    pub(super) fn open(
        options: &DoorOptions,
        drivers: &Drivers,
        connector: impl Fn(AddressPolicy) -> C,
    ) -> Self {
        let pool = |policy| {
            Client::builder(drivers.clone())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(options.idle_timeout)
                .pool_max_idle_per_host(options.idle_per_origin_max)
                .http1_max_buf_size(RESPONSE_HEAD_BYTES_MAX)
                .http2_max_header_list_size(u32::try_from(RESPONSE_HEAD_BYTES_MAX).unwrap_or(u32::MAX))
                .build(connector(policy))
        };
        Self {
            literal: pool(AddressPolicy::Literal),
            public: pool(AddressPolicy::Public),
            private: pool(AddressPolicy::Private),
        }
    }

    pub(super) fn of(&self, policy: AddressPolicy) -> &Pool<C> {
        match policy {
            AddressPolicy::Literal => &self.literal,
            AddressPolicy::Public => &self.public,
            AddressPolicy::Private => &self.private,
        }
    }
}
