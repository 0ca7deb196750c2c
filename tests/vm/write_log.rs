//! What a machine wrote to its disk, in order, and a disk made of it.
//!
//! QEMU's `blklogwrites` keeps the log in the format of Linux' dm-log-writes
//! (<https://docs.kernel.org/admin-guide/device-mapper/log-writes.html>): a
//! superblock, then an entry of one sector for each request, with its data
//! behind it. QEMU logs a request before it tells the guest that it is done, so
//! whatever a finished flush covers stands before that flush's entry.
//!
//! Left out: marks, which nothing here makes, and FUA, which virtio has not.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FallocateFlags, fallocate};

/// Size of a sector, as QEMU is told.
pub const SECTOR: u64 = 512;
/// First bytes of a log, "rhswfsj" backwards, and the only version.
const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// First sector and number of sectors on the disk.
    sector: u64,
    sectors: u64,
    flags: u64,
    /// Where its data lies in the log.
    data: u64,
}

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Requests that were applied, up to the last flush.
    pub kept: u64,
    /// Requests after it that never reached the disk.
    pub dropped: u64,
}

/// Applies a log to the disk it was begun on, up to the last flush that was
/// finished before the cut, and drops what came after.
pub fn replay(log: &Path, disk: &Path) -> Result<Replay> {
    let log = File::open(log).with_context(|| format!("opening {}", log.display()))?;
    let disk = File::options()
        .write(true)
        .open(disk)
        .with_context(|| format!("opening {}", disk.display()))?;
    let entries = read_entries(&log)?;
    let kept = entries
        .iter()
        .rposition(|entry| entry.flags & FLUSH != 0)
        .map_or(0, |last| last + 1);
    for entry in &entries[..kept] {
        apply(entry, &log, &disk)?;
    }
    disk.sync_data()?;
    Ok(Replay {
        kept: kept as u64,
        dropped: count_after(&log, &entries)?.saturating_sub(kept as u64),
    })
}

/// A log of a machine that has ended.
pub struct Log {
    file: File,
    entries: Vec<Entry>,
    /// The place behind each flush among the entries.
    flushes: Vec<usize>,
}

impl Log {
    /// Reads where everything is.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let entries = read_entries(&file)?;
        let flushes = entries.iter().enumerate();
        let flushes = flushes.filter(|(_, entry)| entry.flags & FLUSH != 0);
        Ok(Self {
            flushes: flushes.map(|(index, _)| index + 1).collect(),
            entries,
            file,
        })
    }

    /// How many flushes there were.
    pub fn flushes(&self) -> usize {
        self.flushes.len()
    }

    /// Makes a disk what it may be after a cut behind so many flushes: of what was written
    /// until the next one it has those sectors that `reached` says. A discard is a request of
    /// its own.
    pub fn cut(
        &self,
        disk: &Path,
        flushes: usize,
        mut reached: impl FnMut() -> bool,
    ) -> Result<()> {
        let disk = File::options()
            .write(true)
            .open(disk)
            .with_context(|| format!("opening {}", disk.display()))?;
        let place = |flushes: usize| match flushes {
            0 => 0,
            number => self.flushes[number - 1],
        };
        let kept = place(flushes);
        for entry in &self.entries[..kept] {
            apply(entry, &self.file, &disk)?;
        }
        for entry in &self.entries[kept..place((flushes + 1).min(self.flushes()))] {
            if entry.flags & DISCARD != 0 {
                if reached() {
                    apply(entry, &self.file, &disk)?;
                }
                continue;
            }
            for index in 0..entry.sectors {
                let sector = Entry {
                    sector: entry.sector + index,
                    sectors: 1,
                    data: entry.data + index * SECTOR,
                    ..*entry
                };
                if reached() {
                    apply(&sector, &self.file, &disk)?;
                }
            }
        }
        disk.sync_data()?;
        Ok(())
    }
}

/// The entries that the superblock counts. It is written with each flush, before
/// the guest hears of it, so later ones belong to no finished flush.
fn read_entries(log: &File) -> Result<Vec<Entry>> {
    let mut head = [0; SECTOR as usize];
    if log.metadata()?.len() < SECTOR {
        return Ok(Vec::new());
    }
    log.read_exact_at(&mut head, 0)?;
    ensure!(
        number(&head, 0) == MAGIC && number(&head, 8) == VERSION,
        "the log begins with {:02x?}",
        &head[..16]
    );
    let sector = u64::from(u32::from_le_bytes(head[24..28].try_into()?));
    ensure!(sector == SECTOR, "the log has sectors of {sector} bytes");
    let count = number(&head, 16);
    let mut entries = Vec::new();
    let mut place = SECTOR;
    for index in 0..count {
        let entry = read_entry(log, place).with_context(|| format!("reading entry {index}"))?;
        ensure!(
            entry.flags != 0 || entry.sectors != 0,
            "entry {index} was never written: QEMU ended while it logged several requests"
        );
        place = next(&entry);
        entries.push(entry);
    }
    Ok(entries)
}

/// How many entries there are in all, as far as they can be read.
fn count_after(log: &File, entries: &[Entry]) -> Result<u64> {
    let mut place = entries.last().map_or(SECTOR, next);
    let length = log.metadata()?.len();
    let mut count = entries.len() as u64;
    while place + SECTOR <= length {
        let Ok(entry) = read_entry(log, place) else {
            break;
        };
        if entry.flags == 0 && entry.sectors == 0 {
            break;
        }
        count += 1;
        place = next(&entry);
    }
    Ok(count)
}

fn read_entry(log: &File, place: u64) -> Result<Entry> {
    let mut head = [0; 32];
    log.read_exact_at(&mut head, place)?;
    let entry = Entry {
        sector: number(&head, 0),
        sectors: number(&head, 8),
        flags: number(&head, 16),
        data: place + SECTOR,
    };
    ensure!(
        entry.flags & !(FLUSH | FUA | DISCARD | MARK) == 0,
        "flags {:x}",
        entry.flags
    );
    Ok(entry)
}

/// Where the next entry begins; a discard has no data.
fn next(entry: &Entry) -> u64 {
    if entry.flags & DISCARD != 0 {
        entry.data
    } else {
        entry.data + entry.sectors * SECTOR
    }
}

fn apply(entry: &Entry, log: &File, disk: &File) -> Result<()> {
    if entry.sectors == 0 || entry.flags & MARK != 0 {
        return Ok(());
    }
    let (start, length) = (entry.sector * SECTOR, entry.sectors * SECTOR);
    let size = disk.metadata()?.len();
    if start + length > size {
        bail!("sector {} lies behind the disk's end", entry.sector);
    }
    if entry.flags & DISCARD != 0 {
        fallocate(
            disk,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            start,
            length,
        )?;
        return Ok(());
    }
    let mut data = vec![0; usize::try_from(length)?];
    log.read_exact_at(&mut data, entry.data)
        .context("reading an entry's data")?;
    disk.write_all_at(&data, start)?;
    Ok(())
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::{DISCARD, FLUSH, Log, MAGIC, Replay, SECTOR, VERSION, replay};
    use std::path::PathBuf;
    use tempfile::TempDir;

    /// Entries as (first sector, flags, content by sector); a discard's content
    /// only tells how long it is.
    fn make_log(counted: u64, entries: &[(u64, u64, &[u8])]) -> Vec<u8> {
        let mut log = Vec::new();
        for number in [MAGIC, VERSION, counted] {
            log.extend(number.to_le_bytes());
        }
        log.extend((SECTOR as u32).to_le_bytes());
        log.resize(SECTOR as usize, 0);
        for (sector, flags, content) in entries {
            let begin = log.len();
            for number in [*sector, content.len() as u64, *flags, 0] {
                log.extend(number.to_le_bytes());
            }
            log.resize(begin + SECTOR as usize, 0);
            if flags & DISCARD == 0 {
                for &byte in *content {
                    log.extend([byte; SECTOR as usize]);
                }
            }
        }
        log
    }

    fn files(log: &[u8]) -> (TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (log_path, disk) = (folder.path().join("log"), folder.path().join("disk"));
        std::fs::write(&log_path, log).unwrap();
        std::fs::write(&disk, vec![b'-'; 8 * SECTOR as usize]).unwrap();
        (folder, log_path, disk)
    }

    /// The first byte of each sector.
    fn content(disk: &PathBuf) -> String {
        let bytes = std::fs::read(disk).unwrap();
        bytes
            .chunks(SECTOR as usize)
            .map(|sector| char::from(sector[0]).to_ascii_lowercase())
            .map(|byte| if byte == '\0' { '0' } else { byte })
            .collect()
    }

    #[test]
    fn what_came_after_the_last_flush_is_dropped() {
        let log = make_log(
            5,
            &[
                (0, 0, b"aaa"),
                (1, 0, b"b"),
                (0, FLUSH, b""),
                (5, DISCARD, b"xx"),
                (0, FLUSH, b""),
                (7, 0, b"c"),
                (3, 0, b"d"),
            ],
        );
        let (_folder, log, disk) = files(&log);
        let expected = Replay {
            kept: 5,
            dropped: 2,
        };
        assert_eq!(replay(&log, &disk).unwrap(), expected);
        assert_eq!(content(&disk), "aba--00-");
    }

    #[test]
    fn a_cut_keeps_any_sectors_behind_the_flush() {
        let entries: [(u64, u64, &[u8]); 5] = [
            (0, 0, b"aaa"),
            (0, FLUSH, b""),
            (1, 0, b"bbb"),
            (6, DISCARD, b"x"),
            (0, FLUSH, b""),
        ];
        let bytes = make_log(5, &entries);
        for (flushes, reached, expected) in [
            (0, true, "aaa-----"),
            (0, false, "--------"),
            (1, false, "aaa-----"),
            (1, true, "abbb--0-"),
            (2, false, "abbb--0-"),
        ] {
            let (_folder, log, disk) = files(&bytes);
            let log = Log::read(&log).unwrap();
            assert_eq!(log.flushes(), 2);
            log.cut(&disk, flushes, || reached).unwrap();
            assert_eq!(content(&disk), expected, "{flushes} {reached}");
        }
        let (_folder, log, disk) = files(&bytes);
        let mut turn = false;
        let mut every_second = || {
            turn = !turn;
            turn
        };
        let log = Log::read(&log).unwrap();
        log.cut(&disk, 1, &mut every_second).unwrap();
        assert_eq!(content(&disk), "abab----");
    }

    #[test]
    fn a_flush_that_nobody_was_told_of_does_not_count() {
        // The superblock counts one flush; the second was logged and no more.
        let entries: [(u64, u64, &[u8]); 4] =
            [(0, 0, b"a"), (0, FLUSH, b""), (1, 0, b"b"), (0, FLUSH, b"")];
        let (_folder, log, disk) = files(&make_log(2, &entries));
        let done = replay(&log, &disk).unwrap();
        assert_eq!((done.kept, done.dropped), (2, 2));
        assert_eq!(content(&disk), "a-------");
    }

    #[test]
    fn without_a_flush_nothing_was_written() {
        let (_folder, log, disk) = files(&make_log(1, &[(0, 0, b"a")]));
        assert_eq!(replay(&log, &disk).unwrap().kept, 0);
        assert_eq!(content(&disk), "--------");
        let (_folder, log, disk) = files(b"");
        assert_eq!(replay(&log, &disk).unwrap(), Replay::default());
        assert_eq!(content(&disk), "--------");
    }

    #[test]
    fn a_log_with_a_hole_or_of_another_kind_is_refused() {
        let mut holed = make_log(3, &[(0, 0, b"a"), (1, 0, b"b"), (0, FLUSH, b"")]);
        holed[2 * 512 + 512..4 * 512 + 512].fill(0);
        let (_folder, log, disk) = files(&holed);
        let error = format!("{:#}", replay(&log, &disk).unwrap_err());
        assert!(error.contains("entry 1 was never written"), "{error}");
        let (_folder, log, disk) = files(&[7; 4096]);
        assert!(replay(&log, &disk).is_err());
        let (_folder, log, disk) = files(&make_log(2, &[(8, 0, b"a"), (0, FLUSH, b"")]));
        let error = format!("{:#}", replay(&log, &disk).unwrap_err());
        assert!(error.contains("behind the disk's end"), "{error}");
    }
}
