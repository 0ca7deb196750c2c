//! An OCI archive as a host will find it: its digest, and what podman calls its image.
//!
//! The archive is a tar of an image layout
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>) with one
//! image. Whatever name it bears, podman knows the image by the digest of its
//! configuration. Layers are not read.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256, Sha512};

use super::deployment::Archive;

/// Index and manifest are texts of some kilobytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// How the manifest of one image is marked.
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Descriptor,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
}

/// Reads an archive that hosts fetch from an address, or are handed over.
pub fn read_archive(mut file: &File, url: Option<String>) -> Result<Archive> {
    let index = read_member(file, "index.json")?.ok_or_else(|| anyhow!("it has no index.json"))?;
    let index: Index = serde_json::from_slice(&index).context("reading index.json")?;
    let [descriptor] = index.manifests.as_slice() else {
        bail!("it has {} images; expected one", index.manifests.len());
    };
    ensure!(
        descriptor.media_type == MANIFEST_TYPE,
        "its index names '{}'; expected {MANIFEST_TYPE}",
        descriptor.media_type
    );
    let digest = hexadecimal(descriptor)?;
    let manifest = read_member(file, &format!("blobs/sha256/{digest}"))?
        .ok_or_else(|| anyhow!("its manifest {digest} is not in it"))?;
    ensure!(
        hex::encode(Sha256::digest(&manifest)) == digest,
        "its manifest {digest} has another digest"
    );
    let manifest: Manifest = serde_json::from_slice(&manifest).context("reading its manifest")?;
    let image_id = hexadecimal(&manifest.config)?.to_owned();

    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha512::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
    }
    Ok(Archive {
        url,
        sha512: hex::encode(hash.finalize()),
        image_id,
    })
}

/// The digits of a SHA-256.
fn hexadecimal(descriptor: &Descriptor) -> Result<&str> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    descriptor
        .digest
        .strip_prefix("sha256:")
        .filter(|digits| digits.len() == 64 && digits.bytes().all(is_digit))
        .ok_or_else(|| anyhow!("'{}' is no SHA-256", descriptor.digest))
}

/// The bytes of a small file in the archive.
fn read_member(mut file: &File, path: &str) -> Result<Option<Vec<u8>>> {
    file.seek(SeekFrom::Start(0))?;
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek()? {
        let entry = entry.context("it is no tar")?;
        let name = entry.path_bytes();
        if name.strip_prefix(b"./").unwrap_or(&name) != path.as_bytes() {
            continue;
        }
        let size = entry.size();
        ensure!(size <= TEXT_BYTES_MAX, "its {path} has {size} bytes");
        let mut bytes = Vec::new();
        entry.take(TEXT_BYTES_MAX).read_to_end(&mut bytes)?;
        return Ok(Some(bytes));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::{MANIFEST_TYPE, read_archive};
    use crate::builder::write::ignition::Archive;
    use sha2::{Digest, Sha256, Sha512};
    use std::io::Write;

    fn tar(members: &[(String, String)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            builder
                .append_data(&mut header, path, text.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// An archive whose index names these kinds of manifests.
    fn archive(manifest: &str, kinds: &[&str]) -> Vec<u8> {
        let digest = hex::encode(Sha256::digest(manifest));
        let descriptors: Vec<String> = kinds
            .iter()
            .map(|kind| format!(r#"{{"mediaType":"{kind}","digest":"sha256:{digest}","size":1}}"#))
            .collect();
        let index = format!(r#"{{"manifests":[{}]}}"#, descriptors.join(","));
        tar(&[
            (format!("blobs/sha256/{digest}"), manifest.to_owned()),
            ("oci-layout".to_owned(), "{}".to_owned()),
            ("./index.json".to_owned(), index),
        ])
    }

    fn read(bytes: &[u8]) -> Result<Archive, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        read_archive(&file, None).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn an_image_is_known_by_its_configuration() {
        let id = "ab".repeat(32);
        let manifest = format!(r#"{{"config":{{"digest":"sha256:{id}"}},"layers":[]}}"#);
        let bytes = archive(&manifest, &[MANIFEST_TYPE]);
        let expected = Archive {
            url: None,
            sha512: hex::encode(Sha512::digest(&bytes)),
            image_id: id,
        };
        assert_eq!(read(&bytes), Ok(expected));
    }

    #[test]
    fn what_is_no_archive_of_one_image_is_refused() {
        let good = format!(r#"{{"config":{{"digest":"sha256:{}"}}}}"#, "ab".repeat(32));
        for (bytes, wrong) in [
            (archive(&good, &[]), "it has 0 images; expected one"),
            (archive(&good, &[MANIFEST_TYPE; 2]), "it has 2 images"),
            (archive(&good, &["application/json"]), "its index names"),
            (archive("{}", &[MANIFEST_TYPE]), "reading its manifest"),
            (
                archive(r#"{"config":{"digest":"../../x"}}"#, &[MANIFEST_TYPE]),
                "'../../x' is no SHA-256",
            ),
            (tar(&[]), "it has no index.json"),
            (Vec::new(), "it has no index.json"),
            (vec![b'x'; 2048], "numeric field"),
            (
                tar(&[("index.json".to_owned(), "x".to_owned())]),
                "reading index.json",
            ),
            (
                tar(&[("index.json".to_owned(), " ".repeat(2 << 20))]),
                "its index.json has 2097152 bytes",
            ),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(wrong), "{wrong}: {error}");
        }
        let mut changed = archive(&good, &[MANIFEST_TYPE]);
        let at = changed.windows(4).position(|four| four == b"abab").unwrap();
        changed[at] = b'c';
        // The name of the file in the archive has these digits only by chance.
        assert!(read(&changed).unwrap_err().contains("another digest"));
    }
}
