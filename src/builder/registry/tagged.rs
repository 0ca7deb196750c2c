//! What one tag stands for: an image for machines of one kind each, and things that are none.
//!
//! An image for containers and an update of the disk's lie under one tag, as an index
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md>). Engines take
//! the entry of their platform; what is no image has an artifact type, and the platform
//! `unknown/unknown`, as docker's own tools mark what no engine should run
//! (<https://docs.docker.com/build/metadata/attestations/attestation-storage/>).

use anyhow::{Context, Result};

use super::manifest::Found;
use crate::error::Hint;
use crate::format::oci::{
    DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE, Descriptor, INDEX_TYPE, Index, MANIFEST_TYPE, Manifest,
    Platform,
};

/// The entries of a tag.
#[derive(Debug, Default)]
pub(super) struct Tagged {
    /// In their order.
    pub entries: Vec<Descriptor>,
    /// Those that were there before and are still.
    pub stayed: Vec<Descriptor>,
}

impl Tagged {
    /// What a tag stands for now.
    pub fn of(found: Option<&Found>) -> Result<Self> {
        let Some(found) = found else {
            return Ok(Self::default());
        };
        let entries = match found.kind().as_str() {
            INDEX_TYPE | DOCKER_LIST_TYPE => {
                let index: Index = serde_json::from_slice(&found.bytes)
                    .context("reading what the tag stands for")
                    .hint("choose another tag, or remove this one from the registry")?;
                index.manifests
            }
            MANIFEST_TYPE | DOCKER_MANIFEST_TYPE => vec![single(found)],
            // Nothing that could lie beside an image.
            _ => Vec::new(),
        };
        Ok(Self {
            entries,
            stayed: Vec::new(),
        })
    }

    /// The same with these, each in the place of one of its kind.
    pub fn with(self, new: Vec<Descriptor>) -> Self {
        let is_replaced = |old: &Descriptor| new.iter().any(|one| role(one) == role(old));
        let mut stayed = self.entries;
        stayed.retain(|old| !is_replaced(old));
        Self {
            // Images first: programs that know no platforms take the first entry.
            entries: new.into_iter().chain(stayed.clone()).collect(),
            stayed,
        }
    }
}

/// The entry for a tag that stood for one manifest alone.
fn single(found: &Found) -> Descriptor {
    let mut descriptor = Descriptor::of(&found.kind(), &found.bytes);
    let manifest: Option<Manifest> = serde_json::from_slice(&found.bytes).ok();
    match manifest {
        Some(manifest) if manifest.artifact_type.is_some() => {
            descriptor.artifact_type = manifest.artifact_type;
            descriptor.annotations = manifest.annotations;
            descriptor.platform = Some(Platform::none());
        }
        Some(manifest) => {
            descriptor.annotations = manifest.annotations;
            descriptor.platform = Some(Platform::ours());
        }
        None => descriptor.platform = Some(Platform::ours()),
    }
    descriptor
}

/// What two entries cannot both be.
fn role(one: &Descriptor) -> (Option<&str>, Option<&Platform>) {
    match &one.artifact_type {
        Some(kind) => (Some(kind), None),
        None => (None, one.platform.as_ref()),
    }
}
