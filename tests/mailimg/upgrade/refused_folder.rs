//! What an upgrade from a folder refuses: one clear message, and the machine is as it was.

use std::fs;
use std::time::{Duration, Instant};

use mailimg::format::minisign::SecretKey;
use mailimg::format::update::{UPDATE_FILE, Update};

use super::machine::{build, build_with};
use super::site::Site;
use crate::world::bench::{files_below, flip_bit};
use crate::world::folder_server::{Manner, Server};

/// What starts, and every byte of the disk.
fn state(site: &Site) -> (Vec<String>, Vec<u8>) {
    let disk = fs::read(site.machine.disk()).unwrap();
    (site.machine.kernels(), disk)
}

/// Refused with these words, and nothing was touched.
fn refuses(site: &Site, what: &str, expected: &str) {
    let before = state(site);
    let error = site.upgrade(&[]).error(1);
    assert!(error.contains(expected), "{what}: {error}");
    assert!(state(site) == before, "{what}");
}

#[test]
fn who_did_not_sign() {
    let site = Site::new();
    let path = site.signatures();
    let good = fs::read(&path).unwrap();
    let other = SecretKey::generate().unwrap();
    let text = fs::read(site.served(UPDATE_FILE)).unwrap();

    fs::remove_file(&path).unwrap();
    refuses(&site, "by none", "is not signed as it is there");
    fs::write(&path, "").unwrap();
    refuses(&site, "by nobody", "is signed by the key ");
    fs::write(&path, other.sign(&text, "")).unwrap();
    let numbers = format!(
        "the update is signed by the key {}, the running image knows {}",
        other.public().number,
        site.key.public().number
    );
    refuses(&site, "by another", &numbers);
    fs::write(&path, site.key.sign(b"something else", "")).unwrap();
    refuses(&site, "of something else", "is false");
    // Another key that says it is ours.
    let ours = String::from_utf8(good.clone()).unwrap();
    let theirs = other.sign(&text, "file:update.json\thashed");
    let mixed: Vec<&str> = ours.lines().take(2).chain(theirs.lines().skip(2)).collect();
    fs::write(&path, mixed.join("\n")).unwrap();
    refuses(&site, "of two halves", "is false");
    for length in [1, good.len() / 2, good.len() - 30] {
        fs::write(&path, &good[..length]).unwrap();
        refuses(&site, "truncated", "reading https://");
    }
    fs::write(&path, &good).unwrap();
    site.put("usr/share/mailimg/update-keys", "");
    refuses(&site, "no key", "knows no key that may sign updates");
    site.know(&[&other, &site.key]);
    site.upgrade(&["--check"]).done();
}

#[test]
fn what_must_not_come() {
    let mut site = Site::new();
    type Change = fn(&mut Update);
    let changes: [(&str, Change, &str); 9] = [
        (
            "expired",
            |update| update.expires = "2026-01-02T03:04:05Z".to_owned(),
            "expired ",
        ),
        (
            "foreign",
            |update| update.image = "metal".to_owned(),
            "of the recipe \"metal\"",
        ),
        (
            "processor",
            |update| update.architecture = "aarch64".to_owned(),
            "for aarch64",
        ),
        (
            "same version",
            |update| update.version = "1".to_owned(),
            "and other content",
        ),
        (
            "older",
            |update| update.version = "0.9".to_owned(),
            "older than 1, which runs",
        ),
        ("newer form", |update| update.format = 2, "of form 2"),
        ("root", |update| update.root.size = 4096, "which cannot be"),
        (
            "endless root",
            |update| update.root.size = !4095,
            "which cannot be",
        ),
        (
            "kernel",
            |update| update.kernel.size = 1 << 40,
            "kernel image is too large",
        ),
    ];
    let original = site.update();
    for (what, change, expected) in changes {
        site.resign(&site.key, change);
        refuses(&site, what, expected);
        site.resign(&site.key, |update| *update = original.clone());
    }
    // The same root hash under whatever name.
    site.sign("1", &[]).done();
    site.resign(&site.key, |update| update.version = "7".to_owned());
    refuses(&site, "same root", "version 7 is what runs");
    // Older for real, and asked for.
    site.sign("3", &[]).done();
    site.upgrade(&[]).done();
    assert_eq!(site.machine.boot_version(), "3");
    site.machine.mailctl(&["bless"]).done();
    site.sign("2", &[]).done();
    refuses(&site, "older", "older than 3, which runs");
    site.upgrade(&["--allow-downgrade"]).done();
    assert_eq!(site.machine.boot_version(), "2");
}

#[test]
fn a_clock_that_nobody_set_judges_no_expiry() {
    let site = Site::new();
    site.resign(&site.key, |update| {
        update.expires = "2026-01-02T03:04:05Z".to_owned()
    });
    assert!(site.upgrade(&["--check"]).error(1).contains("expired "));
    fs::remove_file(site.machine.path("run/systemd/timesync/synchronized")).unwrap();
    let said = site.upgrade(&["--check"]).done().stdout.clone();
    assert!(said.contains("clock was not set"), "{said}");
    site.upgrade(&[]).done();
}

#[test]
fn a_slot_that_is_too_small() {
    let mut site = Site::new();
    let recipe = fs::read_to_string(site.machine.bench.work("recipes/tiny.toml")).unwrap();
    let larger = recipe.replace("root_mib = 32", "root_mib = 64");
    site.machine.bench.write("recipes/tiny.toml", &larger);
    build_with(&mut site.machine.bench, "4", &vec![7; 40 << 20]);
    site.sign("4", &[]).done();
    refuses(&site, "small slot", "a slot of the disk has 32 MiB");
}

#[test]
fn one_flipped_bit_or_half_a_file_in_every_kind_of_place() {
    let site = Site::new();
    let good = files_below(&site.served(""));
    let update = site.update();
    let root = &update.root.blocks;
    let kernel = &update.kernel.pieces;
    let files = [
        UPDATE_FILE.to_owned(),
        site.signatures()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
        root.index.path("index"),
        kernel.index.path("index"),
        root.pack.path("pack"),
        kernel.pack.path("pack"),
    ];
    for name in &files {
        let path = match name.ends_with(".minisig") {
            true => site.served("parts").join(name),
            false => site.served(name),
        };
        let whole = fs::read(&path).unwrap();
        // All of a pack, since little of it is fetched.
        if name.ends_with(".pack") {
            fs::write(&path, whole.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).unwrap();
        } else {
            flip_bit(&path);
        }
        refuses_or_waits(&site, name, "flipped");
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        refuses_or_waits(&site, name, "half");
        fs::remove_file(&path).unwrap();
        refuses_or_waits(&site, name, "gone");
        fs::write(&path, &whole).unwrap();
    }
    assert!(files_below(&site.served("")) == good);
    site.upgrade(&[]).done();
}

/// What runs still starts; the other slot may have been written.
fn refuses_or_waits(site: &Site, what: &str, how: &str) {
    let outcome = site.upgrade(&[]);
    if outcome.code == Some(0) {
        // Pieces of the kernel image may all be here.
        assert!(what.ends_with(".pack"), "{what} {how}");
        site.machine.mailctl(&["upgrade", "--cancel"]).done();
        return;
    }
    let error = outcome.error(1);
    assert!(
        error.contains("https://localhost") || error.contains("parts/"),
        "{what}: {error}"
    );
    assert_eq!(site.machine.kernels()[0], "tiny_1.efi", "{what} {how}");
}

#[test]
fn servers_that_do_not_serve() {
    let site = Site::new();
    let cases = [
        (Manner::Status(401), "the server answers 401"),
        (Manner::Status(403), "the server answers 403"),
        (Manner::Status(404), "there is no https://localhost"),
        (Manner::Status(500), "the server answers 500"),
        (Manner::Page, "is no manifest of an update"),
        (Manner::Silent, "the server does not answer"),
        (Manner::Dripping("update.json"), "less than 1 KiB a second"),
        (Manner::Endless("update.json"), "it has more than"),
        (Manner::Endless(".minisig"), "it has more than"),
        (Manner::Endless(".index"), "it has more than"),
        (Manner::Half("update.json"), "is not signed as it is there"),
        (Manner::Half(".minisig"), ".minisig"),
        (Manner::Half(".index"), "what came is not what was signed"),
        (
            Manner::Flipping(".index"),
            "what came is not what was signed",
        ),
        (Manner::On("http://localhost:9/".to_owned()), "without TLS"),
        (
            Manner::On(site.server.address()),
            "the server sends on and on",
        ),
    ];
    for (manner, expected) in cases {
        site.server.set(manner.clone());
        let begin = Instant::now();
        refuses(&site, &format!("{manner:?}"), expected);
        assert!(begin.elapsed() < Duration::from_secs(20), "{manner:?}");
    }
    site.server.set(Manner::Well);
    for (address, expected) in [
        ("https://localhost:9/", "Connection refused"),
        (
            "https://updates.invalid/mail/",
            "the name of the server is not known",
        ),
        ("http://localhost/", "is no address of a folder"),
        ("https://user:word@localhost/", "is no address of a folder"),
        ("ftp://localhost/", "is no address of a folder"),
        ("https://localhost/?x", "is no address of a folder"),
    ] {
        let error = site.upgrade_from(address, &[]).error(1);
        assert!(error.contains(expected), "{address}: {error}");
    }
    // A certificate of somebody else.
    let stranger = Server::of(site.served(""));
    let error = site.upgrade_from(&stranger.address(), &[]).error(1);
    assert!(
        error.contains("certificate does not hold") && error.contains("ACME_CA_FILE"),
        "{error}"
    );
    site.upgrade(&[]).done();
}

#[test]
fn packs_that_are_endless_slow_or_cut_come_to_an_end() {
    let mut site = Site::new();
    build(&mut site.machine.bench, "4", "another text");
    for (manner, expected) in [
        (Manner::Dripping(".pack"), ""),
        (Manner::Stalling(1000), ".pack"),
        (Manner::Cutting(1000), ".pack"),
    ] {
        site.server.set(manner.clone());
        let begin = Instant::now();
        let error = site.upgrade(&[]).error(1);
        assert!(error.contains(expected), "{manner:?}: {error}");
        assert!(begin.elapsed() < Duration::from_secs(60), "{manner:?}");
        assert_eq!(site.machine.boot_version(), "1");
    }
    // More than was asked for is not read.
    site.server.set(Manner::Endless(".pack"));
    let outcome = site.upgrade(&[]);
    assert!(outcome.code.is_some());
    site.server.set(Manner::Well);
    if outcome.code != Some(0) {
        site.upgrade(&[]).done();
    }
    assert_eq!(site.machine.boot_version(), "2");
}
