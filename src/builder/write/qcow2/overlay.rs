//! An empty qcow2 over another image: what is not written yet is read from below.
//!
//! ```text
//! header, format and path of the image below │ refcount table │ refcounts │ L1 table
//! ```

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::write::{CLUSTER, Header, TABLE_ENTRIES, encode, write};

/// Header extension: the format of the image below, so that nobody guesses it.
const BELOW_FORMAT: u32 = 0xe279_2aca;
/// Longest path of the image below, in bytes.
const PATH_MAX: usize = 1023;

/// Writes an overlay of `size` bytes into an empty file.
///
/// `below` is an absolute path, `format` QEMU's name for how it is stored.
pub fn write_overlay(qcow2: &File, below: &Path, format: &str, size: u64) -> Result<()> {
    let path = below.as_os_str().as_bytes();
    ensure!(
        path.starts_with(b"/") && path.len() <= PATH_MAX,
        "{} is no absolute path of at most {PATH_MAX} bytes",
        below.display()
    );
    let tables = size.div_ceil(CLUSTER).div_ceil(TABLE_ENTRIES);
    let l1_clusters = tables.div_ceil(TABLE_ENTRIES);
    let (counts_table_at, counts_at, l1_at) = (CLUSTER, 2 * CLUSTER, 3 * CLUSTER);
    let used = 3 + l1_clusters;
    // One cluster of counts is enough for disks of 2^61 bytes.
    let mut header = Header {
        size,
        l1_entries: u32::try_from(tables).context("the disk is too large for a qcow2 image")?,
        l1_at,
        counts_table_at,
    }
    .encode();
    let name_length = u32::try_from(format.len())?;
    let end_of_fields = header.len() - 8;
    let mut extension = [BELOW_FORMAT.to_be_bytes(), name_length.to_be_bytes()].concat();
    extension.extend(format.as_bytes());
    extension.resize(extension.len().next_multiple_of(8), 0);
    header.splice(end_of_fields..end_of_fields, extension);
    let path_at = header.len() as u64;
    header[8..16].copy_from_slice(&path_at.to_be_bytes());
    header[16..20].copy_from_slice(&u32::try_from(path.len())?.to_be_bytes());
    header.extend(path);
    write(qcow2, &header, 0)?;
    write(qcow2, &encode(&[counts_at]), counts_table_at)?;
    write(qcow2, &1u16.to_be_bytes().repeat(used as usize), counts_at)?;
    qcow2
        .set_len(l1_at + l1_clusters * CLUSTER)
        .context("writing the qcow2 image")
}

#[cfg(test)]
mod tests {
    use super::write_overlay;
    use std::fs::File;
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn qemu_takes_an_overlay_for_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a,b: c.raw");
        std::fs::write(&below, vec![7; 1 << 20]).unwrap();
        for size in [1 << 20, 8 << 30, (40 << 40) + 512] {
            let path = folder.path().join("overlay.qcow2");
            write_overlay(&File::create(&path).unwrap(), &below, "raw", size).unwrap();
            let run = |arguments: &[&str]| {
                let output = Command::new("qemu-img").args(arguments).arg(&path).output();
                output.map(|output| {
                    assert!(output.status.success(), "{output:?}");
                    String::from_utf8(output.stdout).unwrap()
                })
            };
            let Ok(said) = run(&["info", "--output=json"]) else {
                tell!("skipped: qemu-img is not installed");
                return;
            };
            let said: serde_json::Value = serde_json::from_str(&said).unwrap();
            assert_eq!(said["virtual-size"], size);
            assert_eq!(said["backing-filename"], below.to_str().unwrap());
            assert_eq!(said["backing-filename-format"], "raw");
            run(&["check"]).unwrap();
        }
    }

    #[test]
    fn a_path_that_qemu_would_not_find_is_refused() {
        let file = tempfile::tempfile().unwrap();
        assert!(write_overlay(&file, Path::new("disk.raw"), "raw", 512).is_err());
        let long = Path::new("/").join("x".repeat(1023));
        assert!(write_overlay(&file, &long, "raw", 512).is_err());
    }
}
