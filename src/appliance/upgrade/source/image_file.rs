//! An image as `mailimg build` makes it, raw, in a file: plain or compressed by zstd.
//!
//! From standard input, or compressed, it is laid down below /var first, without its
//! zeros, since its parts are not needed in their order. Left out: qcow2, which is for
//! hypervisors.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{Source, Take};
use crate::appliance::machine::files::ensure_folder;
use crate::appliance::machine::place::{self, Place};
use crate::error::{Hint, hinted};
use crate::format::delta::cut_blocks;
use crate::format::image::{IS_RAW, Image, Offer, Prefix};
use crate::format::storage::is_zero;
use crate::format::verity::BLOCK;

/// First bytes of what zstd made, RFC 8878, section 3.1.1.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// First bytes of qcow2.
const QCOW2: [u8; 4] = *b"QFI\xfb";
/// Largest image that is laid down, in bytes; ours have 2 GiB.
const IMAGE_LIMIT: u64 = 16 << 30;
/// Bytes that have to stay free on /var for mail.
const KEPT_FREE: u64 = 256 << 20;

/// Opens a file, or standard input for `-`.
pub fn open(place: &Place, path: &Path) -> Result<Image> {
    if path == Path::new("-") {
        let file = lay_down(place, &mut std::io::stdin().lock())
            .context("reading an image from standard input")?;
        return Image::read(file).context("reading the image from standard input");
    }
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut magic = [0; 4];
    let short = file.read_exact_at(&mut magic, 0).is_err();
    let file = match magic {
        QCOW2 => Err(hinted(
            "this is a qcow2 image, which is for hypervisors",
            "take the .raw of the same build",
        )),
        _ if short => Err(hinted("it is too short for an image", IS_RAW)),
        ZSTD => lay_down(place, &mut file),
        _ => Ok(file),
    };
    file.and_then(Image::read)
        .with_context(|| format!("reading {}", path.display()))
}

impl Source for Image {
    fn offer(&self) -> &Offer {
        &self.offer
    }

    fn index(&mut self) -> Result<Vec<Prefix>> {
        Ok(self.index.clone())
    }

    fn fetch(&mut self, wanted: &[Range<u64>], take: &mut Take<'_>) -> Result<()> {
        let mut buffer = Vec::new();
        for piece in cut_blocks(wanted) {
            buffer.resize((piece.end - piece.start) as usize * BLOCK, 0);
            self.read_blocks(piece.start, &mut buffer)?;
            take(piece.start, &buffer)?;
        }
        Ok(())
    }

    fn kernel_size(&self) -> u64 {
        self.kernel.len() as u64
    }

    fn kernel(&mut self) -> Result<Vec<u8>> {
        Ok(self.kernel.clone())
    }
}

/// Writes a stream to a file without a name below /var, leaving out zeros.
fn lay_down(place: &Place, stream: &mut dyn Read) -> Result<File> {
    let folder = place.path(place::STATE);
    ensure_folder(&folder, 0o755, None)?;
    let mut file = tempfile::tempfile_in(&folder)
        .with_context(|| format!("making a file in {}", folder.display()))?;
    let mut magic = [0; 4];
    stream
        .read_exact(&mut magic)
        .context("it is too short for an image")
        .hint(IS_RAW)?;
    let whole = magic.chain(stream);
    if magic == ZSTD {
        let mut decoder = zstd::Decoder::new(whole).context("starting to decompress")?;
        copy_sparse(&mut decoder, &mut file)?;
    } else {
        let mut whole = whole;
        copy_sparse(&mut whole, &mut file)?;
    }
    Ok(file)
}

fn copy_sparse(stream: &mut dyn Read, file: &mut File) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0u64;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match stream
                .read(&mut buffer[filled..])
                .context("reading the image")?
            {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            break;
        }
        length += filled as u64;
        ensure!(length <= IMAGE_LIMIT, "it has no end");
        for piece in buffer[..filled].chunks(64 << 10) {
            if is_zero(piece) {
                file.seek(SeekFrom::Current(piece.len() as i64))?;
            } else {
                file.write_all(piece)
                    .context("laying the image down in /var")?;
            }
        }
        let room = rustix::fs::fstatvfs(&*file).context("asking how much of /var is free")?;
        if room.f_bavail * room.f_frsize < KEPT_FREE {
            return Err(hinted(
                "laying the image down in /var: the rest of the disk is needed for mail",
                "`mailctl upgrade FILE` with a file on another disk needs no room in /var",
            ));
        }
    }
    file.set_len(length)
        .context("laying the image down in /var")?;
    Ok(())
}
