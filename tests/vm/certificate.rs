//! A certificate for a mail server of the outside, and its TLSA record (RFC 6698).

use std::sync::Arc;

use anyhow::Result;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

/// A certificate that signs itself, with its key.
pub struct Certificate {
    /// For a server.
    pub config: Arc<ServerConfig>,
    /// Data of the record that vouches for it: 3 1 1, the key's SHA-256.
    pub tlsa: String,
}

impl Certificate {
    /// Makes one for a host name.
    pub fn make(host_name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([host_name.to_owned()])?.self_signed(&key)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )?;
        let digest = hex::encode(Sha256::digest(key.subject_public_key_info()));
        Ok(Self {
            config: Arc::new(config),
            tlsa: format!("3 1 1 {digest}"),
        })
    }
}
