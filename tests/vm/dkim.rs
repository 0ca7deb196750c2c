//! DKIM as a receiver checks it (RFC 6376), with the key from our own DNS.
//!
//! The verifier is `mail-auth`. It is handed the records that our name server
//! answers, and never asks anybody itself.

use std::borrow::Borrow;
use std::hash::Hash;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dkim::Signature;
use mail_auth::{
    AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt,
};

use crate::world::query::lookup_txt;

/// What a signature that holds was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Signing domain, `d=`.
    pub domain: String,
    /// Selector, `s=`.
    pub selector: String,
}

/// Checks every signature of a message; all must hold, and one must be there.
pub fn verify(message: &[u8], name_server: IpAddr) -> Result<Vec<Signer>> {
    let parsed = AuthenticatedMessage::parse(message).context("parsing the message")?;
    let mut records = Records::default();
    for header in &parsed.dkim_headers {
        let signature = header
            .header
            .as_ref()
            .map_err(|error| anyhow::anyhow!("reading a signature: {error}"))?;
        let name = key_name(signature);
        let texts = lookup_txt(name_server, &name)?;
        let text = texts
            .first()
            .with_context(|| format!("{name} has no TXT record"))?;
        let key = DomainKey::parse(text.as_bytes())
            .map_err(|error| anyhow::anyhow!("reading the record of {name}: {error}"))?;
        records.0.push((
            format!("{name}.").into_boxed_str(),
            Txt::DomainKey(Arc::new(key)),
        ));
    }
    ensure!(
        !records.0.is_empty(),
        "the message carries no DKIM signature"
    );
    // Its resolver would ask the internet; every record is at hand, so it is never used.
    let verifier =
        MessageAuthenticator::new_cloudflare().map_err(|error| anyhow::anyhow!("{error}"))?;
    let parameters = Parameters::new(&parsed).with_txt_cache(&records);
    let results = now_or_never(verifier.verify_dkim(parameters))?;
    results
        .iter()
        .map(|output| {
            let signature = output
                .signature()
                .context("a result without its signature")?;
            ensure!(
                output.result() == &DkimResult::Pass,
                "the signature of {} ends in {:?}",
                key_name(signature),
                output.result()
            );
            Ok(Signer {
                domain: signature.d.clone(),
                selector: signature.s.clone(),
            })
        })
        .collect()
}

fn key_name(signature: &Signature) -> String {
    format!("{}._domainkey.{}", signature.s, signature.d)
}

/// Runs a future that has nothing to wait for.
fn now_or_never<T>(future: impl Future<Output = T>) -> Result<T> {
    let mut context = TaskContext::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => Ok(value),
        Poll::Pending => bail!("the verifier asks for a record that was not looked up"),
    }
}

/// Records by name, as the verifier's cache.
#[derive(Default)]
struct Records(Vec<(Box<str>, Txt)>);

impl ResolverCache<Box<str>, Txt> for Records {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0
            .iter()
            .find(|(known, _)| known.borrow() == name)
            .map(|(_, record)| record.clone())
    }

    fn remove<Q>(&self, _name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _key: Box<str>, _value: Txt, _valid_until: Instant) {}
}
