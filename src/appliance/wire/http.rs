//! HTTP clients: what all of ours have in common.

use std::sync::Arc;
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::AgentScope;

/// A client that says who it is, takes no proxy from the environment, follows no
/// redirect, and leaves it to the caller what a status means.
pub fn client() -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("mailimg/", env!("CARGO_PKG_VERSION")))
        .proxy(None)
        .max_redirects(0)
}

/// TLS that trusts the roots in a PEM file and no others.
pub fn trusting(pem: &[u8]) -> TlsConfig {
    let roots: Vec<Certificate<'static>> = parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}
