//! Whether a qcow2 image is all in its own file.
//!
//! An image may name another file that it lies over, or one that holds its data, by path,
//! by address or as `json:`. Whoever opens it reads that file then, whichever it is: an
//! image of a stranger must not choose.
//! <https://www.qemu.org/docs/master/interop/qcow2.html>.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

use super::HEADER_SIZE;
use crate::error::hinted;

/// Bytes of the header of version 2, which ends before the features.
const OLD_HEADER_SIZE: usize = 72;
/// Feature: not closed cleanly.
const DIRTY: u64 = 1;
/// Feature: compressed by another method than deflate.
const OTHER_COMPRESSION: u64 = 1 << 3;
/// Feature: clusters in smaller parts.
const SUBCLUSTERS: u64 = 1 << 4;
/// Feature: the data are in another file.
const DATA_FILE: u64 = 1 << 2;

/// Refuses an image that names other files, or that may do so in a way we do not know.
pub fn check_alone(file: &File) -> Result<()> {
    let mut header = [0; HEADER_SIZE];
    file.read_exact_at(&mut header[..OLD_HEADER_SIZE], 0)
        .context("reading the qcow2 header")?;
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_be_bytes(bytes)
    };
    let version = number(0) as u32;
    if number(8) != 0 || number(16) >> 32 != 0 {
        return Err(hinted(
            "the qcow2 image is an overlay on another one",
            "name the image below it, or join both with `qemu-img convert -O qcow2`",
        ));
    }
    let features = match version {
        2 => 0,
        3 => {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, OLD_HEADER_SIZE as u64)
                .context("reading the qcow2 header")?;
            u64::from_be_bytes(bytes)
        }
        _ => {
            return Err(hinted(
                format!("the qcow2 image is of version {version}"),
                "rewrite it with `qemu-img convert -O qcow2`",
            ));
        }
    };
    if features & DATA_FILE != 0 {
        return Err(hinted(
            "the qcow2 image keeps its data in another file",
            "join both with `qemu-img convert -O qcow2`, if you trust the image",
        ));
    }
    if features & !(DIRTY | OTHER_COMPRESSION | SUBCLUSTERS) != 0 {
        return Err(hinted(
            "the qcow2 image uses features that mailimg does not know, or was not closed cleanly",
            "check it with `qemu-img check`, or rewrite it with `qemu-img convert -O qcow2`",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::check_alone;
    use crate::builder::write::qcow2::MAGIC;
    use crate::error::render;

    /// What a header of that version with these changes is told.
    fn told(version: u8, changes: &[(u64, &[u8])]) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; 4096]).unwrap();
        file.write_all_at(&MAGIC, 0).unwrap();
        file.write_all_at(&[version], 7).unwrap();
        for (at, bytes) in changes {
            file.write_all_at(bytes, *at).unwrap();
        }
        check_alone(&file).map_or_else(|error| render(&error), |()| String::new())
    }

    #[test]
    fn an_image_that_names_another_file_is_refused() {
        for version in [2, 3] {
            assert_eq!(told(version, &[]), "");
            for name in [
                &b"/etc/shadow"[..],
                b"json:{\"driver\":\"file\"}",
                b"nbd://host",
            ] {
                let length = [name.len() as u8];
                let changes: [(u64, &[u8]); 3] = [(15, &[200]), (19, &length), (200, name)];
                let text = told(version, &changes);
                assert!(text.contains("an overlay on another one\nhint: "), "{text}");
            }
            // A place without a length, a length without a place: nobody guesses.
            assert!(told(version, &[(8, &[1])]).contains("an overlay"));
            assert!(told(version, &[(19, &[5])]).contains("an overlay"));
        }
        let text = told(3, &[(79, &[4])]);
        assert!(text.contains("its data in another file\nhint: "), "{text}");
        // Features of later versions of QEMU may name files as well.
        for (at, bit) in [(79, 0x20), (79, 2), (72, 0x80)] {
            assert!(told(3, &[(at, &[bit])]).contains("features that mailimg does not know"));
        }
        assert!(told(1, &[]).contains("of version 1\nhint: "));
        assert!(told(4, &[]).contains("of version 4\nhint: "));
        // Compressed otherwise, in small parts, not closed: QEMU reads them from the file itself.
        assert_eq!(told(3, &[(79, &[0x19])]), "");
    }
}
