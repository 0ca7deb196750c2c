//! The power goes at any moment of an upgrade, of its end, or of a way back.
//!
//! Each command runs once, and what it asked of disk, boot partition and `/var` is
//! recorded. For each cut the machine is made anew as it would be then ([`storage`]) and
//! started by made-up firmware: the old version starts or the new one, with a whole kernel
//! and a whole root, what has to be left of the other one is, and the same command again
//! ends what was begun.
//!
//! The boot partition is made up as well, worse than Linux' driver for FAT leaves one. With
//! the real one it is tests/vm/upgrade.

mod storage;
mod trace;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use mailimg::format::boot_entry::{BootEntry, KERNELS};
use mailimg::format::uki::describe;

use super::firmware::{BOTH, Firmware, Started};
use super::machine::{Machine, build, read_image};
use crate::install::recorder::Random;
use crate::world::bench::files_below;
use storage::{Disk, Files, Folder};
use trace::{Request, record};

/// How many cuts there are in each command.
const CUTS: &str = "MAILIMG_UPGRADE_CUTS";
const USUAL_CUTS: u64 = 24;
/// One of so many is followed to its end.
const FOLLOWED: u64 = 8;
/// Repeats the cuts of another run.
const SEED: &str = "MAILIMG_SEED";

const DISK: &str = "run/mailimg-initrd/disk";
const ESP: &str = "run/mailimg-initrd/esp/";
const VAR: &str = "var/lib/mailimg/";

/// A command to interrupt.
struct Case {
    name: &'static str,
    /// What comes before it.
    before: fn(&mut Machine),
    command: &'static [&'static str],
    /// What may start after a cut.
    starts: &'static [&'static str],
    /// What must be there to start, whether or not it does.
    left: &'static [&'static str],
    /// What runs for good when all is done again.
    end: &'static str,
}

/// The kernels of all images by version.
type Kernels = BTreeMap<&'static str, Vec<u8>>;

/// What the machine is upgraded to at the end, whatever came before.
const NEXT: &str = "4";
const NEXT_IMAGE: &str = "out/tiny_4.raw";

const UPGRADE: &[&str] = &["upgrade", "out/tiny_2.raw"];

const CASES: [Case; 9] = [
    Case {
        name: "upgrade",
        before: |_| (),
        command: UPGRADE,
        starts: &["1", "2"],
        left: &["1"],
        end: "2",
    },
    Case {
        name: "upgrade over a version before",
        before: |machine| keep(machine, "3"),
        command: &["upgrade", "out/tiny_2.raw", "--allow-downgrade"],
        starts: &["3", "2"],
        left: &["3"],
        end: "2",
    },
    Case {
        name: "cancel",
        before: |machine| put_on_trial(machine, "2"),
        command: &["upgrade", "--cancel"],
        starts: &["1", "2"],
        left: &["1", "2"],
        end: "1",
    },
    Case {
        name: "bless",
        before: |machine| try_version(machine, "2"),
        command: &["bless"],
        starts: &["2"],
        left: &["1", "2"],
        end: "2",
    },
    Case {
        name: "giving up",
        before: |machine| try_version(machine, "2"),
        command: &["fallback"],
        starts: &["1", "2"],
        left: &["1"],
        end: "1",
    },
    Case {
        name: "the old version is back",
        before: |machine| {
            try_version(machine, "2");
            for _ in 0..3 {
                machine.boot();
            }
        },
        command: &["bless"],
        starts: &["1"],
        left: &["1"],
        end: "1",
    },
    Case {
        name: "rollback",
        before: |machine| keep(machine, "2"),
        command: &["rollback"],
        starts: &["1", "2"],
        left: &["1", "2"],
        end: "1",
    },
    Case {
        name: "bless after a rollback",
        before: roll_back,
        command: &["bless"],
        starts: &["1"],
        left: &["1", "2"],
        end: "1",
    },
    Case {
        name: "giving up a rollback",
        before: roll_back,
        command: &["fallback"],
        starts: &["1", "2"],
        left: &["2"],
        end: "2",
    },
];

fn put_on_trial(machine: &mut Machine, version: &str) {
    machine.upgrade(version, &[]).done();
}

fn try_version(machine: &mut Machine, version: &str) {
    put_on_trial(machine, version);
    assert_eq!(machine.boot_version(), version);
}

fn keep(machine: &mut Machine, version: &str) {
    try_version(machine, version);
    machine.mailctl(&["bless"]).done();
}

fn roll_back(machine: &mut Machine) {
    keep(machine, "2");
    machine.mailctl(&["rollback"]).done();
    assert_eq!(machine.boot_version(), "1");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect(variable))
}

#[test]
fn a_cut_at_any_moment_leaves_what_starts() {
    let seed = number(SEED).unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    println!("{SEED}={seed}");
    let mut machine = Machine::new(Firmware::Bios);
    build(&mut machine.bench, NEXT, NEXT);
    let versions = ["1", "2", "3", NEXT];
    let whole = versions.map(|version| (version, read_image(&machine.image(version)).kernel));
    let whole = Kernels::from(whole);
    for firmware in BOTH {
        for case in &CASES {
            machine = machine.anew(firmware);
            (case.before)(&mut machine);
            if !cut(&mut machine, case, &whole, &mut Random(seed)) {
                eprintln!("skipped: strace is not there or may not trace here");
                return;
            }
        }
    }
}

/// Interrupts a command again and again; the flag says whether it could be recorded.
fn cut(machine: &mut Machine, case: &Case, whole: &Kernels, random: &mut Random) -> bool {
    let what = format!("{:?}, {}", machine.firmware, case.name);
    let before = Before::of(machine);
    let Some(requests) = record(&machine.command(case.command), machine.folder()) else {
        return false;
    };
    let mut state = before.state();
    for request in &requests {
        state.take(request);
    }
    // Nothing was missed.
    assert_eq!(state.esp.files(), files_below(&machine.path(ESP)), "{what}");
    assert_eq!(state.var.files(), files_below(&machine.path(VAR)), "{what}");

    let cuts = number(CUTS).unwrap_or(USUAL_CUTS);
    for index in 0..cuts {
        let mut state = before.state();
        let moment = random.below(requests.len() as u64 + 1) as usize;
        for request in &requests[..moment] {
            state.take(request);
        }
        let what = format!("{what}, cut {index} before {:.200?}", requests.get(moment));
        before.put(machine, &state, random);
        let started = check(machine, case, whole, &what);
        if index % FOLLOWED == 0 {
            // What is blessed in part has proven itself.
            let on_trial = machine.standing().contains("is on trial");
            let proven = !on_trial || case.command == ["bless"];
            let speaks = proven || random.below(3) > 0;
            follow(machine, case, started, speaks, &what);
        }
    }
    true
}

/// A machine before the command.
struct Before {
    folder: tempfile::TempDir,
    esp: Files,
    var: Files,
}

/// What was asked for up to the cut.
struct State {
    disk: Disk,
    esp: Folder,
    var: Folder,
}

impl Before {
    fn of(machine: &Machine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&machine.disk(), &folder.path().join("disk"));
        Self {
            folder,
            esp: files_below(&machine.path(ESP)),
            var: files_below(&machine.path(VAR)),
        }
    }

    fn state(&self) -> State {
        State {
            disk: Disk::default(),
            esp: Folder::new(&self.esp, false),
            var: Folder::new(&self.var, true),
        }
    }

    /// Makes the machine what the cut leaves of it.
    fn put(&self, machine: &Machine, state: &State, random: &mut Random) {
        copy(&self.folder.path().join("disk"), &machine.disk());
        let disk = fs::File::options()
            .write(true)
            .open(machine.disk())
            .unwrap();
        for (offset, sector) in state.disk.cut(random) {
            disk.write_all_at(&sector, offset).unwrap();
        }
        for (place, files) in [(ESP, state.esp.cut(random)), (VAR, state.var.cut(random))] {
            let _ = fs::remove_dir_all(machine.path(place));
            for (name, bytes) in files {
                let path = machine.path(place).join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
        }
    }
}

impl State {
    fn take(&mut self, request: &Request) {
        let (Request::Create(path)
        | Request::Write(path, ..)
        | Request::Rename(path, _)
        | Request::Remove(path)
        | Request::Sync(path)
        | Request::SyncAll(path)) = request;
        for (place, folder) in [(ESP, &mut self.esp), (VAR, &mut self.var)] {
            if format!("{path}/").starts_with(place) {
                folder.take(&inside(request, place));
            }
        }
        match request {
            Request::Write(path, offset, bytes) if path == DISK => self.disk.write(*offset, bytes),
            Request::Sync(path) if path == DISK => self.disk.sync(),
            _ => (),
        }
    }
}

/// The same with names as they are in that folder.
fn inside(request: &Request, place: &str) -> Request {
    let name = |path: &String| path.strip_prefix(place).unwrap_or_default().to_owned();
    match request {
        Request::Create(path) => Request::Create(name(path)),
        Request::Write(path, offset, bytes) => Request::Write(name(path), *offset, bytes.clone()),
        Request::Rename(from, to) => Request::Rename(name(from), name(to)),
        Request::Remove(path) => Request::Remove(name(path)),
        Request::Sync(path) => Request::Sync(name(path)),
        Request::SyncAll(path) => Request::SyncAll(name(path)),
    }
}

/// Copies a disk, holes as holes.
fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command
        .args(["--sparse=auto", "--reflink=auto", "--"])
        .args([from, to]);
    assert!(command.status().unwrap().success());
}

/// What starts, and what has to be left besides.
fn check(machine: &mut Machine, case: &Case, whole: &Kernels, what: &str) -> Started {
    for version in case.left {
        let names = machine.kernels();
        let mut bytes = names.iter().map(|name| {
            let path = machine.esp().join(KERNELS).join(name);
            (BootEntry::parse(name), fs::read(path).unwrap())
        });
        let found = bytes.any(|(entry, bytes)| entry.is_some() && bytes == whole[version]);
        assert!(found, "{what}: {version} is lost: {names:?}");
        machine.check_root(&describe(&whole[version]).unwrap().root_hash);
    }
    let started = machine.boot();
    let version = started.described.version.as_str();
    assert!(
        case.starts.contains(&version),
        "{what}: {version} starts of {:?}",
        machine.kernels()
    );
    assert!(
        started.kernel == whole[version],
        "{what}: half a kernel starts"
    );
    started
}

/// The machine runs on until all is done: what started proves itself, and the command runs
/// again; or it never speaks, and the version before is back.
fn follow(machine: &mut Machine, case: &Case, started: Started, speaks: bool, what: &str) {
    let mut started = started;
    let mut end = case.end.to_owned();
    if !speaks {
        let silent = started.described.version.clone();
        for _ in 0..3 {
            if started.counted {
                started = machine.boot();
            }
        }
        let version = started.described.version.as_str();
        assert!(version != silent, "{what}: {version} starts");
        assert!(case.left.contains(&version), "{what}: {version} starts");
        end = version.to_owned();
    }
    let version = started.described.version.as_str();
    let standing = machine.standing();
    // A version that was set aside is counted, too, when nothing else starts.
    let on_trial = standing.contains("is on trial") || standing.is_empty() && started.counted;
    if version != end && on_trial {
        // What was not to be tried any more, or was given up, is given up.
        machine.mailctl(&["fallback"]).done();
    } else {
        machine.mailctl(&["bless"]).done();
        if version != end {
            machine.mailctl(case.command).done();
        }
    }
    for (version, more) in [(end.as_str(), None), (NEXT, Some(["upgrade", NEXT_IMAGE]))] {
        if let Some(command) = more {
            machine.mailctl(&command).done();
        }
        for counted in [None, Some(false), Some(false)] {
            let started = machine.boot();
            assert_eq!(started.described.version, version, "{what}");
            assert!(
                counted.is_none_or(|counted| started.counted == counted),
                "{what}"
            );
            machine.mailctl(&["bless"]).done();
        }
    }
    assert_eq!(machine.kernels().len(), 2, "{what}");
}
