//! The image as an OCI archive, which podman, docker, skopeo and umoci take.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/v1.1.0/spec.md>. An
//! archive is the layout of that specification in a tar file, so `tar -xf` makes the
//! folder of it. For docker before 25, which knows archives of its own only, the index of
//! those lies in it too and names the same blobs:
//! <https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md#combined-image-json--filesystem-changeset-format>.
//!
//! `layer` writes one layer, compressed by `gzip`; `archive` writes the tar around layers,
//! whoever has them, and `read` takes it apart; `document` has the JSON, in
//! structures of our own: those of the crate `oci-spec` keep labels in no order, and equal
//! inputs have to give equal bytes. `ocipkg`'s archives carry the time at which they were
//! written, and `oci-spec`'s documents would come with it. Left out: bill of materials and
//! manifest as artifacts of their own, since tools refuse an archive with several images
//! unless they are told which one; both lie in the image itself.

mod archive;
mod document;
mod gzip;
mod layer;
mod read;

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

use self::document::{Config, Empty, HealthCheck, History, ImageConfig, RootFs};
use self::layer::{Blob, write_layer};
use crate::builder::compose::Container;
use crate::format::oci::{CONFIG_TYPE, Descriptor, MANIFEST_TYPE, Manifest, to_json};

pub use self::archive::{Named, write_archive};
pub use self::read::{OciArchive, find_manifest, read_archive};

/// What the container's first process is: <https://systemd.io/CONTAINER_INTERFACE/>.
const ENTRY_POINT: &str = "/sbin/init";
/// systemd as first process switches off at this signal, and at no usual one (systemd(1)).
const STOP_SIGNAL: &str = "SIGRTMIN+3";
/// Nanoseconds, as documents of this kind count time.
const SECOND: u64 = 1_000_000_000;

/// An image of a container to write: its tree and what is said of it.
#[derive(Debug)]
pub struct OciImage<'a> {
    /// What is in it.
    pub container: &'a Container,
    /// Name of the recipe.
    pub name: &'a str,
    /// Version of the image.
    pub version: &'a str,
    /// Debian architecture.
    pub architecture: &'a str,
    /// When it was made, seconds since 1970.
    pub time: i64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Digest of the image's manifest, `sha256:…`: what names the image in a registry.
    pub digest: String,
    /// Compressed size of each layer with its name, in bytes.
    pub layers: Vec<(&'static str, u64)>,
}

/// Writes the archive to a file; layers wait in a folder until they are whole.
pub fn write_oci(image: &OciImage<'_>, folder: &Path, output: &File) -> Result<Written> {
    let created = jiff::Timestamp::from_second(image.time)
        .context("writing the image's time")?
        .to_string();
    let parts = image.container.layers();
    let layers = parts
        .iter()
        .map(|&layer| {
            write_layer(image.container, layer, folder)
                .with_context(|| format!("writing the layer of {}", layer.describe()))
        })
        .collect::<Result<Vec<Blob>>>()?;
    let descriptors: Vec<Descriptor> = layers
        .iter()
        .map(|layer| layer.descriptor.clone())
        .collect();
    let config = to_json(&config(image, &layers, &created))?;
    let manifest = to_json(&Manifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE.to_owned(),
        artifact_type: None,
        config: Descriptor::of(CONFIG_TYPE, &config),
        layers: descriptors,
        subject: None,
        annotations: document::annotations(image.name, image.version, &created),
    })?;
    let named = Named::of(&manifest)?;
    write_archive(
        &named,
        &config,
        layers.iter().map(|layer| &layer.file),
        output,
    )?;
    Ok(Written {
        digest: named.descriptor.digest,
        layers: parts
            .iter()
            .zip(&layers)
            .map(|(layer, blob)| (layer.describe(), blob.descriptor.size))
            .collect(),
    })
}

fn config(image: &OciImage<'_>, layers: &[Blob], created: &str) -> ImageConfig {
    let history = image.container.layers().into_iter().map(|layer| History {
        created: created.to_owned(),
        created_by: format!("mailimg build {} --format oci", image.name),
        comment: layer.describe(),
    });
    ImageConfig {
        created: created.to_owned(),
        architecture: image.architecture.to_owned(),
        os: "linux",
        config: Config {
            env: vec![
                "PATH=/usr/sbin:/usr/bin".to_owned(),
                // systemd looks itself whose container it is.
                "container=oci".to_owned(),
            ],
            entrypoint: vec![ENTRY_POINT.to_owned()],
            stop_signal: STOP_SIGNAL,
            volumes: ["/var"].map(Empty::member).into(),
            exposed_ports: image.container.ports.iter().map(Empty::member).collect(),
            labels: document::annotations(image.name, image.version, created),
            healthcheck: image
                .container
                .health_check
                .as_ref()
                .map(|test| HealthCheck {
                    test: [&["CMD".to_owned()], test.as_slice()].concat(),
                    interval: 60 * SECOND,
                    timeout: 30 * SECOND,
                    // A first start makes keys.
                    start_period: 300 * SECOND,
                    retries: 3,
                }),
        },
        rootfs: RootFs {
            kind: "layers",
            diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
        },
        history: history.collect(),
    }
}
