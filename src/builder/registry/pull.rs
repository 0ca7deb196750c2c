//! An image from a registry: the manifest of a tag, then blobs into the cache.
//!
//! Specification:
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pull>. Blobs are
//! fetched as packages are ([`crate::builder::fetch`]): by digest, once, hashed while they
//! come, and continued where they broke off.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use ureq::http::Method;
use ureq::http::header::{self, HeaderName};

use super::client::Client;
use super::manifest::get_manifest;
use super::message::{Asked, Body};
use crate::builder::fetch::{
    Advice, Cache, Fetch, FetchOptions, Mirror, Object, Open, Opened, Problem,
};
use crate::builder::progress::Progress;
use crate::error::hinted;
use crate::format::oci::{
    DOCKER_LIST_TYPE, Descriptor, INDEX_TYPE, Index, MANIFEST_TYPE, Manifest, Platform, Reference,
};

impl Open for Client {
    fn open(&self, url: &str, offset: u64) -> Result<Opened, Problem> {
        let range: [(HeaderName, String); 1] = [(header::RANGE, format!("bytes={offset}-"))];
        let asked = Asked {
            method: Method::GET,
            url,
            headers: if offset > 0 { &range } else { &[] },
            body: Body::Nothing,
        };
        let answer = self
            .send(&asked)
            .map_err(|failure| failure.into_problem())?;
        let counted = Counted {
            reader: answer.reader,
            count: {
                let received = Arc::clone(&self.received);
                Box::new(move |length| {
                    received.fetch_add(length, Ordering::Relaxed);
                })
            },
        };
        Opened::answered(answer.status, &answer.headers, offset, Box::new(counted))
    }

    fn advice(&self) -> Advice {
        Advice {
            later: "check the network, and what the registry's log says; the same command goes on \
                    where this one stopped",
            wrong: "the registry or a proxy on the way serves something else: ask who runs it, or \
                    push the image again",
            gone: "the image is not whole in the registry: push it again",
        }
    }
}

/// Counts what is read.
struct Counted {
    reader: Box<dyn Read>,
    count: Box<dyn Fn(u64)>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        (self.count)(length as u64);
        Ok(length)
    }
}

/// The manifest of the image that a reference names, for our machines if there are several.
pub fn find_image(client: &Client, reference: &Reference) -> Result<Vec<u8>> {
    let name = reference.digest.as_ref().or(reference.tag.as_ref());
    let name = name.context("neither a tag nor a digest is named")?;
    let found = get_manifest(client, name)?.ok_or_else(|| {
        hinted(
            "there is no such image",
            "check the reference: registry, repository and tag have to be there",
        )
    })?;
    let found = match found.kind().as_str() {
        INDEX_TYPE | DOCKER_LIST_TYPE => {
            let chosen = choose(&found.bytes)?;
            let inner = get_manifest(client, &chosen.digest)?;
            inner.with_context(|| format!("its manifest {} is not there", chosen.digest))?
        }
        _ => found,
    };
    match found.kind().as_str() {
        MANIFEST_TYPE => Ok(found.bytes),
        other => Err(hinted(
            format!("it is of the kind '{other}'; expected {MANIFEST_TYPE}"),
            "`mailimg pull` takes what `mailimg push` sent; `podman pull` takes other images",
        )),
    }
}

fn choose(bytes: &[u8]) -> Result<Descriptor> {
    let index: Index = serde_json::from_slice(bytes).context("reading its index")?;
    let ours = Platform::ours();
    let is_ours = |one: &&Descriptor| one.platform.as_ref() == Some(&ours);
    if let Some(chosen) = index.manifests.iter().find(is_ours) {
        chosen.sha256()?;
        return Ok(chosen.clone());
    }
    let none = Platform::none();
    let there = index
        .manifests
        .iter()
        .filter_map(|one| one.platform.as_ref())
        .filter(|of| **of != none);
    let there: Vec<String> = there.map(Platform::to_string).collect();
    Err(hinted(
        format!(
            "it is for {}, and not for {ours}",
            match there.as_slice() {
                [] => "no machine that it names".to_owned(),
                there => there.join(", "),
            },
        ),
        "check the reference: images of mailimg are for one kind of machine",
    ))
}

/// Brings the blobs of an image into the cache: the configuration, then the layers.
pub fn fetch_blobs(
    client: &Arc<Client>,
    manifest: &Manifest,
    cache: &Cache,
    options: &FetchOptions,
    progress: &Progress,
) -> Result<Vec<PathBuf>> {
    let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
    let objects = blobs
        .enumerate()
        .map(|(number, blob)| {
            Ok(Object {
                label: match number {
                    0 => "the configuration".to_owned(),
                    number => format!("layer {number} of {}", manifest.layers.len()),
                },
                urls: vec![client.url(&format!("blobs/{}", blob.digest))],
                snapshots: Vec::new(),
                size: blob.size,
                sha256: blob.sha256()?.to_owned(),
            })
        })
        .collect::<Result<Vec<Object>>>()?;
    let opener: Arc<dyn Open> = Arc::<Client>::clone(client);
    Mirror::through(opener, cache.clone(), options.clone(), progress.clone()).objects(&objects)
}

/// A file that is read as a blob; its end fails when it is not what its name says, as after a
/// power cut.
pub struct Checked<R> {
    reader: R,
    digest: sha2::Sha256,
    descriptor: Descriptor,
    length: u64,
}

impl<R: Read> Checked<R> {
    /// Checks what is read against a descriptor.
    pub fn new(reader: R, descriptor: &Descriptor) -> Self {
        Self {
            reader,
            digest: sha2::Digest::new(),
            descriptor: descriptor.clone(),
            length: 0,
        }
    }

    fn check(&self) -> Result<()> {
        let digest = sha2::Digest::finalize(self.digest.clone());
        let found = Descriptor::new("", &digest, self.length);
        if (&found.digest, found.size) != (&self.descriptor.digest, self.descriptor.size) {
            bail!(
                "it is {}; expected {}",
                found.digest,
                self.descriptor.digest
            );
        }
        Ok(())
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        if length == 0 && !buffer.is_empty() {
            self.check().map_err(io::Error::other)?;
        }
        sha2::Digest::update(&mut self.digest, &buffer[..length]);
        self.length += length as u64;
        Ok(length)
    }
}
