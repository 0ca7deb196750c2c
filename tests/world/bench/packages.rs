//! The packages and the recipe of an image that has everything and does nothing.

use super::deb::Deb;
use mailimg::builder::seal::grub::MODULES;

/// Version of the made-up kernel.
const KERNEL: &str = "6.1-tiny";

/// What the recipe installs.
pub fn all() -> Vec<Deb> {
    vec![
        Deb::new("base")
            .file("usr/lib/os-release", 0o644, b"ID=tiny\nVERSION_ID=1\n")
            .file("usr/lib/systemd/systemd", 0o755, b"the first process\n")
            .file("usr/bin/sh", 0o755, b"a shell\n"),
        with_grub(
            Deb::new("boot")
                .file(
                    "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
                    0o644,
                    b"a boot loader\n",
                )
                .file("usr/lib/systemd/boot/efi/linuxx64.efi.stub", 0o644, &stub()),
        ),
        Deb::new("kernel")
            .file(&format!("boot/vmlinuz-{KERNEL}"), 0o644, b"a kernel\n")
            .file(
                &format!("usr/lib/modules/{KERNEL}/kernel/loop.ko"),
                0o644,
                &module(),
            ),
    ]
}

/// The recipe of it, with packages from a mirror; `more` goes in before its tables.
pub fn recipe(mirror: &str, more: &str) -> String {
    format!(
        r#"name = "tiny"
version = "1"
architecture = "amd64"
accounts_file = "accounts.toml"
packages = ["base", "boot", "kernel"]
{more}
[[sources]]
suite = "test"
mirrors = ["{mirror}"]
components = ["main"]
keys = ["archive.pgp"]

[image]
kernel_package = "kernel"
build_only = ["boot"]
command_line = "quiet"

[image.disk]
esp_mib = 34
root_mib = 32
verity_mib = 1

[image.initrd]
files = ["usr/bin/sh", "usr/lib/systemd/systemd"]
modules = []
"#
    )
}

/// A file that is as large as wished and packs well, but is no hole.
pub fn filler(size: usize) -> Vec<u8> {
    b"mail".iter().copied().cycle().take(size).collect()
}

/// The smallest executable that takes further sections: one section of code.
///
/// Offsets are those of <https://learn.microsoft.com/en-us/windows/win32/debug/pe-format>.
fn stub() -> Vec<u8> {
    const COFF: usize = 0x40;
    const OPTIONAL: usize = COFF + 24;
    const OPTIONAL_SIZE: usize = 240;
    const HEADERS: usize = 0x400;
    let mut stub = vec![0u8; HEADERS + 0x200];
    let mut set = |offset: usize, bytes: &[u8]| {
        stub[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    set(0, b"MZ");
    set(0x3c, &(COFF as u32).to_le_bytes());
    set(COFF, b"PE\0\0\x64\x86\x01\0");
    set(COFF + 20, &(OPTIONAL_SIZE as u16).to_le_bytes());
    set(OPTIONAL, &0x20bu16.to_le_bytes());
    for (offset, value) in [
        (32, 0x1000u32),
        (36, 0x200),
        (56, 0x2000),
        (60, HEADERS as u32),
        (108, 16),
    ] {
        set(OPTIONAL + offset, &value.to_le_bytes());
    }
    let section = OPTIONAL + OPTIONAL_SIZE;
    set(section, b".text\0\0\0");
    for (index, value) in [5u32, 0x1000, 0x200, HEADERS as u32]
        .into_iter()
        .enumerate()
    {
        set(section + 8 + index * 4, &value.to_le_bytes());
    }
    set(section + 36, &0x6000_0020u32.to_le_bytes());
    set(HEADERS, b"stub!");
    stub
}

/// Parts of GRUB for BIOS that are as long as they must be and hold nothing.
fn with_grub(mut deb: Deb) -> Deb {
    let path = |name: &str| format!("usr/lib/grub/i386-pc/{name}");
    let dependencies: String = MODULES.iter().map(|name| format!("{name}:\n")).collect();
    deb = deb
        .file(&path("boot.img"), 0o644, &[0xb0; 512])
        .file(&path("diskboot.img"), 0o644, &[0xd0; 512])
        .file(&path("lzma_decompress.img"), 0o644, &[0xe0; 64])
        .file(&path("kernel.img"), 0o644, &grub_kernel())
        .file(&path("moddep.lst"), 0o644, dependencies.as_bytes());
    for name in MODULES {
        deb = deb.file(&path(&format!("{name}.mod")), 0o644, name.as_bytes());
    }
    deb
}

/// An ELF program of 32 bits with one section where GRUB runs, elf(5).
fn grub_kernel() -> Vec<u8> {
    const SECTIONS_AT: u32 = 56;
    let mut file = vec![0u8; SECTIONS_AT as usize];
    file[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
    file[32..36].copy_from_slice(&SECTIONS_AT.to_le_bytes());
    for (at, value) in [
        (16, 2_u16),
        (18, 3),
        (20, 1),
        (40, 52),
        (46, 40),
        (48, 3),
        (50, 2),
    ] {
        file[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    file[52..56].copy_from_slice(b"GRUB");
    // None, the program, and names, of which there is the empty one.
    for section in [
        [0; 10],
        [0, 1, 6, 0x9000, 52, 4, 0, 0, 1, 0],
        [0, 3, 0, 0, 8, 1, 0, 0, 1, 0],
    ] {
        file.extend(section.iter().flat_map(|field: &u32| field.to_le_bytes()));
    }
    file
}

/// An ELF object for x86-64 without any section, elf(5).
fn module() -> Vec<u8> {
    const RELOCATABLE: u16 = 1;
    const X86_64: u16 = 62;
    let mut header = vec![0u8; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    header[16..18].copy_from_slice(&RELOCATABLE.to_le_bytes());
    header[18..20].copy_from_slice(&X86_64.to_le_bytes());
    header[20..24].copy_from_slice(&1u32.to_le_bytes());
    header[52..54].copy_from_slice(&64u16.to_le_bytes());
    header
}
