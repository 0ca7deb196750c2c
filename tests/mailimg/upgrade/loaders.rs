//! Boot loaders are renewed on a disk, and the power goes at any moment of it.

use std::fs;

use mailimg::appliance::upgrade::loaders::{Renewed, renew_grub, renew_systemd_boot};
use mailimg::builder::write::bios::check_bios;
use mailimg::builder::write::layered::Layered;
use mailimg::format::bios::Grub;
use mailimg::format::boot_entry::LOADERS;
use mailimg::format::fat::Volume;
use mailimg::format::gpt::{Partition, TYPE_BIOS_BOOT, TYPE_ESP, Table, read_gpt};
use mailimg::format::storage::{Region, Storage};

use super::machine::noise;
use crate::install::recorder::{Random, Recorder};
use crate::world::bench::Bench;

/// The disk of an image, and its table.
fn disk() -> (Vec<u8>, Table) {
    let bench = Bench::built().with_image("disk");
    let disk = fs::read(bench.work("out/tiny_1.raw")).unwrap();
    let table = read_gpt(&disk).unwrap();
    (disk, table)
}

fn grub(version: &str, core_sectors: usize) -> Grub {
    let mut core_image = noise(core_sectors * 512);
    core_image[..version.len()].copy_from_slice(version.as_bytes());
    Grub {
        boot_sector: vec![0xb0; 512],
        core_image,
        version: version.to_owned(),
    }
}

/// What GRUB says of itself, where the disk's first sector has BIOS look for it.
fn starts(disk: &mut dyn Storage, table: &Table) -> Vec<u8> {
    // Code, record and grub.cfg agree.
    check_bios(disk, table).unwrap().unwrap();
    let mut first = [0; 512];
    disk.read_at(&mut first, 0).unwrap();
    let sector = u64::from_le_bytes(first[0x5c..0x64].try_into().unwrap());
    let mut bytes = [0; 3];
    disk.read_at(&mut bytes, sector * 512).unwrap();
    bytes.to_vec()
}

fn bios(table: &Table) -> &Partition {
    table.find(&TYPE_BIOS_BOOT).unwrap()
}

#[test]
fn grub_starts_whenever_the_power_goes() {
    let (mut disk, table) = disk();
    let first = starts(&mut disk, &table);
    let mut before = first;
    // To the second place, back to the first, and once more.
    for (version, seed) in [("2.1", 3), ("2.2", 5), ("2.3", 7)] {
        let new = grub(version, 200);
        let mut recorder = Recorder::over(&disk);
        let renewed = renew_grub(&mut recorder, bios(&table), &new).unwrap();
        assert_eq!(renewed, Renewed::To(version.to_owned()));
        let mut seen = [0, 0];
        let mut durable = Layered::over(&disk).unwrap();
        recorder.cuts(&mut durable, &mut Random(seed), |_, state| {
            let found = starts(state, &table);
            assert!(found == before || found == version.as_bytes(), "{found:?}");
            assert_eq!(read_gpt(state).unwrap(), table);
            seen[usize::from(found == version.as_bytes())] += 1;
            renew_grub(state, bios(&table), &new).unwrap();
            assert_eq!(starts(state, &table), version.as_bytes());
        });
        assert!(seen[0] > 4 && seen[1] > 0, "{seen:?}");
        renew_grub(&mut disk, bios(&table), &new).unwrap();
        before = version.as_bytes().to_vec();
        // Done is done, and an older one never comes.
        let whole = disk.clone();
        for other in [&new, &grub("2.0", 100)] {
            let renewed = renew_grub(&mut disk, bios(&table), other).unwrap();
            assert_eq!(renewed, Renewed::AsItWas);
            assert!(disk == whole);
        }
    }
}

#[test]
fn grub_stays_where_there_is_no_room_or_another_one() {
    let (disk, table) = disk();
    let refused = |disk: &[u8], new: &Grub| {
        let mut disk = disk.to_vec();
        let before = disk.clone();
        let error = renew_grub(&mut disk, bios(&table), new).unwrap_err();
        assert!(disk == before);
        format!("{error:#}")
    };
    let sectors = (bios(&table).size() / 512) as usize;
    assert_eq!(
        refused(&disk, &grub("3", sectors / 2)),
        "the BIOS boot partition has no room for a second one"
    );
    let mut foreign = disk.clone();
    foreign[0x5c..0x64].copy_from_slice(&1234_u64.to_le_bytes());
    assert_eq!(
        refused(&foreign, &grub("3", 100)),
        "what BIOS starts is not where mailimg puts it"
    );
    let mut damaged = disk.clone();
    damaged[bios(&table).last_lba as usize * 512] ^= 1;
    assert!(refused(&damaged, &grub("3", 100)).contains("record"));
    // A disk that only UEFI starts.
    let mut none = disk;
    none[..440].fill(0);
    let renewed = renew_grub(&mut none, bios(&table), &grub("3", 100)).unwrap();
    assert_eq!(renewed, Renewed::AsItWas);
}

fn loader(version: &str, size: usize) -> Vec<u8> {
    let mut bytes = noise(size);
    let magic = format!("#### LoaderInfo: systemd-boot {version} ####");
    bytes[100..100 + magic.len()].copy_from_slice(magic.as_bytes());
    bytes
}

fn with_esp<D: Storage, T>(
    disk: &mut D,
    table: &Table,
    work: impl FnOnce(&mut dyn Storage) -> T,
) -> T {
    let esp = table.find(&TYPE_ESP).unwrap();
    work(&mut Region::new(disk, esp.offset(), esp.size()).unwrap())
}

fn loaders(esp: &mut dyn Storage) -> [Vec<u8>; 2] {
    let volume = Volume::open(esp).unwrap();
    LOADERS.map(|path| volume.read(path).unwrap())
}

#[test]
fn systemd_boot_is_whole_whenever_the_power_goes() {
    let (mut disk, table) = disk();
    for (version, size) in [("257.9-1", 100_000), ("257.13-1~deb13u1", 120_000)] {
        let new = loader(version, size);
        let [old, _] = with_esp(&mut disk, &table, loaders);
        let mut recorder = Recorder::over(&disk);
        let renewed = with_esp(&mut recorder, &table, |esp| renew_systemd_boot(esp, &new));
        assert_eq!(renewed.unwrap(), Renewed::To(version.to_owned()));
        let mut durable = Layered::over(&disk).unwrap();
        let mut seen = 0;
        recorder.cuts(&mut durable, &mut Random(11), |_, state| {
            for found in with_esp(state, &table, loaders) {
                assert!(found == old || found == new);
            }
            seen += 1;
            if seen % 4 == 0 {
                with_esp(state, &table, |esp| renew_systemd_boot(esp, &new)).unwrap();
                assert!(with_esp(state, &table, loaders) == [new.clone(), new.clone()]);
            }
        });
        assert!(seen > 30, "{seen}");
        with_esp(&mut disk, &table, |esp| renew_systemd_boot(esp, &new)).unwrap();
    }
    let whole = disk.clone();
    for other in [
        loader("257.13-1~deb13u1", 120_000),
        loader("257.9-2", 90_000),
        loader("256", 90_000),
    ] {
        let renewed = with_esp(&mut disk, &table, |esp| renew_systemd_boot(esp, &other));
        assert_eq!(renewed.unwrap(), Renewed::AsItWas);
        assert!(disk == whole);
    }
    // What is no loader never comes, and what has no room neither.
    for (bad, why) in [
        (noise(1000), "reading the version of the new one"),
        (loader("258", 40 << 20), "the boot partition is full"),
    ] {
        let error = with_esp(&mut disk, &table, |esp| renew_systemd_boot(esp, &bad));
        assert_eq!(error.unwrap_err().to_string(), why);
        assert!(disk == whole);
    }
}
