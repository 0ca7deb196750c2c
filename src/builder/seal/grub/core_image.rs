//! The core image: one sector that loads the rest, a decompressor, and GRUB, compressed.
//!
//! ```text
//! diskboot.img │ lzma_decompress.img │ LZMA: kernel, list of parts
//! ```
//!
//! A part is a module, the first commands or the folder of grub.cfg. Fields and limits
//! are those of GRUB 2.12's `include/grub/offsets.h` and `include/grub/kernel.h`,
//! <https://git.savannah.gnu.org/cgit/grub.git/tree/include/grub?h=grub-2.12>.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use liblzma::read::XzEncoder;
use liblzma::stream::{Filters, LzmaOptions, Stream};
use object::read::elf::ElfFile32;
use object::{Endianness, Object, ObjectSection, SectionFlags, SectionKind, elf};

/// Bytes of a sector, which is what BIOS loads.
pub(super) const SECTOR: usize = 512;

/// Where the kernel runs, and where memory for it ends.
const KERNEL_ADDRESS: u64 = 0x9000;
const KERNEL_END: u64 = 0x68000;
/// The most that BIOS can load, counted as GRUB's own tool does, bytes.
const LARGEST_CORE: usize = 0x78000 - 0x9000;

/// Where the decompressor is told both sizes.
const COMPRESSED_SIZE: usize = 8;
const UNPACKED_SIZE: usize = 12;
/// Where the first sector is told how many sectors follow.
const FOLLOWING_SECTORS: usize = 0x1fc;

/// Magic number of the list of parts.
const LIST_MAGIC: u32 = 0x676d_696d;
/// Bytes of the list's header, and of each part's.
const LIST_HEADER: usize = 12;
const PART_HEADER: usize = 8;
/// Parts begin at multiples of this.
const ALIGNMENT: usize = 4;

/// What a part is.
const MODULE: u32 = 0;
const COMMANDS: u32 = 2;
const PREFIX: u32 = 3;

/// Window of the compression, as GRUB's own tool chooses it, bytes. The decompressor is
/// made for the three other numbers.
const WINDOW: u32 = 1 << 16;
const LITERAL_CONTEXT_BITS: u32 = 3;
const LITERAL_POSITION_BITS: u32 = 0;
const POSITION_BITS: u32 = 2;
/// Preset of the options that only weigh time against size, xz(1).
const PRESET: u32 = 6;

/// What a core image is made of.
pub(super) struct Ingredients<'a> {
    /// diskboot.img.
    pub first_sector: Vec<u8>,
    /// lzma_decompress.img.
    pub decompressor: Vec<u8>,
    /// kernel.img, an ELF file.
    pub kernel: &'a [u8],
    /// Modules, each behind those that it needs.
    pub modules: &'a [Vec<u8>],
    /// Commands to run first.
    pub commands: &'a str,
    /// The folder of grub.cfg.
    pub prefix: &'a str,
}

/// Puts it together; it still has to be told where on the disk it lies.
pub(super) fn make_core_image(ingredients: &Ingredients) -> Result<Vec<u8>> {
    let mut unpacked = flatten_kernel(ingredients.kernel).context("reading kernel.img")?;
    unpacked.extend(list_parts(ingredients)?);
    let compressed = compress(&unpacked)?;

    let mut core = ingredients.decompressor.clone();
    set32(&mut core, COMPRESSED_SIZE, compressed.len())?;
    set32(&mut core, UNPACKED_SIZE, unpacked.len())?;
    core.extend(compressed);
    ensure!(
        core.len() <= LARGEST_CORE,
        "it has {} bytes and BIOS leaves room for {LARGEST_CORE}",
        core.len()
    );
    core.resize(core.len().next_multiple_of(SECTOR), 0);

    let mut image = ingredients.first_sector.clone();
    let sectors = u16::try_from(core.len() / SECTOR)?;
    image[FOLLOWING_SECTORS..FOLLOWING_SECTORS + 2].copy_from_slice(&sectors.to_le_bytes());
    image.extend(core);
    Ok(image)
}

/// The kernel as it lies in memory, without what begins as zeros.
fn flatten_kernel(kernel: &[u8]) -> Result<Vec<u8>> {
    let file = ElfFile32::<Endianness>::parse(kernel)?;
    let mut flat = Vec::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
            continue;
        };
        if !sh_flags.contains(elf::SHF_ALLOC) {
            continue;
        }
        let end = section.address() + section.size();
        ensure!(
            section.address() >= KERNEL_ADDRESS && end <= KERNEL_END,
            "a section lies where BIOS leaves no room"
        );
        if section.kind() == SectionKind::UninitializedData {
            continue;
        }
        let start = (section.address() - KERNEL_ADDRESS) as usize;
        ensure!(start >= flat.len(), "its sections overlap");
        flat.resize(start, 0);
        flat.extend_from_slice(section.data()?);
    }
    ensure!(!flat.is_empty(), "it has no sections");
    flat.resize(flat.len().next_multiple_of(ALIGNMENT), 0);
    Ok(flat)
}

fn list_parts(ingredients: &Ingredients) -> Result<Vec<u8>> {
    let mut parts = Vec::new();
    let mut push = |kind: u32, bytes: &[u8]| -> Result<()> {
        let length = bytes.len().next_multiple_of(ALIGNMENT);
        let end = parts.len() + PART_HEADER + length;
        parts.extend(kind.to_le_bytes());
        parts.extend(u32::try_from(PART_HEADER + length)?.to_le_bytes());
        parts.extend_from_slice(bytes);
        parts.resize(end, 0);
        Ok(())
    };
    for module in ingredients.modules {
        push(MODULE, module)?;
    }
    push(COMMANDS, format!("{}\0", ingredients.commands).as_bytes())?;
    push(PREFIX, format!("{}\0", ingredients.prefix).as_bytes())?;

    let mut list = Vec::with_capacity(LIST_HEADER + parts.len());
    list.extend(LIST_MAGIC.to_le_bytes());
    list.extend(u32::try_from(LIST_HEADER)?.to_le_bytes());
    list.extend(u32::try_from(LIST_HEADER + parts.len())?.to_le_bytes());
    list.extend(parts);
    Ok(list)
}

/// Bare LZMA, without a header: the decompressor knows how it was made.
fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut options = LzmaOptions::new_preset(PRESET)?;
    options
        .dict_size(WINDOW)
        .literal_context_bits(LITERAL_CONTEXT_BITS)
        .literal_position_bits(LITERAL_POSITION_BITS)
        .position_bits(POSITION_BITS);
    let mut filters = Filters::new();
    filters.lzma1(&options);
    let stream = Stream::new_raw_encoder(&filters)?;
    let mut compressed = Vec::new();
    XzEncoder::new_stream(bytes, stream)
        .read_to_end(&mut compressed)
        .context("compressing")?;
    Ok(compressed)
}

fn set32(image: &mut [u8], at: usize, value: usize) -> Result<()> {
    let field = image
        .get_mut(at..at + 4)
        .context("writing a size into the decompressor: it is too short")?;
    field.copy_from_slice(&u32::try_from(value)?.to_le_bytes());
    Ok(())
}

#[cfg(test)]
pub(super) mod fixture {
    /// A first sector that has a name where nothing else is.
    pub fn first_sector() -> Vec<u8> {
        let mut sector = vec![0; 512];
        sector[..8].copy_from_slice(b"diskboot");
        sector
    }

    /// An ELF file with text, data and what begins as zeros.
    pub fn kernel() -> Vec<u8> {
        const PROGBITS: u32 = 1;
        const NAMES: u32 = 3;
        const NOBITS: u32 = 8;
        let sections: [[u32; 10]; 5] = [
            [0; 10],
            [0, PROGBITS, 6, 0x9000, 52, 5, 0, 0, 1, 0],
            [0, PROGBITS, 3, 0x9008, 60, 6, 0, 0, 1, 0],
            [0, NOBITS, 3, 0x9010, 66, 4096, 0, 0, 1, 0],
            [0, NAMES, 0, 0, 66, 1, 0, 0, 1, 0],
        ];
        let mut file = vec![0; 68];
        file[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
        for (at, value) in [(16, 2_u16), (18, 3), (40, 52), (46, 40), (48, 5), (50, 4)] {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        file[20] = 1;
        file[32..36].copy_from_slice(&68_u32.to_le_bytes());
        file[52..57].copy_from_slice(b"text!");
        file[60..66].copy_from_slice(b"data!!");
        for section in sections {
            file.extend(section.iter().flat_map(|field| field.to_le_bytes()));
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use liblzma::read::XzDecoder;
    use liblzma::stream::Stream;

    use super::{Ingredients, fixture, make_core_image};

    /// What the decompressor makes of an image, by the sizes that it is told.
    fn unpack(image: &[u8], decompressor: usize) -> Vec<u8> {
        let number = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
        let (packed, unpacked) = (number(512 + 8) as usize, number(512 + 12));
        let start = 512 + decompressor;
        // The header that .lzma files have: properties, window, size.
        let mut file = vec![(2 * 5) * 9 + 3];
        file.extend((1_u32 << 16).to_le_bytes());
        file.extend(u64::from(unpacked).to_le_bytes());
        file.extend(&image[start..start + packed]);
        let mut bytes = Vec::new();
        XzDecoder::new_stream(&file[..], Stream::new_lzma_decoder(u64::MAX).unwrap())
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    }

    fn ingredients<'a>(kernel: &'a [u8], modules: &'a [Vec<u8>]) -> Ingredients<'a> {
        Ingredients {
            first_sector: fixture::first_sector(),
            decompressor: vec![0xdd; 48],
            kernel,
            modules,
            commands: "go\n",
            prefix: "(,gpt1)/grub",
        }
    }

    #[test]
    fn the_parts_stand_behind_the_kernel() {
        let kernel = fixture::kernel();
        let modules = [b"one".to_vec(), b"four".to_vec()];
        let image = make_core_image(&ingredients(&kernel, &modules)).unwrap();
        assert_eq!(&image[..8], b"diskboot");
        let sectors = u16::from_le_bytes([image[0x1fc], image[0x1fd]]);
        assert_eq!(image.len(), 512 * (1 + usize::from(sectors)));
        assert_eq!(image[512..520], [0xdd; 8]);
        assert_eq!(image[512 + 16..512 + 48], [0xdd; 32]);

        let mut expected = b"text!\0\0\0data!!\0\0".to_vec();
        expected.extend(b"mimg\x0c\0\0\0\x48\0\0\0");
        expected.extend(b"\0\0\0\0\x0c\0\0\0one\0");
        expected.extend(b"\0\0\0\0\x0c\0\0\0four");
        expected.extend(b"\x02\0\0\0\x0c\0\0\0go\n\0");
        expected.extend(b"\x03\0\0\0\x18\0\0\0(,gpt1)/grub\0\0\0\0");
        assert_eq!(
            String::from_utf8_lossy(&unpack(&image, 48)),
            String::from_utf8_lossy(&expected)
        );
    }

    #[test]
    fn what_does_not_fit_below_the_bios_is_refused() {
        let kernel = fixture::kernel();
        // Nothing that can be compressed.
        let mut state = 7_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as u8
        })
        .take(600_000)
        .collect();
        let modules = [noise];
        let error = make_core_image(&ingredients(&kernel, &modules)).unwrap_err();
        assert!(
            error.to_string().contains("leaves room for 454656"),
            "{error}"
        );
        let error = make_core_image(&ingredients(b"no ELF file", &[])).unwrap_err();
        assert_eq!(error.to_string(), "reading kernel.img");
    }
}
