//! What is said of an image that lies in a folder for others to fetch, and is signed.
//!
//! ```text
//! update.json              this, and the last file to be written
//! parts/SHA256.minisig     signatures over it, by the SHA-256 of update.json
//! parts/SHA256.index       of the root, and of the kernel image: what is where in the pack
//! parts/SHA256.pack        their bytes, see [`super::pack`]
//! ```
//!
//! In a registry of container images it is a manifest with [`ARTIFACT_TYPE`] whose layers
//! are these files, each with its path for a title ([`super::oci`]).
//!
//! All but the first are named by their content. So a folder that is being written is
//! whole at any moment, for the image before or for this one.

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::image::Offer;
use super::packages::Pinned;
use super::uki::Described;
use super::verity::{BLOCK, DIGEST, Superblock};

/// What it is in a registry: <https://github.com/opencontainers/image-spec/blob/v1.1.0/artifacts-guidance.md>.
pub const ARTIFACT_TYPE: &str = "application/vnd.mailimg.update.v1+json";
/// Name of what is said.
pub const UPDATE_FILE: &str = "update.json";
/// Folder of everything else.
pub const PARTS: &str = "parts";
/// Endings of names by content: signatures, indexes and packs.
pub const SIGNATURES: &str = "minisig";
/// The same for indexes.
pub const INDEX: &str = "index";
/// The same for packs.
pub const PACK: &str = "pack";
/// Another number has another meaning.
pub const FORMAT: u32 = 1;

/// Largest text of it, in bytes.
pub const UPDATE_LIMIT: u64 = 4 << 20;
/// Largest file of signatures, in bytes.
pub const SIGNATURES_LIMIT: u64 = 64 << 10;
/// Largest root that is taken, in blocks: 16 GiB.
const BLOCKS_LIMIT: u64 = 1 << 22;
/// Largest kernel image, in bytes.
const KERNEL_LIMIT: u64 = 512 << 20;

/// A file of the boot partition.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct BootFile {
    /// Its path.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// A file of the folder, which is called by its content.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Part {
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

impl Part {
    /// What bytes in memory are called by.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            sha256: hex::encode(Sha256::digest(bytes)),
            size: bytes.len() as u64,
        }
    }

    /// Its path in the folder.
    pub fn path(&self, ending: &str) -> String {
        format!("{PARTS}/{}.{ending}", self.sha256)
    }
}

/// Bytes that are fetched in parts.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Packed {
    /// What is where.
    pub index: Part,
    /// The bytes.
    pub pack: Part,
}

/// The root of an image.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Root {
    /// Its root hash, hexadecimal.
    pub hash: String,
    /// Size in bytes.
    pub size: u64,
    /// Salt of its tree of hashes, hexadecimal.
    pub salt: String,
    /// UUID of the tree, hexadecimal.
    pub uuid: String,
    /// Its blocks.
    pub blocks: Packed,
}

/// The kernel image.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Kernel {
    /// Version of the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Its pieces.
    pub pieces: Packed,
}

/// All that is said of an image.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Update {
    /// [`FORMAT`].
    pub format: u32,
    /// The recipe, IMAGE_ID of os-release(5).
    pub image: String,
    /// The version, IMAGE_VERSION.
    pub version: String,
    /// The processor that it is for, as `x86-64`.
    pub architecture: String,
    /// When this was written, RFC 3339.
    pub created: String,
    /// When it must not be believed any more.
    pub expires: String,
    /// The root.
    pub root: Root,
    /// What starts it.
    pub kernel: Kernel,
    /// Files of the boot partition, but settings.
    pub boot: Vec<BootFile>,
    /// Keys of `settings.env` that it knows.
    pub settings: Vec<String>,
    /// Its packages.
    pub packages: Vec<Pinned>,
}

impl Update {
    /// Reads and checks it.
    pub fn parse(text: &[u8]) -> Result<Self> {
        /// What all forms have.
        #[derive(Deserialize)]
        struct Any {
            format: u32,
        }
        let any: Any = serde_json::from_slice(text).context("it is no manifest of an update")?;
        ensure!(
            any.format == FORMAT,
            "it is of form {}, which a newer mailctl reads",
            any.format
        );
        let update: Self =
            serde_json::from_slice(text).context("it is no manifest of an update")?;
        update.offer()?;
        update.expiry()?;
        ensure!(
            update.kernel.size <= KERNEL_LIMIT,
            "its kernel image is too large"
        );
        Ok(update)
    }

    /// What is offered.
    pub fn offer(&self) -> Result<Offer> {
        let mut root_hash = [0; DIGEST];
        let mut uuid = [0; 16];
        hex::decode_to_slice(&self.root.hash, &mut root_hash).context("its root hash is none")?;
        hex::decode_to_slice(&self.root.uuid, &mut uuid).context("its UUID is none")?;
        let data_blocks = self.root.size / BLOCK as u64;
        if !self.root.size.is_multiple_of(BLOCK as u64)
            || !(2..=BLOCKS_LIMIT).contains(&data_blocks)
        {
            bail!("its root has {} bytes, which cannot be", self.root.size);
        }
        let salt = hex::decode(&self.root.salt).context("its salt is none")?;
        ensure!(salt.len() <= 256, "its salt is too long");
        Ok(Offer {
            described: Described {
                image: self.image.clone(),
                version: self.version.clone(),
                architecture: self.architecture.clone(),
                root_hash,
            },
            superblock: Superblock {
                uuid,
                data_blocks,
                salt,
            },
        })
    }

    /// When it must not be believed any more, seconds since 1970.
    pub fn expiry(&self) -> Result<i64> {
        let time: Timestamp = self.expires.parse().context("its expiry is no time")?;
        Ok(time.as_second())
    }

    /// Every file that belongs to it but the signatures.
    pub fn parts(&self) -> Vec<String> {
        let [root, kernel] = [&self.root.blocks, &self.kernel.pieces];
        let packs = [root, kernel].map(|packed| packed.pack.path(PACK));
        let indexes = [root, kernel].map(|packed| packed.index.path(INDEX));
        packs.into_iter().chain(indexes).collect()
    }
}
