//! What an archive signs, and what it serves under that signature.

use std::fs;

use crate::support::keys::{self, DAY, Signing};
use crate::support::{Bench, flip_bit};

/// Builds from an archive that something is wrong with; returns the error.
///
/// It must leave no output, no lock and no trace in the cache: as soon as the
/// archive is sound again, the same command is done.
fn refused(spoil: impl FnOnce(&mut Bench)) -> String {
    let mut bench = Bench::new();
    spoil(&mut bench);
    let error = bench.run(&["build", "tiny"]).error(1);
    assert!(bench.outputs().is_empty());
    assert!(!bench.work("recipes/tiny.lock").exists());

    bench.archive = crate::support::archive::Archive::new(&bench.beside("mirror"));
    bench.archive.publish();
    bench.run(&["build", "tiny"]).done();
    error
}

#[test]
fn a_sound_archive_is_built_from() {
    let bench = Bench::new();
    let outcome = bench.run(&["build", "tiny"]);
    outcome.done();
    println!("{}", outcome.stderr);
    let names: Vec<String> = bench.outputs().into_keys().collect();
    assert_eq!(names, ["tiny_1.manifest.json", "tiny_1.raw"]);
    let again = bench.run(&["build", "tiny", "--locked", "--offline"]);
    println!("{}", again.stderr);
    again.done();
}

#[test]
fn a_keyring_may_be_armored() {
    let bench = Bench::new();
    bench.write_bytes("recipes/archive.asc", &keys::armored_public_key(keys::ARCHIVE));
    let recipe = fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
    bench.write("recipes/tiny.toml", &recipe.replace("archive.pgp", "archive.asc"));
    bench.run(&["lock", "tiny"]).done();
}

#[test]
fn a_flipped_bit_in_the_inrelease() {
    let error = refused(|bench| {
        let path = bench.archive.inrelease();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("Origin: Test", "Origin: Uest")).unwrap();
    });
    assert_eq!(error, "");
}

#[test]
fn a_flipped_bit_in_the_index() {
    let error = refused(|bench| bench.archive.indexes().iter().for_each(|path| flip_bit(path)));
    assert_eq!(error, "");
}

#[test]
fn a_flipped_bit_in_a_package() {
    let error = refused(|bench| flip_bit(&bench.archive.deb("base")));
    assert_eq!(error, "");
}

#[test]
fn an_expired_release() {
    let error = refused(|bench| {
        bench.archive.age = 9 * DAY;
        bench.archive.valid_for = Some(-2 * DAY);
        bench.archive.publish();
    });
    assert_eq!(error, "");
}

#[test]
fn an_expired_signature() {
    let error = refused(|bench| {
        bench.archive.signing = Signing {
            age: 7200,
            lifetime: Some(3600),
            ..Signing::default()
        };
        bench.archive.publish();
    });
    assert_eq!(error, "");
}

#[test]
fn a_foreign_signature() {
    let error = refused(|bench| {
        bench.archive.signing.key = keys::FOREIGN;
        bench.archive.publish();
    });
    assert_eq!(error, "");
}
