//! A folder of `mailimg sign` as what a registry keeps: one manifest, and a blob for each file.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::builder::registry::{Artifact, Blob, Checked, Source};
use crate::error::Hint;
use crate::format::oci::{
    Annotations, CREATED, Descriptor, EMPTY, EMPTY_TYPE, MANIFEST_TYPE, Manifest, Platform, TITLE,
    VERSION, to_json,
};
use crate::format::update::{
    ARTIFACT_TYPE, INDEX, PACK, Part, SIGNATURES, SIGNATURES_LIMIT, UPDATE_FILE, UPDATE_LIMIT,
    Update,
};

/// Media type of files that have none of their own.
const BYTES_TYPE: &str = "application/octet-stream";

/// A folder that was read.
pub(super) struct UpdateFolder {
    manifest: Vec<u8>,
    descriptor: Descriptor,
    files: Vec<(Descriptor, File)>,
}

impl UpdateFolder {
    /// Reads a folder, and checks that all of it is there.
    pub fn load(folder: &Path) -> Result<Self> {
        let reading = || format!("reading the update in {}", folder.display());
        Self::read(folder)
            .with_context(reading)
            .hint_where_none("`mailimg sign IMAGE --key FILE --into FOLDER` writes it again")
    }

    fn read(folder: &Path) -> Result<Self> {
        let (text, file) = small(folder, UPDATE_FILE, UPDATE_LIMIT)?;
        let update = Update::parse(&text).with_context(|| format!("reading {UPDATE_FILE}"))?;
        let mut said = Descriptor::of(ARTIFACT_TYPE, &text);
        said.annotations = title(UPDATE_FILE);
        let mut files = vec![(said, file)];

        let name = Part::of(&text).path(SIGNATURES);
        let (signatures, file) = small(folder, &name, SIGNATURES_LIMIT)?;
        let mut signed = Descriptor::of(BYTES_TYPE, &signatures);
        signed.annotations = title(&name);
        files.push((signed, file));
        for packed in [&update.root.blocks, &update.kernel.pieces] {
            for (part, ending) in [(&packed.index, INDEX), (&packed.pack, PACK)] {
                files.push(part_of(folder, part, ending)?);
            }
        }
        let annotations = Annotations::from(
            [
                (TITLE, &update.image),
                (VERSION, &update.version),
                (CREATED, &update.created),
            ]
            .map(|(name, value)| (name.to_owned(), value.clone())),
        );
        let manifest = to_json(&Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: Some(ARTIFACT_TYPE.to_owned()),
            config: Descriptor::of(EMPTY_TYPE, EMPTY),
            layers: files.iter().map(|(file, _)| file.clone()).collect(),
            subject: None,
            annotations: annotations.clone(),
        })?;
        let mut descriptor = Descriptor::of(MANIFEST_TYPE, &manifest);
        descriptor.artifact_type = Some(ARTIFACT_TYPE.to_owned());
        descriptor.annotations = annotations;
        descriptor.platform = Some(Platform::none());
        Ok(Self {
            manifest,
            descriptor,
            files,
        })
    }

    /// What is pushed of it.
    pub fn artifact(&self) -> Artifact<'_> {
        let empty = Blob {
            descriptor: Descriptor::of(EMPTY_TYPE, EMPTY),
            source: Source::Bytes(EMPTY),
        };
        let files = self.files.iter().map(|(descriptor, file)| Blob {
            descriptor: descriptor.clone(),
            source: Source::File(file, 0),
        });
        Artifact {
            manifest: &self.manifest,
            descriptor: self.descriptor.clone(),
            blobs: std::iter::once(empty).chain(files).collect(),
            attachments: &[],
        }
    }
}

fn title(path: &str) -> Annotations {
    Annotations::from([(TITLE.to_owned(), path.to_owned())])
}

fn open(folder: &Path, path: &str) -> Result<File> {
    File::open(folder.join(path)).with_context(|| format!("opening {path}"))
}

fn small(folder: &Path, path: &str, limit: u64) -> Result<(Vec<u8>, File)> {
    let file = open(folder, path)?;
    let length = file.metadata()?.len();
    ensure!(length <= limit, "{path} has more than {limit} bytes");
    let bytes = std::fs::read(folder.join(path)).with_context(|| format!("reading {path}"))?;
    Ok((bytes, file))
}

/// A part, which has to be what its name says.
fn part_of(folder: &Path, part: &Part, ending: &str) -> Result<(Descriptor, File)> {
    let path = part.path(ending);
    let file = open(folder, &path)?;
    let mut descriptor = Descriptor {
        digest: format!("sha256:{}", part.sha256),
        size: part.size,
        ..Descriptor::of(BYTES_TYPE, &[])
    };
    io::copy(&mut Checked::new(&file, &descriptor), &mut io::sink())
        .with_context(|| format!("{path} is not what was signed"))
        .hint("the folder is damaged or half copied: copy it again, or sign the image again")?;
    descriptor.annotations = title(&path);
    Ok((descriptor, file))
}
