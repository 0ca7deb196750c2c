//! The version of an image: higher with each lock, another with other content.

use std::fs;

use crate::world::bench::Bench;

/// The version of the only image of a folder.
fn version(bench: &Bench, folder: &str) -> String {
    let raw = bench.output(folder, ".raw");
    let name = raw.file_stem().unwrap().to_str().unwrap();
    name.strip_prefix("tiny_").unwrap().to_owned()
}

/// Builds into a folder of its own and returns the image's version.
fn build(bench: &Bench, folder: &str, more: &[&str]) -> String {
    let arguments = [&["build", "tiny", "--output-dir", folder], more].concat();
    bench.run(&arguments).done();
    version(bench, folder)
}

#[test]
fn a_newer_lock_is_higher_and_other_content_is_another() {
    let mut bench = Bench::new();
    let first = build(&bench, "one", &[]);
    assert_eq!(build(&bench, "again", &["--locked", "--offline"]), first);

    // The same lock, so the same time, and another file in the initrd.
    bench.write("units/initrd/etc/hello", "another one\n");
    let changed = build(&bench, "two", &["--locked"]);
    assert_ne!(changed, first);
    assert_eq!(changed[..14], first[..14]);

    // At once, so the clock alone would give the same minute.
    let base = bench.archive.packages[0].clone();
    bench.archive.packages[0] = base.version("1.1");
    bench.archive.publish();
    bench.run(&["lock", "tiny"]).done();
    let newer = build(&bench, "three", &["--locked"]);
    assert!(newer[..14] > changed[..14], "{newer} {changed}");
}

#[test]
fn a_lock_that_would_say_the_same_is_left_alone() {
    let bench = Bench::new();
    bench.run(&["lock", "tiny"]).done();
    let lock = bench.lock();
    bench.run(&["lock", "tiny"]).done();
    assert!(bench.lock() == lock);

    // One of an older program says no time; it is not touched either.
    let text = String::from_utf8(lock).unwrap();
    let kept = |line: &&str| !line.starts_with("made = ");
    let old: String = text.split_inclusive('\n').filter(kept).collect();
    bench.write("recipes/tiny.lock", &old);
    bench.run(&["lock", "tiny"]).done();
    assert_eq!(String::from_utf8(bench.lock()).unwrap(), old);
    build(&bench, "old", &["--locked"]);
}

#[test]
fn a_lock_of_a_newer_program_says_so() {
    let bench = Bench::new();
    bench.run(&["lock", "tiny"]).done();
    let lock = String::from_utf8(bench.lock()).unwrap();
    bench.write(
        "recipes/tiny.lock",
        &lock.replace("made =", "held = 1\nmade ="),
    );
    let before = bench.lock();
    let error = bench.run(&["build", "tiny"]).error(1);
    assert!(
        error.contains("line 3, column 1: unknown field `held`"),
        "{error}"
    );
    assert!(
        error.contains("hint: was it written by a newer mailimg?"),
        "{error}"
    );
    assert!(bench.lock() == before);
}

#[test]
fn the_version_is_everywhere() {
    let bench = Bench::new();
    let version = build(&bench, "out", &["--image-version", "7.0"]);
    assert_eq!(version, "7.0");
    let manifest = fs::read_to_string(bench.work("out/tiny_7.0.manifest.json")).unwrap();
    assert!(manifest.contains("\"version\": \"7.0\""), "{manifest}");
    let outcome = bench.run(&["inspect", "out/tiny_7.0.raw"]);
    let inspected = &outcome.done().stdout;
    for name in ["tiny_7.0_r", "tiny_7.0_v", "tiny_7.0.efi"] {
        assert!(inspected.contains(name), "no {name} in {inspected}");
    }
}

#[test]
fn a_version_that_cannot_be_one_is_refused_before_anything_is_fetched() {
    let bench = Bench::new();
    for (given, expected) in [
        (
            "1+2",
            "error: reading --image-version: '1+2' cannot be the version of an image\n\
             hint: a version takes letters, digits, '.' and '-', and begins with one of the \
             first two",
        ),
        (
            "123456789012345678901234567890",
            "error: reading --image-version: 'tiny' and '123456789012345678901234567890' \
             together are longer than 33 characters\n\
             hint: they are part of a partition's label: shorten them by 1",
        ),
    ] {
        let build = ["build", "tiny", "--image-version", given];
        assert_eq!(bench.run(&build).error(2), expected);
    }
    let recipe = fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
    let long = recipe.replace("version = \"1\"", "version = \"12.11.10\"");
    bench.write("recipes/tiny.toml", &long);
    let error = bench.run(&["build", "tiny"]).error(1);
    assert!(error.contains("leave no room"), "{error}");
    assert!(!bench.work("recipes/tiny.lock").exists());
    assert_eq!(
        build(&bench, "out", &["--image-version", "12.11.10"]),
        "12.11.10"
    );
}
