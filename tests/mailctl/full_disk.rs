//! A disk that is full: nobody's fault but that of what fills it.

use std::process::Command;

use crate::world::machine::Machine;

/// The next boot of a good version was given up for it, and the one before failed at the same.
#[test]
fn a_version_is_not_given_up_for_a_full_disk() {
    let mounts = Command::new("unshare").args(["--mount", "true"]).status();
    if !mounts.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "needs root");
        println!("skipped: needs root");
        return;
    }
    let machine = Machine::new();
    let state = machine.path("var/lib/mailimg");
    std::fs::create_dir_all(&state).unwrap();
    for (room, said) in [
        ("nr_inodes=600", "more files fit"),
        ("size=1m", "bytes are left"),
    ] {
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-ec"])
            .arg("mount -t tmpfs -o \"$1\" none \"$2\"; exec \"$3\" --root \"$4\" fallback")
            .args(["sh", room])
            .arg(&state)
            .arg(env!("CARGO_BIN_EXE_mailctl"))
            .arg(machine.path(""))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains(said) && text.contains("no fault of this"),
            "{room}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
