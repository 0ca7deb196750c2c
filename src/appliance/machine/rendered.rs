//! What a service of ours needs of the settings, which it may not read itself.
//!
//! settings.env holds every secret and is root's alone; our services run as users of
//! their own. So the values of each are rendered for it as JSON below /run/mailimg.

use super::accounts::owner;
use super::files::{PUBLIC, ensure_file, read_optional};
use super::place::Place;
use super::watched::Watched;
use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// Root writes, one group reads.
const GROUP_MODE: u32 = 0o640;

/// Where the values of a service lie, and who may read them.
#[derive(Debug)]
pub struct Rendered<T> {
    path: &'static str,
    /// Who reads it besides root, `None` for everybody.
    group: Option<&'static str>,
    values: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Rendered<T> {
    /// Values without a secret.
    pub const fn public(path: &'static str) -> Self {
        Self {
            path,
            group: None,
            values: PhantomData,
        }
    }

    /// Values that only this group reads.
    pub const fn for_group(path: &'static str, group: &'static str) -> Self {
        Self {
            path,
            group: Some(group),
            values: PhantomData,
        }
    }

    /// Writes the values if they changed.
    pub fn write(&self, place: &Place, values: &T) -> Result<()> {
        let mut text = serde_json::to_string(values).context("writing JSON")?;
        text.push('\n');
        let mode = self.group.map_or(PUBLIC, |_| GROUP_MODE);
        let owner = owner(place, "root", self.group.unwrap_or("root"))?;
        ensure_file(&place.path(self.path), text.as_bytes(), mode, owner).map(|_| ())
    }

    /// Reads the values as they are now, `None` before there are settings.
    pub fn load_optional(&self, place: &Place) -> Result<Option<T>> {
        let path = place.path(self.path);
        read_optional(&path)?
            .map(|bytes| {
                serde_json::from_slice(&bytes)
                    .with_context(|| format!("reading {}", path.display()))
            })
            .transpose()
    }

    /// Reads the values as they are now.
    pub fn load(&self, place: &Place) -> Result<T> {
        self.load_optional(place)?
            .with_context(|| format!("{} is not there", self.path))
    }

    /// Reads the values whenever they were written anew.
    pub fn watch(&self, place: &Place) -> Watched<T> {
        Watched::new(place.path(self.path), |text| {
            Ok(serde_json::from_str(text)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Rendered;
    use crate::appliance::machine::place::Place;
    use std::os::unix::fs::PermissionsExt;

    const PATH: &str = "/values.json";

    #[test]
    fn what_was_written_is_read_and_seen() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let rendered = Rendered::<Vec<u32>>::public(PATH);
        let mut watched = rendered.watch(&place);
        assert_eq!(rendered.load_optional(&place).unwrap(), None);
        assert!(watched.get().is_err());
        for values in [vec![1, 2], vec![3]] {
            rendered.write(&place, &values).unwrap();
            assert_eq!(
                rendered.load_optional(&place).unwrap().as_ref(),
                Some(&values)
            );
            assert_eq!(*watched.get().unwrap(), values);
        }
        let path = place.path(PATH);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[3]\n");
        std::fs::write(&path, "[").unwrap();
        let told =
            |error: anyhow::Error| assert!(format!("{error:#}").contains("values.json: EOF"));
        told(rendered.load_optional(&place).unwrap_err());
        told(watched.get().unwrap_err());
    }

    #[test]
    fn secrets_are_for_their_group() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        for (rendered, mode) in [
            (Rendered::public(PATH), 0o644),
            (Rendered::for_group(PATH, "mailimg-acme"), 0o640),
        ] {
            rendered.write(&place, &1).unwrap();
            let found = std::fs::metadata(place.path(PATH)).unwrap();
            assert_eq!(found.permissions().mode() & 0o777, mode);
        }
    }
}
