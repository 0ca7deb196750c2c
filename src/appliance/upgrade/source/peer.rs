//! A peer that has an image, at the other end of standard input and output; how both
//! speak is said in [`crate::format::delta`].

use std::io::{BufRead, Write};
use std::ops::Range;

use anyhow::{Context, Result, ensure};

use super::{KnownPieces, Source, Take};
use crate::appliance::machine::place::Place;
use crate::error::hinted;
use crate::format::delta::{
    Answer, Hello, PIECE_LIMIT, PROTOCOL, cut_blocks, read_index, read_line, read_piece, write_line,
};
use crate::format::image::{Offer, Prefix};
use crate::format::verity::BLOCK;

/// Largest root that is listened to, in blocks: 16 GiB.
const BLOCKS_LIMIT: u64 = 1 << 22;
/// Largest kernel image, in bytes.
const KERNEL_LIMIT: usize = 512 << 20;

/// The other side.
pub struct Peer<'a> {
    place: &'a Place,
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
    hello: Hello,
    index: Vec<Prefix>,
    kernel_index: Vec<Prefix>,
}

impl<'a> Peer<'a> {
    /// Hears what is offered.
    pub fn greet(
        place: &'a Place,
        input: &'a mut dyn BufRead,
        output: &'a mut dyn Write,
    ) -> Result<Self> {
        let hello: Hello = read_line(input)?;
        if hello.protocol != PROTOCOL {
            return Err(hinted(
                format!(
                    "the other side speaks version {} of this conversation, this machine {PROTOCOL}",
                    hello.protocol
                ),
                "use the mailimg of the version that runs here, or `mailimg install --keep-data`",
            ));
        }
        let blocks = hello.offer.superblock.data_blocks;
        ensure!(blocks <= BLOCKS_LIMIT, "the image's root is too large");
        let size = hello.kernel.iter().try_fold(0usize, |sum, length| {
            ensure!(
                *length <= PIECE_LIMIT,
                "the kernel image's pieces are too large"
            );
            Ok(sum + length)
        })?;
        ensure!(size <= KERNEL_LIMIT, "the kernel image is too large");
        let index = read_index(input, usize::try_from(blocks)?)?;
        let kernel_index = read_index(input, hello.kernel.len())?;
        Ok(Self {
            place,
            input,
            output,
            hello,
            index,
            kernel_index,
        })
    }

    /// Whether an older version was asked for.
    pub fn allows_downgrade(&self) -> bool {
        self.hello.allow_downgrade
    }
}

impl Source for Peer<'_> {
    fn offer(&self) -> &Offer {
        &self.hello.offer
    }

    fn index(&mut self) -> Result<Vec<Prefix>> {
        Ok(self.index.clone())
    }

    fn fetch(&mut self, wanted: &[Range<u64>], take: &mut Take<'_>) -> Result<()> {
        write_line(self.output, &Answer::Root(wanted.to_vec()))?;
        for piece in cut_blocks(wanted) {
            let length = (piece.end - piece.start) as usize * BLOCK;
            take(piece.start, &read_piece(self.input, length)?)?;
        }
        Ok(())
    }

    fn kernel_size(&self) -> u64 {
        self.hello.kernel.iter().map(|length| *length as u64).sum()
    }

    /// Pieces that are in the kernel images here are not asked for.
    fn kernel(&mut self) -> Result<Vec<u8>> {
        let here = KnownPieces::read(self.place)?;
        let known = |at: usize| here.find(&self.kernel_index[at], self.hello.kernel[at]);
        let numbers = 0..self.kernel_index.len();
        let missing: Vec<usize> = numbers.clone().filter(|at| known(*at).is_none()).collect();
        write_line(self.output, &Answer::Kernel(missing.clone()))?;
        let length = missing.iter().map(|at| self.hello.kernel[*at]).sum();
        let sent = read_piece(self.input, length).context("receiving the kernel image")?;
        let mut rest = &sent[..];
        let mut kernel = Vec::new();
        for at in numbers {
            match known(at) {
                Some(piece) => kernel.extend_from_slice(piece),
                None => {
                    let (piece, after) = rest.split_at(self.hello.kernel[at]);
                    kernel.extend_from_slice(piece);
                    rest = after;
                }
            }
        }
        Ok(kernel)
    }
}
