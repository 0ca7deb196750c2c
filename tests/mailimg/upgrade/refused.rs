//! What an upgrade refuses: one clear message, and the machine is as it was.

use std::fs;
use std::os::unix::fs::FileExt;

use mailimg::format::gpt::{TYPE_ROOT, read_gpt};

use super::firmware::Firmware;
use super::machine::{Machine, build};

/// Everything that decides what starts.
fn state(machine: &Machine) -> (Vec<String>, Vec<u8>) {
    let disk = fs::read(machine.disk()).unwrap();
    (machine.kernels(), disk)
}

#[test]
fn images_that_must_not_come() {
    let machine = Machine::new(Firmware::Uefi);
    let whole = fs::read(machine.image("2")).unwrap();
    let write = |name: &str, bytes: &[u8]| machine.bench.write_bytes(name, bytes);
    write("empty.raw", b"");
    write("text.raw", b"DOMAIN=example.org\n");
    write("half.raw", &whole[..whole.len() / 2]);
    write("image.qcow2", b"QFI\xfb\0\0\0\x03 and so on");
    write("packed.zst", b"\x28\xb5\x2f\xfd nonsense");
    let before = state(&machine);
    for (image, expected) in [
        ("none.raw", "No such file"),
        ("empty.raw", "too short"),
        ("text.raw", "partition table"),
        ("half.raw", ""),
        ("image.qcow2", "qcow2"),
        ("packed.zst", ""),
        ("out/tiny_1.raw", "version 1 is what runs"),
    ] {
        let error = machine.mailctl(&["upgrade", image]);
        let text = error.stderr.clone();
        assert_eq!(error.code, Some(1), "{image}: {text}");
        assert!(text.contains(expected), "{image}: {text}");
        assert!(state(&machine) == before, "{image}");
    }
    assert_eq!(
        machine.upgrade("1", &[]).error(1),
        "error: version 1 is what runs\nhint: there is nothing to do"
    );
}

#[test]
fn an_older_version_needs_a_word() {
    let mut machine = Machine::new(Firmware::Uefi);
    machine.upgrade("3", &[]).done();
    machine.boot();
    machine.mailctl(&["bless"]).done();
    let error = machine.upgrade("2", &[]).error(1);
    assert!(error.contains("older than 3, which runs"), "{error}");
    machine.upgrade("2", &["--allow-downgrade"]).done();
    assert_eq!(machine.boot_version(), "2");
    machine.mailctl(&["bless"]).done();
    assert_eq!(machine.boot_version(), "2");
}

/// Whoever changes the overlay and builds again has another digest, which says no time.
#[test]
fn a_rebuilt_image_is_not_older() {
    let mut machine = Machine::new(Firmware::Uefi);
    let versions = ["1.0-202611261432-ffffffff", "1.0-202611261432-0000aaaa"];
    for version in versions {
        build(&mut machine.bench, version, version);
    }
    for version in [versions[1], versions[0], versions[1]] {
        machine.upgrade(version, &[]).done();
        assert_eq!(machine.boot_version(), version);
        machine.mailctl(&["bless"]).done();
        assert_eq!(machine.boot_version(), version);
    }
}

#[test]
fn the_same_version_with_other_content() {
    let mut machine = Machine::new(Firmware::Bios);
    build(&mut machine.bench, "1", "other");
    let error = machine.upgrade("1", &[]).error(1);
    assert!(error.contains("and other content"), "{error}");
}

#[test]
fn a_flipped_bit_anywhere_in_the_root() {
    let machine = Machine::new(Firmware::Uefi);
    let image = machine.image("2");
    let bytes = fs::read(&image).unwrap();
    let table = read_gpt(&bytes).unwrap();
    let root = table.find(&TYPE_ROOT).unwrap().offset();
    let before = machine.kernels();
    let size = super::machine::read_image(&image).offer.root_size();
    for part in 0..8 {
        let at = root + size * part / 8 + 77;
        let file = fs::OpenOptions::new().write(true).open(&image).unwrap();
        file.write_all_at(&[bytes[at as usize] ^ 1], at).unwrap();
        let outcome = machine.upgrade("2", &[]);
        file.write_all_at(&[bytes[at as usize]], at).unwrap();
        // Blocks that the running root has are taken from there.
        if outcome.code == Some(0) {
            machine.mailctl(&["upgrade", "--cancel"]).done();
            continue;
        }
        assert!(
            outcome.stderr.contains("checking the root that came"),
            "{}",
            outcome.stderr
        );
        assert_eq!(machine.kernels()[0], before[0]);
    }
    machine.upgrade("2", &[]).done();
}

#[test]
fn what_comes_at_the_wrong_time() {
    let mut machine = Machine::new(Firmware::Bios);
    let error = machine.mailctl(&["rollback"]).error(1);
    assert!(error.contains("no other version"), "{error}");
    let error = machine.mailctl(&["upgrade", "--cancel"]).error(1);
    assert!(error.contains("no version waits"), "{error}");
    let lock = fs::File::create(machine.path("run/mailimg-upgrade.lock")).unwrap();
    lock.lock().unwrap();
    let error = machine.upgrade("2", &[]).error(1);
    assert!(error.contains("another upgrade is under way"), "{error}");
    drop(lock);
    machine.upgrade("2", &[]).done();
    for verb in [&["upgrade", "out/tiny_3.raw"][..], &["rollback"]] {
        let error = machine.mailctl(verb).error(1);
        assert!(error.contains("version 2 waits for a restart"), "{error}");
    }
    machine.boot();
    for verb in [&["upgrade", "out/tiny_3.raw"][..], &["rollback"]] {
        let error = machine.mailctl(verb).error(1);
        assert!(error.contains("2, is on trial itself"), "{error}");
    }
    // Not on trial: nothing is given up.
    machine.mailctl(&["bless"]).done();
    let said = machine.mailctl(&["fallback"]);
    assert!(said.done().stdout.contains("is not on trial"));
    assert_eq!(machine.boot_version(), "2");
}

#[test]
fn a_damaged_table_and_a_disk_of_another_kind() {
    let machine = Machine::new(Firmware::Uefi);
    let whole = fs::read(machine.disk()).unwrap();
    let mut damaged = whole.clone();
    let last = damaged.len() - 512;
    damaged[last..].fill(0);
    fs::write(machine.disk(), &damaged).unwrap();
    let error = machine.upgrade("2", &[]).error(1);
    assert!(error.contains("backup partition table"), "{error}");
    // A good version whose boot is not good stays, whatever the disk looks like.
    let said = machine.mailctl(&["fallback"]);
    assert!(said.done().stdout.contains("is not on trial"), "{said:?}");
    assert!(fs::read(machine.disk()).unwrap() == damaged);
    fs::remove_file(machine.disk()).unwrap();
    let error = machine.upgrade("2", &[]).error(1);
    assert!(error.contains("finding the disk"), "{error}");
}

#[test]
fn a_slot_that_is_too_small() {
    let mut machine = Machine::new(Firmware::Uefi);
    let recipe = fs::read_to_string(machine.bench.work("recipes/tiny.toml")).unwrap();
    let larger = recipe.replace("root_mib = 32", "root_mib = 64");
    machine.bench.write("recipes/tiny.toml", &larger);
    build(&mut machine.bench, "4", &"x".repeat(40_000));
    let error = machine.upgrade("4", &[]).error(1);
    assert!(error.contains("a slot of the disk has 32 MiB"), "{error}");
}
