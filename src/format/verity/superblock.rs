//! The superblock that stands before a dm-verity hash tree.
//!
//! Layout: <https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity>.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// Size of data and hash blocks in bytes.
pub const BLOCK: usize = 4096;
const SIGNATURE: &[u8; 8] = b"verity\0\0";
const VERSION: u32 = 1;
/// Salt before the block and padded hash blocks; 0 would be Chrome OS's.
const HASH_TYPE: u32 = 1;
const ALGORITHM: &[u8] = b"sha256";
/// Places of the fields, in bytes.
const AT_VERSION: usize = 8;
const AT_HASH_TYPE: usize = 12;
const AT_UUID: usize = 16;
const AT_ALGORITHM: usize = 32;
const AT_DATA_BLOCK_SIZE: usize = 64;
const AT_HASH_BLOCK_SIZE: usize = 68;
const AT_DATA_BLOCKS: usize = 72;
const AT_SALT_SIZE: usize = 80;
const AT_SALT: usize = 88;
/// Longest salt in bytes.
const SALT_MAX: usize = 256;

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superblock {
    /// Names the tree, for people.
    pub uuid: [u8; 16],
    /// Blocks of the root.
    pub data_blocks: u64,
    /// What is hashed before each block.
    pub salt: Vec<u8>,
}

impl Superblock {
    /// The first block of the hash partition.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let mut put = |offset: usize, bytes: &[u8]| {
            block[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, SIGNATURE);
        put(AT_VERSION, &VERSION.to_le_bytes());
        put(AT_HASH_TYPE, &HASH_TYPE.to_le_bytes());
        put(AT_UUID, &self.uuid);
        put(AT_ALGORITHM, ALGORITHM);
        put(AT_DATA_BLOCK_SIZE, &(BLOCK as u32).to_le_bytes());
        put(AT_HASH_BLOCK_SIZE, &(BLOCK as u32).to_le_bytes());
        put(AT_DATA_BLOCKS, &self.data_blocks.to_le_bytes());
        put(AT_SALT_SIZE, &(self.salt.len() as u16).to_le_bytes());
        put(AT_SALT, &self.salt);
        block
    }

    /// Reads the first block of a hash partition.
    ///
    /// Fails when it is anything else than what [`Self::encode`] writes.
    pub fn decode(block: &[u8]) -> Result<Self> {
        if !block.starts_with(SIGNATURE) {
            bail!("reading the verity superblock: no signature");
        }
        let salt_size = usize::from(u16::from_le_bytes(bytes_at(block, AT_SALT_SIZE)));
        if salt_size > SALT_MAX {
            bail!("reading the verity superblock: a salt of {salt_size} bytes");
        }
        let superblock = Self {
            uuid: bytes_at(block, AT_UUID),
            data_blocks: u64::from_le_bytes(bytes_at(block, AT_DATA_BLOCKS)),
            salt: block[AT_SALT..AT_SALT + salt_size].to_vec(),
        };
        if superblock.encode() != block {
            bail!("reading the verity superblock: not SHA-256 over blocks of {BLOCK} bytes");
        }
        if superblock.data_blocks == 0 || superblock.data_blocks > u64::MAX / (2 * BLOCK as u64) {
            bail!(
                "reading the verity superblock: {} data blocks",
                superblock.data_blocks
            );
        }
        Ok(superblock)
    }
}

fn bytes_at<const N: usize>(block: &[u8], offset: usize) -> [u8; N] {
    std::array::from_fn(|at| block[offset + at])
}
