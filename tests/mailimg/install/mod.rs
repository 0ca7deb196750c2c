//! `mailimg install`: onto empty and other disks, and over a machine whose `/var` stays.

mod any_disk;
mod keep_data;
mod power_cut;
pub mod recorder;
mod whole_disk;

use std::fs::{self, File};
use std::path::PathBuf;

use mailimg::builder::command::configure::configure;
use mailimg::builder::command::settings::Checked;
use mailimg::format::gpt::{Partition, TYPE_ROOT, TYPE_ROOT_VERITY, TYPE_VAR, read_gpt, write_gpt};

use crate::world::bench::Bench;
use crate::world::bench::outcome::Outcome;

const MIB: u64 = 1 << 20;
/// Sectors of a MiB.
const LBA: u64 = MIB / 512;
/// Where slot B of a machine's disk begins, in MiB; the image ends there.
const SLOT_B: u64 = 69;
/// Where `/var` begins, and how long it is, in MiB.
const VAR: u64 = SLOT_B + 33;
const VAR_SIZE: u64 = 4;
/// Size of the disk.
const DISK: u64 = (VAR + VAR_SIZE + 1) * MIB;

/// What the machine's boot partition has.
const SETTINGS: &[u8] = b"DOMAIN=example.org\nHOSTNAME=mail.example.org\n";

/// Two images, and the disk of a machine that runs the first.
struct Machine {
    bench: Bench,
    /// The disk as the machine left it.
    disk: Vec<u8>,
}

impl Machine {
    fn new() -> Self {
        let bench = Bench::built().with_image("disk,qcow2");
        build(&bench, "2", "disk,qcow2");
        fs::copy(bench.work("out/tiny_1.raw"), bench.work("disk.raw")).unwrap();
        let settings = Checked {
            text: SETTINGS.to_vec(),
            authority: None,
        };
        configure(&bench.work("disk.raw"), Some(&settings), b"").unwrap();
        let disk = run_once(fs::read(bench.work("disk.raw")).unwrap());
        fs::write(bench.work("disk.raw"), &disk).unwrap();
        Self { bench, disk }
    }

    /// Puts the machine's disk back.
    fn reset(&self) {
        fs::write(self.path(), &self.disk).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.bench.work("disk.raw")
    }

    fn read(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// Installs an image of `out` onto the disk and keeps its data.
    fn keep(&self, image: &str, more: &[&str]) -> Outcome {
        let image = format!("out/{image}");
        let arguments = ["install", &image, "disk.raw", "--keep-data"];
        self.bench.run(&[&arguments, more].concat())
    }

    fn image(&self, version: &str) -> File {
        let name = format!("out/tiny_{version}.raw");
        File::open(self.bench.work(&name)).unwrap()
    }
}

fn build(bench: &Bench, version: &str, formats: &str) {
    let arguments = [
        "build",
        "tiny",
        "--format",
        formats,
        "--image-version",
        version,
    ];
    bench.run(&arguments).done();
}

/// What the first boot makes of a disk: slot B, and `/var` with something in it.
pub fn run_once(mut disk: Vec<u8>) -> Vec<u8> {
    let table = read_gpt(&disk).unwrap();
    disk.resize(DISK as usize, 0);
    let mut partitions = table.partitions;
    for (label, type_uuid, start, size) in [
        ("_empty", TYPE_ROOT, SLOT_B, 32),
        ("_empty", TYPE_ROOT_VERITY, SLOT_B + 32, 1),
        ("var", TYPE_VAR, VAR, VAR_SIZE),
    ] {
        partitions.push(Partition {
            label: label.to_owned(),
            type_uuid,
            uuid: [0x50 + partitions.len() as u8; 16],
            first_lba: start * LBA,
            last_lba: (start + size) * LBA - 1,
            attributes: 1 << 59,
        });
    }
    write_gpt(&mut disk, &table.disk_uuid, &partitions, DISK).unwrap();
    for (index, byte) in var(&mut disk).iter_mut().enumerate() {
        *byte = (index * 7 + (index >> 12)) as u8;
    }
    disk
}

/// The bytes of `/var`.
fn var(disk: &mut [u8]) -> &mut [u8] {
    &mut disk[(VAR * MIB) as usize..((VAR + VAR_SIZE) * MIB) as usize]
}

/// Labels in the order of numbers.
fn labels(disk: &[u8]) -> Vec<String> {
    let table = read_gpt(&disk.to_vec()).unwrap();
    table.partitions.into_iter().map(|one| one.label).collect()
}

/// A file of the boot partition.
fn boot_file(disk: &[u8], name: &str) -> Option<Vec<u8>> {
    use mailimg::format::fat::Volume;
    let mut esp = disk[MIB as usize..35 * MIB as usize].to_vec();
    Volume::open(&mut esp).unwrap().read(name).ok()
}
