//! The JSON documents of an image, with members in a fixed order.
//!
//! Specifications: <https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md>,
//! `manifest.md`, `image-index.md`, `descriptor.md`, `annotations.md` beside it; health
//! checks are docker's own member:
//! <https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md>.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub(super) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// What the file `oci-layout` says.
pub(super) const LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

/// The tag under which an index has an image: `annotations.md`.
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, by which podman and containerd call what they load.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// An object whose members say nothing but that they are there.
pub(super) type Set = BTreeMap<String, Empty>;

/// An empty object.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Empty {}

impl Empty {
    pub(super) fn member(name: impl Into<String>) -> (String, Self) {
        (name.into(), Self {})
    }
}

/// Where a blob is found and how large it is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Descriptor {
    #[serde(rename = "mediaType")]
    pub media_type: &'static str,
    pub digest: String,
    pub size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<&'static str, String>,
}

impl Descriptor {
    pub(super) fn of(media_type: &'static str, bytes: &[u8]) -> Self {
        Self::new(
            media_type,
            Sha256::digest(bytes).as_slice(),
            bytes.len() as u64,
        )
    }

    pub(super) fn new(media_type: &'static str, sha256: &[u8], size: u64) -> Self {
        Self {
            media_type,
            digest: format!("sha256:{}", hex::encode(sha256)),
            size,
            annotations: BTreeMap::new(),
        }
    }

    pub(super) fn named(mut self, name: &str, tag: &str) -> Self {
        self.annotations.insert(IMAGE_NAME, name.to_owned());
        self.annotations.insert(REFERENCE_NAME, tag.to_owned());
        self
    }

    /// Where the blob lies in a layout.
    pub(super) fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Index {
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    #[serde(rename = "mediaType")]
    pub media_type: &'static str,
    pub manifests: Vec<Descriptor>,
}

#[derive(Debug, Serialize)]
pub(super) struct Manifest {
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    #[serde(rename = "mediaType")]
    pub media_type: &'static str,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    pub annotations: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ImageConfig {
    pub created: String,
    pub architecture: String,
    pub os: &'static str,
    pub config: Config,
    pub rootfs: RootFs,
    pub history: Vec<History>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Config {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: Set,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub volumes: Set,
    pub labels: BTreeMap<&'static str, String>,
    pub stop_signal: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthCheck>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HealthCheck {
    pub test: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub retries: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct RootFs {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub diff_ids: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct History {
    pub created: String,
    pub created_by: String,
    pub comment: &'static str,
}

/// What is said of an image, in its manifest and as labels.
pub(super) fn annotations(
    name: &str,
    version: &str,
    created: &str,
) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("org.opencontainers.image.title", name.to_owned()),
        ("org.opencontainers.image.version", version.to_owned()),
        ("org.opencontainers.image.created", created.to_owned()),
    ])
}

/// A document as it is hashed and stored.
pub(super) fn to_json(document: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(document)?)
}

/// The index of docker's own archives.
pub(super) fn docker_index(
    name: &str,
    config: &Descriptor,
    layers: &[Descriptor],
) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        config: String,
        repo_tags: [String; 1],
        layers: Vec<String>,
    }
    to_json(&[Entry {
        config: config.path(),
        repo_tags: [name.to_owned()],
        layers: layers.iter().map(Descriptor::path).collect(),
    }])
}
