//! Sending an image to a machine: what it asks for, and no more.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::ops::Range;

use anyhow::{Context, Result, anyhow, bail};
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::remote::Remote;
use crate::builder::command::signals::Started;
use crate::builder::progress::Progress;
use crate::format::delta::{
    Answer, Hello, PROTOCOL, cut_blocks, cut_kernel, piece_prefix, read_line, write_index,
    write_line, write_piece,
};
use crate::format::image::{Image, PREFIX, Prefix};
use crate::format::verity::BLOCK;

/// Pieces that are compressed at once.
const BATCH: usize = 8;

/// How much of the image went over the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that travelled.
    pub travelled: u64,
    /// Bytes of root and kernel image.
    pub whole: u64,
}

/// Sends an image; the machine then waits for a restart to try it.
pub fn send(
    remote: &Remote,
    image: &Image,
    allow_downgrade: bool,
    progress: &Progress,
) -> Result<Sent> {
    let started = remote.receive()?;
    // Its end ends the other side's waiting, whatever happened.
    let spoken = speak(&started, image, allow_downgrade, progress);
    let status = started.wait(None)?;
    match spoken {
        Ok(Said::Done(sent)) => Ok(sent),
        Ok(Said::Refused(text)) => Err(anyhow!("the machine refuses: {}", unprefixed(&text))),
        // What ssh ended with says more than a broken pipe.
        Err(error) => {
            remote.explain(status.and_then(|status| status.code()))?;
            Err(error)
        }
    }
}

/// How the machine printed it, which is how we do.
fn unprefixed(text: &str) -> &str {
    text.strip_prefix("error: ").unwrap_or(text)
}

/// How a conversation ended.
enum Said {
    Done(Sent),
    Refused(String),
}

fn speak(
    started: &Started,
    image: &Image,
    allow_downgrade: bool,
    progress: &Progress,
) -> Result<Said> {
    let (output, input) = {
        let mut child = started.child();
        (child.stdin.take(), child.stdout.take())
    };
    let mut output = BufWriter::new(output.context("speaking with ssh")?);
    let mut input = BufReader::new(input.context("listening to ssh")?);
    let sent = converse(&mut input, &mut output, image, allow_downgrade, progress);
    let _ = output.flush();
    sent
}

fn converse(
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    image: &Image,
    allow_downgrade: bool,
    progress: &Progress,
) -> Result<Said> {
    let pieces = cut_kernel(&image.kernel);
    let hello = Hello {
        protocol: PROTOCOL,
        offer: image.offer.clone(),
        kernel: pieces.iter().map(ExactSizeIterator::len).collect(),
        allow_downgrade,
    };
    let kernel_index: Vec<Prefix> = pieces
        .iter()
        .map(|piece| piece_prefix(&image.kernel[piece.clone()]))
        .collect();
    let mut sent = Sent {
        travelled: ((image.index.len() + kernel_index.len()) * PREFIX) as u64,
        whole: image.offer.root_size() + image.kernel.len() as u64,
    };
    write_line(output, &hello)?;
    write_index(output, &image.index)?;
    write_index(output, &kernel_index)?;
    output.flush().context("sending")?;
    progress.note("the machine compares the image with what it has");
    loop {
        match read_line(input)? {
            Answer::Root(ranges) => {
                sent.travelled += send_blocks(output, image, &ranges, progress)?;
            }
            Answer::Kernel(numbers) => {
                let mut bytes = Vec::new();
                for number in numbers {
                    let piece = pieces.get(number);
                    let piece = piece.context("the machine asks for what is not there")?;
                    bytes.extend_from_slice(&image.kernel[piece.clone()]);
                }
                sent.travelled += write_piece(output, &bytes)?;
            }
            Answer::Done { .. } => return Ok(Said::Done(sent)),
            Answer::Refused(text) => return Ok(Said::Refused(text)),
        }
        output.flush().context("sending")?;
    }
}

/// Sends blocks of the root, compressed on all processors.
fn send_blocks(
    output: &mut dyn Write,
    image: &Image,
    ranges: &[Range<u64>],
    progress: &Progress,
) -> Result<u64> {
    let blocks = image.index.len() as u64;
    for range in ranges {
        if range.start > range.end || range.end > blocks {
            bail!("the machine asks for blocks that are not there");
        }
    }
    let pieces: Vec<Range<u64>> = cut_blocks(ranges).collect();
    let total: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
    let stage = progress.bytes("send", total * BLOCK as u64);
    let mut travelled = 0;
    for batch in pieces.chunks(BATCH) {
        let packed: Vec<(u64, Vec<u8>)> = batch
            .par_iter()
            .map(|piece| {
                let length = (piece.end - piece.start) * BLOCK as u64;
                let mut bytes = vec![0; length as usize];
                image.read_blocks(piece.start, &mut bytes)?;
                let mut packed = Vec::new();
                write_piece(&mut packed, &bytes)?;
                Ok((length, packed))
            })
            .collect::<Result<_>>()?;
        for (length, bytes) in packed {
            output.write_all(&bytes).context("sending")?;
            travelled += bytes.len() as u64;
            stage.add(length);
        }
    }
    stage.finish("sent");
    Ok(travelled)
}
