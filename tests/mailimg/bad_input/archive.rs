//! What an archive signs, and what it serves under that signature.

use std::fs;

use crate::world::bench::keys::{self, DAY, Signing};
use crate::world::bench::outcome::is_added;
use crate::world::bench::{Bench, flip_bit};

/// Builds from an archive that something is wrong with; returns the error.
///
/// It must leave no output and no trace in the cache: as soon as the archive
/// is sound again, the same command is done.
fn refused(spoil: impl FnOnce(&mut Bench)) -> String {
    let mut bench = Bench::new();
    spoil(&mut bench);
    let error = bench.run(&["build", "tiny"]).error(1);
    assert!(bench.outputs().is_empty());

    bench.archive = crate::world::bench::archive::Archive::new(&bench.beside("mirror"));
    bench.archive.publish();
    bench.run(&["build", "tiny"]).done();
    error
}

#[test]
fn a_sound_archive_is_built_from() {
    let bench = Bench::new();
    bench.run(&["build", "tiny"]).done();
    let names: Vec<String> = bench.outputs().into_keys().collect();
    let [manifest, raw] = &names[..] else {
        panic!("{names:?}");
    };
    let added = raw.strip_prefix("tiny_1").unwrap();
    let added = added.strip_suffix(".raw").unwrap();
    assert!(is_added(added) && added.len() == 22, "{raw}");
    assert_eq!(manifest, &format!("tiny_1{added}.manifest.json"));
    let before = bench.outputs();
    bench
        .run(&["build", "tiny", "--locked", "--offline"])
        .done();
    assert!(bench.outputs() == before);
}

#[test]
fn a_keyring_may_be_armored() {
    let bench = Bench::new();
    bench.write_bytes(
        "recipes/archive.asc",
        &keys::armored_public_key(keys::ARCHIVE),
    );
    let recipe = fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
    bench.write(
        "recipes/tiny.toml",
        &recipe.replace("archive.pgp", "archive.asc"),
    );
    bench.run(&["lock", "tiny"]).done();
}

#[test]
fn a_flipped_bit_in_the_inrelease() {
    let error = refused(|bench| {
        let path = bench.archive.inrelease();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("Origin: Test", "Origin: Uest")).unwrap();
    });
    assert_eq!(
        error,
        "error: checking the InRelease of test: no acceptable signature: the signature \
         of DIGEST does not match the text\n\
         hint: the file was damaged or signed by somebody else: try another mirror, and \
         check that 'keys' of this source names the archive's keyring"
    );
}

#[test]
fn a_flipped_bit_in_the_index() {
    let error = refused(|bench| {
        bench
            .archive
            .indexes()
            .iter()
            .for_each(|path| flip_bit(path))
    });
    assert_eq!(
        error,
        "error: fetching the package indexes of test: fetching test \
         main/binary-amd64/Packages.xz: \
         file://BENCH/mirror/dists/test/main/binary-amd64/by-hash/SHA256/DIGEST has \
         another SHA-256 than pinned; \
         file://BENCH/mirror/dists/test/main/binary-amd64/Packages.xz has another \
         SHA-256 than pinned\n\
         hint: a mirror in the middle of an update serves both old and new files: try \
         again in some minutes, or name another mirror\n\
         hint: a mirror or a proxy on the way serves something else: name another mirror \
         in the recipe"
    );
}

#[test]
fn a_flipped_bit_in_a_package() {
    let error = refused(|bench| flip_bit(&bench.archive.deb("base")));
    assert_eq!(
        error,
        "error: fetching base 1.0: file://BENCH/mirror/pool/main/base_1.0_amd64.deb has \
         another SHA-256 than pinned\n\
         hint: a mirror or a proxy on the way serves something else: name another mirror \
         in the recipe"
    );
}

#[test]
fn an_expired_release() {
    let error = refused(|bench| {
        bench.archive.age = 9 * DAY;
        bench.archive.valid_for = Some(-2 * DAY);
        bench.archive.publish();
    });
    assert_eq!(
        error,
        "error: checking the InRelease of test: it expired on MOMENT\n\
         hint: the mirror has not been updated since MOMENT: name another one in \
         'mirrors'; or this machine's clock, MOMENT, is wrong"
    );
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
    assert_eq!(
        error,
        "error: checking the InRelease of test: no acceptable signature: the signature \
         of DIGEST: expired on MOMENT\n\
         hint: the file was damaged or signed by somebody else: try another mirror, and \
         check that 'keys' of this source names the archive's keyring"
    );
}

#[test]
fn a_foreign_signature() {
    let error = refused(|bench| {
        bench.archive.signing.key = keys::FOREIGN;
        bench.archive.publish();
    });
    assert_eq!(
        error,
        "error: checking the InRelease of test: no acceptable signature: DIGEST is not \
         among the allowed keys\n\
         hint: the file was damaged or signed by somebody else: try another mirror, and \
         check that 'keys' of this source names the archive's keyring"
    );
}
