//! The HTTP client: whom it trusts, and how long it waits.

use std::path::PathBuf;
use std::sync::Arc;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;

use super::caching_resolver::CachingResolver;
use super::options::FetchOptions;

/// Where distributions keep the bundle of trusted CAs: Debian and Arch, Fedora, SUSE.
const CA_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// Makes a client that follows so many redirects by itself, and hands out the next one.
pub(crate) fn make_client(
    options: &FetchOptions,
    tls: bool,
    redirects: u32,
) -> Result<ureq::Agent, String> {
    let roots = if tls {
        load_roots(options)?
    } else {
        RootCerts::Specific(Arc::new(Vec::new()))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("mailimg/", env!("CARGO_PKG_VERSION")))
        .max_redirects(redirects)
        .max_redirects_will_error(redirects > 0)
        .timeout_connect(Some(options.connect_timeout))
        .timeout_recv_response(Some(options.idle_timeout))
        .timeout_per_read(Some(options.idle_timeout))
        .timeout_per_write(Some(options.idle_timeout))
        .timeout_per_call(Some(options.total_timeout))
        .max_idle_connections(options.threads)
        .max_idle_connections_per_host(options.threads)
        .tls_config(
            TlsConfig::builder()
                .root_certs(roots)
                .unversioned_rustls_crypto_provider(provider)
                .build(),
        )
        .build();
    Ok(ureq::Agent::with_parts(
        config,
        DefaultConnector::default(),
        CachingResolver::default(),
    ))
}

fn load_roots(options: &FetchOptions) -> Result<RootCerts, String> {
    let path = match &options.ca_file {
        Some(path) => path.clone(),
        None => CA_BUNDLES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .ok_or("no trusted CAs on this machine: install ca-certificates or use http://")?,
    };
    let pem = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let certificates = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    Ok(RootCerts::Specific(Arc::new(certificates)))
}
