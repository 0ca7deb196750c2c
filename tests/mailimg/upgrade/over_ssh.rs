//! `mailimg upgrade ssh://…`, with a program in the place of ssh that starts the same
//! `mailctl` here.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::firmware::{BOTH, Firmware};
use super::machine::Machine;
use crate::world::bench::outcome::Outcome;

/// What stands for ssh: its last word is the verb.
fn ssh(machine: &Machine, before: &str) -> String {
    let path = machine.bench.work("ssh");
    let script = format!(
        "#!/bin/sh\nfor verb; do :; done\n{before}\nexec {} --root {} peer $verb\n",
        env!("CARGO_BIN_EXE_mailctl"),
        machine.path("").display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn send(machine: &Machine, ssh: &str, version: &str, more: &[&str]) -> Outcome {
    let image = format!("out/tiny_{version}.raw");
    let arguments = ["upgrade", "ssh://root@mail.example", &image, "--ssh", ssh];
    machine.bench.run(&[&arguments, more].concat())
}

#[test]
fn only_what_changed_travels() {
    let mut machine = Machine::new(Firmware::Bios);
    for firmware in BOTH {
        machine = machine.anew(firmware);
        let ssh = ssh(&machine, "");
        let said = send(&machine, &ssh, "2", &[]);
        let line = said.done().stdout.lines().next().unwrap().to_owned();
        assert!(line.starts_with("ready: 2 in "), "{line}");
        let share: f64 = line
            .rsplit(", ")
            .next()
            .unwrap()
            .trim_end_matches(" %")
            .parse()
            .unwrap();
        assert!(share < 20.0, "{line}");
        assert_eq!(machine.boot_version(), "2");
        machine.mailctl(&["bless"]).done();
        let said = send(&machine, &ssh, "1", &[]);
        assert!(
            said.error(1)
                .contains("the machine refuses: the image has version 1")
        );
        send(&machine, &ssh, "1", &["--allow-downgrade"]).done();
        assert_eq!(machine.boot_version(), "1");
    }
}

#[test]
fn a_line_that_breaks_is_no_harm() {
    let mut machine = Machine::new(Firmware::Uefi);
    for (before, expected) in [
        ("exit 255", "ssh did not get through"),
        (
            "echo 'error: unrecognized subcommand' >&2; exit 2",
            "cannot be upgraded this way yet",
        ),
        ("head -c 2000 >/dev/null; exit 1", "conversation ended"),
        (
            "head -c 2000 >/dev/null; echo nonsense; exit 0",
            "understanding the other side",
        ),
    ] {
        let broken = ssh(&machine, before);
        let said = send(&machine, &broken, "2", &[]);
        assert_eq!(said.code, Some(1), "{before}: {}", said.stderr);
        assert!(said.stderr.contains(expected), "{before}: {}", said.stderr);
        assert_eq!(machine.boot_version(), "1");
    }
    send(&machine, &ssh(&machine, ""), "2", &[]).done();
    assert_eq!(machine.boot_version(), "2");
}

#[test]
fn names_of_machines_that_are_none() {
    let machine = Machine::new(Firmware::Uefi);
    for name in ["mail.example", "ssh://-oProxyCommand=true", "ssh://"] {
        let said = machine.bench.run(&["upgrade", name, "out/tiny_2.raw"]);
        assert!(said.error(1).contains("names no machine"));
    }
}
