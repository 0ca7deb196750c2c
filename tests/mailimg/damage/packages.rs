//! Packages: whatever their headers say, no path leads out of the tree.

use mailimg::builder::deb::unpack_packages;
use mailimg::builder::fetch::{Cache, FetchOptions, Mirror, Object};
use mailimg::builder::progress::Progress;
use sha2::{Digest, Sha256};

use super::rounds;
use crate::world::bench::deb::Deb;

#[test]
fn a_package_is_an_error_or_a_tree() {
    let package = Deb::new("base")
        .file("usr/bin/sh", 0o755, b"a shell\n")
        .file("usr/share/doc/base/copyright", 0o644, &[b'x'; 700])
        .script("postinst", "#!/bin/sh\nset -e\n");
    for (kind, sound) in [
        ("packed package", package.build()),
        ("package", package.build_unpacked()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let file = folder.path().join("base.deb");
        rounds(150, kind, |numbers, what| {
            let mut bytes = sound.clone();
            for _ in 0..=numbers.below(2) {
                *what = numbers.spoil(&mut bytes);
            }
            std::fs::write(&file, &bytes).unwrap();
            let object = Object {
                label: "base 1.0".to_owned(),
                urls: vec![format!("file://{}", file.display())],
                snapshots: Vec::new(),
                size: bytes.len() as u64,
                sha256: hex::encode(Sha256::digest(&bytes)),
            };
            let mirror = Mirror::new(cache.clone(), FetchOptions::default(), Progress::hidden());
            let unpacked = unpack_packages(&[object], &mirror, &cache, &Progress::hidden());
            let Ok(packages) = unpacked else {
                return false;
            };
            for (path, _) in &packages[0].entries {
                let plain = path.split('/').all(|name| !["", ".", ".."].contains(&name));
                assert!(plain && !path.contains(char::is_control), "{path:?}");
            }
            true
        });
    }
}
