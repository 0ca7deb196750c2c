//! Where a partition lies in a raw image (UEFI specification 2.10, chapter 5,
//! <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html>).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Size of a logical block.
const BLOCK: u64 = 512;

/// The first byte of the partition whose label is accepted.
pub fn find_partition(image: &Path, accept: impl Fn(&str) -> bool) -> Result<u64> {
    let file = File::open(image)?;
    let read = |offset, length| -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset)
            .context("reading the partition table")?;
        Ok(bytes)
    };
    let header = read(BLOCK, 92)?;
    ensure!(
        header.starts_with(b"EFI PART"),
        "{} has no GPT",
        image.display()
    );
    let number = |bytes: &[u8], at: usize| -> Result<u64> {
        Ok(u64::from_le_bytes(bytes[at..at + 8].try_into()?))
    };
    let count = u32::from_le_bytes(header[80..84].try_into()?);
    let size = u32::from_le_bytes(header[84..88].try_into()?);
    let table = number(&header, 72)? * BLOCK;
    for index in 0..u64::from(count) {
        let entry = read(table + index * u64::from(size), 128)?;
        let units: Vec<u16> = entry[56..]
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .take_while(|&unit| unit != 0)
            .collect();
        let start = number(&entry, 32)?;
        if start != 0 && accept(&String::from_utf16_lossy(&units)) {
            return Ok(start * BLOCK);
        }
    }
    anyhow::bail!("{} has no such partition", image.display())
}
