//! Finding the `mailctl` that goes into an image.
//!
//! It must run with the image's libraries, which [`crate::builder::elf`] checks,
//! and be of this program's own version, which a marker in its bytes tells.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::error::{Hint, hinted};

/// Reads it from a given path, or from beside this program.
pub fn load_mailctl(given: Option<&Path>) -> Result<Vec<u8>> {
    const HINT: &str =
        "`cargo build --release` makes both programs; `--agent PATH` names a mailctl elsewhere";
    let path = match given {
        Some(path) => path.to_path_buf(),
        None => beside_this_program()?,
    };
    let bytes = std::fs::read(&path)
        .with_context(|| format!("reading the image's agent {}", path.display()))
        .hint(HINT);
    let bytes = match given {
        Some(path) if !path.exists() => bytes.usage()?,
        _ => bytes?,
    };
    let marker = crate::version::VERSION_MARKER.as_bytes();
    if !bytes.windows(marker.len()).any(|window| window == marker) {
        return Err(hinted(
            format!(
                "checking {}: it is not the mailctl of mailimg {}",
                path.display(),
                env!("CARGO_PKG_VERSION")
            ),
            HINT,
        ));
    }
    Ok(bytes)
}

fn beside_this_program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?;
    Ok(program.with_file_name("mailctl"))
}
