//! Packages that left the mirrors, and archives that keep them.

use std::fs;
use std::path::PathBuf;

use crate::world::bench::Bench;
use crate::world::bench::server::{Reply, Server};

const PACKAGE: &str = "/pool/main/base_1.0_amd64.deb";

/// A bench with an image, whose mirror then replaced a package of its lock.
struct Moved {
    bench: Bench,
    /// The package that is gone.
    old: Vec<u8>,
    image: Vec<u8>,
}

fn moved_on() -> Moved {
    let mut bench = Bench::new();
    let old = fs::read(bench.archive.deb("base")).unwrap();
    bench.run(&["build", "tiny"]).done();
    let image = fs::read(bench.output("out", ".raw")).unwrap();
    let base = bench.archive.packages[0].clone();
    bench.archive.packages[0] = base.version("1.1");
    bench.archive.publish();
    fs::remove_dir_all(bench.cache()).unwrap();
    fs::remove_dir_all(bench.work("out")).unwrap();
    Moved { bench, old, image }
}

impl Moved {
    /// Names a snapshot in the recipe; the lock stays as it is.
    fn name_snapshot(&self, template: &str) {
        let path = self.bench.work("recipes/tiny.toml");
        let recipe = fs::read_to_string(&path).unwrap();
        let key = format!("snapshots = [\"{template}\"]\ncomponents =");
        fs::write(path, recipe.replace("components =", &key)).unwrap();
    }

    fn image(&self) -> PathBuf {
        self.bench.output("out", ".raw")
    }

    /// The date of the locked index, as snapshots name it.
    fn time(&self) -> String {
        let lock = String::from_utf8(self.bench.lock()).unwrap();
        let line = lock.lines().find(|line| line.starts_with("date = "));
        let date = line.unwrap().split_once("# ").unwrap().1;
        let digits: String = date.chars().filter(char::is_ascii_digit).collect();
        format!("{}T{}Z", &digits[..8], &digits[8..])
    }
}

#[test]
fn a_package_is_found_in_the_snapshot_of_the_locks_time() {
    let moved = moved_on();
    let lock = moved.bench.lock();
    let old = moved.old.clone();
    let snapshot = Server::start(move |_, _| Reply::File(old.clone()));
    moved.name_snapshot(&snapshot.url("/archive/{time}/"));
    let outcome = moved.bench.run(&["build", "tiny", "--locked"]);
    let notes = outcome.done().notes();
    assert!(
        notes.starts_with(
            "1 of the locked packages left the mirrors, asking the snapshots\n\
             snapshot: base 1.0 came from http://MIRROR/archive/"
        ),
        "{notes}"
    );
    let expected = format!("/archive/{}{PACKAGE}", moved.time());
    assert_eq!(snapshot.requests(), [expected]);
    assert!(fs::read(moved.image()).unwrap() == moved.image);
    assert!(moved.bench.lock() == lock);
}

#[test]
fn one_that_came_in_with_the_index_is_in_the_next_snapshot() {
    let moved = moved_on();
    let (old, time) = (moved.old.clone(), moved.time());
    let snapshot = Server::start(move |path, _| match path.contains(&time) {
        true => Reply::Status(404, "not yet"),
        false => Reply::File(old.clone()),
    });
    moved.name_snapshot(&snapshot.url("/archive/{time}"));
    moved.bench.run(&["build", "tiny", "--locked"]).done();
    assert_eq!(snapshot.requests().len(), 2);
    assert!(fs::read(moved.image()).unwrap() == moved.image);
}

#[test]
fn a_snapshot_is_not_asked_while_a_mirror_has_the_package() {
    let bench = Bench::new();
    let snapshot = Server::start(|_, _| Reply::Status(500, "never"));
    let recipe = fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
    let key = format!("snapshots = [\"{}\"]\ncomponents =", snapshot.url(""));
    bench.write("recipes/tiny.toml", &recipe.replace("components =", &key));
    bench.run(&["build", "tiny"]).done();
    assert!(snapshot.requests().is_empty());
}

/// A snapshot that does not help: `--locked` fails and says why, and without
/// it the build resolves anew.
fn of_no_help(answer: impl Fn(&[u8]) -> Reply + Send + Sync + 'static, reason: &str) {
    let moved = moved_on();
    let (lock, old) = (moved.bench.lock(), moved.old.clone());
    let snapshot = Server::start(move |_, _| answer(&old));
    moved.name_snapshot(&snapshot.url("/{time}"));
    let build = ["build", "tiny", "--timeout", "1"];
    let error = moved
        .bench
        .run(&[&build[..], &["--locked"]].concat())
        .error(1);
    assert!(
        error.starts_with(
            "error: fetching base 1.0: \
             file://BENCH/mirror/pool/main/base_1.0_amd64.deb no such file; http://MIRROR/"
        ),
        "{error}"
    );
    assert!(
        error.contains(&format!("base_1.0_amd64.deb {reason}")),
        "{error}"
    );
    assert!(moved.bench.lock() == lock);
    assert!(moved.bench.outputs().is_empty());

    let notes = moved.bench.run(&build).done().notes();
    assert!(notes.contains("resolving: fetching base 1.0: "), "{notes}");
    assert!(notes.ends_with("upgraded    base 1.0 -> 1.1"), "{notes}");
    assert!(fs::read(moved.image()).unwrap() != moved.image);
}

#[test]
fn a_snapshot_that_lacks_it() {
    of_no_help(|_| Reply::Status(404, "no"), "answered 404");
}

#[test]
fn a_snapshot_that_serves_other_bytes() {
    let changed = |old: &[u8]| {
        let mut bytes = old.to_vec();
        bytes[old.len() / 2] ^= 1;
        Reply::File(bytes)
    };
    of_no_help(changed, "has another SHA-256 than pinned");
}

#[test]
fn a_snapshot_that_answers_a_web_page() {
    let page = |_: &[u8]| Reply::Status(200, "<!DOCTYPE html><title>Busy</title>");
    of_no_help(page, "answered a web page instead of it");
}

#[test]
fn a_snapshot_that_stalls() {
    let stall = |old: &[u8]| Reply::Stalls(old.to_vec(), 10);
    of_no_help(stall, "broke off after 10 bytes: stalled");
}
