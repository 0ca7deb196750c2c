//! What a tag or a digest names in a registry: a manifest, whatever kind it is.

use std::io::Read;

use anyhow::{Context, Result};
use ureq::http::Method;
use ureq::http::header::{self, HeaderName};

use super::client::Client;
use super::failure::{Failure, refusal};
use super::message::{Asked, Body};
use crate::builder::fetch::Problem;
use crate::error::hinted;
use crate::format::oci::{
    DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE, DOCUMENT_BYTES_MAX, Descriptor, INDEX_TYPE,
    MANIFEST_TYPE,
};

/// The kinds that we want to be told apart: docker's own are those of its older releases.
const ACCEPTED: [&str; 4] = [
    MANIFEST_TYPE,
    INDEX_TYPE,
    DOCKER_MANIFEST_TYPE,
    DOCKER_LIST_TYPE,
];

/// A manifest or an index.
#[derive(Debug)]
pub(super) struct Found {
    /// What it is.
    pub kind: String,
    /// As it is hashed.
    pub bytes: Vec<u8>,
}

impl Found {
    /// What the document says that it is; some registries say nothing by the header.
    pub fn kind(&self) -> String {
        let inside: Option<serde_json::Value> = serde_json::from_slice(&self.bytes).ok();
        let inside = inside.and_then(|value| Some(value.get("mediaType")?.as_str()?.to_owned()));
        inside.unwrap_or_else(|| self.kind.clone())
    }
}

/// Gets what a tag or a digest names, checked if it is a digest.
pub(super) fn get_manifest(client: &Client, name: &str) -> Result<Option<Found>> {
    let mut patience = client.patience();
    loop {
        match try_manifest(client, name) {
            Ok(found) => return Ok(found),
            Err(failure) => patience.wait(failure).context("asking for the manifest")?,
        }
    }
}

fn try_manifest(client: &Client, name: &str) -> Result<Option<Found>, Failure> {
    let url = client.url(&format!("manifests/{name}"));
    let headers: [(HeaderName, String); 1] = [(header::ACCEPT, ACCEPTED.join(", "))];
    let answer = client.send(&Asked {
        method: Method::GET,
        url: &url,
        headers: &headers,
        body: Body::Nothing,
    })?;
    match answer.status {
        200 => {}
        404 => return Ok(None),
        _ => return Err(Failure::Final(refusal(answer))),
    }
    let kind = answer.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
    let told = answer.header("docker-content-digest").map(str::to_owned);
    let mut bytes = Vec::new();
    let mut limited = answer.reader.take(DOCUMENT_BYTES_MAX + 1);
    if let Err(error) = limited.read_to_end(&mut bytes) {
        let problem = Problem::of_transfer(&error, bytes.len() as u64);
        return Err(Failure::of(problem));
    }
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Failure::Final(hinted(
            format!("it has more than {DOCUMENT_BYTES_MAX} bytes"),
            "check the reference: this may be no registry",
        )));
    }
    let digest = Descriptor::of(&kind, &bytes).digest;
    let named = Some(name.to_owned()).filter(|name| name.contains(':'));
    // A tag has the digest that the registry says; one of another algorithm tells nothing.
    let expected = named.or(told).filter(|told| told.starts_with("sha256:"));
    match expected {
        Some(expected) if expected != digest => Err(Failure::Final(hinted(
            format!("it has the digest {digest}, expected {expected}"),
            "the registry or a proxy on the way serves something else: ask who runs it",
        ))),
        _ => Ok(Some(Found { kind, bytes })),
    }
}
