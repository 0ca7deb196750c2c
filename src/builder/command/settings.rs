//! Settings on their way into an image: read, checked whole, and passed on as they are.
//!
//! The machine checks them again; what would be refused there is refused here
//! already, with line numbers.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow};

use crate::error::Hint;
use crate::settings::{
    AUTHORITY_KEY, Authority, MAXIMUM_AUTHORITY_BYTES, Settings, load_settings, parse_authority,
    parse_settings, resolve_settings,
};

/// Settings that a machine would take.
#[derive(Debug)]
pub struct Checked {
    /// The file's bytes.
    pub text: Vec<u8>,
    /// The root certificate that they name, from the file beside them.
    pub authority: Option<Authority>,
}

impl Checked {
    /// The values that a machine acts on.
    pub fn values(&self) -> Result<Settings> {
        Ok(resolve_settings(&parse_settings(&self.text)?)?.settings)
    }
}

/// Reads a settings file, and what it names beside it, when a machine would take them.
///
/// Findings that stop nothing go to standard error.
pub fn load_checked(path: &Path) -> Result<Checked> {
    const HINT: &str = "`mailimg settings` lists every key; DOMAIN and HOSTNAME must be there";
    if !path.exists() {
        return Err(anyhow!("reading {}: there is no such file", path.display()))
            .hint("`--settings` takes the path of a settings.env; `mailimg manual first-boot` shows one")
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
        tell!("warning: {}: {warning}", path.display());
    }
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let authority = match resolved.settings.acme.ca_file {
        Some(name) => Some(load_authority(path, name)?),
        None => None,
    };
    Ok(Checked { text, authority })
}

/// Reads the root certificate that lies beside a settings file.
pub fn load_authority(settings: &Path, name: String) -> Result<Authority> {
    let path = settings.with_file_name(&name);
    let mut bytes = Vec::new();
    std::fs::File::open(&path)
        .and_then(|file| {
            file.take(MAXIMUM_AUTHORITY_BYTES as u64 + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(anyhow::Error::from)
        .and_then(|_| parse_authority(&bytes))
        .with_context(|| format!("reading {}", path.display()))
        .hint(format!(
            "{AUTHORITY_KEY} names the authority's root certificate, a PEM file beside settings.env"
        ))?;
    Ok(Authority { name, bytes })
}
