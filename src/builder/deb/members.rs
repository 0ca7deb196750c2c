//! The members of a .deb in the order that deb(5) prescribes.
//!
//! `debian-binary` first, then `control.tar`, then `data.tar`; members whose
//! name begins with `_` may stand between, anything may follow.

use std::io::Read;

use anyhow::{Context, Result, bail};

use super::ar::Archive;
use super::compression;
use super::control::{Control, read_control};
use super::data::{Sink, read_data};
use super::index::Index;

/// A sound `debian-binary` is 4 bytes; bytes.
const LARGEST_VERSION: u64 = 64;

/// Reads control data and entries of a .deb, contents into a sink.
pub(super) fn read_deb(input: &mut impl Read, contents: &mut impl Sink) -> Result<Index> {
    let mut archive = Archive::open(input)?;
    check_version(&mut archive)?;
    let mut control: Option<Control> = None;
    while let Some(member) = archive.next_member()? {
        let name = member.name.as_str();
        let context = || format!("reading {name}");
        match control.take() {
            // deb(5): members that begin so are for others.
            present if name.starts_with('_') => control = present,
            None => {
                let reader = compression::open(name, "control", &mut archive)
                    .with_context(context)?
                    .with_context(|| {
                        format!("the member {name} stands where control.tar should")
                    })?;
                control = Some(read_control(reader).with_context(context)?);
            }
            Some(control) => {
                let reader = compression::open(name, "data", &mut archive)
                    .with_context(context)?
                    .with_context(|| format!("the member {name} stands where data.tar should"))?;
                let entries = read_data(reader, contents).with_context(context)?;
                // deb(5) lets further members follow, for whoever knows them.
                while archive.next_member()?.is_some() {}
                return Ok(Index { control, entries });
            }
        }
    }
    match control {
        None => bail!("it has no control.tar"),
        Some(_) => bail!("it has no data.tar"),
    }
}

fn check_version(archive: &mut Archive<impl Read>) -> Result<()> {
    let first = archive.next_member()?.context("it is empty")?;
    if first.name != "debian-binary" || first.size > LARGEST_VERSION {
        bail!("it begins with {} instead of debian-binary", first.name);
    }
    let mut version = String::new();
    archive.read_to_string(&mut version)?;
    if !version.starts_with("2.") {
        bail!("its format is {:?}, only 2.x is known", version.trim_end());
    }
    Ok(())
}
