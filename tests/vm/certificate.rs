//! Certificates for servers of the outside: some sign themselves and are vouched
//! for by a TLSA record (RFC 6698), some come from an authority of the tests.

use std::sync::Arc;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

/// A certificate with its key.
pub struct Certificate {
    /// For a server of ours.
    pub config: Arc<ServerConfig>,
    /// Data of the record that vouches for it: 3 1 1, the key's SHA-256.
    pub tlsa: String,
    /// For a server that reads files.
    pub pem: String,
    /// Its key, likewise.
    pub key_pem: String,
}

impl Certificate {
    /// Makes one for a host name that signs itself.
    pub fn make(host_name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([host_name.to_owned()])?.self_signed(&key)?;
        Self::of(&certificate, &key)
    }

    fn of(certificate: &rcgen::Certificate, key: &KeyPair) -> Result<Self> {
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
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

/// An authority that machines are told to trust.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one with a key of its own.
    pub fn make() -> Result<Self> {
        let mut parameters = CertificateParams::default();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "authority of the tests");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?,
        })
    }

    /// A certificate for these host names.
    pub fn issue(&self, host_names: &[&str]) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = host_names.iter().map(|&name| name.to_owned()).collect();
        let certificate = CertificateParams::new(names)?.signed_by(&key, &self.issuer)?;
        Certificate::of(&certificate, &key)
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }
}
