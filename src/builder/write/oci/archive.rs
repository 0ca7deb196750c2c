//! The tar file around documents and layers, with one time and no owner.
//!
//! All that is in it beside the blobs follows from the manifest, so whoever has manifest,
//! configuration and layers writes the same bytes, wherever they came from.

use std::fs::File;
use std::io::{BufWriter, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use tar::Builder;

use super::document::{LAYOUT, docker_index, named};
use super::layer::header;
use crate::builder::recipe::check_names;
use crate::builder::tree::Metadata;
use crate::format::oci::{
    CONFIG_TYPE, CREATED, Descriptor, INDEX_TYPE, Index, LAYER_TYPE, MANIFEST_TYPE, Manifest,
    TITLE, VERSION, to_json,
};

/// Of images that came from no registry, as podman names those that it builds; docker takes it
/// too, so one name works everywhere.
const REGISTRY: &str = "localhost";

/// The manifest of an image that we wrote, and what the image is called by it.
#[derive(Debug)]
pub struct Named {
    /// The manifest as it is hashed.
    pub bytes: Vec<u8>,
    /// The manifest.
    pub manifest: Manifest,
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// Name of the recipe.
    pub name: String,
    /// Version of the image.
    pub version: String,
    /// Seconds since 1970.
    pub time: u64,
}

impl Named {
    /// Reads a manifest; one that is not of our images is refused.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let manifest: Manifest = serde_json::from_slice(bytes).context("reading its manifest")?;
        let said = |key: &str| match manifest.annotations.get(key) {
            Some(text) => Ok(text.clone()),
            None => bail!("its manifest does not say {key}"),
        };
        let (name, version, created) = (said(TITLE)?, said(VERSION)?, said(CREATED)?);
        // It becomes the name of a file.
        check_names(&name, &version)?;
        let time: jiff::Timestamp = created.parse().context("reading the image's time")?;
        let time = u64::try_from(time.as_second()).context("reading times before 1970")?;
        let kinds = std::iter::once((CONFIG_TYPE, &manifest.config));
        let layers = manifest.layers.iter().map(|layer| (LAYER_TYPE, layer));
        for (kind, part) in kinds.chain(layers) {
            ensure!(
                part.media_type == kind,
                "it has a part of the kind '{}'; expected {kind}",
                part.media_type
            );
            part.sha256()?;
        }
        Ok(Self {
            bytes: bytes.to_vec(),
            descriptor: Descriptor::of(MANIFEST_TYPE, bytes),
            manifest,
            name,
            version,
            time,
        })
    }

    /// The name of its archive.
    pub fn file_name(&self) -> String {
        format!("{}_{}.oci.tar", self.name, self.version)
    }
}

/// Writes the archive of an image from its manifest, its configuration and its layers.
pub fn write_archive(
    image: &Named,
    config: &[u8],
    layers: impl IntoIterator<Item = impl Read>,
    output: &File,
) -> Result<()> {
    let manifest = &image.manifest;
    let name = format!("{REGISTRY}/{}:{}", image.name, image.version);
    let index = Index {
        schema_version: 2,
        media_type: INDEX_TYPE.to_owned(),
        manifests: vec![named(image.descriptor.clone(), &name, &image.version)],
    };
    let mut archive = Archive::new(output, image.time);
    archive.add("oci-layout", LAYOUT.as_bytes())?;
    archive.add("index.json", &to_json(&index)?)?;
    archive.add(
        "manifest.json",
        &docker_index(&name, &manifest.config, &manifest.layers)?,
    )?;
    archive.add(&manifest.config.path(), config)?;
    archive.add(&image.descriptor.path(), &image.bytes)?;
    for (descriptor, layer) in manifest.layers.iter().zip(layers) {
        archive.add_file(&descriptor.path(), layer, descriptor.size)?;
    }
    archive.finish()
}

/// An archive that is being written.
struct Archive<'a> {
    builder: Builder<BufWriter<&'a File>>,
    time: u64,
}

impl<'a> Archive<'a> {
    fn new(output: &'a File, time: u64) -> Self {
        Self {
            builder: Builder::new(BufWriter::with_capacity(1 << 20, output)),
            time,
        }
    }

    fn add(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.add_file(path, bytes, bytes.len() as u64)
    }

    fn add_file(&mut self, path: &str, bytes: impl Read, size: u64) -> Result<()> {
        let mut header = header(&Metadata::root(0o644), self.time);
        header.set_size(size);
        self.builder
            .append_data(&mut header, path, bytes)
            .with_context(|| format!("writing {path}"))
    }

    fn finish(self) -> Result<()> {
        self.builder.into_inner()?.flush()?;
        Ok(())
    }
}
