//! Recipes, their locks, and what they need besides packages.

use std::fs;

use crate::world::bench::Bench;
use crate::world::bench::deb::Deb;
use crate::world::bench::keys::DAY;

#[test]
fn one_that_nobody_wrote() {
    let bench = Bench::new();
    assert_eq!(
        bench.run(&["build", "mial"]).error(2),
        "error: finding the recipe mial: there is none\n\
         hint: known are tiny; a path that ends in .toml names a recipe elsewhere"
    );
    assert_eq!(
        bench.run(&["build", "elsewhere/tiny.toml"]).error(2),
        "error: finding the recipe elsewhere/tiny.toml: there is none\n\
         hint: known are tiny; a path that ends in .toml names a recipe elsewhere"
    );
    assert!(bench.outputs().is_empty());
}

#[test]
fn the_embedded_ones_are_named() {
    let bench = Bench::new();
    let mut command = bench.command();
    command
        .current_dir(bench.beside(""))
        .args(["build", "mial"]);
    assert_eq!(
        bench.finish(&mut command).error(2),
        "error: finding the recipe mial: there is none\n\
         hint: known are mail, metal, peers, small; a path that ends in .toml names a recipe elsewhere"
    );
}

#[test]
fn one_of_tools_has_nothing_to_build() {
    let bench = Bench::new();
    let mut command = bench.command();
    command
        .current_dir(bench.beside(""))
        .args(["build", "peers"]);
    assert_eq!(
        bench.finish(&mut command).error(2),
        "error: building peers: the recipe has no [image], so it is not one of a \
         bootable image\n\
         hint: build another recipe, `mailimg build mail`, or add an [image] table to \
         this one"
    );
}

#[test]
fn an_unknown_key() {
    let bench = Bench::new();
    bench.write_recipe(&bench.archive.url(), "  packges = []\n");
    assert_eq!(
        bench.run(&["build", "tiny"]).error(1),
        "error: reading tiny.toml: line 6, column 3: unknown field `packges`, expected \
         one of `name`, `version`, `architecture`, `sources`, `packages`, `drop`, \
         `strip`, `effects`, `image`, `container`, `update`, `accounts_file`, \
         `scripts_file`, `blocks_file`, `overlay`\n\
         hint: recipes/mail.toml shows every key; src/builder/recipe/mod.rs says what they mean"
    );
}

#[test]
fn no_toml_at_all() {
    let bench = Bench::new();
    bench.write("recipes/tiny.toml", "name = \"tiny\"\nversion = \n");
    assert_eq!(
        bench.run(&["build", "tiny"]).error(1),
        "error: reading tiny.toml: line 2, column 11: string values must be quoted, \
         expected literal string\n\
         hint: recipes/mail.toml shows every key; src/builder/recipe/mod.rs says what they mean"
    );
}

#[test]
fn an_unknown_package() {
    let bench = Bench::new();
    let recipe = fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
    bench.write(
        "recipes/tiny.toml",
        &recipe.replace("\"base\"", "\"base\", \"postfx\""),
    );
    assert_eq!(
        bench.run(&["build", "tiny"]).error(1),
        "error: resolving the packages of tiny: no source has a package named 'postfx'\n\
         hint: check the spelling in 'packages', or add the source or component that has \
         it"
    );
}

#[test]
fn an_unknown_keyring() {
    let bench = Bench::new();
    let recipe = fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
    bench.write(
        "recipes/tiny.toml",
        &recipe.replace("archive.pgp", "debian-sid"),
    );
    assert_eq!(
        bench.run(&["lock", "tiny"]).error(1),
        "error: there is no keyring named 'debian-sid'\n\
         hint: keys = [...] knows debian-bookworm, debian-bookworm-security, \
         debian-trixie, debian-trixie-security, and files beside the recipe whose names \
         end in .pgp or .asc"
    );
    bench.write(
        "recipes/tiny.toml",
        &recipe.replace("archive.pgp", "other.pgp"),
    );
    assert_eq!(
        bench.run(&["lock", "tiny"]).error(1),
        "error: reading the keyring other.pgp: reading recipes/other.pgp: there is no \
         such file\n\
         hint: a name in 'keys' that ends in .pgp or .asc is a file beside the recipe"
    );
    bench.write("recipes/archive.pgp", "no key\n");
    bench.write("recipes/tiny.toml", &recipe);
    assert_eq!(
        bench.run(&["lock", "tiny"]).error(1),
        "error: reading the keyring archive.pgp: not enough bytes in buffer: armor \
         header\n\
         hint: it must hold OpenPGP public keys, as `gpg --export` writes them"
    );
}

/// A bench whose recipe asks for one package more than its lock has.
fn outgrown() -> Bench {
    let mut bench = Bench::new();
    bench
        .archive
        .packages
        .push(Deb::new("more").file("usr/share/more", 0o644, b"more\n"));
    bench.archive.publish();
    bench.run(&["lock", "tiny"]).done();
    let recipe = fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
    bench.write(
        "recipes/tiny.toml",
        &recipe.replace("\"base\"", "\"base\", \"more\""),
    );
    bench
}

#[test]
fn a_lock_that_is_older() {
    let bench = outgrown();
    let lock = bench.lock();
    assert_eq!(
        bench.run(&["build", "tiny", "--locked"]).error(1),
        "error: the lock of tiny is older than the recipe: sources, packages or drops \
         have changed since\n\
         hint: `mailimg lock tiny` resolves it again"
    );
    assert!(bench.outputs().is_empty());
    assert!(bench.lock() == lock);

    assert_eq!(
        bench.run(&["build", "tiny"]).done().notes(),
        "resolving: the lock of tiny is older than the recipe: sources, packages or \
         drops have changed since\n\
         added       more 1.0"
    );
    bench.run(&["build", "tiny", "--locked"]).done();
}

#[test]
fn a_lock_that_is_missing() {
    let bench = Bench::new();
    assert_eq!(
        bench.run(&["build", "tiny", "--locked"]).error(1),
        "error: reading recipes/tiny.lock: there is none\n\
         hint: make it with `mailimg lock tiny`"
    );
}

#[test]
fn a_lock_that_is_damaged() {
    let bench = Bench::built();
    let text = String::from_utf8(bench.lock()).unwrap();
    bench.write(
        "recipes/tiny.lock",
        &text.replace("[[packages]]", "[[package]]"),
    );
    assert_eq!(
        bench.run(&["build", "tiny"]).error(1),
        "error: reading the lock of recipe tiny: reading the lock: line 11, column 3: \
         unknown field `package`, expected one of `recipe_sha256`, `made`, `sources`, \
         `packages`\n\
         hint: was it written by a newer mailimg? then use that one; otherwise delete it and \
         run 'mailimg lock' to write it anew"
    );
    bench.write("recipes/tiny.lock", &text.replace("pool/", "../pool/"));
    assert_eq!(
        bench.run(&["build", "tiny"]).error(1),
        "error: reading the lock of recipe tiny: checking the lock: the path of base \
         leaves the archive\n\
         hint: delete it and run 'mailimg lock' to write it anew"
    );
}

#[test]
fn a_mirror_that_goes_back_in_time() {
    let mut bench = Bench::built();
    let lock = bench.lock();
    bench.archive.age = 7200;
    bench.archive.publish();
    assert_eq!(
        bench.run(&["lock", "tiny"]).error(1),
        "error: checking the InRelease of test: it is older (MOMENT) than the one the \
         lock came from (MOMENT)\n\
         hint: the mirror lags behind or replays old files: try again later or name \
         another mirror; to go back on purpose, delete the lock"
    );
    assert!(bench.lock() == lock);

    // Nor without a lock, where the first answer was believed whatever its age.
    std::fs::remove_file(bench.work("recipes/tiny.lock")).unwrap();
    assert_eq!(
        bench.run(&["lock", "tiny"]).error(1),
        "error: checking the InRelease of test: it is older (MOMENT) than one that was here \
         before (MOMENT)\n\
         hint: the mirror lags behind or replays old files: try again later or name another \
         mirror; to go back on purpose, remove the folder `documents` of the cache"
    );
    std::fs::remove_dir_all(bench.cache().join("documents")).unwrap();
    bench.run(&["lock", "tiny"]).done();
}

#[test]
fn a_mirror_that_stands_still_and_says_no_end() {
    const WARNING: &str = "does its mirror stand still?";
    let mut bench = Bench::new();
    for (age, valid_for, warned) in [
        (300, None, true),
        (101, None, true),
        (99, None, false),
        (300, Some(DAY), false),
    ] {
        bench.archive.age = age * DAY;
        bench.archive.valid_for = valid_for;
        bench.archive.publish();
        let _ = std::fs::remove_dir_all(bench.cache());
        let _ = std::fs::remove_file(bench.work("recipes/tiny.lock"));
        let outcome = bench.run(&["lock", "tiny"]);
        assert_eq!(
            outcome.done().stderr.contains(WARNING),
            warned,
            "{age} days"
        );
    }
}

#[test]
fn a_mailctl_that_is_missing() {
    let bench = Bench::new();
    bench.write("overlay/etc/hello", "from the overlay\n");
    bench.write_recipe(&bench.archive.url(), "overlay = true\n");
    let build = ["build", "tiny", "--agent", "elsewhere/mailctl"];
    assert_eq!(
        bench.run(&build).error(2),
        "error: reading the image's agent elsewhere/mailctl: No such file or directory \
         (os error 2)\n\
         hint: `cargo build --release` makes both programs; `--agent PATH` names a \
         mailctl elsewhere"
    );
    assert!(!bench.work("recipes/tiny.lock").exists());
}

#[test]
fn a_mailctl_that_is_another_program() {
    let bench = Bench::new();
    bench.write("overlay/etc/hello", "from the overlay\n");
    bench.write_recipe(&bench.archive.url(), "overlay = true\n");
    bench.write("mailctl", "#!/bin/sh\n");
    assert_eq!(
        bench.run(&["build", "tiny", "--agent", "mailctl"]).error(1),
        "error: checking mailctl: it is not the mailctl of mailimg 0.1.0\n\
         hint: `cargo build --release` makes both programs; `--agent PATH` names a \
         mailctl elsewhere"
    );
    assert!(bench.outputs().is_empty());
}

#[test]
fn a_mailctl_that_could_not_run_in_the_image() {
    let bench = Bench::new();
    bench.write("overlay/etc/hello", "from the overlay\n");
    bench.write_recipe(&bench.archive.url(), "overlay = true\n");
    let agent = env!("CARGO_BIN_EXE_mailctl");
    let error = bench.run(&["build", "tiny", "--agent", agent]).error(1);
    assert_eq!(
        error,
        "error: checking mailctl against the image: the image has no \
         /lib64/ld-linux-x86-64.so.2\n\
         hint: compile it statically, or on the Debian release the image is made of or \
         an older one"
    );
    assert!(bench.outputs().is_empty());
}
