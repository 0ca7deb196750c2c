//! The boot loaders that a version brings along, inside its root: systemd-boot and GRUB as
//! they come onto the disk of an image. And which version a systemd-boot is.

/// systemd-boot.
pub const LOADER_FILE: &str = "/usr/lib/mailimg/boot/systemd-bootx64.efi";
/// GRUB's boot sector, its core image, and its version.
pub const GRUB_FILES: [&str; 3] = [
    "/usr/lib/mailimg/boot/grub-boot.img",
    "/usr/lib/mailimg/boot/grub-core.img",
    "/usr/lib/mailimg/boot/grub-version",
];

/// systemd-boot says what it is between these,
/// <https://www.freedesktop.org/software/systemd/man/257/bootctl.html>.
const MAGIC: [&[u8]; 2] = [b"#### LoaderInfo: systemd-boot ", b" ####"];

/// The version of a systemd-boot; nothing for what does not say that it is one.
pub fn loader_version(program: &[u8]) -> Option<String> {
    let [before, after] = MAGIC;
    let start = find(program, before)? + before.len();
    let length = find(&program[start..], after)?;
    let version = std::str::from_utf8(&program[start..start + length]).ok()?;
    let plain = |letter: char| letter.is_ascii_graphic();
    (!version.is_empty() && version.chars().all(plain)).then(|| version.to_owned())
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::loader_version;

    #[test]
    fn a_loader_says_its_version() {
        let program = b"MZ..#### LoaderInfo: systemd-boot 257.13-1~deb13u1 ####\0..";
        assert_eq!(loader_version(program).unwrap(), "257.13-1~deb13u1");
        for other in [
            &b"#### LoaderInfo: systemd-boot  ####"[..],
            b"#### LoaderInfo: systemd-boot a b ####",
            b"#### LoaderInfo: systemd-stub 257 ####",
            b"#### LoaderInfo: systemd-boot 257",
            b"",
        ] {
            assert_eq!(loader_version(other), None);
        }
    }
}
