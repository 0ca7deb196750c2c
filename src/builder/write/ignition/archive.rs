//! An OCI archive as a host will find it: its digest, and what podman calls its image.
//!
//! The archive is a tar of an image layout
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>) with one
//! image. Whatever name it bears, podman knows the image by the digest of its
//! configuration. Layers are not read.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result};
use sha2::{Digest, Sha512};

use super::deployment::Archive;
use crate::builder::write::oci::find_manifest;
use crate::format::oci::Manifest;

/// Reads an archive that hosts fetch from an address, or are handed over.
pub fn read_archive(mut file: &File, url: Option<String>) -> Result<Archive> {
    let manifest = find_manifest(file)?.manifest;
    let manifest: Manifest = serde_json::from_slice(&manifest).context("reading its manifest")?;
    let image_id = manifest.config.sha256()?.to_owned();

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

#[cfg(test)]
mod tests {
    use super::read_archive;
    use crate::builder::write::ignition::Archive;
    use crate::format::oci::MANIFEST_TYPE;
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
            .map(|kind| {
                let size = manifest.len();
                format!(r#"{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{size}}}"#)
            })
            .collect();
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            descriptors.join(",")
        );
        tar(&[
            (format!("blobs/sha256/{digest}"), manifest.to_owned()),
            ("oci-layout".to_owned(), "{}".to_owned()),
            ("./index.json".to_owned(), index),
        ])
    }

    /// A manifest whose configuration has this digest.
    fn manifest(digest: &str) -> String {
        format!(r#"{{"schemaVersion":2,"config":{{"digest":"{digest}","size":1}},"layers":[]}}"#)
    }

    fn read(bytes: &[u8]) -> Result<Archive, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        read_archive(&file, None).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn an_image_is_known_by_its_configuration() {
        let id = "ab".repeat(32);
        let manifest = manifest(&format!("sha256:{id}"));
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
        let good = manifest(&format!("sha256:{}", "ab".repeat(32)));
        for (bytes, wrong) in [
            (archive(&good, &[]), "it has 0 images; expected one"),
            (archive(&good, &[MANIFEST_TYPE; 2]), "it has 2 images"),
            (archive(&good, &["application/json"]), "its index names"),
            (archive("{}", &[MANIFEST_TYPE]), "reading its manifest"),
            (
                archive(&manifest("../../x"), &[MANIFEST_TYPE]),
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
                tar(&[("index.json".to_owned(), " ".repeat(5 << 20))]),
                "its index.json has 5242880 bytes",
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
