//! An initrd: cpio archives of a tree, one after the other, each compressed by itself.
//!
//! Format "newc", and that archives may follow each other with zeros between them:
//! <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>.
//! Inode numbers count from 1 in path order; the first name of a file with
//! hard links carries its data, as the kernel's unpacker expects. A file with names in
//! several archives is in each of them.
//!
//! Why several: a change in one file changes all that is compressed with it. Where they
//! are cut depends on names alone and each begins at a whole page, so that an upgrade finds
//! most of the initrd that it has.
//!
//! Left out: extended attributes, which the format cannot hold, and times:
//! all are 0.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};
use sha2::{Digest, Sha256};

use crate::builder::tree::{Content, Kind, Node, Tree};

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
/// Names and data are padded to this many bytes.
const ALIGNMENT: usize = 4;
/// File type bits of a mode, inode(7).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
/// Of the mail image's initrd, 34.6 MB, zstd(1) makes on one core: level 6
/// 11.8 MB in 0.7 s, 9 11.5 MB in 1.1 s, 12 11.4 MB in 2.4 s, 19 10.1 MB in 22 s.
const ZSTD_LEVEL: i32 = 9;

/// In how many names one begins a new archive, about. Of the mail image's initrd this makes
/// some 25 archives, which are 3 % larger than one.
const NAMES_PER_ARCHIVE: u8 = 32;
/// Archives begin at multiples of this many bytes, as pieces do that upgrades compare.
const PAGE: usize = 4096;

/// One entry's numbers.
struct Header {
    inode: usize,
    mode: u32,
    uid: u32,
    gid: u32,
    links: usize,
}

/// Writes a tree as cpio archives, folders before what is in them.
pub fn write_cpio(tree: &Tree) -> Result<Vec<Vec<u8>>> {
    let links = link_counts(tree)?;
    let mut archives = Vec::new();
    let mut group = Vec::new();
    for (path, node) in tree.iter().filter(|(path, _)| !path.is_empty()) {
        if Sha256::digest(path)[0].is_multiple_of(NAMES_PER_ARCHIVE) && !group.is_empty() {
            archives.push(write_archive(tree, &links, &group)?);
            group.clear();
        }
        group.push((path, node));
    }
    archives.push(write_archive(tree, &links, &group)?);
    Ok(archives)
}

fn write_archive(
    tree: &Tree,
    links: &BTreeMap<&str, usize>,
    group: &[(&str, &Node)],
) -> Result<Vec<u8>> {
    let mut inodes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut archive = Vec::new();
    for (path, node) in group {
        let (file, node) = real(tree, path, node)?;
        let next = inodes.len() + 1;
        let first = !inodes.contains_key(file);
        let inode = *inodes.entry(file).or_insert(next);
        let empty = Content::from("");
        let (kind, data) = match &node.kind {
            Kind::Directory => (DIRECTORY, empty),
            Kind::File(content) if first => (REGULAR, content.clone()),
            Kind::File(_) => (REGULAR, empty),
            Kind::Symlink(target) => (SYMLINK, Content::from(target.as_str())),
            Kind::HardLink(_) => bail!("archiving {path}: a hard link to a hard link"),
        };
        let header = Header {
            inode,
            mode: kind | u32::from(node.metadata.mode),
            uid: node.metadata.uid,
            gid: node.metadata.gid,
            links: match node.kind {
                Kind::Directory => 2,
                _ => links.get(file).copied().unwrap_or(1),
            },
        };
        put_entry(&mut archive, path, &header, &data)
            .with_context(|| format!("archiving {path}"))?;
    }
    let header = Header {
        inode: 0,
        mode: 0,
        uid: 0,
        gid: 0,
        links: 1,
    };
    put_entry(&mut archive, TRAILER, &header, &Content::from(""))?;
    Ok(archive)
}

/// How many names the files with hard links have.
fn link_counts(tree: &Tree) -> Result<BTreeMap<&str, usize>> {
    let mut links = BTreeMap::new();
    for (path, node) in tree.iter() {
        if let Kind::HardLink(_) = &node.kind {
            *links.entry(real(tree, path, node)?.0).or_insert(1) += 1;
        }
    }
    Ok(links)
}

/// The path and node that a hard link stands for, or what was given.
fn real<'a>(tree: &'a Tree, path: &'a str, node: &'a Node) -> Result<(&'a str, &'a Node)> {
    let Kind::HardLink(target) = &node.kind else {
        return Ok((path, node));
    };
    let node = tree
        .get(target)
        .with_context(|| format!("archiving {path}: no /{target} in the tree"))?;
    Ok((target, node))
}

fn put_entry(archive: &mut Vec<u8>, name: &str, header: &Header, data: &Content) -> Result<()> {
    let length = u32::try_from(data.len()).context("storing over 4 GiB in a cpio archive")?;
    let fields = [
        header.inode as u32,
        header.mode,
        header.uid,
        header.gid,
        header.links as u32,
        0, // time
        length,
        0, // device of the file, major and minor
        0,
        0, // device that the file is, major and minor
        0,
        name.len() as u32 + 1,
        0, // no checksum
    ];
    archive.extend(MAGIC.as_bytes());
    for field in fields {
        archive.extend(format!("{field:08X}").as_bytes());
    }
    archive.extend(name.as_bytes());
    archive.push(0);
    pad(archive);
    data.copy_to(archive)?;
    pad(archive);
    Ok(())
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(ALIGNMENT), 0);
}

/// Compresses archives for the kernel, each as one zstd frame.
///
/// One thread for each, so that the bytes do not depend on how many there are.
pub fn compress_initrd(archives: &[Vec<u8>]) -> Result<Vec<u8>> {
    let frames: Vec<Vec<u8>> = archives
        .par_iter()
        .map(|archive| {
            let mut encoder = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
            encoder.include_checksum(true)?;
            encoder.compress(archive).context("compressing the initrd")
        })
        .collect::<Result<_>>()?;
    let mut initrd = Vec::new();
    for frame in frames {
        initrd.resize(initrd.len().next_multiple_of(PAGE), 0);
        initrd.extend(frame);
    }
    Ok(initrd)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::{compress_initrd, write_cpio};
    use crate::builder::tree::{Kind, Metadata, Node, Tree};

    fn sample() -> Tree {
        let mut tree = Tree::default();
        let link = Node {
            metadata: Metadata::root(0o755),
            kind: Kind::HardLink("usr/bin/tool".into()),
        };
        tree.insert("usr/bin/again", link).unwrap();
        tree.insert("usr/bin/tool", Node::file(0o4755, *b"hello"))
            .unwrap();
        tree.insert("init", Node::symlink("usr/bin/tool")).unwrap();
        tree
    }

    #[test]
    fn an_entry_is_the_published_format() {
        let mut tree = Tree::default();
        tree.insert("ab", Node::file(0o644, *b"xyz")).unwrap();
        let text = String::from_utf8(write_cpio(&tree).unwrap().concat()).unwrap();
        assert_eq!(
            text,
            "07070100000001000081A400000000000000000000000100000000\
             00000003000000000000000000000000000000000000000300000000\
             ab\0\0\0\0xyz\0\
             07070100000000000000000000000000000000000000010000000\
             000000000000000000000000000000000000000000000000B00000000\
             TRAILER!!!\0\0\0\0"
        );
    }

    #[test]
    fn cpio_unpacks_links_and_modes() {
        if Command::new("cpio").arg("--version").output().is_err() {
            tell!("skipped: cpio is not installed");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("cpio")
            .args(["-idm", "--quiet"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let archives = write_cpio(&sample()).unwrap();
        child.stdin.take().unwrap().write_all(&archives[0]).unwrap();
        assert!(child.wait().unwrap().success());
        for name in ["usr/bin/again", "usr/bin/tool", "init"] {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert_eq!(text, "hello", "{name}");
        }
        assert_eq!(
            std::fs::read_link(folder.path().join("init")).unwrap(),
            std::path::Path::new("usr/bin/tool")
        );
    }

    #[test]
    fn each_archive_is_a_frame_at_a_page() {
        let mut tree = sample();
        for number in 0..400u32 {
            let text = number.to_string().repeat(700);
            let name = format!("usr/lib/{number}");
            tree.insert(&name, Node::file(0o644, text)).unwrap();
        }
        let archives = write_cpio(&tree).unwrap();
        assert!((5..40).contains(&archives.len()), "{}", archives.len());
        let packed = compress_initrd(&archives).unwrap();
        assert_eq!(packed, compress_initrd(&archives).unwrap());
        let pages: Vec<&[u8]> = packed.chunks(4096).collect();
        let starts = pages
            .iter()
            .filter(|page| page.starts_with(b"\x28\xb5\x2f\xfd"));
        assert_eq!(starts.count(), archives.len());

        // One file changes, and one archive.
        tree.insert("usr/lib/200", Node::file(0o644, *b"new"))
            .unwrap();
        let changed = write_cpio(&tree).unwrap();
        let same = archives.iter().filter(|archive| changed.contains(archive));
        assert_eq!(same.count(), archives.len() - 1);
    }
}
