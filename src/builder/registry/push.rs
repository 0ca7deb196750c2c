//! An image to a registry: blobs, then the manifest, then what is about it, then the tag.
//!
//! Specification:
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#push>. The tag
//! comes last, so whoever follows it sees a whole image with all that belongs to it. Two
//! who give the same tag to different things at the same time may lose one of them from it.
//! Registries without an API for referrers have a tag instead that lists them; two who
//! write it at the same time may lose one entry, which the next push brings back.

use anyhow::{Context, Result};
use ureq::http::Method;
use ureq::http::header::{self, HeaderName};

use super::client::Client;
use super::failure::refusal;
use super::manifest::{Found, get_manifest};
use super::message::{Answer, Asked, Body};
use super::tagged::Tagged;
use super::upload::{Blob, Outcome, Source, Uploader};
use crate::builder::fetch::Cache;
use crate::builder::progress::Progress;
use crate::error::hinted;
use crate::format::oci::{
    Annotations, Descriptor, EMPTY, EMPTY_TYPE, INDEX_TYPE, Index, MANIFEST_TYPE, Manifest, TITLE,
    to_json,
};

/// The header by which a registry says that it lists what is about an image.
const TAKES_SUBJECTS: &str = "oci-subject";

/// An image that is pushed, or another thing that a registry keeps as one.
pub struct Artifact<'a> {
    /// Its manifest.
    pub manifest: &'a [u8],
    /// The manifest's descriptor, as an index tells it apart from others under the same tag.
    pub descriptor: Descriptor,
    /// What the manifest names.
    pub blobs: Vec<Blob<'a>>,
    /// Files about it.
    pub attachments: &'a [Attachment],
}

/// A file about an image.
pub struct Attachment {
    /// What it is, as a media type.
    pub kind: &'static str,
    /// The file's name.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// What else is said of it.
    pub annotations: Annotations,
}

/// What a push came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Bytes of blobs that were sent.
    pub sent: u64,
    /// Bytes that were there, from another run too.
    pub kept: u64,
    /// Bytes that came from another repository of the registry.
    pub mounted: u64,
    /// What else the tag had, and has.
    pub stayed: Vec<Descriptor>,
}

/// Pushes to a repository.
pub struct Push<'a> {
    /// The registry.
    pub client: &'a Client,
    /// Keeps where uploads stand.
    pub cache: &'a Cache,
    /// Told what happens.
    pub progress: &'a Progress,
    /// A repository of the same registry that may have the blobs.
    pub mount_from: Option<&'a str>,
    /// Most bytes that go in one request, usually [`PIECE_BYTES`](super::PIECE_BYTES).
    pub piece: u64,
}

impl Push<'_> {
    /// Pushes images with what is about them, and gives all of them one tag.
    ///
    /// What else the tag has stays, unless one of these takes its place.
    pub fn run(&self, artifacts: &[Artifact<'_>], tag: Option<&str>) -> Result<Pushed> {
        let mut pushed = Pushed::default();
        for artifact in artifacts {
            self.send_blobs("push", &artifact.blobs, &mut pushed)?;
            let digest = &artifact.descriptor.digest;
            self.put_manifest(digest, MANIFEST_TYPE, artifact.manifest)
                .context("sending the manifest")?;
            for attachment in artifact.attachments {
                self.attach(&artifact.descriptor, attachment, &mut pushed)
                    .with_context(|| format!("attaching {}", attachment.name))?;
            }
        }
        if let Some(tag) = tag {
            self.give_tag(tag, artifacts, &mut pushed)
                .with_context(|| format!("giving it the tag {tag}"))?;
        }
        pushed.sent = self.client.sent();
        Ok(pushed)
    }

    fn give_tag(&self, tag: &str, artifacts: &[Artifact<'_>], pushed: &mut Pushed) -> Result<()> {
        let before = get_manifest(self.client, tag)?;
        let new = artifacts.iter().map(|artifact| artifact.descriptor.clone());
        let tagged = Tagged::of(before.as_ref())?.with(new.collect());
        pushed.stayed = tagged.stayed;
        if let ([image], [only]) = (artifacts, tagged.entries.as_slice())
            && only.artifact_type.is_none()
        {
            // The tag of an image alone is the image's own, which every program takes.
            self.put_manifest(tag, MANIFEST_TYPE, image.manifest)?;
            return Ok(());
        }
        let index = Index {
            schema_version: 2,
            media_type: INDEX_TYPE.to_owned(),
            manifests: tagged.entries,
        };
        self.put_manifest(tag, INDEX_TYPE, &to_json(&index)?)?;
        Ok(())
    }

    fn send_blobs(&self, name: &str, blobs: &[Blob<'_>], pushed: &mut Pushed) -> Result<()> {
        let uploader = Uploader {
            client: self.client,
            cache: self.cache,
            mount_from: self.mount_from,
            piece: self.piece,
        };
        let before = (self.client.sent(), pushed.kept + pushed.mounted);
        let total = blobs.iter().map(|blob| blob.descriptor.size).sum();
        let stage = self.progress.bytes(name, total);
        for blob in blobs {
            match uploader.upload(blob, &stage)? {
                Outcome::There => pushed.kept += blob.descriptor.size,
                Outcome::Mounted => pushed.mounted += blob.descriptor.size,
                Outcome::Sent(kept) => pushed.kept += kept,
            }
        }
        stage.finish(&format!(
            "{} bytes sent, {} were there",
            self.client.sent() - before.0,
            pushed.kept + pushed.mounted - before.1
        ));
        Ok(())
    }

    /// Puts a manifest or an index under a tag or its digest.
    fn put_manifest(&self, name: &str, kind: &str, bytes: &[u8]) -> Result<Answer> {
        let url = self.client.url(&format!("manifests/{name}"));
        let headers: [(HeaderName, String); 1] = [(header::CONTENT_TYPE, kind.to_owned())];
        let asked = Asked {
            method: Method::PUT,
            url: &url,
            headers: &headers,
            body: Body::Bytes(bytes),
        };
        let answer = self.client.ask(&asked, "sending it")?;
        if !(200..300).contains(&answer.status) {
            return Err(refusal(answer));
        }
        let ours = Descriptor::of(kind, bytes).digest;
        match answer.header("docker-content-digest") {
            Some(theirs) if theirs.starts_with("sha256:") && theirs != ours => Err(hinted(
                format!("the registry stored {theirs} for {ours}"),
                "something on the way changes what is sent: ask who runs the registry",
            )),
            _ => Ok(answer),
        }
    }

    /// Puts a file beside an image, as a manifest that is about it.
    fn attach(
        &self,
        subject: &Descriptor,
        attachment: &Attachment,
        pushed: &mut Pushed,
    ) -> Result<()> {
        let mut file = Descriptor::of(attachment.kind, &attachment.bytes);
        let title = (TITLE.to_owned(), attachment.name.clone());
        file.annotations.extend([title]);
        let config = Descriptor::of(EMPTY_TYPE, EMPTY);
        let blob = |descriptor: &Descriptor, bytes| Blob {
            descriptor: descriptor.clone(),
            source: Source::Bytes(bytes),
        };
        let blobs = [blob(&config, EMPTY), blob(&file, &attachment.bytes)];
        self.send_blobs(&attachment.name, &blobs, pushed)?;
        let manifest = to_json(&Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: Some(attachment.kind.to_owned()),
            config,
            layers: vec![file],
            subject: Some(subject.clone()),
            annotations: attachment.annotations.clone(),
        })?;
        let mut descriptor = Descriptor::of(MANIFEST_TYPE, &manifest);
        let answer = self.put_manifest(&descriptor.digest, MANIFEST_TYPE, &manifest)?;
        if answer.headers.contains_key(TAKES_SUBJECTS) {
            return Ok(());
        }
        descriptor.artifact_type = Some(attachment.kind.to_owned());
        descriptor.annotations = attachment.annotations.clone();
        self.list(subject, descriptor)
    }

    /// Adds to the tag that lists what is about an image.
    fn list(&self, subject: &Descriptor, descriptor: Descriptor) -> Result<()> {
        let tag = subject.digest.replace(':', "-");
        let mut index = match get_manifest(self.client, &tag)? {
            Some(Found { bytes, .. }) => {
                serde_json::from_slice(&bytes).with_context(|| format!("reading the tag {tag}"))?
            }
            None => Index {
                schema_version: 2,
                media_type: INDEX_TYPE.to_owned(),
                manifests: Vec::new(),
            },
        };
        let known = |other: &Descriptor| other.digest == descriptor.digest;
        if index.manifests.iter().any(known) {
            return Ok(());
        }
        index.manifests.push(descriptor);
        self.put_manifest(&tag, INDEX_TYPE, &to_json(&index)?)?;
        Ok(())
    }
}
