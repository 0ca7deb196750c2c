//! One side of a comparison: an image, a lock or a manifest, and what it knows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use object::{Object, ObjectSection};

use crate::builder::bill::{BILL_PATH, Document, debian_packages, file_origins};
use crate::builder::compose::{MANIFEST_PATH, Manifest, Sizes};
use crate::builder::lock::{Lock, Pinned};
use crate::builder::seal::erofs::{Root, Stat};
use crate::builder::write::qcow2::{self, Qcow2};
use crate::error::Hint;
use crate::format::fat::Volume;
use crate::format::gpt::{TYPE_ESP, TYPE_ROOT, read_gpt};
use crate::format::storage::{Region, Storage};

/// Largest lock or manifest that is read, in bytes.
const TEXT_LIMIT: u64 = 64 << 20;

/// Folder of the unified kernel images on the boot partition.
const KERNELS: &str = "EFI/Linux";

const HINT: &str = "`mailimg diff` takes images that `mailimg build` made, raw or qcow2, \
                    and files that end in .lock or .manifest.json";
const NEWER: &str = "a file of a newer mailimg needs that mailimg: see `mailimg --version`";

/// What one side knows; what it does not know is empty or nothing.
#[derive(Default)]
pub(in crate::builder::command) struct Subject {
    pub packages: Vec<Pinned>,
    pub lock: Option<Lock>,
    pub settings: Vec<String>,
    /// Version of the kernel.
    pub kernel: Option<String>,
    pub sizes: Option<Sizes>,
    /// Every path of the root.
    pub files: Option<BTreeMap<String, Stat>>,
    /// What brought each regular file.
    pub origins: BTreeMap<String, String>,
}

impl Subject {
    /// Reads a file of any of the three kinds.
    pub fn load(path: &Path) -> Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(anyhow!("there is no such file")).hint(HINT).usage();
            }
            Err(error) => return Err(error).hint(HINT),
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("lock") => {
                let lock = Lock::parse(&text(&file)?).hint(NEWER)?;
                Ok(Self {
                    packages: lock.pinned(),
                    lock: Some(lock),
                    ..Self::default()
                })
            }
            Some("json") => {
                let manifest = serde_json::from_str(&text(&file)?)
                    .context("reading the manifest")
                    .hint(NEWER)?;
                Ok(Self::of_manifest(manifest))
            }
            _ => Self::of_image(&file).hint(HINT),
        }
    }

    fn of_manifest(manifest: Manifest) -> Self {
        let packages = manifest.packages.into_iter();
        Self {
            packages: packages
                .map(|package| Pinned {
                    name: package.name,
                    version: package.version,
                    sha256: package.sha256,
                })
                .collect(),
            settings: manifest.settings,
            kernel: manifest.kernel,
            sizes: manifest.sizes,
            ..Self::default()
        }
    }

    fn of_image(file: &File) -> Result<Self> {
        let mut magic = [0; qcow2::MAGIC.len()];
        let start = std::os::unix::fs::FileExt::read_exact_at(file, &mut magic, 0);
        if start.is_ok() && magic == qcow2::MAGIC {
            Self::of_disk(&mut Qcow2::open(file)?)
        } else {
            Self::of_disk(&mut &*file)
        }
    }

    fn of_disk(disk: &mut dyn Storage) -> Result<Self> {
        let table = read_gpt(disk)?;
        let partition = table
            .find(&TYPE_ROOT)
            .context("finding the root: the image has no such partition")?;
        let size = disk.size()?;
        let (root_size, files, manifest, bill) = {
            let disk = &*disk;
            let read_at = |buffer: &mut [u8], offset: u64| {
                disk.read_at(buffer, partition.offset().saturating_add(offset))
            };
            let root = Root::open(&read_at, partition.size()).context("reading the root")?;
            let manifest = root.read(MANIFEST_PATH).context("reading the root")?;
            let bill = root.read(BILL_PATH).context("reading the root")?;
            let files = root.stats().context("reading the root")?;
            (root.size(), files, manifest, bill)
        };
        let bill: Option<Document> = match bill {
            Some(bytes) => Some(
                serde_json::from_slice(&bytes)
                    .with_context(|| format!("reading /{BILL_PATH} of the image"))?,
            ),
            None => None,
        };
        let mut subject = match (manifest, &bill) {
            (Some(bytes), _) => Self::of_manifest(
                serde_json::from_slice(&bytes)
                    .with_context(|| format!("reading /{MANIFEST_PATH} of the image"))?,
            ),
            (None, Some(bill)) => Self {
                packages: debian_packages(bill),
                ..Self::default()
            },
            (None, None) => {
                return Err(anyhow!(
                    "reading the root: neither /{MANIFEST_PATH} nor /{BILL_PATH} is in it"
                ));
            }
        };
        subject.origins = bill.as_ref().map(file_origins).unwrap_or_default();
        subject.files = Some(files);
        let esp = table
            .find(&TYPE_ESP)
            .context("finding the boot partition: the image has none")?;
        let mut region = Region::new(disk, esp.offset(), esp.size())?;
        let (kernel, initrd) = kernel_sizes(&mut region).context("reading the boot partition")?;
        subject.sizes = Some(Sizes {
            root: root_size,
            kernel,
            initrd,
            image: size,
        });
        Ok(subject)
    }
}

/// The sizes of the kernel and initrd in the unified kernel image.
fn kernel_sizes(disk: &mut dyn Storage) -> Result<(u64, u64)> {
    let volume = Volume::open(disk)?;
    let kernels = volume.list(KERNELS)?;
    let entry = kernels
        .last()
        .with_context(|| format!("finding the kernel: /{KERNELS} is empty"))?;
    let bytes = volume.read(&format!("{KERNELS}/{}", entry.name))?;
    let program = object::File::parse(&*bytes).context("reading the kernel")?;
    let size = |name| program.section_by_name(name).map_or(0, |part| part.size());
    Ok((size(".linux"), size(".initrd")))
}

fn text(file: &File) -> Result<String> {
    let length = file.metadata().map(|metadata| metadata.len());
    if length.is_ok_and(|length| length > TEXT_LIMIT) {
        return Err(anyhow!("it is too large for a lock or a manifest")).hint(HINT);
    }
    let mut text = String::new();
    file.take(TEXT_LIMIT).read_to_string(&mut text).hint(HINT)?;
    Ok(text)
}
