//! An archive taken apart: its manifest, and where its blobs lie.
//!
//! Every blob is hashed before anybody gets it, so what is damaged goes nowhere. Only
//! archives of this program are taken: another program's has other bytes around the same
//! blobs, and would not come back from a registry as it went there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use super::archive::Named;
use crate::format::oci::{DOCUMENT_BYTES_MAX, Descriptor, Index, MANIFEST_TYPE};

/// An archive in a file.
#[derive(Debug)]
pub struct OciArchive {
    /// The image in it.
    pub image: Named,
    /// Where each blob lies, by its digest.
    places: BTreeMap<String, (u64, u64)>,
}

impl OciArchive {
    /// Where in the file a blob begins.
    pub fn offset(&self, descriptor: &Descriptor) -> Result<u64> {
        match self.places.get(&descriptor.path()) {
            Some((offset, size)) if *size == descriptor.size => Ok(*offset),
            Some((_, size)) => bail!(
                "its {} has {size} bytes; expected {}",
                descriptor.digest,
                descriptor.size
            ),
            None => bail!("{} is not in it", descriptor.digest),
        }
    }
}

/// The manifest of the one image in an archive.
pub struct Found {
    /// The manifest as it is hashed.
    pub manifest: Vec<u8>,
    /// Where each file lies, by its path, and how large it is.
    places: BTreeMap<String, (u64, u64)>,
}

/// Finds the one image in an archive, whoever wrote it; layers are not read.
pub fn find_manifest(mut file: &File) -> Result<Found> {
    file.seek(SeekFrom::Start(0))?;
    let mut places = BTreeMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek()? {
        let entry = entry.context("it is no tar")?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        places.insert(name, (entry.raw_file_position(), entry.size()));
    }
    let index = document(file, &places, "index.json")?;
    let index: Index = serde_json::from_slice(&index).context("reading index.json")?;
    let [descriptor] = index.manifests.as_slice() else {
        bail!("it has {} images; expected one", index.manifests.len());
    };
    ensure!(
        descriptor.media_type == MANIFEST_TYPE,
        "its index names '{}'; expected {MANIFEST_TYPE}",
        descriptor.media_type
    );
    descriptor.sha256()?;
    let manifest = document(file, &places, &descriptor.path())?;
    ensure!(
        descriptor.is_of(&manifest),
        "its manifest {} has another digest",
        descriptor.digest
    );
    Ok(Found { manifest, places })
}

/// Reads an archive of ours, and every blob of it.
pub fn read_archive(file: &File) -> Result<OciArchive> {
    let Found { manifest, places } = find_manifest(file)?;
    let archive = OciArchive {
        image: Named::of(&manifest)?,
        places,
    };
    let manifest = &archive.image.manifest;
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        let offset = archive.offset(blob)?;
        ensure!(
            digest_of(file, offset, blob.size)? == blob.sha256()?,
            "its {} has another digest",
            blob.digest
        );
    }
    Ok(archive)
}

/// The bytes of a small file in the archive.
fn document(file: &File, places: &BTreeMap<String, (u64, u64)>, path: &str) -> Result<Vec<u8>> {
    let (offset, size) = *places
        .get(path)
        .ok_or_else(|| anyhow!("it has no {path}"))?;
    ensure!(size <= DOCUMENT_BYTES_MAX, "its {path} has {size} bytes");
    let mut bytes = vec![0; usize::try_from(size)?];
    file.read_exact_at(&mut bytes, offset)
        .with_context(|| format!("reading {path}"))?;
    Ok(bytes)
}

fn digest_of(mut file: &File, offset: u64, size: u64) -> Result<String> {
    file.seek(SeekFrom::Start(offset))?;
    let mut left = file.take(size);
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match left.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            length => digest.update(&buffer[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::{OciArchive, read_archive};
    use crate::builder::write::oci::document::annotations;
    use crate::builder::write::oci::{Named, write_archive};
    use crate::format::oci::{
        CONFIG_TYPE, Descriptor, LAYER_TYPE, MANIFEST_TYPE, Manifest, to_json,
    };

    const CONFIG: &[u8] = b"{\"os\":\"linux\"}";
    const LAYER: &[u8] = b"a layer";

    fn manifest(name: &str, layer: &str) -> Vec<u8> {
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: None,
            config: Descriptor::of(CONFIG_TYPE, CONFIG),
            layers: vec![Descriptor::of(layer, LAYER)],
            subject: None,
            annotations: annotations(name, "1.2", "2026-11-22T12:00:00Z"),
        };
        to_json(&manifest).unwrap()
    }

    fn written(manifest: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        let image = Named::of(manifest).unwrap();
        write_archive(&image, CONFIG, [LAYER], &file).unwrap();
        file
    }

    fn error(result: anyhow::Result<OciArchive>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn what_was_written_is_found_again() {
        let bytes = manifest("mail", LAYER_TYPE);
        let file = written(&bytes);
        let archive = read_archive(&file).unwrap();
        assert_eq!(archive.image.bytes, bytes);
        assert_eq!(archive.image.file_name(), "mail_1.2.oci.tar");
        for (blob, expected) in [
            (&archive.image.manifest.config, CONFIG),
            (&archive.image.manifest.layers[0], LAYER),
        ] {
            let mut found = vec![0; expected.len()];
            let offset = archive.offset(blob).unwrap();
            file.read_exact_at(&mut found, offset).unwrap();
            assert_eq!(found, expected);
        }
        let other = Descriptor::of(LAYER_TYPE, b"another");
        let missing = archive.offset(&other).unwrap_err().to_string();
        assert!(missing.ends_with("is not in it"), "{missing}");
    }

    #[test]
    fn a_damaged_archive_goes_nowhere() {
        let file = written(&manifest("mail", LAYER_TYPE));
        let archive = read_archive(&file).unwrap();
        let layer = &archive.image.manifest.layers[0];
        let offset = archive.offset(layer).unwrap();
        file.write_all_at(b"A", offset).unwrap();
        let expected = format!("its {} has another digest", layer.digest);
        assert_eq!(error(read_archive(&file)), expected);
        file.set_len(offset).unwrap();
        read_archive(&file).unwrap_err();
        let empty = tempfile::tempfile().unwrap();
        assert_eq!(error(read_archive(&empty)), "it has no index.json");
    }

    #[test]
    fn only_images_of_ours_are_taken() {
        for (name, layer, wrong) in [
            (
                "../mail",
                LAYER_TYPE,
                "'../mail' cannot be the name of an image",
            ),
            (
                "mail",
                "application/x",
                "it has a part of the kind 'application/x'",
            ),
        ] {
            let refused = Named::of(&manifest(name, layer)).unwrap_err();
            assert!(format!("{refused:#}").contains(wrong), "{refused:#}");
        }
        let refused = Named::of(b"{}").unwrap_err();
        assert!(format!("{refused:#}").starts_with("reading its manifest"));
    }
}
