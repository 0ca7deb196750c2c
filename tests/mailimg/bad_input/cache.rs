//! A cache that decays: it is mended, or it is an error, and never an image.

use std::fs;
use std::path::PathBuf;

use crate::world::bench::deb::Deb;
use crate::world::bench::packages::filler;
use crate::world::bench::{Bench, flip_bit};

/// Files of one folder of the cache.
fn cached(bench: &Bench, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(bench.cache().join(folder)).unwrap();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(!paths.is_empty(), "{folder}");
    paths
}

/// A built image with a package of some size, so that a flipped bit lies in its content.
fn built() -> Bench {
    let mut bench = Bench::new();
    let base = bench.archive.packages[0].clone();
    bench.archive.packages[0] = base.file("usr/share/filler", 0o644, &filler(1 << 20));
    bench.archive.publish();
    bench.run(&["build", "tiny"]).done();
    bench
}

/// Spoils a built image's cache, and builds again to the same bytes.
fn mended(spoil: impl FnOnce(&Bench)) {
    let bench = built();
    let before = bench.outputs();
    spoil(&bench);
    fs::remove_dir_all(bench.work("out")).unwrap();
    bench.run(&["build", "tiny", "--locked"]).done();
    assert!(bench.outputs() == before, "the image has changed");
}

#[test]
fn a_flipped_bit_in_what_was_unpacked() {
    mended(|bench| {
        cached(bench, "unpacked")
            .iter()
            .for_each(|path| flip_bit(path))
    });
}

#[test]
fn a_file_that_lost_its_end() {
    mended(|bench| {
        for path in cached(bench, "unpacked") {
            let length = fs::metadata(&path).unwrap().len();
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(length / 2)
                .unwrap();
        }
    });
}

#[test]
fn a_flipped_bit_in_an_initrd() {
    mended(|bench| {
        cached(bench, "derived")
            .iter()
            .for_each(|path| flip_bit(path))
    });
}

#[test]
fn a_flipped_bit_in_what_was_fetched() {
    mended(|bench| {
        cached(bench, "objects")
            .iter()
            .for_each(|path| flip_bit(path));
        fs::remove_dir_all(bench.cache().join("unpacked")).unwrap();
    });
}

#[test]
fn a_flipped_bit_in_an_index() {
    let bench = built();
    let lock = bench.lock();
    cached(&bench, "objects")
        .iter()
        .for_each(|path| flip_bit(path));
    bench.run(&["lock", "tiny"]).done();
    assert!(bench.lock() == lock);
}

#[test]
fn decay_without_a_network() {
    let bench = built();
    cached(&bench, "objects")
        .iter()
        .for_each(|path| flip_bit(path));
    fs::remove_dir_all(bench.cache().join("unpacked")).unwrap();
    fs::remove_dir_all(bench.work("out")).unwrap();
    let error = bench
        .run(&["build", "tiny", "--locked", "--offline"])
        .error(1);
    assert_eq!(
        error,
        "error: fetching packages: offline, and the cache lacks boot 1.0\n\
         hint: run once without --offline"
    );
    assert!(bench.outputs().is_empty());
}

#[test]
fn an_empty_cache_without_a_network() {
    let bench = Bench::new();
    let error = bench.run(&["build", "tiny", "--offline"]).error(1);
    assert_eq!(
        error,
        "error: fetching the InRelease of test: fetching an index: offline, and the \
         cache lacks file://BENCH/mirror/dists/test/InRelease\n\
         hint: run once without --offline"
    );
    bench.run(&["lock", "tiny"]).done();
    let error = bench.run(&["build", "tiny", "--offline"]).error(1);
    assert_eq!(
        error,
        "error: fetching packages: offline, and the cache lacks base 1.0, boot 1.0, \
         kernel 1.0\n\
         hint: run once without --offline"
    );
}

#[test]
fn two_builds_at_once_share_it() {
    let mut bench = Bench::new();
    bench.archive.packages.push(Deb::new("filler").file(
        "usr/share/filler",
        0o644,
        &filler(8 << 20),
    ));
    bench.archive.publish();
    let recipe = fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
    bench.write(
        "recipes/tiny.toml",
        &recipe.replace("\"base\"", "\"base\", \"filler\""),
    );
    bench.run(&["lock", "tiny"]).done();
    let builds: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|folder| {
            let mut command = bench.command();
            command.args(["build", "tiny", "--locked", "--output-dir", folder]);
            (folder, command.spawn().unwrap())
        })
        .collect();
    for (folder, mut build) in builds {
        assert!(build.wait().unwrap().success(), "{folder}");
    }
    let images =
        ["one", "two", "three"].map(|folder| fs::read(bench.output(folder, ".raw")).unwrap());
    assert!(images[0] == images[1] && images[1] == images[2]);
}

/// What was unpacked is taken by its name: an edited package there got into a build by a
/// lock, under the manifest's genuine digest.
#[test]
fn one_that_others_can_write_to() {
    use std::os::unix::fs::PermissionsExt;
    let bench = built();
    let before = bench.outputs();
    for folder in ["", "unpacked", "objects", "derived", "documents"] {
        let path = bench.cache().join(folder);
        let own = fs::metadata(&path).unwrap().permissions();
        assert_eq!(own.mode() & 0o777, 0o700, "{folder}");
        for mode in [0o777, 0o1777, 0o770] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            for arguments in [
                &["build", "tiny", "--locked", "--offline"] as &[&str],
                &["why", "base", "tiny"],
                &["lock", "tiny"],
            ] {
                let error = bench.run(arguments).error(1);
                let at = format!("BENCH/cache/mailimg/{folder}");
                assert_eq!(
                    error,
                    format!(
                        "error: using the cache {}: it can be written to by others\n\
                         hint: what they put there would get into images: set XDG_CACHE_HOME to \
                         a folder of your own, or remove this one",
                        at.trim_end_matches('/')
                    )
                );
            }
        }
        fs::set_permissions(&path, own).unwrap();
    }
    assert!(bench.outputs() == before);
    bench
        .run(&["build", "tiny", "--locked", "--offline"])
        .done();
}
