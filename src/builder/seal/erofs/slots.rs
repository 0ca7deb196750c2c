//! Places for inodes: best fit into 4 KiB blocks, in units of 32 bytes.
//!
//! Inline data must not cross a block, so an inode goes with all it carries
//! into one block; only extended attributes too big for one may span several.

use super::sizes::{BLOCK, SLOT};

const SLOTS_IN_BLOCK: usize = (BLOCK / SLOT) as usize;

/// The metadata area while it is being filled.
pub(super) struct Slots {
    /// For every number of free slots: blocks with that many left, at their ends.
    free: Vec<Vec<u64>>,
    blocks: u64,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            free: vec![Vec::new(); SLOTS_IN_BLOCK],
            blocks: 0,
        }
    }
}

impl Slots {
    /// Takes room for that many bytes; returns the offset in the area.
    pub fn take(&mut self, bytes: u64) -> u64 {
        let need = bytes.div_ceil(SLOT) as usize;
        for left in need..SLOTS_IN_BLOCK {
            if let Some(block) = self.free[left].pop() {
                self.keep(block, left - need);
                return block * BLOCK + (SLOTS_IN_BLOCK - left) as u64 * SLOT;
            }
        }
        let block = self.blocks;
        self.blocks += need.div_ceil(SLOTS_IN_BLOCK) as u64;
        let used_of_last = need % SLOTS_IN_BLOCK;
        if used_of_last > 0 {
            self.keep(self.blocks - 1, SLOTS_IN_BLOCK - used_of_last);
        }
        block * BLOCK
    }

    fn keep(&mut self, block: u64, left: usize) {
        if left > 0 {
            self.free[left].push(block);
        }
    }

    /// How many blocks the area takes.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn the_fullest_block_with_room_is_taken() {
        let mut slots = Slots::default();
        assert_eq!(slots.take(33), 0);
        assert_eq!(slots.take(4096), 4096);
        assert_eq!(slots.take(4033), 8192);
        assert_eq!(slots.take(32), 8192 + 4064);
        assert_eq!(slots.take(32), 64);
        assert_eq!(slots.blocks(), 3);
    }

    #[test]
    fn what_exceeds_a_block_starts_one() {
        let mut slots = Slots::default();
        slots.take(32);
        assert_eq!(slots.take(5000), 4096);
        assert_eq!(slots.take(4096 - 1000), 8192 + 928);
        assert_eq!(slots.blocks(), 3);
    }
}
