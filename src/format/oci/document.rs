//! The documents that name blobs: manifests and indexes, as they are sent and stored.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md>,
//! `image-index.md` and `descriptor.md` beside it. Members stand in a fixed order, so equal
//! documents are equal bytes. Left out: what is inside a configuration, and descriptors with
//! their data in them.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Media type of an index.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image's configuration.
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a layer, as we write them.
pub const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of a configuration that says nothing.
pub const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// A manifest as docker wrote it before the specification.
pub const DOCKER_MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// An index as docker wrote it then.
pub const DOCKER_LIST_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The annotation with a thing's name; of a file, the file's.
pub const TITLE: &str = "org.opencontainers.image.title";
/// The annotation with its version.
pub const VERSION: &str = "org.opencontainers.image.version";
/// The annotation that says when it was made.
pub const CREATED: &str = "org.opencontainers.image.created";
/// That configuration.
pub const EMPTY: &[u8] = b"{}";
/// Most bytes of a document, which registries have to take.
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// What is said of a thing, by names that the specification gives.
pub type Annotations = BTreeMap<String, String>;

/// Where a blob is found and how large it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its name, `sha256:…`.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// What is said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// Of a manifest that is about another one: what about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Of a manifest in an index: which machines it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// The machines that an image is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Of their processor, in Go's words.
    #[serde(default)]
    pub architecture: String,
    /// Of their system.
    #[serde(default)]
    pub os: String,
    /// Which of these processors, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)
    }
}

impl Platform {
    /// The machines that our images are for.
    pub fn ours() -> Self {
        Self {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            variant: None,
        }
    }

    /// Of what no engine should run.
    pub fn none() -> Self {
        Self {
            architecture: "unknown".to_owned(),
            os: "unknown".to_owned(),
            variant: None,
        }
    }
}

/// What an image, or a thing about one, is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`MANIFEST_TYPE`], if it says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// What it is, if it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers from the lowest on, or the files of something else.
    pub layers: Vec<Descriptor>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// What is said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

/// A list of manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`INDEX_TYPE`], if it says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// In their order.
    pub manifests: Vec<Descriptor>,
}

impl Descriptor {
    /// Of bytes in memory.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, &Sha256::digest(bytes), bytes.len() as u64)
    }

    /// Of something with this SHA-256.
    pub fn new(media_type: &str, sha256: &[u8], size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: format!("sha256:{}", hex::encode(sha256)),
            size,
            annotations: Annotations::new(),
            artifact_type: None,
            platform: None,
        }
    }

    /// The digits of its SHA-256; other digests are refused.
    pub fn sha256(&self) -> Result<&str> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let digits = self.digest.strip_prefix("sha256:");
        match digits.filter(|digits| digits.len() == 64 && digits.bytes().all(is_digit)) {
            Some(digits) => Ok(digits),
            None => bail!("'{}' is no SHA-256", self.digest),
        }
    }

    /// Where the blob lies in an image layout.
    pub fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }

    /// Whether these bytes are what it describes.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        let other = Self::of(&self.media_type, bytes);
        (self.size, &self.digest) == (other.size, &other.digest)
    }
}

/// A document as it is hashed and stored.
pub fn to_json(document: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(document)?)
}

#[cfg(test)]
mod tests {
    use super::{Descriptor, Manifest};

    #[test]
    fn a_document_that_is_read_and_written_is_the_same() {
        let text = r#"{"schemaVersion":2,"mediaType":"m","artifactType":"a","config":{"mediaType":"c","digest":"sha256:1","size":2},"layers":[],"subject":{"mediaType":"s","digest":"sha256:2","size":3},"annotations":{"a":"b"}}"#;
        let manifest: Manifest = serde_json::from_str(text).unwrap();
        assert_eq!(super::to_json(&manifest).unwrap(), text.as_bytes());
    }

    #[test]
    fn a_name_of_a_blob_leads_nowhere_else() {
        let mut descriptor = Descriptor::of("a", b"x");
        assert!(descriptor.is_of(b"x") && !descriptor.is_of(b"y"));
        assert_eq!(descriptor.sha256().unwrap().len(), 64);
        for digest in ["", "sha256:", "../../x", "sha512:ab", "sha256:../../../x"] {
            descriptor.digest = digest.to_owned();
            let error = descriptor.sha256().unwrap_err().to_string();
            assert_eq!(error, format!("'{digest}' is no SHA-256"));
        }
    }
}
