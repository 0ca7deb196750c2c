//! The certificate that a machine shows on a port, and whether it holds.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::managesieve::ManageSieve;
use super::smtp::Conversation;
use super::wire::Wire;

/// Every port on which a machine speaks TLS, at once or after a word.
pub const TLS_PORTS: [u16; 7] = [25, 465, 587, 143, 993, 443, 4190];

/// A chain as a server sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    chain: Vec<CertificateDer<'static>>,
    /// Serial number of the server's own, in hexadecimal.
    pub serial: String,
    /// SHA-256 of its key, as TLSA records of the kind 3 1 1 have it.
    pub key_digest: String,
    /// End of its validity, in seconds since 1970.
    pub not_after: i64,
    /// Whether it signed itself.
    pub self_signed: bool,
}

impl Served {
    fn of(chain: Vec<CertificateDer<'static>>) -> Result<Self> {
        let own = chain.first().context("the server shows no certificate")?;
        let (_, parsed) = X509Certificate::from_der(own)
            .map_err(|error| anyhow!("reading a certificate: {error}"))?;
        let serial = hex::encode(parsed.raw_serial());
        let key_digest = hex::encode(Sha256::digest(parsed.public_key().raw));
        let not_after = parsed.validity().not_after.timestamp();
        let self_signed = parsed.issuer() == parsed.subject();
        Ok(Self {
            serial,
            key_digest,
            not_after,
            self_signed,
            chain,
        })
    }

    /// Fails unless the chain leads to one of these roots (PEM) and names the host.
    pub fn verify(&self, roots: &str, name: &str) -> Result<()> {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
            store.add(root.map_err(|error| anyhow!("reading roots: {error}"))?)?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build()?;
        let name = ServerName::try_from(name.to_owned())?;
        let (own, above) = self
            .chain
            .split_first()
            .context("the server shows no certificate")?;
        verifier
            .verify_server_cert(own, above, &name, &[], UnixTime::now())
            .context("verifying the chain of a server")?;
        Ok(())
    }
}

/// Asks a port for its certificate, with STARTTLS where that is the way.
pub fn look(source: IpAddr, machine: IpAddr, port: u16, name: &str) -> Result<Served> {
    let target = SocketAddr::new(machine, port);
    let chain = match port {
        25 | 587 => {
            let (conversation, _) = Conversation::open(source, target)?;
            let (mut secure, _) = conversation.start_tls(name)?;
            let chain = secure.wire().certificates();
            secure.say("QUIT", "221")?;
            chain
        }
        143 => {
            let mut wire = Wire::open(source, target)?;
            wire.line()?.context("the IMAP server hung up")?;
            wire.send_line("a STARTTLS")?;
            let said = wire.line()?.context("the IMAP server hung up")?;
            if !said.starts_with("a OK") {
                bail!("STARTTLS is answered {said:?}");
            }
            wire.secure(name)?.certificates()
        }
        4190 => {
            let (sieve, _) = ManageSieve::connect(source, machine)?;
            sieve.start_tls(name)?.0.certificates()
        }
        _ => Wire::open_tls(source, target, name)?.certificates(),
    };
    Served::of(chain).with_context(|| format!("asking port {port} for its certificate"))
}

/// The one certificate that all ports show; different ones are an error.
pub fn look_everywhere(source: IpAddr, machine: IpAddr, name: &str) -> Result<Served> {
    let mut first: Option<(u16, Served)> = None;
    for port in TLS_PORTS {
        let served = look(source, machine, port, name)?;
        match &first {
            Some((_, one)) if one.serial == served.serial => {}
            Some((other, one)) => bail!(
                "port {other} shows serial {}, port {port} {}",
                one.serial,
                served.serial
            ),
            None => first = Some((port, served)),
        }
    }
    first.map(|(_, served)| served).context("no port was asked")
}
