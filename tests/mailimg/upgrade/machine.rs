//! A folder that stands for a machine: its disk, its boot partition, and what a boot leaves
//! in /run.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mailimg::format::fat::Volume;
use mailimg::format::gpt::{TYPE_ESP, read_gpt};
use mailimg::format::image::Image;
use mailimg::format::layout::Layout;
use mailimg::format::storage::{Region, is_zero};
use mailimg::format::verity::{Hash, verify};

use super::firmware::{Firmware, Started};
use crate::install::run_once;
use crate::world::bench::Bench;
use crate::world::bench::deb::Deb;
use crate::world::bench::outcome::Outcome;

/// A machine, and images of three versions.
pub struct Machine {
    pub bench: Bench,
    root: tempfile::TempDir,
    pub firmware: Firmware,
    boots: u32,
}

impl Machine {
    /// One that runs version 1, and images of 2 and 3.
    pub fn new(firmware: Firmware) -> Self {
        let mut bench = Bench::new();
        for version in ["1", "2", "3"] {
            build(&mut bench, version, version);
        }
        Self::of(bench, firmware)
    }

    /// The same images for a machine with another firmware, which runs version 1.
    pub fn anew(self, firmware: Firmware) -> Self {
        Self::of(self.bench, firmware)
    }

    fn of(bench: Bench, firmware: Firmware) -> Self {
        let disk = run_once(fs::read(bench.work("out/tiny_1.raw")).unwrap());
        let root = tempfile::tempdir().unwrap();
        let mut machine = Self {
            bench,
            root,
            firmware,
            boots: 0,
        };
        fs::create_dir_all(machine.path("run/mailimg-initrd")).unwrap();
        for folder in ["etc", "var"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        write_sparse(&machine.disk(), &disk);
        unpack_esp(&disk, &machine.esp());
        machine.boot();
        machine
    }

    /// Where all of it is.
    pub fn folder(&self) -> &Path {
        self.root.path()
    }

    /// A path of the machine.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Its boot partition.
    pub fn esp(&self) -> PathBuf {
        self.path("run/mailimg-initrd/esp")
    }

    /// Its disk.
    pub fn disk(&self) -> PathBuf {
        self.path("run/mailimg-initrd/disk")
    }

    /// An image.
    pub fn image(&self, version: &str) -> PathBuf {
        self.bench.work(&format!("out/tiny_{version}.raw"))
    }

    /// Starts the machine, and returns what started.
    pub fn boot(&mut self) -> Started {
        let started = self.firmware.start(&self.esp());
        self.check_root(&started.described.root_hash);
        self.boots += 1;
        let facts = |name: &str| self.path(&format!("run/mailimg-initrd/{name}"));
        let word = match (self.firmware, started.counted) {
            (Firmware::Bios, true) => " mailimg.trial",
            _ => "",
        };
        let line = format!(
            "quiet roothash={}{word}\n",
            hex::encode(started.described.root_hash)
        );
        fs::write(facts("command-line"), line).unwrap();
        fs::write(facts("boot-id"), format!("boot {}\n", self.boots)).unwrap();
        let release = format!(
            "IMAGE_ID={}\nIMAGE_VERSION={}\n",
            started.described.image, started.described.version
        );
        fs::write(self.path("etc/os-release"), release).unwrap();
        let variables = self.path("sys/firmware/efi/efivars");
        let counted = variables.join("LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
        if self.firmware == Firmware::Uefi {
            fs::create_dir_all(&variables).unwrap();
            let _ = fs::remove_file(&counted);
            if started.counted {
                fs::write(&counted, "").unwrap();
            }
        }
        started
    }

    /// The same, by the version alone.
    pub fn boot_version(&mut self) -> String {
        self.boot().described.version
    }

    /// There is such a root on the disk, and it is whole.
    pub fn check_root(&self, hash: &Hash) {
        let disk = File::open(self.disk()).unwrap();
        let (layout, _) = Layout::read(&&disk, false).unwrap();
        let of_slot = |slot: usize| {
            let [root, hashes] = layout.slot(slot);
            [root.uuid, hashes.uuid].concat() == *hash
        };
        let slot = (0..2).find(|slot| of_slot(*slot));
        let [root, hashes] = layout.slot(slot.expect("no slot has that root"));
        let found = verify(
            &disk,
            root.offset(),
            &disk,
            hashes.offset(),
            [root.size(), hashes.size()],
        )
        .unwrap();
        assert_eq!(found, *hash);
    }

    /// `mailctl` on this machine.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailctl"));
        command
            .arg("--root")
            .arg(self.root.path())
            .args(arguments)
            .current_dir(self.bench.work(""));
        command
    }

    /// Runs it to its end.
    pub fn mailctl(&self, arguments: &[&str]) -> Outcome {
        self.bench.finish(&mut self.command(arguments))
    }

    /// Puts a version on trial.
    pub fn upgrade(&self, version: &str, more: &[&str]) -> Outcome {
        let image = format!("out/tiny_{version}.raw");
        self.mailctl(&[&["upgrade", &image], more].concat())
    }

    /// How the last upgrade stands, as status says it.
    pub fn standing(&self) -> String {
        let status = self.mailctl(&["status"]);
        let mut lines = status.done().stdout.lines();
        let line = lines.find_map(|line| line.strip_prefix("Upgrade"));
        line.unwrap_or_default().trim().to_owned()
    }

    /// Names on the boot partition.
    pub fn kernels(&self) -> Vec<String> {
        let entries = fs::read_dir(self.esp().join("EFI/Linux")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Builds a version whose root has this text and much that is in all of them.
pub fn build(bench: &mut Bench, version: &str, text: &str) {
    build_with(bench, version, text.repeat(1000).as_bytes());
}

/// The same with these bytes.
pub fn build_with(bench: &mut Bench, version: &str, bytes: &[u8]) {
    let digits = hex::encode(&bytes[..8]);
    let release = format!("ID=tiny\nIMAGE_ID=tiny\nIMAGE_VERSION={version}\n");
    bench.archive.packages[0] = Deb::new("base")
        .version(&format!("{version}+{digits}"))
        .file("usr/lib/os-release", 0o644, release.as_bytes())
        .file("usr/lib/systemd/systemd", 0o755, b"the first process\n")
        .file("usr/bin/sh", 0o755, b"a shell\n")
        .file("usr/share/common", 0o644, &noise(1 << 20))
        .file("usr/share/changing", 0o644, bytes);
    bench.archive.publish();
    bench.run(&["lock", "tiny"]).done();
    let arguments = ["--format", "disk", "--image-version", version];
    bench
        .run(&[&["build", "tiny"], &arguments[..]].concat())
        .done();
}

/// Bytes that nothing compresses.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Writes a file that has no space where it has zeros.
fn write_sparse(path: &Path, bytes: &[u8]) {
    const PIECE: usize = 64 << 10;
    let file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (index, piece) in bytes.chunks(PIECE).enumerate() {
        if !is_zero(piece) {
            file.write_all_at(piece, (index * PIECE) as u64).unwrap();
        }
    }
}

/// What an image is.
pub fn read_image(path: &Path) -> Image {
    Image::read(File::open(path).unwrap()).unwrap()
}

/// Copies the files of a disk's boot partition.
fn unpack_esp(disk: &[u8], folder: &Path) {
    let mut disk = disk.to_vec();
    let table = read_gpt(&disk).unwrap();
    let esp = table.find(&TYPE_ESP).unwrap();
    let mut region = Region::new(&mut disk, esp.offset(), esp.size()).unwrap();
    let volume = Volume::open(&mut region).unwrap();
    let mut folders = vec![String::new()];
    while let Some(path) = folders.pop() {
        fs::create_dir_all(folder.join(&path)).unwrap();
        for entry in volume.list(&path).unwrap() {
            let name = if path.is_empty() {
                entry.name.clone()
            } else {
                format!("{path}/{}", entry.name)
            };
            if entry.folder {
                folders.push(name);
            } else {
                fs::write(folder.join(&name), volume.read(&name).unwrap()).unwrap();
            }
        }
    }
}
