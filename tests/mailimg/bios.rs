//! What starts an image on legacy BIOS: that it is there, and that damage to it is named.

use std::fs;
use std::path::PathBuf;

use mailimg::format::gpt::{TYPE_BIOS_BOOT, Table, read_gpt};

use crate::world::bench::Bench;
use crate::world::bench::outcome::Outcome;

const WHOLE: &str = "BIOS: boot code and grub.cfg are whole, and start what UEFI starts\n";
const IMAGE: &str = "out/tiny_1.raw";

/// An image to damage.
struct Damage {
    bench: Bench,
    pristine: Vec<u8>,
}

impl Damage {
    fn new() -> Self {
        let bench = Bench::built().with_image("disk");
        let pristine = fs::read(bench.work(IMAGE)).unwrap();
        Self { bench, pristine }
    }

    fn path(&self) -> PathBuf {
        self.bench.work(IMAGE)
    }

    fn table(&self) -> Table {
        read_gpt(&self.pristine).unwrap()
    }

    fn verify(&self) -> Outcome {
        self.bench.run(&["verify", IMAGE])
    }

    /// Changes the image, and returns the error that `verify` then says.
    fn refused(&self, change: impl FnOnce(&mut [u8])) -> String {
        let mut bytes = self.pristine.clone();
        change(&mut bytes);
        fs::write(self.path(), bytes).unwrap();
        let error = self.verify().error(1);
        // The same is said where it is no error.
        let inspected = self.bench.run(&["inspect", IMAGE]);
        let inspected = &inspected.done().stdout;
        let reason = error.lines().next().unwrap().trim_start_matches("error: ");
        assert!(
            inspected.contains(&format!("BIOS: {reason}")),
            "{inspected}"
        );
        reason.to_owned()
    }
}

/// Puts a text of the same length in the place of the only such text.
fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 1, "{from}");
    bytes[places[0]..places[0] + to.len()].copy_from_slice(to.as_bytes());
}

#[test]
fn an_image_starts_by_both_firmwares_whatever_its_settings() {
    let damage = Damage::new();
    assert!(damage.verify().done().stdout.ends_with(WHOLE));
    let inspected = damage.bench.run(&["inspect", IMAGE]);
    let inspected = &inspected.done().stdout;
    assert!(
        inspected.ends_with("BIOS: grub/a.cfg starts EFI/Linux/tiny_1.efi\n"),
        "{inspected}"
    );
    damage.bench.write(
        "settings.env",
        "DOMAIN=example.org\nHOSTNAME=mail.example.org\n",
    );
    let configure = ["configure", IMAGE, "--settings", "settings.env"];
    damage.bench.run(&configure).done();
    assert!(damage.verify().done().stdout.ends_with(WHOLE));
}

#[test]
fn damage_to_what_bios_starts_is_named() {
    let damage = Damage::new();
    let bios = damage.table().find(&TYPE_BIOS_BOOT).unwrap().clone();
    let (start, end) = (
        bios.offset() as usize,
        (bios.offset() + bios.size()) as usize,
    );
    let expect = |change: &dyn Fn(&mut [u8]), reason: &str| {
        let reason = format!("checking what BIOS starts: {reason}");
        assert_eq!(damage.refused(change), reason);
    };
    expect(
        &|bytes| bytes[100] ^= 1,
        "the MBR's boot code is not as it was written",
    );
    expect(
        &|bytes| bytes[..440].fill(0),
        "the MBR's boot code is not as it was written",
    );
    expect(
        &|bytes| bytes[start + 700] ^= 1,
        "GRUB's core image is not as it was written",
    );
    expect(
        &|bytes| bytes[end - 512] ^= 1,
        "the record at the end of the BIOS boot partition is damaged",
    );
    expect(
        &|bytes| {
            replace(
                bytes,
                "set superusers=nobody\nif",
                "set superusers=nobod \nif",
            )
        },
        "grub/grub.cfg is not as it was written",
    );
    expect(
        &|bytes| {
            replace(
                bytes,
                "; then\n    if initrd (uki)",
                "; then\n    if initrd (uk.)",
            )
        },
        "checking grub/a.cfg: (uk.)7+1 is no place in the image",
    );
    expect(
        &|bytes| replace(bytes, "+1 quiet roothash=", "+2 quiet roothash="),
        "checking grub/a.cfg: the kernel lies elsewhere in EFI/Linux/tiny_1.efi",
    );
    expect(
        &|bytes| replace(bytes, "+1 quiet roothash=", "+1 debug roothash="),
        "checking grub/a.cfg: its command line is not that of EFI/Linux/tiny_1.efi",
    );
}

#[test]
fn an_image_without_boot_code_says_so() {
    let damage = Damage::new();
    let bios = damage.table().find(&TYPE_BIOS_BOOT).unwrap().clone();
    let mut bytes = damage.pristine.clone();
    bytes[..440].fill(0);
    bytes[bios.offset() as usize..][..bios.size() as usize].fill(0);
    fs::write(damage.path(), bytes).unwrap();
    let none = "BIOS: no boot code, only UEFI starts this disk\n";
    assert!(damage.verify().done().stdout.ends_with(none));
    let boot = damage.bench.run(&["boot", IMAGE, "--firmware", "bios"]);
    let error = boot.error(1);
    assert!(
        error.contains("by BIOS: it has no boot code for it"),
        "{error}"
    );
}
