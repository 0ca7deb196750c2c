//! The JSON documents of an image but those that registries know too, with members in a fixed
//! order.
//!
//! Specifications: <https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md>,
//! `annotations.md` beside it; health checks are docker's own member:
//! <https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md>.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::format::oci::{Annotations, CREATED, Descriptor, TITLE, VERSION, to_json};

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

/// A manifest's descriptor as an index has it that names the image.
pub(super) fn named(mut manifest: Descriptor, name: &str, tag: &str) -> Descriptor {
    let said = [(IMAGE_NAME, name), (REFERENCE_NAME, tag)];
    let said = said.map(|(key, value)| (key.to_owned(), value.to_owned()));
    manifest.annotations.extend(said);
    manifest
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
    pub labels: Annotations,
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
pub(super) fn annotations(name: &str, version: &str, created: &str) -> Annotations {
    let said = [(TITLE, name), (VERSION, version), (CREATED, created)];
    said.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
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
