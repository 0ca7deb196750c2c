//! Where an image comes from: a file here, or a peer that has it.

pub mod image_file;
pub mod peer;

use std::ops::Range;

use anyhow::Result;

use crate::format::image::{Offer, Prefix};

/// Takes blocks: the number of the first one, and their bytes.
pub type Take<'a> = dyn FnMut(u64, &[u8]) -> Result<()> + 'a;

/// An image that is offered.
pub trait Source {
    /// What it is.
    fn offer(&self) -> &Offer;

    /// Its blocks, by their hashes.
    fn index(&self) -> &[Prefix];

    /// Hands over blocks of its root, in their order.
    fn fetch(&mut self, wanted: &[Range<u64>], take: &mut Take<'_>) -> Result<()>;

    /// Bytes of its kernel image.
    fn kernel_size(&self) -> u64;

    /// Its kernel image, called once and after [`fetch`](Self::fetch).
    fn kernel(&mut self) -> Result<Vec<u8>>;
}
