//! The headers of one ELF file that matter to the loader.
//!
//! Formats: gABI <https://gabi.xinuos.com/>, symbol versions
//! <https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html>.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use object::LittleEndian;
use object::elf;
use object::read::StringTable;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};
use serde::Deserialize;

use crate::builder::tree::Content;

type Header = elf::FileHeader64<LittleEndian>;

/// Type and owner of the notes about libraries opened at run time.
const NOTE_DLOPEN: u32 = 0x407c_0c0a;
const NOTE_OWNER: &[u8] = b"FDO";
const ENDIAN: LittleEndian = LittleEndian;

/// A library that a program may open at run time.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Dlopen {
    /// Names in order of preference; one of them is opened.
    pub soname: Vec<String>,
    /// How much is lost without it.
    #[serde(default)]
    pub priority: Priority,
}

/// How much is lost without a library.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Priority {
    Required,
    /// What the specification says to assume.
    #[default]
    Recommended,
    #[serde(other)]
    Suggested,
}

/// What the loader reads of a program or library.
#[derive(Debug, Default)]
pub(super) struct ElfFile {
    /// The program that loads this program; libraries have none.
    pub interpreter: Option<String>,
    /// Names of the libraries it is linked with.
    pub needed: Vec<String>,
    /// Own search path, RUNPATH or else RPATH, variables not replaced.
    pub search: Vec<String>,
    /// Libraries that it opens at run time.
    pub dlopen: Vec<Dlopen>,
    /// For every library the symbol versions without which it does not start.
    pub needed_versions: BTreeMap<String, BTreeSet<String>>,
    /// Symbol versions that it provides.
    pub versions: BTreeSet<String>,
}

impl ElfFile {
    /// Whether that is the beginning of a program or library of our machine.
    fn matches(start: &[u8]) -> bool {
        /// EI_CLASS 2 is 64 bits, EI_DATA 1 is little-endian.
        const IDENT: &[u8] = b"\x7fELF\x02\x01";
        let halfword = |at: usize| Some(u16::from_le_bytes([*start.get(at)?, *start.get(at + 1)?]));
        start.starts_with(IDENT)
            && matches!(halfword(16), Some(kind) if kind == elf::ET_EXEC.0 || kind == elf::ET_DYN.0)
            && halfword(18) == Some(elf::EM_X86_64.0)
    }

    /// Reads the headers of the file at a path; nothing for what is passed over.
    pub fn read_content(path: &str, content: &Content) -> Result<Option<Self>> {
        let naming = || format!("reading /{path}");
        let mut start = [0; Self::START];
        if content.len() < Self::START as u64 {
            return Ok(None);
        }
        content.read_exact_at(&mut start, 0).with_context(naming)?;
        if !Self::matches(&start) {
            return Ok(None);
        }
        Self::parse(&content.read().with_context(naming)?).with_context(naming)
    }

    /// How many bytes tell what a file is.
    const START: usize = 20;

    /// Reads the headers of a file; nothing for what [`Self::matches`] passes over.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        if !Self::matches(bytes) {
            return Ok(None);
        }
        Self::read(bytes).map(Some).context("reading ELF headers")
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let header = Header::parse(bytes)?;
        let sections = header.sections(ENDIAN, bytes)?;
        let mut file = Self::default();
        for segment in header.program_headers(ENDIAN, bytes)? {
            if let Some(path) = segment.interpreter(ENDIAN, bytes)? {
                file.interpreter = Some(text(path));
            }
        }
        file.read_dynamic(&sections, bytes)?;
        file.read_versions(&sections, bytes)?;
        for section in sections.iter() {
            let Some(mut notes) = section.notes(ENDIAN, bytes)? else {
                continue;
            };
            while let Some(note) = notes.next()? {
                if note.n_type(ENDIAN).0 == NOTE_DLOPEN && note.name() == NOTE_OWNER {
                    let json = note.desc().split(|byte| *byte == 0).next().unwrap_or(&[]);
                    let listed: Vec<Dlopen> =
                        serde_json::from_slice(json).context("reading .note.dlopen")?;
                    file.dlopen.extend(listed);
                }
            }
        }
        Ok(file)
    }

    fn read_dynamic(&mut self, sections: &SectionTable<Header>, bytes: &[u8]) -> Result<()> {
        let table = sections.dynamic_table(ENDIAN, bytes)?;
        let mut rpath = Vec::new();
        for entry in table.iter() {
            match entry.tag {
                elf::DT_NEEDED => self.needed.push(text(table.string(entry)?)),
                elf::DT_RUNPATH => self.search = search_path(table.string(entry)?),
                elf::DT_RPATH => rpath = search_path(table.string(entry)?),
                _ => {}
            }
        }
        if self.search.is_empty() {
            self.search = rpath;
        }
        Ok(())
    }

    fn read_versions(&mut self, sections: &SectionTable<Header>, bytes: &[u8]) -> Result<()> {
        if let Some((mut libraries, link)) = sections.gnu_verneed(ENDIAN, bytes)? {
            let strings: StringTable = sections.strings(ENDIAN, bytes, link)?;
            while let Some((library, mut versions)) = libraries.next()? {
                let name = text(library.file(ENDIAN, strings)?);
                let wanted = self.needed_versions.entry(name).or_default();
                while let Some(version) = versions.next()? {
                    if !version.vna_flags.get(ENDIAN).contains(elf::VER_FLG_WEAK) {
                        wanted.insert(text(version.name(ENDIAN, strings)?));
                    }
                }
            }
        }
        if let Some((mut definitions, link)) = sections.gnu_verdef(ENDIAN, bytes)? {
            let strings: StringTable = sections.strings(ENDIAN, bytes, link)?;
            while let Some((_, mut names)) = definitions.next()? {
                // The first name is the version itself, others are its parents.
                if let Some(name) = names.next()? {
                    self.versions.insert(text(name.name(ENDIAN, strings)?));
                }
            }
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn search_path(bytes: &[u8]) -> Vec<String> {
    text(bytes).split(':').map(str::to_owned).collect()
}
