//! Where an image comes from: a file here, a peer that has it, or a folder on a server,
//! which may be a registry of container images.

mod download;
pub mod folder;
pub mod image_file;
pub mod peer;
mod registry;
mod shelf;

use std::collections::HashMap;
use std::ops::Range;

use anyhow::Result;

use super::boot_partition::BootPartition;
use crate::appliance::machine::place::Place;
use crate::format::delta::{cut_kernel, piece_prefix};
use crate::format::image::{Offer, Prefix};

/// Takes blocks: the number of the first one, and their bytes.
pub type Take<'a> = dyn FnMut(u64, &[u8]) -> Result<()> + 'a;

/// An image that is offered.
pub trait Source {
    /// What it is.
    fn offer(&self) -> &Offer;

    /// Its blocks, by their hashes, asked for before any of them.
    fn index(&mut self) -> Result<Vec<Prefix>>;

    /// Hands over blocks of its root, in their order.
    fn fetch(&mut self, wanted: &[Range<u64>], take: &mut Take<'_>) -> Result<()>;

    /// Bytes of its kernel image.
    fn kernel_size(&self) -> u64;

    /// Its kernel image, called once and after [`fetch`](Self::fetch).
    fn kernel(&mut self) -> Result<Vec<u8>>;
}

/// Pieces of the kernel images that are here, by their hashes.
struct KnownPieces {
    kernels: Vec<Vec<u8>>,
    /// Which kernel image has it, and where.
    places: HashMap<Prefix, (usize, Range<usize>)>,
}

impl KnownPieces {
    fn read(place: &Place) -> Result<Self> {
        let kernels = BootPartition::open(place)?.kernel_bytes()?;
        let mut places = HashMap::new();
        for (number, kernel) in kernels.iter().enumerate() {
            for piece in cut_kernel(kernel) {
                places.insert(piece_prefix(&kernel[piece.clone()]), (number, piece));
            }
        }
        Ok(Self { kernels, places })
    }

    /// A piece of that length, if it is here.
    fn find(&self, prefix: &Prefix, length: usize) -> Option<&[u8]> {
        let (number, piece) = self.places.get(prefix)?;
        (piece.len() == length).then(|| &self.kernels[*number][piece.clone()])
    }
}
