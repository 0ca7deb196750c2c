//! `mailctl upgrade` and `mailctl rollback` on a made-up machine, under both firmwares, and
//! `mailimg upgrade` to it, and a folder that `mailimg sign` made for it.

mod firmware;
mod from_folder;
mod from_registry;
mod loaders;
pub mod machine;
mod over_ssh;
mod power_cut;
mod refused;
mod refused_folder;
mod scheduled;
mod site;

use std::fs;
use std::time::Duration;

use firmware::{BOTH, Firmware};
use machine::Machine;

#[test]
fn a_version_that_proves_itself_is_kept_and_rolled_back() {
    let mut machine = Machine::new(Firmware::Bios);
    for firmware in BOTH {
        machine = machine.anew(firmware);
        let said = machine.upgrade("2", &[]);
        assert!(said.done().stdout.contains("2 is ready"), "{said:?}");
        assert_eq!(machine.standing(), "2 waits for a restart to be tried");

        let started = machine.boot();
        assert_eq!(
            (started.described.version.as_str(), started.counted),
            ("2", true)
        );
        assert_eq!(machine.standing(), "2 is on trial, 1 is the one before");
        let said = machine.mailctl(&["bless"]);
        assert_eq!(said.done().stdout, "2 has proven itself and is kept.\n");
        assert_eq!(machine.standing(), "");
        assert_eq!(machine.kernels(), ["tiny_1.efi", "tiny_2.efi"]);
        for _ in 0..5 {
            let started = machine.boot();
            assert_eq!(
                (started.described.version.as_str(), started.counted),
                ("2", false)
            );
            let said = machine.mailctl(&["bless"]);
            assert_eq!(said.done().stdout, "Nothing is on trial.\n");
        }

        machine.mailctl(&["rollback"]).done();
        assert_eq!(machine.boot_version(), "1", "{firmware:?}");
        machine.mailctl(&["bless"]).done();
        assert_eq!(machine.boot_version(), "1");
        // And forward again.
        machine.mailctl(&["rollback"]).done();
        assert_eq!(machine.boot_version(), "2");
        machine.mailctl(&["bless"]).done();
        assert_eq!(machine.boot_version(), "2");
    }
}

#[test]
fn a_version_that_gives_up_is_left_at_once_and_says_why() {
    let mut machine = Machine::new(Firmware::Bios);
    for firmware in BOTH {
        for back in [false, true] {
            machine = machine.anew(firmware);
            machine.upgrade("2", &[]).done();
            machine.boot();
            let (new, old) = if back {
                // Going back may fail, too.
                machine.mailctl(&["bless"]).done();
                machine.mailctl(&["rollback"]).done();
                machine.boot();
                ("1", "2")
            } else {
                ("2", "1")
            };
            fs::create_dir_all(machine.path("var/lib/mailimg")).unwrap();
            fs::write(machine.path("var/lib/mailimg/settings.env"), "DOMAIN\n").unwrap();
            let said = machine.mailctl(&["fallback"]);
            assert!(
                said.done()
                    .stdout
                    .contains("The version before starts again")
            );
            fs::remove_file(machine.path("var/lib/mailimg/settings.env")).unwrap();

            assert_eq!(machine.boot_version(), old, "{firmware:?}");
            machine.mailctl(&["bless"]).done();
            let standing = machine.standing();
            assert!(
                standing.starts_with(&format!("{new} did not prove itself, {old} is back: ")),
                "{standing}"
            );
            for _ in 0..4 {
                let started = machine.boot();
                assert_eq!(
                    (started.described.version.as_str(), started.counted),
                    (old, false)
                );
                machine.mailctl(&["bless"]).done();
            }
            // What did not work is nothing to go back to.
            machine.mailctl(&["rollback"]).error(1);
            machine.upgrade("3", &[]).done();
            assert_eq!(machine.boot_version(), "3");
        }
    }
}

#[test]
fn a_version_that_never_speaks_is_left_after_three_tries() {
    let mut machine = Machine::new(Firmware::Bios);
    for firmware in BOTH {
        for back in [false, true] {
            machine = machine.anew(firmware);
            machine.upgrade("2", &[]).done();
            let (new, old) = if back {
                machine.boot();
                machine.mailctl(&["bless"]).done();
                machine.mailctl(&["rollback"]).done();
                ("1", "2")
            } else {
                ("2", "1")
            };
            for _ in 0..3 {
                let started = machine.boot();
                assert_eq!(
                    (started.described.version.as_str(), started.counted),
                    (new, true)
                );
            }
            // The old one starts by the boot loader's own doing, again and again.
            for _ in 0..2 {
                assert_eq!(machine.boot_version(), old, "{firmware:?}");
            }
            machine.mailctl(&["bless"]).done();
            let standing = machine.standing();
            assert!(standing.contains("did not prove itself"), "{standing}");
            assert_eq!(machine.boot_version(), old);
            machine.upgrade("3", &[]).done();
            assert_eq!(machine.boot_version(), "3");
            machine.mailctl(&["bless"]).done();
            assert_eq!(machine.boot_version(), "3");
        }
    }
}

/// A machine may be moved to a hypervisor with the other firmware while something waits.
#[test]
fn both_firmwares_start_the_same() {
    let mut machine = Machine::new(Firmware::Bios);
    for (first, second) in [
        (Firmware::Uefi, Firmware::Bios),
        (Firmware::Bios, Firmware::Uefi),
    ] {
        machine = machine.anew(first);
        machine.upgrade("2", &[]).done();
        machine.firmware = second;
        assert_eq!(machine.boot_version(), "2");
        machine.mailctl(&["bless"]).done();
        machine.firmware = first;
        assert_eq!(machine.boot_version(), "2");
        machine.mailctl(&["rollback"]).done();
        machine.firmware = second;
        assert_eq!(machine.boot_version(), "1");
        machine.mailctl(&["fallback"]).done();
        for firmware in [first, second] {
            machine.firmware = firmware;
            assert_eq!(machine.boot_version(), "2", "{firmware:?}");
        }
    }
}

#[test]
fn an_upgrade_that_waits_is_called_off() {
    let mut machine = Machine::new(Firmware::Bios);
    for firmware in BOTH {
        machine = machine.anew(firmware);
        machine.upgrade("2", &[]).done();
        machine.mailctl(&["upgrade", "--cancel"]).done();
        assert_eq!(machine.standing(), "");
        assert_eq!(machine.boot_version(), "1", "{firmware:?}");
        // It is whole and can be had after all.
        machine.mailctl(&["rollback"]).done();
        assert_eq!(machine.boot_version(), "2");
    }
}

/// A version on trial with nothing to go back to would restart for ever.
#[test]
fn the_only_version_stays() {
    let mut machine = Machine::new(Firmware::Bios);
    for firmware in BOTH {
        machine = machine.anew(firmware);
        machine.upgrade("2", &[]).done();
        machine.boot();
        fs::remove_file(machine.esp().join("EFI/Linux/tiny_1.efi")).unwrap();
        let said = machine.mailctl(&["fallback"]);
        assert!(
            said.done().stdout.contains("the only one, and stays"),
            "{said:?}"
        );
        assert_eq!(machine.boot_version(), "2", "{firmware:?}");
        machine.mailctl(&["bless"]).done();
        assert_eq!(machine.boot_version(), "2");
    }
}

/// The power went when a going back was noted and nothing else was done: there is still
/// something to go back to.
#[test]
fn a_going_back_that_was_interrupted_loses_nothing() {
    let mut machine = Machine::new(Firmware::Bios);
    for firmware in BOTH {
        machine = machine.anew(firmware);
        machine.upgrade("2", &[]).done();
        machine.boot();
        machine.mailctl(&["bless"]).done();
        let before = crate::world::bench::files_below(&machine.esp());
        machine.mailctl(&["rollback"]).done();
        fs::remove_dir_all(machine.esp()).unwrap();
        for (name, bytes) in before {
            let path = machine.esp().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        assert_eq!(machine.boot_version(), "2", "{firmware:?}");
        machine.mailctl(&["bless"]).done();
        assert!(
            machine.standing().contains("was interrupted"),
            "{}",
            machine.standing()
        );
        machine.mailctl(&["rollback"]).done();
        assert_eq!(machine.boot_version(), "1", "{firmware:?}");
    }
}

#[test]
fn twenty_upgrades_in_a_row() {
    let mut machine = Machine::new(Firmware::Uefi);
    for number in 2..22 {
        machine.firmware = BOTH[number % 2];
        let version = number.to_string();
        machine::build(&mut machine.bench, &version, &version);
        machine.upgrade(&version, &[]).done();
        assert_eq!(machine.boot_version(), version);
        machine.mailctl(&["bless"]).done();
        fs::remove_file(machine.image(&version)).unwrap();
        assert_eq!(machine.kernels().len(), 2);
    }
}

/// Killed at any moment, the old version starts or the new one, whole in either case, and
/// the same command ends what was begun.
#[test]
fn an_upgrade_that_is_killed_loses_nothing() {
    const KILLS: u64 = 12;
    let mut machine = Machine::new(Firmware::Bios);
    for firmware in BOTH {
        machine = machine.anew(firmware);
        let began = std::time::Instant::now();
        machine.upgrade("2", &[]).done();
        let whole = began.elapsed();
        machine.mailctl(&["upgrade", "--cancel"]).done();
        for number in 1..=KILLS {
            let target = ["3", "2"][(number % 2) as usize];
            let image = format!("out/tiny_{target}.raw");
            let mut child = machine
                .command(&["upgrade", &image])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_micros(
                whole.as_micros() as u64 * number / (KILLS - 1),
            ));
            let _ = child.kill();
            child.wait().unwrap();
            // Checks that the root of what starts is whole.
            let version = machine.boot_version();
            assert!(
                version == "1" || version == target,
                "{firmware:?} {number}: {version}"
            );
            if version == target {
                machine.mailctl(&["fallback"]).done();
                assert_eq!(machine.boot_version(), "1");
            }
            machine.mailctl(&["bless"]).done();
        }
        machine.upgrade("3", &[]).done();
        assert_eq!(machine.boot_version(), "3");
        machine.mailctl(&["bless"]).done();
        assert_eq!(machine.kernels(), ["tiny_1.efi", "tiny_3.efi"]);
    }
}
