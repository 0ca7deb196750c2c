//! Unified kernel images: kernel, initrd and command line as sections of
//! systemd's boot stub, one file that UEFI starts and one hash covers.
//!
//! Unified Kernel Image specification,
//! <https://uapi-group.org/specifications/specs/unified_kernel_image/>; PE
//! format, <https://learn.microsoft.com/en-us/windows/win32/debug/pe-format>.
//! Left out: signing, PCR policies, profiles, device trees.

use std::ops::Range;

use anyhow::{Context, Result, anyhow, bail, ensure};
use object::{Object, ObjectSection};
use serde::{Deserialize, Serialize};

use super::boot_entry::is_name;

/// Bytes of a section header.
const SECTION_HEADER: usize = 40;
/// Bytes of the COFF header with the signature before it.
const COFF_HEADER: usize = 24;
/// Magic number of an optional header with 64-bit addresses.
const PE32_PLUS: u16 = 0x20b;
/// Where the optional header keeps its fields, in bytes from its start.
const SIZE_OF_CODE: usize = 4;
const SIZE_OF_INITIALIZED_DATA: usize = 8;
const SECTION_ALIGNMENT: usize = 32;
const FILE_ALIGNMENT: usize = 36;
const SIZE_OF_IMAGE: usize = 56;
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;
const DIRECTORY_COUNT: usize = 108;
const CERTIFICATE_DIRECTORY: usize = 144;
/// Bytes of an optional header up to and with the certificate directory.
const SMALLEST_OPTIONAL_HEADER: usize = CERTIFICATE_DIRECTORY + 8;

/// Characteristics: holds code.
const CONTAINS_CODE: u32 = 0x20;
/// Characteristics: holds data with a value.
const CONTAINS_DATA: u32 = 0x40;
/// Characteristics: may be read.
const MAY_READ: u32 = 0x4000_0000;

/// Appends sections to the stub, in the order given.
///
/// The stub's own headers stay where they are; a stub without room for
/// further section headers is refused, as is one that is signed.
pub fn make_uki(stub: &[u8], sections: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let layout = read_layout(stub)?;
    let first_header = layout.section_table + layout.section_count * SECTION_HEADER;
    ensure!(
        first_header + sections.len() * SECTION_HEADER <= layout.headers_end,
        "the boot stub has no room for {} more sections",
        sections.len()
    );
    ensure!(
        stub[first_header..first_header + sections.len() * SECTION_HEADER]
            .iter()
            .all(|byte| *byte == 0),
        "the boot stub keeps something behind its section headers"
    );

    let mut headers = Vec::with_capacity(sections.len() * SECTION_HEADER);
    let mut names = layout.names.clone();
    let mut address = layout.address_end;
    let mut offset = stub.len();
    let mut data_size = 0usize;
    let mut code_size = 0usize;
    for (name, bytes) in sections {
        let encoded = encode_name(name)?;
        ensure!(
            !names.contains(&encoded),
            "the boot stub has a section {name} already"
        );
        names.push(encoded);
        ensure!(!bytes.is_empty(), "the section {name} would be empty");
        address = address.next_multiple_of(layout.section_alignment);
        offset = offset.next_multiple_of(layout.file_alignment);
        let raw_size = bytes.len().next_multiple_of(layout.file_alignment);
        // A kernel counts as code, as ukify marks it.
        let kind = if *name == ".linux" {
            code_size += bytes.len();
            CONTAINS_CODE
        } else {
            data_size += bytes.len();
            CONTAINS_DATA
        };
        headers.extend(encoded);
        for value in [bytes.len(), address, raw_size, offset, 0, 0, 0] {
            headers.extend(number(value)?.to_le_bytes());
        }
        headers.extend((kind | MAY_READ).to_le_bytes());
        address += bytes.len();
        offset += raw_size;
    }

    let mut image = Vec::with_capacity(offset);
    image.extend_from_slice(stub);
    image[first_header..first_header + headers.len()].copy_from_slice(&headers);
    for (_, bytes) in sections {
        image.resize(image.len().next_multiple_of(layout.file_alignment), 0);
        image.extend_from_slice(bytes);
    }
    image.resize(offset, 0);

    let count = layout.section_count + sections.len();
    let count_at = layout.optional - COFF_HEADER + 6;
    image[count_at..count_at + 2].copy_from_slice(&(count as u16).to_le_bytes());
    let mut set = |field: usize, value: usize| -> Result<()> {
        let at = layout.optional + field;
        image[at..at + 4].copy_from_slice(&number(value)?.to_le_bytes());
        Ok(())
    };
    set(SIZE_OF_CODE, layout.code_size + code_size)?;
    set(SIZE_OF_INITIALIZED_DATA, layout.data_size + data_size)?;
    set(
        SIZE_OF_IMAGE,
        address.next_multiple_of(layout.section_alignment),
    )?;
    // UEFI does not look at it; a stale one would be worse than none.
    set(CHECKSUM, 0)?;
    Ok(image)
}

/// Where a section's bytes lie in a unified kernel image, without what pads them.
pub fn find_section(image: &[u8], name: &str) -> Result<Range<u64>> {
    let program = object::File::parse(image).context("reading the headers of an executable")?;
    let range = program
        .section_by_name(name)
        .and_then(|section| section.file_range())
        .with_context(|| format!("there is no section {name}"))?;
    let end = range.0.saturating_add(range.1);
    ensure!(
        end <= image.len() as u64,
        "the section {name} ends behind the file"
    );
    Ok(range.0..end)
}

/// What a unified kernel image says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// The recipe, IMAGE_ID of os-release(5).
    pub image: String,
    /// The version, IMAGE_VERSION.
    pub version: String,
    /// The processor that it is for, as `x86-64`.
    pub architecture: String,
    /// The root that it starts with, by its hash.
    pub root_hash: [u8; 32],
}

impl Described {
    /// Name of its file and of its partitions, up to what each adds.
    pub fn stem(&self) -> String {
        format!("{}_{}", self.image, self.version)
    }
}

/// Reads which image a kernel belongs to.
pub fn describe(image: &[u8]) -> Result<Described> {
    let text = |section: &str| -> Result<String> {
        let range = find_section(image, section)?;
        let bytes = &image[range.start as usize..range.end as usize];
        Ok(String::from_utf8_lossy(bytes)
            .trim_end_matches('\0')
            .to_owned())
    };
    let release = text(".osrel")?;
    let field = |key: &str| -> Result<String> {
        let mut lines = release.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let value = value
            .map(|value| value.trim_matches(['"', '\'']))
            .with_context(|| format!("its os-release has no {key}"))?;
        // Files and partitions are named after it.
        ensure!(is_name(value), "{value:?} cannot be an {key}");
        Ok(value.to_owned())
    };
    let command_line = text(".cmdline")?;
    let words = command_line.split_whitespace();
    let hash = words
        .filter_map(|word| word.strip_prefix("roothash="))
        .next_back()
        .context("its command line has no roothash=")?;
    let mut root_hash = [0; 32];
    hex::decode_to_slice(hash, &mut root_hash)
        .with_context(|| format!("its root hash {hash:?} is none"))?;
    let machine = object::File::parse(image)
        .context("reading the headers of an executable")?
        .architecture();
    Ok(Described {
        image: field("IMAGE_ID")?,
        version: field("IMAGE_VERSION")?,
        architecture: match machine {
            object::Architecture::X86_64 => "x86-64".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        },
        root_hash,
    })
}

/// What appending needs to know of a stub.
struct Layout {
    /// Where the optional header begins.
    optional: usize,
    /// Where the section headers begin.
    section_table: usize,
    section_count: usize,
    /// Where section headers must end.
    headers_end: usize,
    section_alignment: usize,
    file_alignment: usize,
    code_size: usize,
    data_size: usize,
    /// Address after the last section.
    address_end: usize,
    names: Vec<[u8; 8]>,
}

fn read_layout(stub: &[u8]) -> Result<Layout> {
    ensure!(
        stub.get(..2) == Some(b"MZ"),
        "the boot stub is no PE executable"
    );
    let pe = read32(stub, 0x3c)?;
    ensure!(
        stub.get(pe..pe.saturating_add(4)) == Some(b"PE\0\0"),
        "the boot stub is no PE executable"
    );
    let section_count = read16(stub, pe + 6)?;
    let optional_size = read16(stub, pe + 20)?;
    let optional = pe + COFF_HEADER;
    ensure!(
        read16(stub, optional)? == usize::from(PE32_PLUS)
            && optional_size >= SMALLEST_OPTIONAL_HEADER
            && read32(stub, optional + DIRECTORY_COUNT)? > 4,
        "the boot stub is no 64-bit PE executable"
    );
    ensure!(
        read32(stub, optional + CERTIFICATE_DIRECTORY + 4)? == 0,
        "the boot stub is signed; take the unsigned one"
    );
    let section_alignment = read32(stub, optional + SECTION_ALIGNMENT)?;
    let file_alignment = read32(stub, optional + FILE_ALIGNMENT)?;
    ensure!(
        section_alignment.is_power_of_two()
            && file_alignment.is_power_of_two()
            && file_alignment <= section_alignment,
        "the boot stub's alignments make no sense"
    );

    let section_table = optional + optional_size;
    let mut headers_end = read32(stub, optional + SIZE_OF_HEADERS)?;
    let mut extents = Vec::with_capacity(section_count);
    let mut names = Vec::with_capacity(section_count);
    for index in 0..section_count {
        let header = section_table + index * SECTION_HEADER;
        let Some(name) = stub.get(header..header + 8) else {
            bail!("the boot stub ends inside its section headers");
        };
        let mut encoded = [0; 8];
        encoded.copy_from_slice(name);
        names.push(encoded);
        let size = read32(stub, header + 8)?;
        let address = read32(stub, header + 12)?;
        let raw_size = read32(stub, header + 16)?;
        let raw_offset = read32(stub, header + 20)?;
        extents.push((address, address + size.max(raw_size)));
        if raw_size > 0 {
            headers_end = headers_end.min(raw_offset);
            ensure!(
                raw_offset + raw_size <= stub.len(),
                "the boot stub ends inside a section"
            );
        }
    }
    extents.sort_unstable();
    ensure!(
        extents.windows(2).all(|pair| pair[0].1 <= pair[1].0),
        "sections of the boot stub overlap"
    );
    ensure!(
        headers_end <= stub.len() && section_count > 0,
        "the boot stub has no sections"
    );
    Ok(Layout {
        optional,
        section_table,
        section_count,
        headers_end,
        section_alignment,
        file_alignment,
        code_size: read32(stub, optional + SIZE_OF_CODE)?,
        data_size: read32(stub, optional + SIZE_OF_INITIALIZED_DATA)?,
        address_end: extents.iter().map(|extent| extent.1).fold(0, usize::max),
        names,
    })
}

fn encode_name(name: &str) -> Result<[u8; 8]> {
    ensure!(
        name.starts_with('.') && name.is_ascii() && name.len() <= 8,
        "{name:?} is no name for a section of an executable"
    );
    let mut encoded = [0; 8];
    encoded[..name.len()].copy_from_slice(name.as_bytes());
    Ok(encoded)
}

fn number(value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| anyhow!("the kernel image is larger than 4 GiB"))
}

fn read16(bytes: &[u8], offset: usize) -> Result<usize> {
    match bytes.get(offset..offset.saturating_add(2)) {
        Some(&[low, high]) => Ok(usize::from(u16::from_le_bytes([low, high]))),
        _ => bail!("the boot stub ends inside its headers"),
    }
}

fn read32(bytes: &[u8], offset: usize) -> Result<usize> {
    Ok(read16(bytes, offset)? | read16(bytes, offset.saturating_add(2))? << 16)
}

#[cfg(test)]
mod tests {
    use object::read::pe::PeFile64;
    use object::{Object, ObjectSection};

    use super::make_uki;

    /// A stub of one section, as small as the checks allow.
    fn stub() -> Vec<u8> {
        let mut stub = vec![0u8; 0x400];
        let mut set = |offset: usize, bytes: &[u8]| {
            stub[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        set(0, b"MZ");
        set(0x3c, &0x40u32.to_le_bytes());
        set(0x40, b"PE\0\0\x64\x86\x01\0");
        set(0x40 + 20, &240u16.to_le_bytes());
        let optional = 0x40 + 24;
        set(optional, &0x20bu16.to_le_bytes());
        set(optional + 32, &0x1000u32.to_le_bytes());
        set(optional + 36, &0x200u32.to_le_bytes());
        set(optional + 56, &0x2000u32.to_le_bytes());
        set(optional + 60, &0x200u32.to_le_bytes());
        set(optional + 64, &0xdead_beefu32.to_le_bytes());
        set(optional + 108, &16u32.to_le_bytes());
        let section = optional + 240;
        set(section, b".text\0\0\0");
        for (index, value) in [5u32, 0x1000, 0x200, 0x200].into_iter().enumerate() {
            set(section + 8 + index * 4, &value.to_le_bytes());
        }
        set(section + 36, &0x6000_0020u32.to_le_bytes());
        set(0x200, b"stub!");
        stub
    }

    #[test]
    fn sections_are_found_where_the_headers_say() {
        let kernel = vec![0x90; 0x1800];
        let image = make_uki(&stub(), &[(".cmdline", b"quiet"), (".linux", &kernel)]).unwrap();
        let file = PeFile64::parse(&*image).unwrap();
        let listing: Vec<String> = file
            .sections()
            .map(|section| {
                let (offset, size) = section.file_range().unwrap();
                format!(
                    "{} {:#x}+{:#x} at {offset:#x}+{size:#x}",
                    section.name().unwrap(),
                    section.address(),
                    section.size()
                )
            })
            .collect();
        assert_eq!(
            listing,
            [
                ".text 0x1000+0x5 at 0x200+0x5",
                ".cmdline 0x2000+0x5 at 0x400+0x5",
                ".linux 0x3000+0x1800 at 0x600+0x1800",
            ]
        );
        let content = |name: &str| file.section_by_name(name).unwrap().data().unwrap().to_vec();
        assert_eq!(content(".cmdline")[..5], *b"quiet");
        assert!(content(".linux") == kernel);
        let header = file.nt_headers().optional_header;
        assert_eq!(header.size_of_image.get(object::LittleEndian), 0x5000);
        assert_eq!(header.size_of_headers.get(object::LittleEndian), 0x200);
        assert_eq!(header.check_sum.get(object::LittleEndian), 0);
        assert_eq!(image.len(), 0x1e00);
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let refuse = |stub: &[u8], sections: &[(&str, &[u8])]| {
            make_uki(stub, sections).unwrap_err().to_string()
        };
        let one: &[(&str, &[u8])] = &[(".osrel", b"x")];
        assert_eq!(
            refuse(&stub(), &[one[0]; 4]),
            "the boot stub has no room for 4 more sections"
        );
        assert!(refuse(&stub(), &[one[0]; 2]).contains("has a section .osrel already"));
        assert!(refuse(&stub(), &[(".text", b"x")]).contains("has a section .text already"));
        assert!(refuse(&stub(), &[(".osrel", b"")]).contains("would be empty"));
        assert!(refuse(&stub(), &[(".toolongname", b"x")]).contains("no name for a section"));
        assert!(refuse(b"ELF", one).contains("no PE executable"));
        assert!(refuse(&stub()[..0x160], one).contains("ends inside"));
        let mut signed = stub();
        signed[0x40 + 24 + 148] = 8;
        assert!(refuse(&signed, one).contains("is signed"));
        // No prefix of a stub makes it panic.
        for length in 0..stub().len() {
            let _ = make_uki(&stub()[..length], one);
        }
    }
}
