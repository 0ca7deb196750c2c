//! The superblock of an EROFS image and its CRC-32C.
//!
//! Layout: `struct erofs_super_block` of the kernel's `fs/erofs/erofs_fs.h`.

use anyhow::{Result, ensure};

use super::sizes::BLOCK;

/// Where the superblock begins, in bytes.
const OFFSET: usize = 1024;
const MAGIC: u32 = 0xE0F5_E1E2;
/// The checksum is to be verified.
const COMPAT_CHECKSUM: u32 = 1;
/// The times of inodes are modification times.
const COMPAT_MTIME: u32 = 2;
/// The reflected CRC-32C (Castagnoli) polynomial, RFC 3720 appendix B.4.
const CASTAGNOLI: u32 = 0x82F6_3B78;

/// What a superblock says.
pub(super) struct Superblock {
    pub root_nid: u16,
    pub inodes: u64,
    pub build_time: u64,
    pub blocks: u32,
    pub uuid: [u8; 16],
}

impl Superblock {
    /// Block 0 of the image.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK as usize];
        let mut put = |offset: usize, bytes: &[u8]| {
            block[OFFSET + offset..OFFSET + offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &MAGIC.to_le_bytes());
        put(8, &(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
        put(12, &[BLOCK.trailing_zeros() as u8]);
        put(14, &self.root_nid.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(24, &self.build_time.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        // Node ids count from block 0: meta_blkaddr at 40 stays 0.
        put(48, &self.uuid);
        let checksum = crc32c(&block[OFFSET..]);
        block[OFFSET + 4..OFFSET + 8].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// Reads block 0 of an image that [`Self::encode`] made.
    pub fn decode(block: &[u8]) -> Result<Self> {
        let four = |offset: usize| {
            let at = OFFSET + offset;
            u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        ensure!(four(0) == MAGIC, "it is no EROFS file system");
        let mut zeroed = block.to_vec();
        zeroed[OFFSET + 4..OFFSET + 8].fill(0);
        ensure!(
            crc32c(&zeroed[OFFSET..]) == four(4),
            "its superblock has a wrong checksum"
        );
        // Block size, start of the inodes, features that a reader must know.
        ensure!(
            block[OFFSET + 12] == BLOCK.trailing_zeros() as u8 && four(40) == 0 && four(80) == 0,
            "it has features that mailimg never writes"
        );
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&block[OFFSET + 48..OFFSET + 64]);
        Ok(Self {
            root_nid: (four(12) >> 16) as u16,
            inodes: u64::from(four(16)) | u64::from(four(20)) << 32,
            build_time: u64::from(four(24)) | u64::from(four(28)) << 32,
            blocks: four(36),
            uuid,
        })
    }
}

/// CRC-32C as the kernel's `crc32c(~0, ...)` gives it: not inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (CASTAGNOLI & (crc & 1).wrapping_neg());
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn crc32c_gives_the_published_check_value() {
        // Check value of CRC-32C for the nine digits: E3069283.
        assert_eq!(!crc32c(b"123456789"), 0xE306_9283);
    }
}
