//! Commands that are stopped: what they started ends, and what they laid aside is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::world::bench::outcome::Outcome;
use crate::world::bench::server::Reply;
use crate::world::bench::{Bench, mailimg};

const SIGNALS: [(Signal, i32); 4] = [
    (Signal::HUP, 1),
    (Signal::INT, 2),
    (Signal::QUIT, 3),
    (Signal::TERM, 15),
];

/// Waits until something is the case.
fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it never came so far"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a program a signal once something is the case.
fn stop(child: Child, signal: Signal, condition: impl Fn() -> bool) -> Output {
    wait_until(condition);
    kill_process(Pid::from_child(&child), signal).unwrap();
    child.wait_with_output().unwrap()
}

/// A QEMU that notes its process number and runs for as long as nobody ends it.
fn write_machine(folder: &Path, trap: &str) {
    let script = format!(
        "#!/bin/sh\n\
         case \"$*\" in *--version*) echo 'QEMU emulator version 8.2.0'; exit;; esac\n\
         {trap}\n\
         echo $$ > '{0}/new' && mv '{0}/new' '{0}/number'\n\
         while :; do sleep 0.05; done\n",
        folder.display()
    );
    let path = folder.join("qemu-system-x86_64");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Boots an image with settings, stops that, and tells what was said.
fn boot_and_stop(signal: Signal, trap: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("temporary")).unwrap();
    write_machine(folder.path(), trap);
    let mut image = vec![0; 4096];
    image[..2].copy_from_slice(&[0xeb, 0xfe]);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(at("mail.raw"), image).unwrap();
    fs::write(
        at("settings.env"),
        "DOMAIN=a.example\nRELAYHOST_PASSWORD=x\n",
    )
    .unwrap();

    let path = std::env::var("PATH").unwrap();
    let child = Command::new(mailimg())
        .current_dir(folder.path())
        .args(["boot", "mail.raw", "--settings", "settings.env"])
        .args(["--firmware", "bios", "--accel", "tcg"])
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .env("TMPDIR", at("temporary"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = stop(child, signal, || {
        at("number").exists() && fs::read_dir(at("temporary")).unwrap().next().is_some()
    });
    let left: Vec<_> = walkdir::WalkDir::new(at("temporary"))
        .min_depth(1)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .collect();
    assert!(left.is_empty(), "left behind by {signal:?}: {left:?}");
    let number = fs::read_to_string(at("number")).unwrap();
    let machine = Pid::from_raw(number.trim().parse().unwrap()).unwrap();
    assert!(
        test_kill_process(machine).is_err(),
        "the machine lives on after {signal:?}"
    );
    Outcome::new(&output, &[])
}

/// The settings stayed in /var/tmp, and without a terminal QEMU lived on.
#[test]
fn a_machine_and_its_settings_do_not_outlive_mailimg() {
    for (signal, number) in SIGNALS {
        assert_eq!(
            boot_and_stop(signal, "").error(128 + number),
            format!(
                "error: stopped by signal {number}, the machine and what it wrote are gone\n\
                 hint: run the same command again"
            )
        );
    }
}

#[test]
fn a_machine_that_does_not_listen_is_ended() {
    boot_and_stop(Signal::TERM, "trap '' TERM INT HUP QUIT").error(143);
}

/// Each command that fetches, at any signal.
#[test]
fn commands_that_fetch_leave_nothing_unfinished() {
    let bench = Bench::new();
    let server = bench.archive.serve(|path, bytes| {
        path.contains("base_")
            .then(|| Reply::Stalls(bytes.to_vec(), 100))
    });
    bench.write_recipe(&server.url(""), "");
    bench.run(&["lock", "tiny"]).done();
    let asked = || {
        let requests = server.requests();
        let packages = requests.iter().filter(|request| request.contains("base_"));
        packages.count()
    };
    for (command, (signal, number)) in ["build", "scripts", "why"].iter().zip(SIGNALS) {
        let before = asked();
        let arguments = match *command {
            "why" => vec!["why", "base", "tiny"],
            other => vec![other, "tiny"],
        };
        let mut program = bench.command();
        let child = program.args(&arguments).stderr(Stdio::piped()).spawn();
        let output = stop(child.unwrap(), signal, || asked() > before);
        assert_eq!(
            Outcome::new(&output, &[]).error(128 + number),
            format!(
                "error: stopped by signal {number}, no output was left behind\n\
                 hint: run the same command again; what was fetched is kept"
            )
        );
        let left: Vec<_> = fs::read_dir(bench.work(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_str().unwrap().contains(".tmp-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
