//! qcow2, the disk format of QEMU: written from a raw image or over
//! another one, edited in place.
//!
//! <https://www.qemu.org/docs/master/interop/qcow2.html>, version 3, clusters
//! of 64 KiB, 16-bit reference counts, no compression: the image travels
//! compressed as a whole. Left out: reading images with backing
//! files, snapshots, encryption,
//! external data files, subclusters.

mod alone;
mod edit;
mod overlay;
mod write;

pub use alone::check_alone;
pub use edit::Qcow2;
pub use overlay::write_overlay;
pub use write::write_qcow2;

/// First bytes of a file.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Bytes of the header of version 3.
const HEADER_SIZE: usize = 104;
/// Clusters that we write, as a power of two: 64 KiB, the format's default.
const CLUSTER_BITS: u32 = 16;
/// Table entry flag: the cluster has a reference count of exactly one.
const COPIED: u64 = 1 << 63;
/// Table entry flag: the cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// Table entry flag: the cluster reads as zeros, whatever lies there.
const READS_ZERO: u64 = 1;
/// Bits of a table entry that say where a cluster lies.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// Reference counts of 16 bits, as a power of two.
const REFCOUNT_ORDER: u32 = 4;
