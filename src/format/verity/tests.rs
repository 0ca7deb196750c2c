//! Hash trees compared with veritysetup's, and damage that is found.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use crate::format::content::Content;
use crate::format::extents::Extents;

use super::{BLOCK, Hash, hash_size, verify, write_verity};

const SALT: [u8; 32] = [0x5a; 32];
const UUID: [u8; 16] = *b"0123456789abcdef";
/// Offset of the data in the file, as of a partition.
const OFFSET: u64 = 1 << 20;

/// An image of so many blocks with some holes and an uneven end.
fn sample(blocks: usize) -> Extents {
    let mut image = Extents::default();
    for at in (0..blocks).filter(|at| at % 7 != 3) {
        let length = BLOCK - usize::from(at + 1 == blocks) * 100;
        let bytes: Vec<u8> = (0..length)
            .map(|byte| ((at * 131 + byte) % 255) as u8)
            .collect();
        image
            .push((at * BLOCK) as u64, Content::from(bytes))
            .unwrap();
    }
    image
}

fn seal(folder: &Path, image: &Extents) -> (File, File, Hash) {
    let open = |name: &str| {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(folder.join(name))
            .unwrap()
    };
    let (data, hash) = (open("data"), open("hash"));
    let size = image.size().next_multiple_of(BLOCK as u64);
    data.set_len(OFFSET + size).unwrap();
    let root = write_verity(image, &data, OFFSET, &hash, 0, SALT, UUID).unwrap();
    (data, hash, root)
}

#[test]
fn trees_are_veritysetups() {
    if Command::new("veritysetup")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("skipped: veritysetup is not installed");
        return;
    }
    // Around the edges of one, two and three levels of 128.
    for blocks in [1, 2, 127, 128, 129, 300, 16_384, 16_385] {
        let folder = tempfile::tempdir().unwrap();
        let image = sample(blocks);
        let (data, _, root) = seal(folder.path(), &image);
        let mut bytes = vec![0; image.size().next_multiple_of(BLOCK as u64) as usize];
        data.read_exact_at(&mut bytes, OFFSET).unwrap();
        let plain = folder.path().join("plain");
        let theirs = folder.path().join("theirs");
        fs::write(&plain, &bytes).unwrap();
        let output = Command::new("veritysetup")
            .arg("format")
            .args([&plain, &theirs])
            .arg(format!("--salt={}", hex::encode(SALT)))
            .arg("--uuid=30313233-3435-3637-3839-616263646566")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&hex::encode(root)), "{blocks}: {text}");
        let ours = fs::read(folder.path().join("hash")).unwrap();
        assert!(ours == fs::read(&theirs).unwrap(), "{blocks} blocks");
        assert_eq!(ours.len() as u64, hash_size(image.size()));
        let output = Command::new("veritysetup")
            .arg("verify")
            .args([&plain, &folder.path().join("hash")])
            .arg(hex::encode(root))
            .output()
            .unwrap();
        assert!(output.status.success(), "{blocks}: {output:?}");
    }
}

#[test]
fn what_was_written_verifies_and_stays_sparse() {
    let folder = tempfile::tempdir().unwrap();
    let mut image = sample(300);
    image.grow_to(64 << 20);
    let (data, hash, root) = seal(folder.path(), &image);
    assert_eq!(
        verify(&data, OFFSET, &hash, 0, [u64::MAX; 2]).unwrap(),
        root
    );
    assert!(data.metadata().unwrap().blocks() * 512 < 2 << 20);
}

#[test]
fn a_flipped_bit_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (data, hash, _) = seal(folder.path(), &sample(300));
    let flip = |file: &File, at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    let says = || {
        format!(
            "{:#}",
            verify(&data, OFFSET, &hash, 0, [u64::MAX; 2]).unwrap_err()
        )
    };
    flip(&data, OFFSET + 5);
    assert_eq!(
        says(),
        "checking the hash tree: hash 0 of the tree does not match its data"
    );
    flip(&data, OFFSET + 5);
    flip(&hash, 3 * 4096);
    assert!(says().contains("does not match"));
    flip(&hash, 3 * 4096);
    flip(&hash, 66);
    assert!(says().contains("not SHA-256 over blocks of 4096 bytes"));
    flip(&hash, 66);
    flip(&hash, 77);
    assert!(says().starts_with("reading the image at "));
    flip(&hash, 77);
    let blocks = 300 * 4096;
    for sizes in [[4096, u64::MAX], [u64::MAX, 4096], [blocks - 1, u64::MAX]] {
        // A superblock that claims terabytes made it read for hours.
        let error = verify(&data, OFFSET, &hash, 0, sizes).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("do not fit into the partitions")
        );
    }
    assert!(verify(&data, OFFSET, &hash, 0, [u64::MAX; 2]).is_ok());
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let folder = tempfile::tempdir().unwrap();
    let mut image = Extents::default();
    image.push(0, Content::from(vec![0x41; 512 << 20])).unwrap();
    let begin = std::time::Instant::now();
    seal(folder.path(), &image);
    println!("{:.0} MB/s", 537.0 / begin.elapsed().as_secs_f64());
}
