//! Strangers who put control characters into what is shown: no terminal obeys them.

use std::fs;

use mailimg::format::gpt::{read_gpt, write_gpt};

use crate::world::bench::Bench;
use crate::world::bench::deb::Deb;
use crate::world::bench::server::Reply;

/// Clears the screen, moves back to the line's start, sets the window's title.
const CONTROLS: &str = "\u{1b}[2J\r\u{1b}]0;all is well\u{7}\u{9b}1m";

/// Nothing of it, but for ends of lines and tabs.
fn assert_plain(text: &str) {
    let bad = |character: &char| character.is_control() && !"\n\t".contains(*character);
    assert_eq!(text.chars().find(bad), None, "{text:?}");
}

/// An InRelease over plain HTTP is anybody's before its signature is checked.
#[test]
fn an_answer_that_nobody_signed() {
    let source = Bench::new();
    let bench = Bench::new();
    for (begins, length) in [("", 0), ("-----BEGIN PGP SIGNED MESSAGE-----\n\n", 32_000)] {
        let answer = format!("{begins}{CONTROLS}{}", "x".repeat(length));
        let server = source.archive.serve(move |path, _| {
            path.ends_with("InRelease")
                .then(|| Reply::File(answer.clone().into_bytes()))
        });
        bench.write_recipe(&server.url(""), "");
        let error = bench.run(&["lock", "tiny"]).error(1);
        assert_plain(&error);
        assert!(error.len() < 4000, "{} bytes", error.len());
    }
}

#[test]
fn labels_of_a_disk() {
    let bench = Bench::built().with_image("disk");
    let path = bench.work("out/tiny_1.raw");
    let mut disk = fs::read(&path).unwrap();
    let mut table = read_gpt(&disk).unwrap();
    table.partitions[2].label = CONTROLS.to_owned();
    let size = table.disk_size;
    write_gpt(&mut disk, &table.disk_uuid, &table.partitions, size).unwrap();
    fs::write(&path, disk).unwrap();
    let inspected = bench.run(&["inspect", "out/tiny_1.raw"]);
    let text = &inspected.done().stdout;
    assert_plain(text);
    assert!(text.contains("\\u001b[2J\\u000d"), "{text}");
}

#[test]
fn versions_and_names_of_packages() {
    let mut bench = Bench::new();
    for package in [
        Deb::new("base").version(&format!("1.0{CONTROLS}")),
        Deb::new("base").file(&format!("usr/{CONTROLS}"), 0o644, b""),
        Deb::new(&format!("base{CONTROLS}")),
    ] {
        bench.archive.packages[0] = package;
        bench.archive.publish();
        for command in ["build", "lock", "scripts"] {
            let outcome = bench.run(&[command, "tiny"]);
            assert_plain(&outcome.stderr);
            assert_plain(&outcome.stdout);
        }
    }
}
