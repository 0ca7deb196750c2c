//! Whenever the power goes, the old image starts, or the new one, or the same command
//! ends what was begun; `/var` and what the tables say of it are the same at any moment.

use mailimg::builder::command::check_image::{check_image, check_start};
use mailimg::builder::command::install::keep_data::{Kept, Options, keep_data};
use mailimg::builder::command::install::source::Source;
use mailimg::builder::command::install::whole_disk::{check_disk, smallest_disk, write_whole_disk};
use mailimg::builder::progress::Progress;
use mailimg::builder::write::layered::Layered;
use mailimg::builder::write::opened::Opened;
use mailimg::format::extents::ReadAt;
use mailimg::format::gpt::{Copies, RawTable};
use mailimg::format::storage::Storage;

use super::recorder::{Blank, Random, Recorder};
use super::{MIB, Machine, SETTINGS, VAR, VAR_SIZE, boot_file, labels};

const NO_OPTIONS: Options<'_> = Options {
    settings: None,
    force: false,
};

/// Which image starts, by the last character of what it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Starts {
    Old,
    Neither,
    New,
}

fn keep(machine: &Machine, version: &str, disk: &mut dyn Storage) -> Kept {
    let file = machine.image(version);
    let opened = Opened::new(&file).unwrap();
    let mut source = Source::check(&opened).unwrap();
    keep_data(&mut source, disk, &NO_OPTIONS, &Progress::hidden()).unwrap()
}

fn root_hash(machine: &Machine, version: &str) -> [u8; 32] {
    let file = machine.image(version);
    let opened = Opened::new(&file).unwrap();
    Source::check(&opened).unwrap().root_hash
}

/// A stretch of a disk.
fn bytes(disk: &dyn Storage, start: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    disk.read_at(&mut bytes, start).unwrap();
    bytes
}

struct Expected {
    var: Vec<u8>,
    entry: RawTable,
    old: [u8; 32],
    new: [u8; 32],
}

impl Expected {
    /// Fails when anything of `/var` is lost; tells what starts.
    fn check<D: Storage + ReadAt>(&self, state: &mut D) -> Starts {
        assert!(bytes(state, VAR * MIB, VAR_SIZE * MIB) == self.var);
        let Copies { primary, backup } = Copies::read(state).unwrap();
        for table in [primary.unwrap(), backup.unwrap()] {
            assert_eq!(table.partition(7), self.entry.partition(7));
            assert_eq!(table.disk_uuid(), self.entry.disk_uuid());
        }
        match check_start(state) {
            Ok(whole) if whole.root_hash == self.old => Starts::Old,
            Ok(whole) if whole.root_hash == self.new => Starts::New,
            Ok(whole) => panic!("{whole:?} starts"),
            Err(_) => Starts::Neither,
        }
    }
}

#[test]
fn a_cut_at_any_moment_loses_nothing() {
    let machine = Machine::new();
    let disk = &machine.disk;
    let expected = Expected {
        var: bytes(disk, VAR * MIB, VAR_SIZE * MIB),
        entry: RawTable::read(disk, 1).unwrap(),
        old: root_hash(&machine, "1"),
        new: root_hash(&machine, "2"),
    };
    let mut recorder = Recorder::over(disk);
    keep(&machine, "2", &mut recorder);
    let mut durable = Layered::over(disk).unwrap();
    let mut random = Random(88_172_645_463_325_252);
    let mut seen = Vec::new();
    let mut before = usize::MAX;
    recorder.cuts(&mut durable, &mut random, |sync, state| {
        let starts = expected.check(state);
        seen.push((sync, starts));
        // One of the cuts before each sync, another one each time.
        if sync == before || (seen.len() + sync) % 3 != 0 {
            return;
        }
        before = sync;
        keep(&machine, "2", state);
        assert_eq!(check_image(state).unwrap().root_hash, expected.new);
        assert_eq!(expected.check(state), Starts::New);
        let whole = bytes(state, 0, state.size().unwrap());
        assert_eq!(
            labels(&whole)[2..],
            ["_empty", "_empty", "tiny_2_r", "tiny_2_v", "var"]
        );
        assert_eq!(boot_file(&whole, "settings.env").unwrap(), SETTINGS);
        assert!(whole[34 * 512..2048 * 512].iter().all(|byte| *byte == 0));
    });
    // Before each sync the states come in no order of their own.
    seen.sort();
    // From one to the other, and only in the boot partition's own steps is it neither.
    assert!(seen.is_sorted_by_key(|(_, starts)| *starts), "{seen:?}");
    let mut neither: Vec<usize> = seen
        .iter()
        .filter(|(_, starts)| *starts == Starts::Neither)
        .map(|(sync, _)| *sync)
        .collect();
    neither.dedup();
    assert!(neither.len() <= 3, "{seen:?}");
    assert!(seen.len() > 60, "{seen:?}");
}

#[test]
fn a_cut_while_the_whole_disk_is_written_needs_no_force() {
    let machine = Machine::new();
    let file = machine.image("2");
    let opened = Opened::new(&file).unwrap();
    let source = Source::check(&opened).unwrap();
    let blank = Blank(smallest_disk(&source.table));
    let write = |disk: &mut dyn Storage| {
        check_disk(&source, disk, false).unwrap();
        write_whole_disk(&source, disk, &Progress::hidden()).unwrap();
    };
    let mut recorder = Recorder::over(&blank);
    write(&mut recorder);
    let mut durable = Layered::over(&blank).unwrap();
    recorder.cuts(&mut durable, &mut Random(7), |_, state| {
        // What is done needs no second run, and would not be overwritten.
        if check_image(state).is_err() || check_disk(&source, state, false).is_ok() {
            write(state);
        }
        assert_eq!(check_image(state).unwrap().root_hash, source.root_hash);
    });
}
