//! Whatever is on a disk, nothing panics, and `--keep-data` never touches `/var`.

use std::sync::LazyLock;

use mailimg::builder::command::install::keep_data::{Options, keep_data};
use mailimg::builder::command::install::source::Source;
use mailimg::builder::command::install::whole_disk::check_disk;
use mailimg::builder::progress::Progress;
use mailimg::builder::write::layered::Layered;
use mailimg::builder::write::opened::Opened;
use mailimg::format::gpt::{Partition, RawTable};
use mailimg::format::storage::Storage;
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};

use super::{MIB, Machine, VAR, VAR_SIZE};

static MACHINE: LazyLock<Machine> = LazyLock::new(Machine::new);

/// Runs both ways of installing as far as they go.
fn install(disk: &mut dyn Storage, force: bool) -> bool {
    let file = MACHINE.image("2");
    let opened = Opened::new(&file).unwrap();
    let mut source = Source::check(&opened).unwrap();
    let _ = check_disk(&source, disk, force);
    let options = Options {
        settings: None,
        force,
    };
    keep_data(&mut source, disk, &options, &Progress::hidden()).is_ok()
}

fn var(disk: &dyn Storage) -> Vec<u8> {
    let mut bytes = vec![0; (VAR_SIZE * MIB) as usize];
    disk.read_at(&mut bytes, VAR * MIB).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_bytes_are_no_machine(
        bytes in prop::collection::vec(any::<u8>(), 0..5000),
        more in 0usize..3_000_000,
        force in any::<bool>(),
    ) {
        let mut disk = bytes;
        disk.resize(disk.len() + more, 0);
        let before = disk.clone();
        prop_assert!(!install(&mut disk, force));
        prop_assert!(disk == before);
    }

    #[test]
    fn damage_where_tables_and_boot_partition_lie_never_reaches_var(
        places in prop::collection::vec((0u8..5, 0u64..40_000, any::<u8>()), 1..6),
        force in any::<bool>(),
    ) {
        let mut disk = Layered::over(&MACHINE.disk).unwrap();
        let end = MACHINE.disk.len() as u64;
        for (where_to, at, byte) in places {
            let place = match where_to {
                0 => at % 17_000,
                1 => end - 1 - at % 17_000,
                2 => MIB + at,
                3 => 66 * 512 + at % 700,
                _ => 512 + at % 92,
            };
            disk.write_at(&[byte], place).unwrap();
        }
        install(&mut disk, force);
        prop_assert!(var(&disk) == var(&MACHINE.disk));
    }

    #[test]
    fn tables_that_are_whole_and_wrong_never_reach_var(
        number in 1usize..10,
        first in 0u64..220_000,
        length in 0u64..80_000,
        keep_type in any::<bool>(),
        force in any::<bool>(),
    ) {
        let mut disk = Layered::over(&MACHINE.disk).unwrap();
        let table = RawTable::read(&disk, 1).unwrap();
        let old = table.partition(number);
        let wrong = Partition {
            label: old.as_ref().map_or("more".to_owned(), |old| old.label.clone()),
            type_uuid: old.filter(|_| keep_type).map_or([3; 16], |old| old.type_uuid),
            uuid: [4; 16],
            first_lba: first,
            last_lba: first + length,
            attributes: 0,
        };
        let mut changed = table.clone();
        changed.set_partition(number, &wrong);
        changed.restore(&mut disk).unwrap();
        changed.for_other_place().restore(&mut disk).unwrap();
        let kept = if number == 7 { Vec::new() } else { var(&disk) };
        install(&mut disk, force);
        prop_assert!(number == 7 || var(&disk) == kept);
    }
}
