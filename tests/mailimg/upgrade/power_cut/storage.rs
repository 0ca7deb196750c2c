//! What a power cut leaves of a disk and of files.
//!
//! A disk keeps any of the sectors that were written since it was last told to keep them. A
//! sector that was written more than once has any of its contents.
//!
//! On FAT each name in a folder is as it was before or after any of the changes since the
//! last sync, whatever became of the others: a file that was renamed has both names, or
//! none. A file that was made since has any of its sectors, and instead of the others what
//! a removed file left there. On a file system with a journal names change in their order.

use std::collections::BTreeMap;

use super::trace::Request;
use crate::install::recorder::Random;

/// What a disk writes wholly or not at all.
pub const SECTOR: usize = 512;
/// Content by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Sectors by number, each with every content since the last sync.
#[derive(Clone, Debug, Default)]
pub struct Pending(BTreeMap<u64, Vec<Vec<u8>>>);

impl Pending {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        assert_eq!(offset % SECTOR as u64, 0, "no whole sector is written");
        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
            let number = offset / SECTOR as u64 + index as u64;
            self.0.entry(number).or_default().push(sector.to_vec());
        }
    }

    /// One of what may be left: where, and what.
    fn choose(&self, random: &mut Random) -> Vec<(u64, Vec<u8>)> {
        // Some cuts lose nearly all, others nearly nothing.
        let share = random.below(5);
        let mut chosen = Vec::new();
        for (number, contents) in &self.0 {
            let kept = match share {
                0 => 0,
                4 => contents.len() as u64,
                _ => random.below(contents.len() as u64 + 1),
            };
            if kept > 0 {
                let bytes = contents[kept as usize - 1].clone();
                chosen.push((number * SECTOR as u64, bytes));
            }
        }
        chosen
    }
}

/// The whole disk: what is on it for good since the beginning, and what is under way.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    kept: BTreeMap<u64, Vec<u8>>,
    pending: Pending,
}

impl Disk {
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.pending.write(offset, bytes);
    }

    pub fn sync(&mut self) {
        for (number, mut contents) in std::mem::take(&mut self.pending.0) {
            let last = contents.pop().unwrap();
            self.kept.insert(number * SECTOR as u64, last);
        }
    }

    /// What a cut leaves that was not there in the beginning.
    pub fn cut(&self, random: &mut Random) -> BTreeMap<u64, Vec<u8>> {
        let mut sectors = self.kept.clone();
        sectors.extend(self.pending.choose(random));
        sectors
    }
}

/// A file's content.
#[derive(Clone, Debug, Default)]
struct Content {
    kept: Vec<u8>,
    live: Vec<u8>,
    pending: Pending,
    /// Nothing of it was synced yet.
    new: bool,
}

impl Content {
    fn cut(&self, random: &mut Random, leftover: &[u8]) -> Vec<u8> {
        let mut bytes = self.kept.clone();
        if self.new {
            let length = match random.below(3) {
                0 => 0,
                1 => random.below(self.live.len() as u64 + 1) as usize,
                _ => self.live.len(),
            };
            bytes = leftover[..length.min(leftover.len())].to_vec();
            bytes.resize(length, 0);
        }
        for (offset, sector) in self.pending.choose(random) {
            let offset = offset as usize;
            if self.new || offset < bytes.len() {
                let end = (offset + sector.len()).min(bytes.len());
                if offset < end {
                    bytes[offset..end].copy_from_slice(&sector[..end - offset]);
                }
            }
        }
        bytes
    }
}

/// A folder of files.
#[derive(Clone, Debug)]
pub struct Folder {
    journal: bool,
    contents: Vec<Content>,
    kept: BTreeMap<String, usize>,
    live: BTreeMap<String, usize>,
    /// Changes of names since the last sync.
    changes: Vec<(String, Option<usize>)>,
    /// How many contents there were at that time.
    synced: usize,
    /// What lies where a new file is put.
    leftover: Vec<u8>,
}

impl Folder {
    pub fn new(files: &Files, journal: bool) -> Self {
        let mut names = BTreeMap::new();
        let mut contents = Vec::new();
        for (name, bytes) in files {
            names.insert(name.clone(), contents.len());
            contents.push(Content {
                kept: bytes.clone(),
                live: bytes.clone(),
                ..Content::default()
            });
        }
        let largest = files.values().max_by_key(|bytes| bytes.len());
        Self {
            journal,
            leftover: largest.cloned().unwrap_or_default(),
            synced: contents.len(),
            contents,
            kept: names.clone(),
            live: names,
            changes: Vec::new(),
        }
    }

    pub fn take(&mut self, request: &Request) {
        match request {
            Request::Create(name) => {
                self.contents.push(Content {
                    new: true,
                    ..Content::default()
                });
                self.set(name, Some(self.contents.len() - 1));
            }
            Request::Write(name, offset, bytes) => {
                let content = &mut self.contents[self.live[name]];
                content.pending.write(*offset, bytes);
                let end = *offset as usize + bytes.len();
                let length = content.live.len().max(end);
                content.live.resize(length, 0);
                content.live[*offset as usize..end].copy_from_slice(bytes);
            }
            Request::Rename(from, to) => {
                let content = self.live[from];
                self.set(to, Some(content));
                self.set(from, None);
            }
            Request::Remove(name) => self.set(name, None),
            Request::Sync(name) => match self.live.get(name) {
                Some(content) => self.contents[*content].sync(),
                None => self.sync_names(),
            },
            Request::SyncAll(_) => {
                self.sync_names();
                self.contents.iter_mut().for_each(Content::sync);
            }
        }
    }

    fn set(&mut self, name: &str, content: Option<usize>) {
        match content {
            Some(content) => self.live.insert(name.to_owned(), content),
            None => self.live.remove(name),
        };
        self.changes.push((name.to_owned(), content));
    }

    fn sync_names(&mut self) {
        self.kept.clone_from(&self.live);
        self.changes.clear();
        self.synced = self.contents.len();
    }

    /// What is there without a cut.
    pub fn files(&self) -> Files {
        let files = self.live.iter();
        files
            .map(|(name, content)| (name.clone(), self.contents[*content].live.clone()))
            .collect()
    }

    /// What a cut leaves.
    pub fn cut(&self, random: &mut Random) -> Files {
        let mut names = self.kept.clone();
        let count = self.changes.len() as u64;
        let until = random.below(count + 1) as usize;
        for (index, (name, content)) in self.changes.iter().enumerate() {
            let happened = match self.journal {
                true => index < until,
                false => random.below(2) == 0,
            };
            match (happened, content) {
                (false, _) => continue,
                (true, Some(content)) => names.insert(name.clone(), *content),
                (true, None) => names.remove(name),
            };
        }
        // Removed, but the name is back: what came later may lie there.
        let living: Vec<usize> = self.live.values().copied().collect();
        let newer = self.contents.len() > self.synced;
        let mut cut = |content: usize| {
            if !living.contains(&content) && newer && !self.journal {
                return self.leftover.clone();
            }
            self.contents[content].cut(random, &self.leftover)
        };
        names
            .into_iter()
            .map(|(name, content)| (name, cut(content)))
            .collect()
    }
}

impl Content {
    fn sync(&mut self) {
        self.kept.clone_from(&self.live);
        self.pending = Pending::default();
        self.new = false;
    }
}
