//! The same lock gives the same bytes, whoever builds it, where and when; and
//! nothing but the program itself runs meanwhile.
//!
//! On the small recipe, with packages of Debian's mirror. `ci/reproducible`
//! does it for the full one and for the agent.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::bench::outcome::Outcome;
use crate::world::bench::{self, real, user};

/// A folder with a copied checkout, a program that everybody may run, and packages.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        real::copy_checkout(&place.path("checkout"));
        let fetched = real::fetch_packages(&place.path("checkout"));
        for cache in ["one", "two"] {
            // Only what was fetched: each build unpacks for itself.
            let objects = format!("cache-{cache}/mailimg/objects");
            real::copy_folder(&fetched.join("mailimg/objects"), &place.path(&objects));
            fs::create_dir(place.path(cache)).unwrap();
        }
        fs::copy(bench::mailimg(), place.path("mailimg")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_mailctl"), place.path("mailctl")).unwrap();
        fs::remove_dir_all(place.path("checkout/out")).unwrap();
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Whether the lock of this checkout is still the one in the program.
    fn is_embedded_lock(&self) -> bool {
        let embedded = include_bytes!("../../recipes/small.lock");
        fs::read(self.path("checkout/recipes/small.lock")).unwrap() == embedded
    }

    /// A build into one of the folders, after a line of shell.
    fn build(&self, name: &str, before: &str) -> Command {
        let script = format!("{before}\nexec \"$@\"");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script, "sh"]);
        command.arg(self.path("mailimg"));
        command.args(["build", "small", "--locked", "--offline", "--listing"]);
        command.args(["--format", "disk,qcow2,oci", "--agent"]);
        command.arg(self.path("mailctl")).arg("--output-dir");
        command.arg(self.path(name));
        command.env("XDG_CACHE_HOME", self.path(&format!("cache-{name}")));
        command
    }

    /// Names of what was built into a folder.
    fn outputs(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// The library that fakes the clock of a program, if it is installed.
fn clock_faker() -> Option<PathBuf> {
    ["x86_64-linux-gnu/faketime", "faketime"]
        .iter()
        .map(|folder| Path::new("/usr/lib").join(folder).join("libfaketime.so.1"))
        .find(|library| library.exists())
}

#[test]
fn a_second_build_under_other_circumstances_is_the_same() {
    let place = Place::new();
    let mut first = place.build("one", "umask 000");
    first.current_dir(place.path("checkout"));
    first
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .env("RAYON_NUM_THREADS", "1");
    Outcome::new(&first.output().unwrap(), &[]).done();

    let mut second = place.build("two", "umask 077");
    let elsewhere = if place.is_embedded_lock() {
        place.path("two")
    } else {
        eprintln!("not varied: the embedded lock, whose packages left the mirror");
        place.path("checkout")
    };
    second.current_dir(elsewhere);
    second
        .env("TZ", "Asia/Kathmandu")
        .env("LC_ALL", "de_DE.UTF-8");
    second.env("RAYON_NUM_THREADS", "4");
    match clock_faker() {
        Some(library) => {
            second.env("LD_PRELOAD", library);
            second.env("FAKETIME", "@2031-02-03 04:05:06");
        }
        None => eprintln!("not varied: the clock, faketime is not installed"),
    }
    if user::is_root() {
        user::open(place.folder.path());
        second = user::ordinary(second, place.folder.path());
    } else {
        eprintln!("not varied: the user, only root can be somebody else");
    }
    Outcome::new(&second.output().unwrap(), &[]).done();

    let names = place.outputs("one");
    let endings = ["listing", "manifest.json", "oci.tar", "qcow2", "raw"];
    assert_eq!(names.len(), endings.len(), "{names:?}");
    for (name, ending) in names.iter().zip(endings) {
        let named = name.starts_with("small_0.1.0-") && name.ends_with(&format!(".{ending}"));
        assert!(named, "{name}");
    }
    assert_eq!(place.outputs("two"), names);
    for name in &names {
        let [one, two] = ["one", "two"].map(|folder| place.path(folder).join(name));
        assert!(same_content(&one, &two), "{name} differs");
    }
}

/// Compares two files piece by piece: an image is large.
fn same_content(one: &Path, two: &Path) -> bool {
    const PIECE: usize = 1 << 20;
    let [one, two] = [one, two].map(|path| fs::File::open(path).unwrap());
    let size = one.metadata().unwrap().len();
    let [mut left, mut right] = [vec![0; PIECE], vec![0; PIECE]];
    let mut offset = 0;
    while offset < size {
        let length = PIECE.min((size - offset) as usize);
        one.read_exact_at(&mut left[..length], offset).unwrap();
        if two.read_exact_at(&mut right[..length], offset).is_err() || left != right {
            return false;
        }
        offset += length as u64;
    }
    two.metadata().unwrap().len() == size
}

#[test]
fn nothing_of_the_host_is_run() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: strace is not installed");
        return;
    }
    let place = Place::new();
    let build = place.build("one", "");
    // Without the shell, which would be one more.
    let arguments: Vec<_> = build.get_args().skip(3).collect();
    let mut traced = Command::new("/usr/bin/strace");
    traced.args(["-f", "-qq", "-e", "trace=execve,execveat", "-o"]);
    traced.arg(place.path("trace")).args(arguments);
    traced.current_dir(place.path("checkout"));
    traced.env("XDG_CACHE_HOME", place.path("cache-one"));
    user::open(place.folder.path());
    let mut traced = user::ordinary(traced, place.folder.path());
    let outcome = Outcome::new(&traced.output().unwrap(), &[]);
    if outcome.stderr.contains("PTRACE") {
        eprintln!("skipped: strace may not trace here: {}", outcome.stderr);
        return;
    }
    outcome.done();
    let trace = fs::read_to_string(place.path("trace")).unwrap();
    let runs: Vec<&str> = trace.lines().collect();
    assert_eq!(runs.len(), 1, "{trace}");
    assert!(
        runs[0].contains("mailimg\", \"build\", \"small\""),
        "{trace}"
    );
}
