//! What is written stays in memory, above a storage that is only read.
//!
//! For a few changes to a large image that must stay as it is.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;

use crate::format::extents::ReadAt;
use crate::format::storage::{Storage, check_bounds};

/// Bytes of the pieces that changes are kept in.
const PAGE: u64 = 4096;

/// A storage with changes above it.
pub struct Layered<'a, S> {
    below: &'a S,
    size: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl<'a, S: Storage> Layered<'a, S> {
    /// Begins without changes.
    pub fn over(below: &'a S) -> io::Result<Self> {
        Ok(Self {
            size: below.size()?,
            below,
            pages: BTreeMap::new(),
        })
    }

    /// The pages that a stretch touches: the number of each, where the stretch begins in
    /// it, and from where to where that part of the stretch goes.
    fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            if done == length {
                return None;
            }
            let position = offset + done as u64;
            let inside = (position % PAGE) as usize;
            let piece = (PAGE as usize - inside).min(length - done);
            let from = done;
            done += piece;
            Some((position / PAGE, inside, from, from + piece))
        })
    }
}

impl<S: Storage> Storage for Layered<'_, S> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        check_bounds(offset, buffer.len(), self.size)?;
        self.below.read_at(buffer, offset)?;
        for (page, inside, from, to) in Self::pieces(offset, buffer.len()) {
            if let Some(bytes) = self.pages.get(&page) {
                buffer[from..to].copy_from_slice(&bytes[inside..inside + to - from]);
            }
        }
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        check_bounds(offset, bytes.len(), self.size)?;
        for (number, inside, from, to) in Self::pieces(offset, bytes.len()) {
            let page = match self.pages.entry(number) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let mut page = vec![0; PAGE as usize];
                    let start = number * PAGE;
                    let length = PAGE.min(self.size - start) as usize;
                    self.below.read_at(&mut page[..length], start)?;
                    entry.insert(page)
                }
            };
            page[inside..inside + to - from].copy_from_slice(&bytes[from..to]);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Storage + Sync> ReadAt for Layered<'_, S> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        Storage::read_at(self, buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::Layered;
    use crate::format::storage::Storage;

    #[test]
    fn changes_are_seen_and_what_is_below_stays() {
        let below: Vec<u8> = (0..10_000u32).map(|number| number as u8).collect();
        let before = below.clone();
        let mut expected = below.clone();
        let mut layered = Layered::over(&below).unwrap();
        for (offset, length, byte) in [(4000, 200, 1), (4090, 4200, 2), (9990, 10, 3), (0, 1, 4)] {
            let bytes = vec![byte; length];
            layered.write_at(&bytes, offset as u64).unwrap();
            expected[offset..offset + length].copy_from_slice(&bytes);
        }
        assert!(layered.write_at(&[0; 2], 9999).is_err());
        let mut whole = vec![0; 10_000];
        layered.read_at(&mut whole, 0).unwrap();
        assert!(whole == expected);
        assert!(below == before);
    }
}
