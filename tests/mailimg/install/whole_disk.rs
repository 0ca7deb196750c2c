//! A whole disk, empty or not, as a user installs it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use mailimg::format::gpt::{check_backup, read_gpt};

use super::{MIB, Machine, SETTINGS, SLOT_B, VAR};
use crate::world::bench::Bench;
use crate::world::bench::outcome::Outcome;

/// Large enough for the small image.
const LARGE: u64 = 2300 * MIB;

fn install(bench: &Bench, more: &[&str]) -> Outcome {
    let arguments = ["install", "out/tiny_1.raw", "target.raw"];
    bench.run(&[&arguments, more].concat())
}

fn make_disk(bench: &Bench, size: u64) -> File {
    let path = bench.work("target.raw");
    let _ = fs::remove_file(&path);
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    file.set_len(size).unwrap();
    file
}

#[test]
fn an_empty_disk_starts_and_its_tables_fit_its_size() {
    let bench = Bench::built().with_image("disk,qcow2");
    bench.write("settings.env", std::str::from_utf8(SETTINGS).unwrap());
    let file = make_disk(&bench, LARGE + 100);
    let outcome = install(&bench, &["--settings", "settings.env"]);
    let said = &outcome.done().stdout;
    assert!(
        said.starts_with("installed tiny_1 on target.raw in ")
            && said.contains(" s: a new machine, whose first start makes /var\n"),
        "{said}"
    );
    assert!(outcome.stderr.contains("disk: written and read back"));
    bench.run(&["verify", "target.raw"]).done();
    file.set_len(LARGE).unwrap();
    check_backup(&&file).unwrap();
    let table = read_gpt(&&file).unwrap();
    assert_eq!(table.disk_size, LARGE);

    // As if the settings had been put into the image, which stayed as it was.
    let image = fs::read(bench.work("out/tiny_1.raw")).unwrap();
    let configure = ["configure", "out/tiny_1.raw", "--settings", "settings.env"];
    bench.run(&configure).done();
    let configured = fs::read(bench.work("out/tiny_1.raw")).unwrap();
    assert!(configured != image);
    let end = (SLOT_B * MIB) as usize;
    let mut written = vec![0; end - MIB as usize];
    file.read_exact_at(&mut written, MIB).unwrap();
    assert!(written == configured[MIB as usize..end]);

    // A qcow2 image gives the same disk.
    make_disk(&bench, LARGE);
    bench
        .run(&["install", "out/tiny_1.qcow2", "target.raw"])
        .done();
    let file = File::open(bench.work("target.raw")).unwrap();
    file.read_exact_at(&mut written, MIB).unwrap();
    assert!(written == image[MIB as usize..end]);
}

#[test]
fn what_is_on_a_disk_is_overwritten_by_force_alone() {
    let machine = Machine::new();
    let bench = &machine.bench;
    let file = make_disk(bench, LARGE);
    let fill = || {
        let mut offset = 0;
        while offset < 200 * MIB {
            file.write_all_at(&vec![0xee; MIB as usize], offset)
                .unwrap();
            offset += MIB;
        }
        file.write_all_at(&vec![0xee; MIB as usize], LARGE - MIB)
            .unwrap();
    };
    fill();
    let error = install(bench, &[]).error(1);
    assert!(
        error.contains("the disk is not empty: something is written at its beginning or end")
            && error.contains("hint: --force overwrites it"),
        "{error}"
    );
    install(bench, &["--force"]).done();
    bench.run(&["verify", "target.raw"]).done();
    let image = fs::read(bench.work("out/tiny_1.raw")).unwrap();
    let end = SLOT_B * MIB;
    let mut written = vec![0; (end - MIB) as usize];
    file.read_exact_at(&mut written, MIB).unwrap();
    assert!(written == image[MIB as usize..end as usize]);
    // Where the first boot makes partitions nothing is found, nor before the first one.
    for (start, length) in [
        (34 * 512, MIB - 34 * 512),
        (end, MIB),
        (end + 32 * MIB, 2 * MIB),
        (LARGE - MIB, MIB - 33 * 512),
    ] {
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, start).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0), "{start}");
    }

    // Of a machine's disk it is said what --force would cost.
    file.write_all_at(&machine.disk, 0).unwrap();
    file.set_len(machine.disk.len() as u64).unwrap();
    file.set_len(LARGE).unwrap();
    let error = install(bench, &[]).error(1);
    assert!(
        error.contains("it is the disk of a machine with mail in /var")
            && error.contains("hint: --keep-data keeps the mail"),
        "{error}"
    );
    install(bench, &["--force"]).done();
    let mut bytes = vec![0; MIB as usize];
    file.read_exact_at(&mut bytes, VAR * MIB).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(read_gpt(&&file).unwrap().partitions.len(), 4);
    let error = install(bench, &[]).error(1);
    assert!(
        error.contains("it has 4 partitions: esp, bios, tiny_1_r, tiny_1_v"),
        "{error}"
    );
}

#[test]
fn disks_that_will_not_do_are_refused() {
    let bench = Bench::built().with_image("disk");
    make_disk(&bench, 2000 * MIB);
    let error = install(&bench, &["--force"]).error(1);
    assert!(
        error.contains("the disk has 2000 MiB, the image and /var need 2151 MiB\nhint: take"),
        "{error}"
    );
    fs::remove_file(bench.work("target.raw")).unwrap();
    let error = install(&bench, &[]).error(1);
    assert!(
        error.contains("No such file") && error.contains("hint: name a disk"),
        "{error}"
    );
    let error = bench.run(&["install", "out/tiny_1.raw", "out"]).error(1);
    assert!(error.contains("out is no disk\nhint: "), "{error}");
    let error = bench
        .run(&["install", "out/tiny_1.raw", "/dev/null"])
        .error(1);
    assert!(error.contains("/dev/null is no disk"), "{error}");

    let image = ["install", "out/tiny_1.raw", "out/tiny_1.raw", "--force"];
    let error = bench.run(&image).error(1);
    assert!(
        error.contains("out/tiny_1.raw is the image itself\nhint: "),
        "{error}"
    );

    let file = make_disk(&bench, LARGE);
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = install(&bench, &[]).error(1);
    assert!(
        error.contains("another program is using target.raw\nhint: wait for the other install"),
        "{error}"
    );
}
