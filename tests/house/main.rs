//! The rules of the house that can be read off the code, and its counts.
//!
//! `src/lib.rs` tells the rules in words. `ci/counts` prints the counts.

mod counts;
mod imports;
mod repeated;
mod sizes;
mod sources;

use imports::Imports;
use sizes::{LINES_MAX, longer_files};
use sources::read_code;

fn imports() -> Imports {
    Imports::read(&read_code())
}

#[test]
fn the_halves_never_import_each_other_and_the_ground_neither() {
    assert_eq!(imports().between_halves(), [""; 0]);
}

#[test]
fn imports_run_down_the_floors() {
    assert_eq!(imports().upwards(), [""; 0]);
}

#[test]
fn no_imports_run_in_a_circle() {
    let circles = Vec::from_iter(imports().circles());
    assert!(circles.is_empty(), "{circles:?}");
}

#[test]
fn no_file_is_longer_than_one_reads_in_one_go() {
    assert_eq!(longer_files(&read_code(), LINES_MAX), [""; 0]);
}
