//! The Packages index of a component: reads the few fields that resolving needs.
//!
//! Specification: <https://wiki.debian.org/DebianRepository/Format#A.22Packages.22_Indices>
//! and `deb822(5)`. Values are copied into one buffer, field after field, so
//! that the 68,000 stanzas of a Debian release cost a few allocations. Left
//! out: every other field, and folded values of more than one line.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, Result, bail, ensure};

use super::relation::is_package_name;
use super::release::is_sha256;

/// A field that resolving needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Field {
    /// `Package`
    Package,
    /// `Version`
    Version,
    /// `Architecture`
    Architecture,
    /// `Multi-Arch`
    MultiArch,
    /// `Essential`
    Essential,
    /// `Priority`
    Priority,
    /// `Pre-Depends`
    PreDepends,
    /// `Depends`
    Depends,
    /// `Conflicts`
    Conflicts,
    /// `Breaks`
    Breaks,
    /// `Provides`
    Provides,
    /// `Filename`
    Filename,
    /// `Size`
    Size,
    /// `SHA256`
    Sha256,
}

const FIELD_COUNT: usize = 14;

impl Field {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"Package" => Self::Package,
            b"Version" => Self::Version,
            b"Architecture" => Self::Architecture,
            b"Multi-Arch" => Self::MultiArch,
            b"Essential" => Self::Essential,
            b"Priority" => Self::Priority,
            b"Pre-Depends" => Self::PreDepends,
            b"Depends" => Self::Depends,
            b"Conflicts" => Self::Conflicts,
            b"Breaks" => Self::Breaks,
            b"Provides" => Self::Provides,
            b"Filename" => Self::Filename,
            b"Size" => Self::Size,
            b"SHA256" => Self::Sha256,
            _ => return None,
        })
    }
}

/// The packages of one index.
#[derive(Debug, Default)]
pub struct Index {
    text: String,
    stanzas: Vec<Stanza>,
}

/// Where a stanza's fields end in the buffer; field n begins where n - 1 ends.
#[derive(Debug)]
struct Stanza {
    start: u32,
    ends: [u32; FIELD_COUNT],
}

/// A package as an index describes it.
#[derive(Clone, Copy, Debug)]
pub struct IndexEntry<'a> {
    index: &'a Index,
    stanza: &'a Stanza,
}

impl<'a> IndexEntry<'a> {
    /// The value of a field, empty when absent.
    pub fn get(&self, field: Field) -> &'a str {
        let position = field as usize;
        let start = match position {
            0 => self.stanza.start,
            _ => self.stanza.ends[position - 1],
        };
        &self.index.text[start as usize..self.stanza.ends[position] as usize]
    }
}

impl Index {
    /// Number of packages.
    pub fn len(&self) -> usize {
        self.stanzas.len()
    }

    /// Whether it holds no package.
    pub fn is_empty(&self) -> bool {
        self.stanzas.is_empty()
    }

    /// The packages in the order of the index.
    pub fn entries(&self) -> impl Iterator<Item = IndexEntry<'_>> {
        self.stanzas.iter().map(|stanza| IndexEntry {
            index: self,
            stanza,
        })
    }

    fn push(&mut self, values: &[Vec<u8>; FIELD_COUNT]) -> Result<()> {
        let position = |text: &String| -> Result<u32> {
            u32::try_from(text.len()).context("the index is larger than 4 GiB")
        };
        let start = position(&self.text)?;
        let mut ends = [0; FIELD_COUNT];
        for (value, end) in values.iter().zip(&mut ends) {
            self.text
                .push_str(std::str::from_utf8(value).context("a field is not UTF-8")?);
            *end = position(&self.text)?;
        }
        self.stanzas.push(Stanza { start, ends });
        Ok(())
    }
}

/// Reads an index, keeping packages of this architecture and of `all`.
///
/// `size` is the number of bytes that the Release announces; a longer or
/// shorter stream is an error.
pub fn read_index(stream: impl Read, size: u64, architecture: &str) -> Result<Index> {
    // One byte more than announced is enough to notice a bomb.
    let mut reader = BufReader::with_capacity(1 << 18, stream.take(size + 1));
    let mut index = Index::default();
    let mut values: [Vec<u8>; FIELD_COUNT] = Default::default();
    let mut line = Vec::new();
    let mut read = 0;
    let mut folded = None;
    loop {
        line.clear();
        let length = reader
            .read_until(b'\n', &mut line)
            .context("decompressing the index")?;
        read += length as u64;
        let content = line.trim_ascii_end();
        if content.is_empty() {
            finish_stanza(&mut index, &mut values, architecture)?;
            folded = None;
        } else if line[0] == b' ' || line[0] == b'\t' {
            if let Some(field) = folded {
                values[field as usize].extend_from_slice(content);
            }
        } else {
            let Some(colon) = content.iter().position(|byte| *byte == b':') else {
                bail!(
                    "the line '{}' is no field",
                    String::from_utf8_lossy(content)
                );
            };
            folded = Field::of(&content[..colon]);
            if let Some(field) = folded {
                let value = &mut values[field as usize];
                value.clear();
                value.extend_from_slice(content[colon + 1..].trim_ascii_start());
            }
        }
        if length == 0 {
            break;
        }
    }
    ensure!(
        read == size,
        "the index has {} {size} bytes that its Release announces",
        if read > size {
            "more than the"
        } else {
            "less than the"
        }
    );
    Ok(index)
}

fn finish_stanza(
    index: &mut Index,
    values: &mut [Vec<u8>; FIELD_COUNT],
    architecture: &str,
) -> Result<()> {
    if values.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let own = &values[Field::Architecture as usize];
    if own == b"all" || own == architecture.as_bytes() {
        index.push(values)?;
        let entry = IndexEntry {
            index,
            stanza: &index.stanzas[index.stanzas.len() - 1],
        };
        check_entry(&entry)
            .with_context(|| format!("reading package '{}'", entry.get(Field::Package)))?;
    }
    values.iter_mut().for_each(Vec::clear);
    Ok(())
}

fn check_entry(entry: &IndexEntry<'_>) -> Result<()> {
    ensure!(
        is_package_name(entry.get(Field::Package)),
        "this is no name of a package"
    );
    ensure!(!entry.get(Field::Version).is_empty(), "it has no version");
    ensure!(is_sha256(entry.get(Field::Sha256)), "it has no SHA-256");
    entry
        .get(Field::Size)
        .parse::<u64>()
        .context("reading its size")?;
    ensure!(
        is_pool_path(entry.get(Field::Filename)),
        "its path '{}' leaves the archive",
        entry.get(Field::Filename)
    );
    Ok(())
}

/// Whether a path stays below the archive's base address.
pub fn is_pool_path(path: &str) -> bool {
    !path.is_empty()
        && path.split('/').all(|part| !part.is_empty() && part != "..")
        && !path
            .bytes()
            .any(|byte| byte.is_ascii_control() || b" ?#\\".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::{Field, Index, read_index};

    const DIGEST: &str = "870190208068f95889a416c707be79d8850320aa7a34cf1c5060ddeb475c5777";

    fn stanza(name: &str, architecture: &str, path: &str) -> String {
        format!(
            "Package: {name}\nVersion: 1\nDescription: text\n of two lines\n\
             Architecture: {architecture}\nDepends: a,\n b\nFilename: {path}\n\
             Size: 3\nSHA256: {DIGEST}\n\n"
        )
    }

    fn read(text: &str) -> anyhow::Result<Index> {
        read_index(text.as_bytes(), text.len() as u64, "amd64")
    }

    #[test]
    fn stanzas_of_the_architecture_and_of_all_are_kept() {
        let text = [
            stanza("one", "amd64", "pool/o/one.deb"),
            stanza("two", "i386", "pool/t/two.deb"),
            stanza("three", "all", "./pool/t/three.deb"),
        ]
        .concat();
        // The last stanza may lack its empty line.
        let index = read(text.trim_end()).unwrap();
        let names: Vec<&str> = index
            .entries()
            .map(|entry| entry.get(Field::Package))
            .collect();
        assert_eq!(names, ["one", "three"]);
        let first = index.entries().next().unwrap();
        assert_eq!(first.get(Field::Depends), "a, b");
        assert_eq!(first.get(Field::Filename), "pool/o/one.deb");
        assert_eq!(first.get(Field::Sha256), DIGEST);
        assert_eq!(first.get(Field::Provides), "");
    }

    #[test]
    fn paths_out_of_the_archive_are_refused() {
        for path in ["../etc/passwd", "/etc/passwd", "pool//x", "pool/x?y", ""] {
            let error = read(&stanza("one", "amd64", path)).unwrap_err();
            assert!(
                format!("{error:#}").contains("leaves the archive"),
                "{path}: {error:#}"
            );
        }
    }

    #[test]
    fn a_stream_of_another_length_is_refused() {
        let text = stanza("one", "amd64", "pool/one.deb");
        for announced in [text.len() - 1, text.len() + 1] {
            let error = read_index(text.as_bytes(), announced as u64, "amd64").unwrap_err();
            assert!(error.to_string().starts_with("the index has "), "{error:#}");
        }
    }

    #[test]
    fn a_line_that_is_no_field_is_named() {
        let error = read("<html>\n").unwrap_err();
        assert_eq!(error.to_string(), "the line '<html>' is no field");
    }
}
