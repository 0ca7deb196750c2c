//! `--keep-data` as a user runs it.

use std::fs;

use mailimg::format::gpt::read_gpt;
use mailimg::format::gpt::write_gpt;

use super::{DISK, LBA, MIB, Machine, SETTINGS, boot_file, build, labels, var};
use crate::world::bench::packages;

const OTHERS: &str = "DOMAIN=example.net\nHOSTNAME=mail.example.net\n";

/// Everything that must not change: `/var`, and what the table says of it.
fn kept(disk: &[u8]) -> (Vec<u8>, String) {
    let mut disk = disk.to_vec();
    let table = read_gpt(&disk).unwrap();
    let entry = format!("{:?} {:?}", table.disk_uuid, table.partitions[6]);
    (var(&mut disk).to_vec(), entry)
}

#[test]
fn slots_take_turns_and_var_and_settings_stay() {
    let machine = Machine::new();
    let before = kept(&machine.disk);
    let first = ["tiny_1_r", "tiny_1_v"];
    assert_eq!(
        labels(&machine.disk)[2..6],
        [first[0], first[1], "_empty", "_empty"]
    );

    let outcome = machine.keep("tiny_2.qcow2", &[]);
    let said = &outcome.done().stdout;
    assert!(
        said.starts_with("installed tiny_2 on disk.raw in ")
            && said.contains(" s: slot B, with the disk's settings and /var (4 MiB) as it was\n")
            && said.ends_with("`reboot`, and leave the rescue system\n"),
        "{said}"
    );
    let disk = machine.read();
    assert_eq!(
        labels(&disk)[2..6],
        ["_empty", "_empty", "tiny_2_r", "tiny_2_v"]
    );
    assert!(kept(&disk) == before);
    assert_eq!(boot_file(&disk, "settings.env").unwrap(), SETTINGS);
    assert!(boot_file(&disk, "EFI/Linux/tiny_1.efi").is_none());
    machine.bench.run(&["verify", "disk.raw"]).done();

    // The same once more changes nothing but the disk's idea of which slot was in use.
    machine.keep("tiny_2.raw", &[]).done();
    assert!(machine.read() == disk);

    let said = machine.keep("tiny_1.raw", &[]).done().stdout.clone();
    assert!(said.contains("slot A, with"), "{said}");
    let disk = machine.read();
    assert_eq!(
        labels(&disk)[2..6],
        [first[0], first[1], "_empty", "_empty"]
    );
    assert!(kept(&disk) == before);
    machine.bench.run(&["verify", "disk.raw"]).done();
}

#[test]
fn given_settings_go_before_the_disks_and_a_template_counts_for_nothing() {
    let machine = Machine::new();
    machine.bench.write("others.env", OTHERS);
    let outcome = machine.keep("tiny_2.raw", &["--settings", "others.env"]);
    let said = &outcome.done().stdout;
    assert!(
        said.contains("with the settings that were given and"),
        "{said}"
    );
    let found = boot_file(&machine.read(), "settings.env").unwrap();
    assert_eq!(found, OTHERS.as_bytes());

    machine.reset();
    machine
        .bench
        .run(&["configure", "disk.raw", "--reset"])
        .done();
    let image = ["configure", "out/tiny_2.raw", "--settings", "others.env"];
    machine.bench.run(&image).done();
    let said = machine.keep("tiny_2.raw", &[]).done().stdout.clone();
    assert!(said.contains("with the image's settings"), "{said}");
    let found = boot_file(&machine.read(), "settings.env").unwrap();
    assert_eq!(found, OTHERS.as_bytes());
}

#[test]
fn a_damaged_table_is_named_and_made_anew_by_force_alone() {
    let machine = Machine::new();
    let before = kept(&machine.disk);
    let end = DISK as usize - 512;
    for (which, place) in [
        ("primary", 512 + 60),
        ("backup", end + 60),
        ("backup", end - 9),
    ] {
        let mut disk = machine.disk.clone();
        disk[place] ^= 1;
        if place == end - 9 {
            // The last entry is unused; its checksum is still that of the header.
            disk[place] ^= 1;
            disk[end - 32 * 512 + 3 * 128 + 40] ^= 1;
        }
        fs::write(machine.path(), &disk).unwrap();
        let error = machine.keep("tiny_2.raw", &[]).error(1);
        let named = format!("reading the disk's {which} partition table: ");
        assert!(error.contains(&named), "{error}");
        assert!(
            error.contains("hint: save the disk first; --force then"),
            "{error}"
        );
        assert!(machine.read() == disk);

        let outcome = machine.keep("tiny_2.raw", &["--force"]);
        let note = format!("the {which} partition table was damaged and is made from the other");
        assert!(outcome.done().stderr.contains(&note), "{}", outcome.stderr);
        assert!(kept(&machine.read()) == before);
        machine.bench.run(&["verify", "disk.raw"]).done();
    }
    let mut disk = machine.disk.clone();
    disk[512] ^= 1;
    disk[end] ^= 1;
    fs::write(machine.path(), &disk).unwrap();
    let error = machine.keep("tiny_2.raw", &["--force"]).error(1);
    assert!(
        error.contains("the backup too: there is no partition table"),
        "{error}"
    );
    assert!(machine.read() == disk);
}

#[test]
fn a_boot_partition_that_cannot_be_read_needs_other_settings() {
    let machine = Machine::new();
    let mut disk = machine.disk.clone();
    disk[MIB as usize..MIB as usize + 512].fill(0);
    fs::write(machine.path(), &disk).unwrap();
    let error = machine.keep("tiny_2.raw", &[]).error(1);
    assert!(
        error.contains("reading the settings on the disk's boot partition: ")
            && error.contains("hint: `--settings FILE` gives others"),
        "{error}"
    );
    assert!(machine.read() == disk);
    let said = machine
        .keep("tiny_2.raw", &["--force"])
        .done()
        .stdout
        .clone();
    assert!(said.contains("with the image's settings"), "{said}");
}

#[test]
fn a_disk_that_has_grown_since_is_left_to_the_next_boot() {
    let machine = Machine::new();
    let before = kept(&machine.disk);
    let mut disk = machine.disk.clone();
    disk.resize(disk.len() + 5 * MIB as usize, 0);
    fs::write(machine.path(), &disk).unwrap();
    machine.keep("tiny_2.raw", &[]).done();
    let disk = machine.read();
    assert!(kept(&disk) == before);
    assert_eq!(read_gpt(&disk).unwrap().disk_size, DISK);
    machine.bench.run(&["verify", "disk.raw"]).done();
}

#[test]
fn another_layout_is_refused() {
    let machine = Machine::new();
    let table = read_gpt(&machine.disk).unwrap();
    let refuse = |change: &dyn Fn(&mut Vec<mailimg::format::gpt::Partition>)| {
        let mut partitions = table.partitions.clone();
        change(&mut partitions);
        let mut disk = machine.disk.clone();
        write_gpt(&mut disk, &table.disk_uuid, &partitions, DISK).unwrap();
        fs::write(machine.path(), &disk).unwrap();
        let error = machine.keep("tiny_2.raw", &["--force"]).error(1);
        assert!(machine.read() == disk);
        error
    };
    let hint = "\nhint: without --keep-data the disk is installed anew, and all on it is lost";
    for (change, text) in [
        (
            &(|partitions: &mut Vec<_>| partitions.truncate(4)) as &dyn Fn(&mut Vec<_>),
            "partition 5 is none of a slot",
        ),
        (
            &|partitions: &mut Vec<_>| partitions.truncate(6),
            "partition 7 is not var",
        ),
        (
            &|partitions: &mut Vec<mailimg::format::gpt::Partition>| {
                partitions[6].label = "data".to_owned();
            },
            "partition 7 is not var",
        ),
        (
            &|partitions: &mut Vec<_>| partitions.swap(0, 1),
            "partition 1 is not esp",
        ),
        (
            &|partitions: &mut Vec<mailimg::format::gpt::Partition>| {
                let mut more = partitions[6].clone();
                partitions[6].last_lba -= LBA;
                more.first_lba = partitions[6].last_lba + 1;
                more.uuid = [9; 16];
                partitions.push(more);
            },
            "there is a partition 8",
        ),
    ] {
        let error = refuse(change);
        assert!(error.contains(&format!("has run: {text}{hint}")), "{error}");
    }
}

#[test]
fn an_image_that_does_not_fit_is_refused() {
    let machine = Machine::new();
    let recipe = packages::recipe(&machine.bench.archive.url(), "");
    for (from, to, text) in [
        (
            "root_mib = 32",
            "root_mib = 33",
            "the image's root takes 33 MiB, a slot of the disk has 32 MiB\n\
             hint: set root_mib in the recipe to 32 at most",
        ),
        (
            "esp_mib = 34",
            "esp_mib = 35",
            "the boot partition of the image lies elsewhere or is larger than the disk's\nhint: ",
        ),
    ] {
        machine
            .bench
            .write("recipes/tiny.toml", &recipe.replace(from, to));
        build(&machine.bench, "3", "disk");
        let error = machine.keep("tiny_3.raw", &[]).error(1);
        assert!(error.contains(text), "{error}");
        assert!(machine.read() == machine.disk);
    }
}

#[test]
fn a_damaged_image_is_refused_before_anything_is_written() {
    let machine = Machine::new();
    let image = machine.bench.work("out/tiny_2.raw");
    let mut bytes = fs::read(&image).unwrap();
    bytes[(36 * MIB + 5000) as usize] ^= 1;
    fs::write(&image, bytes).unwrap();
    let error = machine.keep("tiny_2.raw", &[]).error(1);
    assert!(
        error.starts_with("error: checking out/tiny_2.raw: checking the root")
            && error.contains("hint: the image is damaged"),
        "{error}"
    );
    assert!(machine.read() == machine.disk);
    let error = machine.keep("none.raw", &[]).error(1);
    assert!(
        error.contains("hint: name an image that `mailimg build` made"),
        "{error}"
    );
    // A machine's disk is no image.
    fs::copy(machine.path(), machine.bench.work("out/used.raw")).unwrap();
    let error = machine.keep("used.raw", &[]).error(1);
    assert!(
        error.contains("it does not have the four partitions of an image"),
        "{error}"
    );
}
