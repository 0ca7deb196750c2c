//! Build script: makes cargo notice new files in the folders that the program embeds.
//!
//! It must not print anything that depends on where the sources lie, since
//! `mailctl` has to come out the same from any folder.

fn main() {
    for folder in ["recipes", "overlay", "units", "src/embed.rs"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
