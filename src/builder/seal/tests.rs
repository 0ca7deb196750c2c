//! All of it on a real tree: unpacked Debian packages with a kernel.
//!
//! `MAILIMG_TEST_ROOT` names a folder into which packages were unpacked,
//! `MAILIMG_TEST_INITRD` a file with a recipe's `files` and `modules`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use super::{cpio, erofs, initrd};
use crate::builder::recipe::Initrd;
use crate::builder::tree::{Content, FileSlice, Kind, Metadata, Node, Tree};
use crate::builder::{elf, kmod};
use crate::format::verity;

/// The tree of a folder, contents by reference.
fn tree_of(root: &Path) -> Tree {
    let mut tree = Tree::default();
    let mut links: BTreeMap<u64, String> = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap();
        let real = entry.metadata().unwrap();
        let kind = if real.is_dir() {
            Kind::Directory
        } else if real.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            Kind::Symlink(target.to_str().unwrap().to_owned())
        } else if let Some(first) = links.get(&real.ino()) {
            Kind::HardLink(first.clone())
        } else {
            links.insert(real.ino(), path.to_owned());
            Kind::File(Content::Slice(FileSlice {
                file: Arc::new(File::open(entry.path()).unwrap()),
                offset: 0,
                length: real.len(),
            }))
        };
        let mut metadata = Metadata::root((real.permissions().mode() & 0o7777) as u16);
        (metadata.uid, metadata.gid) = (real.uid(), real.gid());
        tree.insert(path, Node { metadata, kind }).unwrap();
    }
    tree
}

struct Clock(Instant);

impl Clock {
    fn lap(&mut self, what: &str) {
        println!("{:6.2} s  {what}", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}

#[test]
fn a_real_root_is_sealed() {
    let Ok(root) = std::env::var("MAILIMG_TEST_ROOT") else {
        println!("skipped: MAILIMG_TEST_ROOT names no folder of unpacked packages");
        return;
    };
    let mut clock = Clock(Instant::now());
    let mut tree = tree_of(Path::new(&root));
    let version = tree
        .below("usr/lib/modules")
        .next()
        .map(|(path, _)| crate::builder::tree::name_of(path).to_owned())
        .unwrap();
    clock.lap("reading the folder");
    kmod::install_module_indexes(&mut tree, &version).unwrap();
    clock.lap("indexing modules");
    if let Err(error) = elf::check_tree(&tree) {
        println!("{}", crate::error::render(&error));
    }
    clock.lap("checking libraries");
    if let Ok(path) = std::env::var("MAILIMG_TEST_INITRD") {
        let spec: Initrd = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let tree = initrd::make_initrd_tree(&tree, &spec, &version, &Tree::default()).unwrap();
        clock.lap("making the initrd's tree");
        let archives = cpio::write_cpio(&tree).unwrap();
        let packed = cpio::compress_initrd(&archives).unwrap();
        clock.lap("packing the initrd");
        println!(
            "{} paths, {} bytes, {} packed",
            tree.len(),
            archives.concat().len(),
            packed.len()
        );
        println!("{}", tree.listing());
    }
    let image = erofs::plan_erofs(&tree, 1_700_000_000, [1; 16]).unwrap();
    clock.lap("laying out the root");
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        options.open(folder.path().join(name)).unwrap()
    };
    let (data, hash) = (open("data"), open("hash"));
    data.set_len(image.size()).unwrap();
    let begin = Instant::now();
    let root_hash = verity::write_verity(&image, &data, 0, &hash, 0, [2; 32], [3; 16]).unwrap();
    let rate = image.size() as f64 / 1e6 / begin.elapsed().as_secs_f64();
    clock.lap("writing and sealing");
    println!("{} MB, {rate:.0} MB/s", image.size() / 1_000_000);
    assert_eq!(
        verity::verify(&data, 0, &hash, 0, [u64::MAX; 2]).unwrap(),
        root_hash
    );
    clock.lap("verifying");
    let out = folder.path().join("out");
    let fsck = Command::new("fsck.erofs")
        .arg(format!("--extract={}", out.display()))
        .arg(folder.path().join("data"))
        .output();
    let Ok(fsck) = fsck else {
        println!("skipped: fsck.erofs is not installed");
        return;
    };
    assert!(fsck.status.success(), "{fsck:?}");
    for (path, node) in tree.iter() {
        let there = out.join(path);
        let same = match &node.kind {
            Kind::File(content) => fs::read(&there).unwrap() == content.read().unwrap(),
            Kind::Symlink(target) => fs::read_link(&there).unwrap() == Path::new(target),
            Kind::Directory => there.is_dir(),
            Kind::HardLink(_) => there.is_file(),
        };
        assert!(same, "{path}");
    }
    clock.lap("extracting and comparing");
}
