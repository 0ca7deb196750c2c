//! `mailimg push`: an OCI archive goes to a registry with what was built beside it, and an
//! update of the disk image too.
//!
//! Bill of materials and manifest become artifacts about the image, if they lie beside the
//! archive as `mailimg build` writes them.

mod update;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use self::update::UpdateFolder;
use super::registry::RegistryArgs;
use super::signals::say_when_stopped;
use crate::builder::fetch::Cache;
use crate::builder::registry::{Artifact, Attachment, Blob, PIECE_BYTES, Push, Pushed, Source};
use crate::builder::write::oci::{OciArchive, read_archive};
use crate::error::{Hint, hinted};
use crate::format::oci::{
    Annotations, CREATED, Descriptor, Platform, Reference, VERSION, parse_oci_reference,
};
use crate::format::update::ARTIFACT_TYPE;
use crate::print::say;

/// How an archive's name ends.
const ARCHIVE: &str = ".oci.tar";
/// What may lie beside an archive: how its name ends, and what it is.
const BESIDE: [(&str, &str); 2] = [
    (".spdx.json", "application/spdx+json"),
    (".manifest.json", "application/vnd.mailimg.manifest.v1+json"),
];

/// Arguments of `mailimg push`.
#[derive(Args, Debug)]
pub struct PushArgs {
    /// An archive of `mailimg build --format oci`, with NAME.spdx.json and NAME.manifest.json
    /// if they lie beside it; a folder of `mailimg sign`; or one of each, for one tag
    #[arg(required = true)]
    sources: Vec<PathBuf>,
    /// Where to: oci://REGISTRY/REPOSITORY:TAG
    reference: String,
    /// Another repository of the same registry, whose layers need not be sent
    #[arg(long, value_name = "REPOSITORY")]
    mount_from: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Pushes archives and updates.
pub fn run_push(args: &PushArgs) -> Result<()> {
    let reference = parse_oci_reference(&args.reference)?;
    let sources = args.sources.iter().map(|path| Pushable::load(path));
    let sources = sources.collect::<Result<Vec<Pushable>>>()?;
    let artifacts = sources
        .iter()
        .map(Pushable::artifact)
        .collect::<Result<Vec<Artifact<'_>>>>()?;
    check_sources(&artifacts, &reference)?;
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
    let pushed = push
        .run(&artifacts, reference.tag.as_deref())
        .with_context(|| format!("pushing to {reference}"))?;
    tell(args, &reference.to_string(), &artifacts, &pushed)
}

/// What one source is.
enum Pushable {
    Archive(Box<Archive>),
    Update(Box<UpdateFolder>),
}

/// An archive with what lies beside it.
struct Archive {
    file: File,
    archive: OciArchive,
    beside: Vec<Attachment>,
}

impl Pushable {
    fn load(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::Update(Box::new(UpdateFolder::load(path)?)));
        }
        let reading = || format!("reading the OCI archive {}", path.display());
        let file = File::open(path).with_context(reading)?;
        let archive = read_archive(&file).with_context(reading).hint_where_none(
            "`mailimg push` takes what `mailimg build --format oci` and `mailimg sign` write",
        )?;
        let beside = load_beside(path, &archive)?;
        Ok(Self::Archive(Box::new(Archive {
            file,
            archive,
            beside,
        })))
    }

    fn artifact(&self) -> Result<Artifact<'_>> {
        match self {
            Self::Archive(source) => {
                let image = &source.archive.image;
                let mut descriptor = image.descriptor.clone();
                descriptor.annotations = image.manifest.annotations.clone();
                descriptor.platform = Some(Platform::ours());
                Ok(Artifact {
                    manifest: &image.bytes,
                    descriptor,
                    blobs: blobs(&source.archive, &source.file)?,
                    attachments: &source.beside,
                })
            }
            Self::Update(folder) => Ok(folder.artifact()),
        }
    }
}

/// Refuses what cannot lie under one name.
fn check_sources(artifacts: &[Artifact<'_>], reference: &Reference) -> Result<()> {
    let kinds: BTreeSet<_> = artifacts
        .iter()
        .map(|artifact| &artifact.descriptor.artifact_type)
        .collect();
    if kinds.len() < artifacts.len() {
        return Err(hinted(
            format!("pushing to {reference}: two of these would be the same thing under one tag"),
            "name one archive, one folder, or one of each",
        ))
        .usage();
    }
    match (&reference.digest, artifacts) {
        (None, _) => Ok(()),
        (Some(digest), [one]) if *digest == one.descriptor.digest => Ok(()),
        (Some(_), all) => Err(hinted(
            format!(
                "pushing to {reference}: what is pushed has the digest {}",
                all[0].descriptor.digest
            ),
            "write a tag instead of the digest",
        ))
        .usage(),
    }
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

fn load_beside(path: &Path, archive: &OciArchive) -> Result<Vec<Attachment>> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(stem) = name.and_then(|name| name.strip_suffix(ARCHIVE)) else {
        return Ok(Vec::new());
    };
    // The image's own time: the same files are the same artifacts.
    let created = archive.image.manifest.annotations.get(CREATED).cloned();
    let created = created.map(|created| (CREATED.to_owned(), created));
    let annotations = Annotations::from_iter(created);
    let mut found = Vec::new();
    for (ending, kind) in BESIDE {
        let name = format!("{stem}{ending}");
        let path = path.with_file_name(&name);
        match fs::read(&path) {
            Ok(bytes) => found.push(Attachment {
                kind,
                name,
                bytes,
                annotations: annotations.clone(),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
        }
    }
    Ok(found)
}

fn tell(
    args: &PushArgs,
    reference: &str,
    artifacts: &[Artifact<'_>],
    pushed: &Pushed,
) -> Result<()> {
    let digests: Vec<&str> = artifacts
        .iter()
        .map(|artifact| artifact.descriptor.digest.as_str())
        .collect();
    let (sent, kept, mounted) = (pushed.sent, pushed.kept, pushed.mounted);
    let stayed: Vec<String> = pushed.stayed.iter().map(describe).collect();
    if args.registry.json {
        let line = json!({
            "event": "pushed", "reference": reference, "digest": digests[0], "digests": digests,
            "sent": sent, "kept": kept, "mounted": mounted, "stayed": stayed,
        });
        return say(&format!("{line}\n"));
    }
    let mounted = match mounted {
        0 => String::new(),
        bytes => format!(", {bytes} came from another repository"),
    };
    let mut text = format!(
        "{reference} is {}: {sent} bytes sent, {kept} were there{mounted}\n",
        digests.join(" and ")
    );
    for one in stayed {
        text.push_str(&format!("The tag still has {one} besides.\n"));
    }
    say(&text)
}

/// What an entry of a tag is, for people.
fn describe(entry: &Descriptor) -> String {
    let what = match entry.artifact_type.as_deref() {
        Some(ARTIFACT_TYPE) => "the update".to_owned(),
        Some(other) => format!("'{other}'"),
        None => "the image".to_owned(),
    };
    let version = entry.annotations.get(VERSION);
    let version = version.map_or(String::new(), |version| format!(" {version}"));
    format!("{what}{version}, {}", entry.digest)
}
