//! Whole .debs through the cache: what comes out, what is refused, what is mended.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context, Result};
use tar::EntryType;
use tempfile::TempDir;

use super::fixture::{Fixture, archive, header, pin, raw_header};
use super::index::FORMAT;
use super::{Package, unpack_packages};
use crate::builder::fetch::{Cache, Check, Fetch, Object};
use crate::builder::progress::Progress;
use crate::builder::tree::Tree;
use crate::error::render;

/// A mirror in memory that counts what it is asked for.
struct Shelf {
    cache: Cache,
    debs: BTreeMap<String, Vec<u8>>,
    asked: Mutex<Vec<String>>,
}

impl Fetch for Shelf {
    fn document(&self, _urls: &[String], _limit: u64, _check: Check<'_>) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn kept(&self, _: &[String]) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn objects(&self, objects: &[Object]) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for object in objects {
            let path = self.cache.object_path(&object.sha256)?;
            if !path.exists() {
                self.asked.lock().unwrap().push(object.label.clone());
                fs::write(
                    &path,
                    self.debs.get(&object.sha256).context("no such file")?,
                )?;
            }
            paths.push(path);
        }
        Ok(paths)
    }
}

struct Setup {
    _folder: TempDir,
    shelf: Shelf,
    objects: Vec<Object>,
}

impl Setup {
    fn new(debs: Vec<(Object, Vec<u8>)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let objects = debs.iter().map(|(object, _)| object.clone()).collect();
        let debs = debs.into_iter();
        Self {
            _folder: folder,
            shelf: Shelf {
                cache,
                debs: debs.map(|(object, bytes)| (object.sha256, bytes)).collect(),
                asked: Mutex::new(Vec::new()),
            },
            objects,
        }
    }

    fn unpack(&self) -> Result<Vec<Package>> {
        let progress = Progress::hidden();
        unpack_packages(&self.objects, &self.shelf, &self.shelf.cache, &progress)
    }

    fn asked(&self) -> usize {
        self.shelf.asked.lock().unwrap().len()
    }

    fn unpacked_path(&self) -> PathBuf {
        let sha256 = &self.objects[0].sha256;
        self.shelf.cache.unpacked_path(sha256, FORMAT).unwrap()
    }
}

fn tree(package: &Package) -> Tree {
    let mut tree = Tree::default();
    for (path, node) in &package.entries {
        tree.insert(path, node.clone()).unwrap();
    }
    tree
}

fn rich() -> Fixture {
    let long = format!(
        "./usr/share/{}/file",
        "long-name/".repeat(15).trim_end_matches('/')
    );
    Fixture::new("rich")
        .control_file("postinst", b"#!/bin/sh\n")
        .control_file("triggers", b"interest x\n")
        .control_file("md5sums", b"ignored\n")
        .control_file("conffiles", b"/etc/rich.conf\n")
        .directory("./")
        .directory("./usr/")
        .directory("./usr/bin/")
        .file("./usr/bin/one", 0o4755, b"one")
        .link(EntryType::Link, "./usr/bin/two", "./usr/bin/one")
        .link(EntryType::Link, "./usr/bin/three", "./usr/bin/two")
        .link(
            EntryType::Symlink,
            "./usr/bin/four",
            "../../etc/./rich.conf",
        )
        .xattr("security.capability", &[1, 0, 0, 2, 0, 4, 0, 0])
        .file("./usr/bin/ping", 0o755, b"ping")
        .long_file(&long, b"deep")
        .file("./etc/rich.conf", 0o640, b"")
}

const RICH: &str = "d 0755 0:0 /
d 0755 0:0 /etc
f 0640 0:0 /etc/rich.conf 0
d 0755 0:0 /usr
d 0755 0:0 /usr/bin
l /usr/bin/four -> ../../etc/./rich.conf
f 4755 0:0 /usr/bin/one 3
f 0755 0:0 /usr/bin/ping 4 security.capability
h /usr/bin/three = /usr/bin/one
h /usr/bin/two = /usr/bin/one
";

#[test]
fn every_compression_yields_the_same_package() {
    let kinds = ["xz", "zst", "gz", ""];
    let debs = kinds.map(|kind| rich().compression(kind).pinned());
    let setup = Setup::new(debs.to_vec());
    for run in ["cold", "warm"] {
        for (kind, package) in kinds.iter().zip(setup.unpack().unwrap()) {
            let tree = tree(&package);
            let mut listing = tree.listing();
            let share = listing.split_off(listing.find("d 0755 0:0 /usr/share").unwrap());
            assert_eq!(listing, RICH, "{run} {kind}");
            assert!(share.ends_with("long-name/file 4\n"), "{share}");
            assert_eq!(
                tree.content("usr/bin/ping").unwrap().read().unwrap(),
                b"ping"
            );
            assert_eq!(
                tree.content("usr/bin/three").unwrap().read().unwrap(),
                b"one"
            );
            assert_eq!(package.name, "rich");
            assert_eq!(package.version, "1.0");
            assert_eq!(package.architecture, "amd64");
            assert!(package.control.starts_with("Package: rich\nVersion: 1.0\n"));
            assert_eq!(package.conffiles, ["etc/rich.conf"]);
            let scripts: Vec<&str> = package.scripts.iter().map(|s| s.kind.as_str()).collect();
            assert_eq!(scripts, ["postinst", "triggers"]);
            assert_eq!(package.scripts[0].text, b"#!/bin/sh\n");
            assert_eq!(
                package.scripts[0].sha256,
                "a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf"
            );
        }
    }
    assert_eq!(setup.asked(), 4);
}

#[test]
fn what_does_not_belong_in_a_package_is_refused_by_name() {
    let new = || Fixture::new("bad");
    let device = |kind| new().entry(header(kind, "./dev/x", 0o600), b"");
    let cases = [
        (
            new().file("./a/../../etc/passwd", 0o644, b""),
            "reading \"./a/../../etc/passwd\": it leads out of the tree",
        ),
        (
            new().file("/etc/passwd", 0o644, b""),
            "reading \"/etc/passwd\": it is an absolute path",
        ),
        (
            new().file("./a//b", 0o644, b""),
            "reading \"./a//b\": it is not a clean path",
        ),
        (
            new().file("./a\nb", 0o644, b""),
            "reading \"./a\\nb\": it holds a control character",
        ),
        (
            new().entry(raw_header(EntryType::Regular, b"./\xe4", 0o644), b""),
            "reading \"./\u{fffd}\": it is not UTF-8: \
             incomplete utf-8 byte sequence from index 2",
        ),
        (
            device(EntryType::Char),
            "reading dev/x: it is a device node",
        ),
        (
            device(EntryType::Block),
            "reading dev/x: it is a device node",
        ),
        (device(EntryType::Fifo), "reading dev/x: it is a fifo"),
        (
            device(EntryType::new(b'Z')),
            "reading dev/x: it is of the unknown tar type 'Z'",
        ),
        (
            new().file("./a", 0o644, b"").file("a", 0o644, b""),
            "a is there twice",
        ),
        (
            new().link(EntryType::Link, "./b", "./a"),
            "reading b: it is a hard link to a, which does not come before it",
        ),
        (
            new().directory("./a").link(EntryType::Link, "./b", "./a"),
            "reading b: it is a hard link to a, which is not a regular file",
        ),
        (
            new().link(EntryType::Link, "./b", "../../etc/shadow"),
            "reading b: reading the hard link's target: it leads out of the tree",
        ),
        (
            new().link(EntryType::Symlink, "./b", ""),
            "reading b: its target is missing",
        ),
        (
            new()
                .link(EntryType::Symlink, "./a", "/etc")
                .file("./a/passwd", 0o644, b""),
            "a/passwd lies below a, which is not a directory",
        ),
        (
            new().lying_file("./a", 3 << 30, b"x"),
            "reading a: its 3221225472 bytes are more than the 2147483648 that a file may have",
        ),
        (
            new().lying_file("./a", 100_000, b"x"),
            "reading a: the archive ends after 1536 of its 100000 bytes",
        ),
    ];
    for (fixture, expected) in cases {
        let setup = Setup::new(vec![fixture.pinned()]);
        let error = render(&setup.unpack().unwrap_err());
        assert_eq!(
            error.lines().next().unwrap(),
            format!("error: unpacking bad 1.0: reading data.tar.xz: {expected}")
        );
        assert!(!setup.unpacked_path().exists());
    }
}

/// Whatever its headers claim, a small package takes little memory and fails with a word.
#[test]
fn a_package_whose_headers_claim_gigabytes_is_refused() {
    let kinds = [
        (
            EntryType::GNULongName,
            "a header of 3221225472 bytes is in it",
        ),
        (
            EntryType::GNULongLink,
            "a header of 3221225472 bytes is in it",
        ),
        (EntryType::XHeader, "a header of 3221225472 bytes is in it"),
        (EntryType::GNUSparse, "it holds a sparse file"),
    ];
    for (kind, expected) in kinds {
        let fixture = Fixture::new("bad").lying_header(kind, 3 << 30);
        let setup = Setup::new(vec![fixture.pinned()]);
        let error = render(&setup.unpack().unwrap_err());
        let beginning = format!("error: unpacking bad 1.0: reading data.tar.xz: {expected}");
        assert!(error.starts_with(&beginning), "{error}");
        assert!(!setup.unpacked_path().exists());
    }
}

#[test]
fn broken_archives_are_refused_by_name() {
    let sound = Fixture::new("bad").compression("gz").build();
    let text = |bytes: &[u8]| bytes.to_vec();
    let version = ("debian-binary", &b"2.0\n"[..]);
    let cases = [
        (text(b"<html></html>"), "it is not a Debian archive"),
        (archive(&[]), "it is empty"),
        (
            archive(&[("a", b"")]),
            "it begins with a instead of debian-binary",
        ),
        (
            archive(&[("debian-binary", b"3.0\n")]),
            "its format is \"3.0\", only 2.x is known",
        ),
        (archive(&[version]), "it has no control.tar"),
        (
            archive(&[version, ("data.tar", b"")]),
            "the member data.tar stands where control.tar should",
        ),
        (
            archive(&[version, ("control.tar", b"")]),
            "reading control.tar: there is no control file in it",
        ),
        (
            sound[..sound.len() - 20].to_vec(),
            "reading data.tar.gz: the archive ends inside a member",
        ),
        (
            Fixture::with_control("bad", "Package: bad\n").build(),
            "reading control.tar.xz: the control file lacks Version",
        ),
    ];
    for (bytes, expected) in cases {
        let setup = Setup::new(vec![pin("bad 1.0", bytes)]);
        let error = render(&setup.unpack().unwrap_err());
        let (told, hint) = error.split_once('\n').unwrap();
        assert_eq!(told, format!("error: unpacking bad 1.0: {expected}"));
        assert!(hint.starts_with("hint: the package is as its archive has it"));
    }
}

#[test]
fn a_flipped_bit_in_a_cached_deb_is_mended() {
    let setup = Setup::new(vec![rich().pinned()]);
    let deb = setup
        .shelf
        .cache
        .object_path(&setup.objects[0].sha256)
        .unwrap();
    for place in [0, 70, 200, setup.objects[0].size as usize - 30] {
        let mut bytes = setup.shelf.debs[&setup.objects[0].sha256].clone();
        bytes[place] ^= 1;
        fs::write(&deb, bytes).unwrap();
        let before = setup.asked();
        let packages = setup.unpack().unwrap();
        assert_eq!(setup.asked(), before + 1);
        assert!(tree(&packages[0]).listing().starts_with(RICH));
        fs::remove_file(setup.unpacked_path()).unwrap();
    }
}

#[test]
fn a_deb_that_stays_damaged_is_an_error() {
    let (mut object, bytes) = rich().pinned();
    object.sha256 = "0".repeat(64);
    let setup = Setup::new(vec![(object, bytes)]);
    let error = render(&setup.unpack().unwrap_err());
    assert!(error.starts_with("error: unpacking rich 1.0: "), "{error}");
    assert!(error.contains("has the SHA-256"), "{error}");
    assert!(error.contains("hint: "), "{error}");
}

#[test]
fn any_flipped_byte_of_an_unpacked_package_is_mended() {
    let setup = Setup::new(vec![rich().pinned()]);
    setup.unpack().unwrap();
    let path = setup.unpacked_path();
    let sound = fs::read(&path).unwrap();
    for place in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[place] ^= 0x10;
        fs::write(&path, damaged).unwrap();
        setup.unpack().unwrap();
        assert_eq!(fs::read(&path).unwrap(), sound, "byte {place}");
    }
    for length in [0, 10, sound.len() - 1] {
        fs::write(&path, &sound[..length]).unwrap();
        setup.unpack().unwrap();
        assert_eq!(fs::read(&path).unwrap(), sound, "length {length}");
    }
    // All that from the one .deb of the first run.
    assert_eq!(setup.asked(), 1);
}

#[test]
fn a_warm_cache_needs_no_deb() {
    let mut setup = Setup::new(vec![rich().pinned()]);
    setup.unpack().unwrap();
    let sha256 = setup.objects[0].sha256.clone();
    setup.shelf.cache.discard_object(&sha256).unwrap();
    setup.shelf.debs.clear();
    assert_eq!(setup.unpack().unwrap().len(), 1);
}

#[test]
fn two_builds_unpack_into_one_cache() {
    let debs = (0..20)
        .map(|number| {
            let name = format!("p{number}");
            Fixture::new(&name)
                .file("./usr/x", 0o644, name.as_bytes())
                .pinned()
        })
        .collect();
    let setup = Setup::new(debs);
    // The mirrors of both would fetch these; here they lie ready.
    setup.shelf.objects(&setup.objects).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for (number, package) in setup.unpack().unwrap().iter().enumerate() {
                    let content = tree(package).content("usr/x").unwrap().read().unwrap();
                    assert_eq!(content, format!("p{number}").as_bytes());
                }
            });
        }
    });
}
