//! `mailimg push`: an OCI archive goes to a registry, with what was built beside it.
//!
//! Bill of materials and manifest become artifacts about the image, if they lie beside the
//! archive as `mailimg build` writes them.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::registry::{RegistryArgs, parse_oci_reference};
use super::signals::say_when_stopped;
use crate::builder::fetch::Cache;
use crate::builder::registry::{
    Annotations, Attachment, Blob, Image, PIECE_BYTES, Push, Pushed, Source,
};
use crate::builder::write::oci::{OciArchive, read_archive};
use crate::error::{Hint, hinted};
use crate::print::say;

/// How an archive's name ends.
const ARCHIVE: &str = ".oci.tar";
/// What may lie beside an archive: how its name ends, and what it is.
const BESIDE: [(&str, &str); 2] = [
    (".spdx.json", "application/spdx+json"),
    (".manifest.json", "application/vnd.mailimg.manifest.v1+json"),
];
/// The annotation that says when something was made.
const CREATED: &str = "org.opencontainers.image.created";

/// Arguments of `mailimg push`.
#[derive(Args, Debug)]
pub struct PushArgs {
    /// The archive of `mailimg build --format oci`; NAME.spdx.json and NAME.manifest.json beside
    /// it are attached
    image: PathBuf,
    /// Where to: oci://REGISTRY/REPOSITORY:TAG
    reference: String,
    /// Another repository of the same registry, whose layers need not be sent
    #[arg(long, value_name = "REPOSITORY")]
    mount_from: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Pushes an archive.
pub fn run_push(args: &PushArgs) -> Result<()> {
    let reference = parse_oci_reference(&args.reference)?;
    let reading = || format!("reading the OCI archive {}", args.image.display());
    let file = File::open(&args.image).with_context(reading)?;
    let archive = read_archive(&file)
        .with_context(reading)
        .hint_where_none("`mailimg push` takes what `mailimg build --format oci` writes")?;
    let descriptor = archive.image.descriptor.clone();
    if let Some(digest) = &reference.digest
        && *digest != descriptor.digest
    {
        return Err(hinted(
            format!(
                "pushing {}: it has the digest {}",
                args.image.display(),
                descriptor.digest
            ),
            "write a tag instead of the digest",
        ))
        .usage();
    }
    let beside = load_beside(&args.image)?;
    let attachments = attachments(&beside, &archive);
    let also: Vec<&str> = args.mount_from.as_deref().into_iter().collect();
    let progress = args.registry.progress();
    let client = args.registry.client(&reference, true, &also)?;
    let cache = Cache::open(Cache::default_path()?)?;
    say_when_stopped(
        "what was sent stays in the registry",
        "run the same command again: it goes on where this one stopped",
    );
    let push = Push {
        client: &client,
        cache: &cache,
        progress: &progress,
        mount_from: args.mount_from.as_deref(),
        piece: PIECE_BYTES,
    };
    let image = Image {
        manifest: &archive.image.bytes,
        blobs: blobs(&archive, &file)?,
        descriptor,
    };
    let pushed = push
        .run(&image, &attachments, reference.tag.as_deref())
        .with_context(|| format!("pushing to {reference}"))?;
    tell(
        args,
        &reference.to_string(),
        &image.descriptor.digest,
        pushed,
    )
}

/// The configuration and the layers, where they lie in the archive.
fn blobs<'a>(archive: &OciArchive, file: &'a File) -> Result<Vec<Blob<'a>>> {
    let manifest = &archive.image.manifest;
    std::iter::once(&manifest.config)
        .chain(&manifest.layers)
        .map(|descriptor| {
            Ok(Blob {
                descriptor: descriptor.clone(),
                source: Source::File(file, archive.offset(descriptor)?),
            })
        })
        .collect()
}

/// A file beside the archive.
struct Beside {
    kind: &'static str,
    name: String,
    bytes: Vec<u8>,
}

fn load_beside(archive: &Path) -> Result<Vec<Beside>> {
    let name = archive.file_name().and_then(|name| name.to_str());
    let Some(stem) = name.and_then(|name| name.strip_suffix(ARCHIVE)) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for (ending, kind) in BESIDE {
        let name = format!("{stem}{ending}");
        let path = archive.with_file_name(&name);
        match fs::read(&path) {
            Ok(bytes) => found.push(Beside { kind, name, bytes }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
        }
    }
    Ok(found)
}

fn attachments<'a>(beside: &'a [Beside], archive: &OciArchive) -> Vec<Attachment<'a>> {
    // The image's own time: the same files are the same artifacts.
    let created = archive.image.manifest.annotations.get(CREATED).cloned();
    let created = created.map(|created| (CREATED.to_owned(), created));
    let annotations = Annotations::from_iter(created);
    let attachment = |one: &'a Beside| Attachment {
        kind: one.kind,
        name: &one.name,
        bytes: &one.bytes,
        annotations: annotations.clone(),
    };
    beside.iter().map(attachment).collect()
}

fn tell(args: &PushArgs, reference: &str, digest: &str, pushed: Pushed) -> Result<()> {
    let Pushed {
        sent,
        kept,
        mounted,
    } = pushed;
    if args.registry.json {
        let line = json!({
            "event": "pushed", "reference": reference, "digest": digest, "sent": sent,
            "kept": kept, "mounted": mounted,
        });
        return say(&format!("{line}\n"));
    }
    let mounted = match mounted {
        0 => String::new(),
        bytes => format!(", {bytes} came from another repository"),
    };
    say(&format!(
        "{reference} is {digest}: {sent} bytes sent, {kept} were there{mounted}\n"
    ))
}
