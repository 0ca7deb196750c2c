//! Images read back by erofs-utils, and properties that need no tool.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::builder::tree::{Content, FileSlice, Kind, Metadata, Node, Tree};
use crate::format::extents::Extents;

use super::{BLOCK, Root, What, plan_erofs};

const BUILD_TIME: u64 = 1_700_000_000;
const UUID: [u8; 16] = [7; 16];

fn patterned(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

/// Every layout: sizes around a block, big directories, links, odd owners.
fn sample() -> Tree {
    let mut tree = Tree::default();
    for size in [
        0, 1, 100, 4063, 4064, 4065, 4095, 4096, 4097, 8192, 12_000, 70_000,
    ] {
        let name = format!("sizes/{size}");
        tree.insert(&name, Node::file(0o644, patterned(size)))
            .unwrap();
    }
    for number in 0..700 {
        let name = format!("many/entry-{number}-with-a-rather-long-name");
        tree.insert(&name, Node::file(0o600, format!("{number}")))
            .unwrap();
    }
    let backing = tempfile::tempfile().unwrap();
    backing.write_all_at(&patterned(30_000), 0).unwrap();
    let backing = Arc::new(backing);
    for (offset, length) in [(0, 9000), (9000, 50), (9050, 8192)] {
        let slice = Content::Slice(FileSlice {
            file: backing.clone(),
            offset,
            length,
        });
        let path = format!("slices/{offset}");
        tree.insert(&path, Node::file(0o755, slice)).unwrap();
    }
    let mut setuid = Node::file(0o4755, *b"#!/bin/sh\n");
    setuid.metadata.uid = 70_000;
    setuid.metadata.gid = 8;
    setuid
        .metadata
        .xattrs
        .insert("security.capability".into(), vec![1, 0, 0, 2, 0, 4, 0, 0]);
    setuid
        .metadata
        .xattrs
        .insert("user.note".into(), patterned(333));
    tree.insert("usr/bin/tool", setuid).unwrap();
    for name in ["usr/bin/again", "usr/lib/third"] {
        let link = Node {
            metadata: Metadata::root(0o755),
            kind: Kind::HardLink("usr/bin/tool".into()),
        };
        tree.insert(name, link).unwrap();
    }
    tree.insert("bin", Node::symlink("usr/bin")).unwrap();
    tree.insert("long", Node::symlink("x/".repeat(2040)))
        .unwrap();
    tree.insert("tmp", Node::directory(0o1777)).unwrap();
    tree
}

fn bytes(image: &Extents) -> Vec<u8> {
    let mut bytes = vec![0; image.size() as usize];
    image.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Whether a tool is there; says so when it is not.
fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--help").output().is_ok();
    if !found {
        println!("skipped: {tool} is not installed");
    }
    found
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn fsck_extracts_the_same_tree() {
    if !have("fsck.erofs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let out = folder.path().join("out");
    let tree = sample();
    fs::write(&image, bytes(&plan_erofs(&tree, BUILD_TIME, UUID).unwrap())).unwrap();
    let extract = format!("--extract={}", out.display());
    run(Command::new("fsck.erofs").arg(extract).arg(&image));
    assert_eq!(compare(&tree, &out), Vec::<String>::new());
    assert_eq!(
        walkdir::WalkDir::new(&out).into_iter().count(),
        tree.len(),
        "as many paths"
    );
}

/// What differs between a tree and a folder.
fn compare(tree: &Tree, out: &Path) -> Vec<String> {
    let mut differences = Vec::new();
    for (path, node) in tree.iter() {
        let there = out.join(path);
        let real = fs::symlink_metadata(&there).unwrap();
        let same = match &node.kind {
            Kind::Directory => real.is_dir(),
            Kind::File(content) => {
                real.is_file() && fs::read(&there).unwrap() == content.read().unwrap()
            }
            Kind::Symlink(target) => fs::read_link(&there).unwrap() == Path::new(target),
            Kind::HardLink(target) => {
                fs::read(&there).unwrap() == fs::read(out.join(target)).unwrap()
            }
        };
        // fsck.erofs changes the owner last, which takes the set-user-ID bit off.
        let mode_same = match node.kind {
            Kind::Directory => real.mode() & 0o7777 == u32::from(node.metadata.mode),
            Kind::File(_) => real.mode() & 0o1777 == u32::from(node.metadata.mode) & 0o1777,
            Kind::Symlink(_) | Kind::HardLink(_) => true,
        };
        if !same || !mode_same {
            differences.push(format!("{path}: {real:?}"));
        }
    }
    differences
}

#[test]
fn dump_shows_links_owner_and_attributes() {
    if !have("dump.erofs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::write(
        &image,
        bytes(&plan_erofs(&sample(), BUILD_TIME, UUID).unwrap()),
    )
    .unwrap();
    let text = run(Command::new("dump.erofs")
        .env("TZ", "UTC")
        .arg("--path=/usr/lib/third")
        .arg(&image));
    for part in [
        "Uid: 70000",
        "Gid: 8",
        "Access: 0755",
        "Links: 3",
        "Xattr size: 380",
        "2023-11-14 22:13:20",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = run(Command::new("dump.erofs").arg("-s").arg(&image));
    assert!(text.contains("sb_csum"), "{text}");
    assert!(
        text.contains("07070707-0707-0707-0707-070707070707"),
        "{text}"
    );
}

#[test]
#[ignore = "needs root: mounts the image"]
fn the_kernel_mounts_it() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let at = folder.path().join("at");
    fs::create_dir(&at).unwrap();
    let tree = sample();
    fs::write(&image, bytes(&plan_erofs(&tree, BUILD_TIME, UUID).unwrap())).unwrap();
    run(Command::new("mount")
        .args(["-t", "erofs", "-o", "loop,ro"])
        .args([&image, &at]));
    let differences = compare(&tree, &at);
    let tool = fs::metadata(at.join("usr/bin/again")).unwrap();
    let names = fs::read_dir(at.join("many")).unwrap().count();
    let attributes = Command::new("getfattr")
        .args(["-d", "-m", "-"])
        .arg(at.join("usr/bin/tool"))
        .output();
    run(Command::new("umount").arg(&at));
    assert_eq!(differences, Vec::<String>::new());
    assert_eq!(
        (tool.mode(), tool.uid(), tool.nlink(), tool.mtime()),
        (0o104_755, 70_000, 3, BUILD_TIME as i64)
    );
    assert_eq!(names, 700);
    println!("{attributes:?}");
}

#[test]
fn inline_data_never_crosses_a_block() {
    let tree = sample();
    let mut plan = super::collect(&tree).unwrap();
    plan.place_inodes();
    for planned in &plan.files {
        let at = planned.nid * super::SLOT;
        let end = at + planned.inode.footprint();
        assert_eq!(at / BLOCK, (end - 1) / BLOCK, "{at}..{end}");
    }
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let one = bytes(&plan_erofs(&sample(), BUILD_TIME, UUID).unwrap());
    let two = bytes(&plan_erofs(&sample(), BUILD_TIME, UUID).unwrap());
    assert_eq!(one.len() as u64 % BLOCK, 0);
    assert!(one == two);
}

#[test]
fn what_the_format_cannot_hold_is_named() {
    let mut tree = Tree::default();
    let mut file = Node::file(0o644, *b"");
    file.metadata.xattrs.insert("strange.name".into(), vec![]);
    tree.insert("a/b", file).unwrap();
    let error = plan_erofs(&tree, 0, UUID).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "placing a/b: storing the extended attribute strange.name: EROFS has no such class"
    );
    let mut tree = Tree::default();
    let link = Node {
        metadata: Metadata::root(0o755),
        kind: Kind::HardLink("gone".into()),
    };
    tree.insert("a", link).unwrap();
    let error = plan_erofs(&tree, 0, UUID).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "placing a: its hard link's target gone is no file"
    );
}

/// Lets a reader work on an image in memory.
fn with_root<T>(image: &[u8], work: impl Fn(Root) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let read_at = |buffer: &mut [u8], offset: u64| {
        let part = image.get(offset as usize..).unwrap_or_default();
        match part.get(..buffer.len()) {
            Some(part) => buffer.copy_from_slice(part),
            None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    };
    work(Root::open(&read_at, image.len() as u64)?)
}

/// The listing of an image, as [`Tree::listing`] has it of a tree without hard links.
fn read_back(image: &[u8]) -> anyhow::Result<String> {
    let mut listing = String::new();
    for (path, stat) in with_root(image, |root| root.stats())? {
        let (mode, uid, gid) = (stat.mode, stat.uid, stat.gid);
        listing.push_str(&match &stat.what {
            What::Directory => format!("d {mode:04o} {uid}:{gid} /{path}\n"),
            What::File(size, digest) => {
                let digest = hex::encode(digest);
                format!("f {mode:04o} {uid}:{gid} /{path} {size} {digest}\n")
            }
            What::Symlink(target) => format!("l /{path} -> {target}\n"),
        });
    }
    Ok(listing)
}

#[test]
fn what_is_written_reads_back() {
    let tree = sample();
    let image = bytes(&plan_erofs(&tree, BUILD_TIME, UUID).unwrap());
    let mut expected = String::new();
    for (path, node) in tree.iter() {
        let at = tree.resolve(path).unwrap_or_default();
        let node = match &node.kind {
            Kind::HardLink(_) => tree.get(&at).unwrap(),
            _ => node,
        };
        let Metadata { mode, uid, gid, .. } = node.metadata;
        expected.push_str(&match &node.kind {
            Kind::Directory => format!("d {mode:04o} {uid}:{gid} /{path}\n"),
            Kind::File(content) => {
                let held = content.read().unwrap();
                let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&held));
                format!("f {mode:04o} {uid}:{gid} /{path} {} {digest}\n", held.len())
            }
            Kind::Symlink(target) | Kind::HardLink(target) => format!("l /{path} -> {target}\n"),
        });
    }
    assert_eq!(read_back(&image).unwrap(), expected);
    let read = |path: &str| with_root(&image, |root| root.read(path)).unwrap();
    assert_eq!(read("usr/bin/again").unwrap(), b"#!/bin/sh\n");
    assert_eq!(read("usr/bin/absent"), None);
    assert_eq!(read("usr"), None);
}

#[test]
fn damaged_images_are_errors_and_never_more() {
    let image = bytes(&plan_erofs(&sample(), BUILD_TIME, UUID).unwrap());
    assert!(read_back(&[]).is_err());
    assert!(read_back(&image[..image.len() / 2]).is_err());
    let mut compressed = image.clone();
    compressed[1024 + 80] = 1;
    assert!(read_back(&compressed).is_err());
    // Whatever stands in the inodes and names, reading ends.
    for at in (4096..4096 * 12).step_by(97) {
        let mut damaged = image.clone();
        damaged[at] ^= 0xff;
        let _ = read_back(&damaged);
    }
}
