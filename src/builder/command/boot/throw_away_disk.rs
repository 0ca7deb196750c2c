//! A throw-away disk over an image that is only read.
//!
//! qcow2 with a backing file:
//! <https://www.qemu.org/docs/master/interop/qcow2.html>.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::qemu::path_option;
use crate::builder::write::qcow2::{MAGIC, Qcow2, check_alone, write_overlay};
use crate::error::{Hint, hinted};
use crate::format::bios::MBR_CODE;
use crate::format::storage::Storage;

/// Size that a smaller image's disk is given, in bytes: a raw image ends after
/// its first root slot, and the machine makes its second one and `/var` behind.
pub const MINIMUM_DISK_BYTES: u64 = 8 << 30;

/// Where its header has the virtual size, 64 bits big-endian.
const QCOW2_SIZE_OFFSET: usize = 24;
/// Last two bytes of a protective MBR, which every raw image begins with.
const MBR_SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// As much as tells the formats apart.
const HEADER_BYTES: usize = 512;

/// Disks are whole numbers of these, in bytes.
const SECTOR: u64 = 512;

/// How a disk image is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// As on a disk.
    Raw,
    /// QEMU's format.
    Qcow2,
}

impl DiskFormat {
    /// The name QEMU has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// A disk image that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskImage {
    /// Absolute path.
    pub path: PathBuf,
    /// How it is stored.
    pub format: DiskFormat,
    /// Size of the disk, in bytes.
    pub bytes: u64,
}

impl DiskImage {
    /// Looks at the head of a file; what is no disk image is refused.
    pub fn open(path: &Path) -> Result<Self> {
        let doing = || format!("opening image {}", path.display());
        let absolute = std::fs::canonicalize(path)
            .with_context(doing)
            .hint("name a disk image that `mailimg build` made, `out/mail_VERSION.raw`")?;
        let mut file = File::open(&absolute).with_context(doing)?;
        let mut header = [0; HEADER_BYTES];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(not_an_image(path));
            }
            other => other.with_context(doing)?,
        }
        let (format, bytes) = if header[..4] == MAGIC {
            check_alone(&file).with_context(doing)?;
            let size = header[QCOW2_SIZE_OFFSET..QCOW2_SIZE_OFFSET + 8].try_into()?;
            (DiskFormat::Qcow2, u64::from_be_bytes(size))
        } else if header[HEADER_BYTES - 2..] == MBR_SIGNATURE {
            (
                DiskFormat::Raw,
                file.seek(SeekFrom::End(0)).with_context(doing)?,
            )
        } else {
            return Err(not_an_image(path));
        };
        Ok(Self {
            path: absolute,
            format,
            bytes,
        })
    }

    /// Refuses a disk whose MBR holds no code, which BIOS would wait on for ever.
    ///
    /// A qcow2 image that only QEMU can read is left to it.
    pub fn check_boot_code(&self) -> Result<()> {
        let file = File::open(&self.path)
            .with_context(|| format!("opening image {}", self.path.display()))?;
        let mut code = [0; MBR_CODE];
        let read = match self.format {
            DiskFormat::Raw => (&file).read_at(&mut code, 0).is_ok(),
            DiskFormat::Qcow2 => {
                Qcow2::open(&file).is_ok_and(|disk| disk.read_at(&mut code, 0).is_ok())
            }
        };
        if read && code.iter().all(|byte| *byte == 0) {
            return Err(hinted(
                format!(
                    "starting {} by BIOS: it has no boot code for it",
                    self.path.display()
                ),
                "leave `--firmware bios` out, or build the image again from a recipe that has \
                 grub-pc-bin among its packages and in `build_only`",
            ));
        }
        Ok(())
    }

    /// Makes a qcow2 file that holds only what differs from this image.
    pub fn make_overlay(&self, overlay: &Path, minimum_bytes: u64) -> Result<()> {
        let bytes = self.bytes.max(minimum_bytes).next_multiple_of(SECTOR);
        File::create(overlay)
            .map_err(anyhow::Error::from)
            .and_then(|file| write_overlay(&file, &self.path, self.format.name(), bytes))
            .with_context(|| format!("making a throw-away disk over {}", self.path.display()))
    }
}

fn not_an_image(path: &Path) -> anyhow::Error {
    hinted(
        format!(
            "opening image {}: neither a raw disk nor qcow2",
            path.display()
        ),
        "unpack a compressed image first; name a file like `out/mail_VERSION.raw`",
    )
}

/// QEMU's options for the machine's only disk.
///
/// Nothing on it outlives the host's page cache, so QEMU never waits for the
/// host's disk.
pub fn disk_arguments(disk: &Path) -> Vec<String> {
    vec![
        "-drive".to_owned(),
        format!(
            "if=none,id=disk0,format=qcow2,cache=unsafe,discard=unmap,{}",
            path_option("file", disk)
        ),
        "-device".to_owned(),
        "virtio-blk-pci,drive=disk0,bootindex=1".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::{DiskFormat, DiskImage};

    fn message(path: &std::path::Path) -> String {
        crate::error::render(&DiskImage::open(path).unwrap_err())
    }

    #[test]
    fn formats_and_sizes_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("disk.raw");
        let mut bytes = vec![0; 4096];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(&raw, &bytes).unwrap();
        let image = DiskImage::open(&raw).unwrap();
        assert_eq!((image.format, image.bytes), (DiskFormat::Raw, 4096));

        let qcow2 = folder.path().join("disk.qcow2");
        bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        bytes[24..32].copy_from_slice(&(3_u64 << 30).to_be_bytes());
        std::fs::write(&qcow2, &bytes).unwrap();
        let image = DiskImage::open(&qcow2).unwrap();
        assert_eq!((image.format, image.bytes), (DiskFormat::Qcow2, 3 << 30));
    }

    /// QEMU would have read any file of the user for it.
    #[test]
    fn an_image_over_another_file_is_not_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.qcow2");
        let mut bytes = vec![0; 4096];
        bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        for at in [15, 79] {
            let mut bytes = bytes.clone();
            bytes[at] = 4;
            std::fs::write(&path, &bytes).unwrap();
            let text = message(&path);
            assert!(text.starts_with("error: opening image "), "{text}");
            assert!(
                text.contains("another") && text.contains("\nhint: "),
                "{text}"
            );
        }
    }

    #[test]
    fn a_disk_without_boot_code_is_not_started_by_bios() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("disk.raw");
        let mut bytes = vec![0; 4096];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(&raw, &bytes).unwrap();
        let text = crate::error::render(
            &DiskImage::open(&raw)
                .unwrap()
                .check_boot_code()
                .unwrap_err(),
        );
        assert!(
            text.contains("disk.raw by BIOS: it has no boot code for it\nhint: leave"),
            "{text}"
        );
        bytes[0] = 0xeb;
        std::fs::write(&raw, &bytes).unwrap();
        DiskImage::open(&raw).unwrap().check_boot_code().unwrap();
    }

    #[test]
    fn what_is_no_image_is_refused_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let short = folder.path().join("short");
        std::fs::write(&short, "tiny").unwrap();
        let text = message(&short);
        assert!(
            text.contains("neither a raw disk nor qcow2\nhint: unpack"),
            "{text}"
        );
        let text = message(&folder.path().join("missing"));
        assert!(text.contains("missing: No such file"), "{text}");
        assert!(text.contains("\nhint: name a disk image"), "{text}");
    }
}
