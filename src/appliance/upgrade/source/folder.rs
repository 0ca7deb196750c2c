//! A folder that `mailimg sign` wrote, on a web server or in a registry, see
//! [`crate::format::update`].
//!
//! The server is trusted with nothing: what is said of the image is signed by a key that
//! the running image has, everything else has its digest there, and the root its root hash.
//! What a server can do is to hold back: the manifest expires.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::download::{Download, digest};
use super::{KnownPieces, Source, Take};
use crate::appliance::machine::clock::{describe_span, is_synchronized, now};
use crate::appliance::machine::files::read_optional;
use crate::appliance::machine::place::{self, Place};
use crate::error::{Hint, hinted};
use crate::format::image::{Offer, Prefix};
use crate::format::minisign::{KeyNumber, PublicKey, Signature};
use crate::format::pack::Index;
use crate::format::update::{
    INDEX, PACK, PARTS, Packed, SIGNATURES, SIGNATURES_LIMIT, UPDATE_FILE, UPDATE_LIMIT, Update,
};
use crate::format::verity::BLOCK;

/// Bytes between two frames that are fetched along, rather than asking once more.
const GAP: u64 = 32 << 10;
/// Smallest piece of a kernel image on average, in bytes: pieces of sections are whole but
/// for the last.
const PIECE_MINIMUM: u64 = 256;

/// What a folder offers.
pub struct Folder<'a> {
    place: &'a Place,
    download: Download,
    /// What was signed.
    pub update: Update,
    /// Who signed it.
    pub signer: KeyNumber,
    /// Whether its expiry could be judged.
    pub is_clock_set: bool,
    offer: Offer,
    root: Option<Index>,
    kernel: Option<Index>,
}

impl<'a> Folder<'a> {
    /// Reads what a folder offers, and believes it if it is signed.
    pub fn open(place: &'a Place, address: &str, patience: Duration) -> Result<Self> {
        let keys = load_keys(place)?;
        let mut download = Download::of(place, address, patience)?;
        let text = download.small(UPDATE_FILE, UPDATE_LIMIT)?.ok_or_else(|| {
            hinted(
                format!("there is no {}", download.address(UPDATE_FILE)),
                "name a folder that `mailimg sign --into` wrote",
            )
        })?;
        if !text.starts_with(b"{") {
            return Err(hinted(
                format!(
                    "{} is no manifest of an update, but something else",
                    download.address(UPDATE_FILE)
                ),
                "a page of a web server is often one that says what went wrong; open it in a \
                 browser",
            ));
        }
        let signer = check_signatures(&mut download, &text, &keys)?;
        let reading = || format!("reading {}", download.address(UPDATE_FILE));
        let update = Update::parse(&text).with_context(reading).hint(
            "it is signed, so a newer mailimg made it: `mailimg upgrade ssh://…` brings that one",
        )?;
        let is_clock_set = is_synchronized(place);
        check_expiry(&update, is_clock_set)?;
        Ok(Self {
            place,
            download,
            offer: update.offer()?,
            update,
            signer,
            is_clock_set,
            root: None,
            kernel: None,
        })
    }

    /// Bytes that came so far.
    pub fn travelled(&self) -> u64 {
        self.download.travelled
    }

    /// Bytes that would come for these blocks, and for the kernel image.
    pub fn would_travel(&mut self, wanted: &[Range<u64>]) -> Result<u64> {
        self.load_indexes()?;
        let [root, kernel] = self.indexes()?;
        let missing = missing_pieces(kernel, &KnownPieces::read(self.place)?);
        let stretches = stretches(root, wanted)
            .into_iter()
            .chain(stretches(kernel, &missing));
        Ok(stretches.map(|stretch| stretch.end - stretch.start).sum())
    }

    fn load_indexes(&mut self) -> Result<()> {
        if self.kernel.is_some() {
            return Ok(());
        }
        let blocks = self.offer.superblock.data_blocks;
        let root = load_index(&mut self.download, &self.update.root.blocks, blocks)?;
        ensure!(
            root.units.len() as u64 == blocks && root.is_even(BLOCK),
            "reading the index of the image: it has {} of {blocks} blocks",
            root.units.len()
        );
        let size = self.update.kernel.size;
        let pieces = &self.update.kernel.pieces;
        let kernel = load_index(&mut self.download, pieces, size / PIECE_MINIMUM + 64)?;
        ensure!(
            kernel.unpacked_size() == size,
            "reading the index of the kernel image: it has another size"
        );
        self.root = Some(root);
        self.kernel = Some(kernel);
        Ok(())
    }

    fn indexes(&self) -> Result<[&Index; 2]> {
        let loaded = self.root.as_ref().zip(self.kernel.as_ref());
        let (root, kernel) = loaded.context("the index was not asked for")?;
        Ok([root, kernel])
    }
}

impl Source for Folder<'_> {
    fn offer(&self) -> &Offer {
        &self.offer
    }

    fn index(&mut self) -> Result<Vec<Prefix>> {
        self.load_indexes()?;
        Ok(self.indexes()?[0].units.clone())
    }

    fn fetch(&mut self, wanted: &[Range<u64>], take: &mut Take<'_>) -> Result<()> {
        let index = self.root.as_ref().context("the index was not asked for")?;
        let packed = &self.update.root.blocks;
        fetch_units(
            &mut self.download,
            packed,
            index,
            wanted,
            &mut |unit, bytes| take(unit, bytes),
        )
    }

    fn kernel_size(&self) -> u64 {
        self.update.kernel.size
    }

    /// Pieces that are in the kernel images here are not fetched.
    fn kernel(&mut self) -> Result<Vec<u8>> {
        let index = self
            .kernel
            .as_ref()
            .context("the index was not asked for")?;
        let known = KnownPieces::read(self.place)?;
        let missing = missing_pieces(index, &known);
        let mut fetched: HashMap<usize, Vec<u8>> = HashMap::new();
        let packed = &self.update.kernel.pieces;
        fetch_units(
            &mut self.download,
            packed,
            index,
            &missing,
            &mut |unit, bytes| {
                let mut rest = bytes;
                let mut at = unit as usize;
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(index.length_of(at));
                    fetched.insert(at, piece.to_vec());
                    (rest, at) = (after, at + 1);
                }
                Ok(())
            },
        )?;
        let mut kernel = Vec::new();
        for (at, prefix) in index.units.iter().enumerate() {
            let piece = match fetched.get(&at) {
                Some(piece) => Some(&piece[..]),
                None => known.find(prefix, index.length_of(at)),
            };
            kernel.extend_from_slice(piece.context("a piece of the kernel is missing")?);
        }
        ensure!(
            digest(&kernel) == self.update.kernel.sha256,
            "putting the kernel image together: it is not the one that was signed"
        );
        Ok(kernel)
    }
}

/// The keys of the running image.
fn load_keys(place: &Place) -> Result<Vec<PublicKey>> {
    let text = read_optional(&place.path(place::UPDATE_KEYS))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let keys: Vec<PublicKey> = lines
        .map(PublicKey::parse)
        .collect::<Result<_>>()
        .with_context(|| format!("reading {}", place::UPDATE_KEYS))?;
    if keys.is_empty() {
        return Err(hinted(
            "the running image knows no key that may sign updates",
            "put one under [update] of its recipe, and bring that image with `mailimg upgrade \
             ssh://…` or `mailctl upgrade FILE` once",
        ));
    }
    Ok(keys)
}

/// Who signed, if it is one of these.
fn check_signatures(download: &mut Download, text: &[u8], keys: &[PublicKey]) -> Result<KeyNumber> {
    let path = format!("{PARTS}/{}.{SIGNATURES}", digest(text));
    let found = download.small(&path, SIGNATURES_LIMIT)?;
    let found = found.ok_or_else(|| {
        hinted(
            format!(
                "{} is not signed as it is there",
                download.address(UPDATE_FILE)
            ),
            "`mailimg sign FOLDER --key FILE` signs it; what was copied or pushed in part is \
             copied or pushed again, update.json last",
        )
    })?;
    let address = download.address(&path);
    let signatures = Signature::parse_all(&String::from_utf8_lossy(&found))
        .with_context(|| format!("reading {address}"))
        .hint("`mailimg sign FOLDER --key FILE` signs it again")?;
    let mut known = false;
    for signature in &signatures {
        for key in keys.iter().filter(|key| key.number == signature.number) {
            if signature.is_by(key, text) {
                return Ok(key.number);
            }
            known = true;
        }
    }
    if known {
        return Err(hinted(
            format!("the signature {address} is false"),
            "what is there was changed after it was signed: do not take it, and look who changed \
             it",
        ));
    }
    let list = |numbers: &mut dyn Iterator<Item = KeyNumber>| {
        let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
        numbers.join(", ")
    };
    Err(hinted(
        format!(
            "the update is signed by the key {}, the running image knows {}",
            list(&mut signatures.iter().map(|one| one.number)),
            list(&mut keys.iter().map(|one| one.number)),
        ),
        "`mailimg sign FOLDER --key FILE` adds a signature by a key that it knows; a new key \
         comes with an image that is signed by both",
    ))
}

/// A clock that nobody set judges nothing.
fn check_expiry(update: &Update, is_clock_set: bool) -> Result<()> {
    let over = now() - update.expiry()?;
    if over <= 0 || !is_clock_set {
        return Ok(());
    }
    Err(hinted(
        format!(
            "what is said of version {} expired {} ago, on {}",
            update.version,
            describe_span(over),
            update.expires
        ),
        "`mailimg sign FOLDER --key FILE --valid-for DAYS` signs it anew; if that was done, the \
         server holds back what is newer",
    ))
}

fn load_index(download: &mut Download, packed: &Packed, units: u64) -> Result<Index> {
    let bytes = download.part(&packed.index, INDEX)?;
    Index::decode(&bytes, usize::try_from(units)?)
        .with_context(|| format!("reading {}", packed.index.path(INDEX)))
}

/// Pieces of a kernel image that are not here.
fn missing_pieces(index: &Index, known: &KnownPieces) -> Vec<Range<u64>> {
    let is_known = |unit: &usize| {
        let length = index.length_of(*unit);
        known.find(&index.units[*unit], length).is_some()
    };
    let missing = (0..index.units.len()).filter(|unit| !is_known(unit));
    missing.map(|unit| unit as u64..unit as u64 + 1).collect()
}

/// Stretches of a pack that hold these units, near ones together.
fn stretches(index: &Index, wanted: &[Range<u64>]) -> Vec<Range<u64>> {
    let places = index.places();
    let mut stretches: Vec<Range<u64>> = Vec::new();
    for frame in index.frames_of(wanted) {
        let (start, end) = (places[frame], places[frame + 1]);
        match stretches.last_mut() {
            Some(last) if start - last.end <= GAP => last.end = end,
            _ => stretches.push(start..end),
        }
    }
    stretches
}

/// Fetches units of a pack and hands over those that were asked for, in their order.
fn fetch_units(
    download: &mut Download,
    packed: &Packed,
    index: &Index,
    wanted: &[Range<u64>],
    take: &mut Take<'_>,
) -> Result<()> {
    let places = index.places();
    let stretches = stretches(index, wanted);
    let advice = download.advice();
    let mut reader = download.stretches(&packed.pack, PACK);
    for frame in index.frames_of(wanted) {
        let at = places[frame];
        let stretch = stretches.partition_point(|stretch| stretch.end <= at);
        let length = index.packed_length(frame);
        let bytes = reader.read(at, length, stretches[stretch].end)?;
        let bytes = index
            .unpack(frame, &bytes)
            .with_context(|| format!("reading {}", packed.pack.path(PACK)))
            .hint(advice)?;
        for (unit, bytes) in index.wanted_in(frame, &bytes, wanted) {
            take(unit, bytes)?;
        }
    }
    Ok(())
}
