//! Builds of the real recipe `small`, from packages of Debian's mirror.
//!
//! They are fetched once and kept below `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::outcome::Outcome;

/// Folders of a checkout that the program reads.
const RESOURCES: [&str; 3] = ["recipes", "overlay", "units"];

/// Copies what the program reads of this checkout.
pub fn copy_checkout(to: &Path) {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in RESOURCES {
        copy_folder(&checkout.join(folder), &to.join(folder));
    }
}

/// Copies a folder; owners, modes and times become those of a new one.
pub fn copy_folder(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let place = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(place).unwrap();
        } else {
            fs::write(place, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// Fetches the packages of a checkout's recipe `small` and builds it once.
///
/// Returns the cache. A lock whose packages left the mirror is made anew, in
/// the checkout given.
pub fn fetch_packages(checkout: &Path) -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    fs::create_dir_all(&cache).unwrap();
    let mut command = Command::new(super::mailimg());
    command
        .args(["build", "small", "--agent", env!("CARGO_BIN_EXE_mailctl")])
        .env("XDG_CACHE_HOME", &cache)
        .current_dir(checkout);
    Outcome::new(&command.output().unwrap(), &[]).done();
    cache
}
