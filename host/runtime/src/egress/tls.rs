//! The TLS configuration of egress: rustls with ring, TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// Whom to trust.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// The operating system's certificates.
    #[default]
    System,
    /// These authorities only.
    Only(Vec<CertificateDer<'static>>),
}

/// Builds the configuration. Without any usable root it still works, and every handshake fails: the rest of
/// the gateway does not depend on a machine having certificates.
pub(super) fn client_config(roots: &Roots) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let only = |store: RootCertStore| builder.clone().with_root_certificates(store).with_no_client_auth();
    Ok(match roots {
        Roots::Only(certificates) => {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(certificates.iter().cloned());
            only(store)
        }
        Roots::System => match builder.clone().with_native_roots() {
            Ok(with_roots) => with_roots.with_no_client_auth(),
            Err(error) => {
                tracing::warn!(%error, "no certificates of the system can be used, so https requests will fail");
                only(RootCertStore::empty())
            }
        },
    })
}
