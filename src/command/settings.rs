//! Settings on their way into an image: read, checked whole, and passed on as they are.
//!
//! The machine checks them again; what would be refused there is refused here
//! already, with line numbers.

use std::path::Path;

use anyhow::{Context, Result, anyhow};

use crate::error::Hint;
use crate::settings::{load_settings, resolve_settings};

/// Reads a settings file and returns its bytes when a machine would take them.
///
/// Findings that stop nothing go to standard error.
pub fn load_checked(path: &Path) -> Result<Vec<u8>> {
    const HINT: &str = "README.md lists every key; DOMAIN and HOSTNAME must be there";
    if !path.exists() {
        return Err(anyhow!("reading {}: there is no such file", path.display()))
            .hint("`--settings` takes the path of a settings.env; README.md shows one")
            .usage();
    }
    let written = load_settings(path);
    let written = match &written {
        Err(error) if error.chain().any(|cause| cause.is::<std::io::Error>()) => {
            written.hint("`--settings` takes a text file that you may read")?
        }
        _ => written.hint(HINT)?,
    };
    let resolved = resolve_settings(&written)
        .with_context(|| format!("checking {}", path.display()))
        .hint(HINT)?;
    for warning in &resolved.warnings {
        eprintln!("warning: {}: {warning}", path.display());
    }
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}
