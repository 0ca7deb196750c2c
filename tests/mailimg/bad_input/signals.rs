//! Commands that are stopped: what they started ends, and what they laid aside is gone.

use std::fs::{self, File};
use std::io::{PipeReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::upgrade::machine::build;
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
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} never came so far"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a program a signal once something is the case.
fn stop(child: Child, signal: Signal, condition: impl Fn() -> bool) -> Output {
    wait_until("a program", condition);
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

/// Where a command is when the signal comes.
enum At {
    /// It waits for an answer with this in its address.
    Fetching(&'static str),
    /// It opens the file `pipe`.
    Opening,
    /// What it prints is not read.
    Printing,
    /// It writes to `disk`, or prints what nobody reads.
    Installing,
    /// It waits for `ssh`.
    Speaking,
}
use At::{Fetching, Installing, Opening, Printing, Speaking};

const NOTHING: &str = "no output was left behind\n\
    hint: run the same command again; what was fetched is kept";

/// Each command, where it is stopped, and what it says then: the words behind "stopped by signal".
///
/// `boot` has its own test above.
const STOPPED: [(&str, At, &str); 23] = [
    ("build tiny", Fetching("base_"), NOTHING),
    ("scripts tiny", Fetching("base_"), NOTHING),
    ("why base tiny", Fetching("base_"), NOTHING),
    ("lock tiny", Fetching("InRelease"), NOTHING),
    ("outdated tiny", Fetching("InRelease"), NOTHING),
    (
        "lock tiny",
        Printing,
        "what was finished stays: recipes/tiny.lock\n\
         hint: run the same command again; what was fetched is kept",
    ),
    ("inspect pipe", Opening, NOTHING),
    ("verify pipe", Opening, NOTHING),
    ("diff pipe pipe", Opening, NOTHING),
    ("configure image --settings pipe", Opening, NOTHING),
    (
        "install pipe disk",
        Opening,
        "nothing was written\nhint: run the same command again",
    ),
    (
        "install image disk",
        Installing,
        "disk is half written\n\
         hint: run the same command again; until then the disk does not start",
    ),
    (
        "install image disk",
        Printing,
        "disk is written and checked\nhint: start the machine from this disk",
    ),
    ("upgrade ssh://mail pipe", Opening, NOTHING),
    (
        "upgrade ssh://mail image --ssh ./ssh",
        Speaking,
        "the machine runs what it ran\n\
         hint: run the same command again, it goes on where it was",
    ),
    (
        "key new",
        Printing,
        "update.key and update.pub are whole\n\
         hint: the line for the recipe stands in the second one",
    ),
    ("sign image --key pipe", Opening, NOTHING),
    ("push pipe oci://localhost:1/mail:1", Opening, NOTHING),
    (
        "pull oci://localhost:1/mail:1 --ca-file pipe",
        Opening,
        NOTHING,
    ),
    ("settings", Printing, NOTHING),
    ("manual", Printing, NOTHING),
    ("completions bash", Printing, NOTHING),
    ("man", Printing, NOTHING),
];

#[test]
fn every_command_is_stopped_by_some_test() {
    for command in mailimg::builder::command::command_line().get_subcommands() {
        let name = command.get_name();
        let mut rows = STOPPED.iter();
        assert!(
            name == "boot" || rows.any(|row| row.0.split(' ').next() == Some(name)),
            "nobody tries what `mailimg {name}` leaves behind when it is stopped"
        );
    }
}

/// A pipe that takes no more, and its other end.
fn full_pipe() -> (Stdio, PipeReader) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (writer.into(), reader)
}

/// What a program asks of the kernel; numbers of x86-64.
fn system_call(child: &Child) -> String {
    fs::read_to_string(format!("/proc/{}/syscall", child.id())).unwrap()
}

/// Whether a program waits for room to print in.
fn is_printing(child: &Child) -> bool {
    system_call(child).starts_with("1 0x1 ")
}

/// Whether a program waits for somebody to write into what it opens: it does so for long.
fn is_opening(child: &Child) -> bool {
    let call = system_call(child);
    std::thread::sleep(Duration::from_millis(50));
    call.starts_with("257 ") && call == system_call(child)
}

#[test]
fn every_command_cleans_up_and_tells_the_truth() {
    const DISK: u64 = 2300 << 20;
    let mut bench = Bench::new();
    build(&mut bench, "1", "1");
    let stalls = std::sync::Arc::new(std::sync::Mutex::new("none"));
    let stalled = stalls.clone();
    let server = bench.archive.serve(move |path, bytes| {
        path.contains(*stalled.lock().unwrap())
            .then(|| Reply::Stalls(bytes.to_vec(), 100))
    });
    bench.write_recipe(&server.url(""), "");
    bench.run(&["lock", "tiny"]).done();
    fs::copy(bench.work("out/tiny_1.raw"), bench.work("image")).unwrap();
    fs::create_dir(bench.work("temporary")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, bench.work("pipe"), fifo, mode, 0).unwrap();
    bench.write(
        "ssh",
        "#!/bin/sh\necho $$ > new && mv new number\nexec sleep 600\n",
    );
    fs::set_permissions(bench.work("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let before = fs::read(bench.work("image")).unwrap();

    for (line, at, told) in STOPPED {
        for (signal, number) in SIGNALS {
            let what = format!("{line} by {signal:?}");
            if matches!(at, Fetching(_)) && !line.contains("lock") && !line.contains("outdated") {
                for folder in ["objects", "unpacked"] {
                    let _ = fs::remove_dir_all(bench.cache().join(folder));
                }
            }
            if matches!(at, Printing) && line.contains("lock") {
                // It prints what changed.
                let _ = fs::remove_file(bench.work("recipes/tiny.lock"));
            }
            // It makes no key anew.
            for name in ["update.key", "update.pub"] {
                let _ = fs::remove_file(bench.work(name));
            }
            *stalls.lock().unwrap() = match at {
                Fetching(part) => part,
                _ => "none",
            };
            let asked = || match at {
                Fetching(part) => {
                    let requests = server.requests();
                    requests.iter().filter(|one| one.contains(part)).count()
                }
                _ => 0,
            };
            let asked_before = asked();
            let _ = fs::remove_file(bench.work("number"));
            let disk = File::create(bench.work("disk")).unwrap();
            disk.set_len(DISK).unwrap();
            let (full, _reader) = full_pipe();
            let mut program = bench.command();
            program
                .args(line.split(' '))
                .env("TMPDIR", bench.work("temporary"))
                .stdout(full)
                .stderr(Stdio::piped());
            let mut child = program.spawn().unwrap();
            wait_until(&what, || {
                if child.try_wait().unwrap().is_some() {
                    let said = std::io::read_to_string(child.stderr.take().unwrap());
                    panic!("{what} ended: {}", said.unwrap());
                }
                match at {
                    Fetching(_) => asked() > asked_before,
                    Printing => is_printing(&child),
                    Installing => disk.metadata().unwrap().blocks() > 0,
                    Speaking => bench.work("number").exists(),
                    Opening => is_opening(&child),
                }
            });
            let output = stop(child, signal, || true);
            let said = Outcome::new(&output, &[]).error(128 + number);
            let said = said
                .strip_prefix(&format!("error: stopped by signal {number}, "))
                .unwrap_or_else(|| panic!("{what}: {said}"));
            let written = STOPPED[12].2;
            // The disk was faster than the signal.
            assert!(
                said == told || matches!(at, Installing) && said == written,
                "{what}: {said}"
            );
            if said == written {
                let image = bench.command().args(["verify", "disk"]).output().unwrap();
                assert!(image.status.success(), "{what}: {image:?}");
            } else if line.starts_with("install pipe") {
                assert_eq!(disk.metadata().unwrap().blocks(), 0, "{what}");
            }
            if let Ok(number) = fs::read_to_string(bench.work("number")) {
                let child = Pid::from_raw(number.trim().parse().unwrap()).unwrap();
                assert!(test_kill_process(child).is_err(), "{what}: ssh lives on");
            }
            let left: Vec<_> = walkdir::WalkDir::new(bench.work(""))
                .into_iter()
                .map(|entry| entry.unwrap().into_path())
                .filter(|path| path.to_str().unwrap().contains(".tmp-"))
                .collect();
            assert!(left.is_empty(), "{what}: {left:?}");
            let temporary = fs::read_dir(bench.work("temporary")).unwrap().count();
            assert_eq!(temporary, 0, "{what}");
        }
    }
    assert!(fs::read(bench.work("image")).unwrap() == before);
}
