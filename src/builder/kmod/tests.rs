//! Index files of made-up modules, and those of a real kernel beside depmod's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::info::Module;
use super::output::{alias_key, index_files};
use super::{install_module_indexes, module_closure, modules_folder};
use crate::builder::tree::{Node, Tree};

const VERSION: &str = "6.12.0-test";

fn module(path: &str, depends: &[&str]) -> Module {
    Module {
        path: path.to_owned(),
        name: super::info::module_name(path),
        depends: depends.iter().map(|name| (*name).to_owned()).collect(),
        ..Module::default()
    }
}

/// A tree with the text files of a few made-up modules.
fn sample() -> Tree {
    let mut disk = module("kernel/virtio-blk.ko.xz", &["virtio", "ring"]);
    disk.aliases = vec!["virtio:d00000002v*".into(), "block-major-254-*".into()];
    disk.soft = vec!["pre: crc32c post: absent".into()];
    let mut sum = module("kernel/crc32c-generic.ko.xz", &[]);
    sum.aliases = vec!["crc32c".into()];
    let mut fuse = module("kernel/fuse.ko.xz", &[]);
    fuse.aliases = vec!["devname:fuse".into(), "char-major-10-229".into()];
    fuse.exports = BTreeSet::from(["fuse_get".into()]);
    fuse.weak = vec!["cuse".into()];
    let modules = [
        disk,
        module("kernel/virtio.ko.xz", &["ring"]),
        module("kernel/ring.ko.xz", &[]),
        sum,
        fuse,
    ];
    let mut tree = Tree::default();
    let built_in = "kernel/fs/ext4/ext4.ko\n";
    let files = index_files(&modules, built_in, b"ext4.alias=fs-ext4\0").unwrap();
    let folder = modules_folder(VERSION);
    let mut put = |name: &str, bytes: Vec<u8>| {
        tree.insert(&format!("{folder}/{name}"), Node::file(0o644, bytes))
            .unwrap();
    };
    for (name, bytes) in files {
        put(name, bytes);
    }
    put("modules.builtin", built_in.into());
    tree
}

fn text(tree: &Tree, name: &str) -> String {
    super::read_text(tree, &format!("{}/{name}", modules_folder(VERSION))).unwrap()
}

#[test]
fn text_files_say_what_depmod_would() {
    let tree = sample();
    assert_eq!(
        text(&tree, "modules.dep"),
        "kernel/virtio-blk.ko.xz: kernel/virtio.ko.xz kernel/ring.ko.xz\n\
         kernel/virtio.ko.xz: kernel/ring.ko.xz\n\
         kernel/ring.ko.xz:\n\
         kernel/crc32c-generic.ko.xz:\n\
         kernel/fuse.ko.xz:\n"
    );
    assert_eq!(
        text(&tree, "modules.softdep"),
        "# Soft dependencies extracted from modules themselves.\n\
         softdep virtio_blk pre: crc32c post: absent\n"
    );
    assert_eq!(
        text(&tree, "modules.devname"),
        "# Device nodes to trigger on-demand module loading.\n\
         fuse fuse c10:229\n"
    );
    assert_eq!(
        text(&tree, "modules.symbols"),
        "# Aliases for symbols, used by symbol_request().\n\
         alias symbol:fuse_get fuse\n"
    );
}

#[test]
fn brackets_keep_their_dashes() {
    assert_eq!(alias_key("a-b[0-9]-c").unwrap(), "a_b[0-9]_c");
    assert_eq!(alias_key("a[0-9"), None);
    assert_eq!(alias_key("a]"), None);
}

#[test]
fn a_closure_takes_what_exists() {
    let closure = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        module_closure(&sample(), VERSION, &names)
    };
    assert_eq!(
        closure(&["virtio-blk", "ext4"]).unwrap(),
        ["crc32c-generic", "ring", "virtio-blk", "virtio"]
            .map(|name| format!("usr/lib/modules/{VERSION}/kernel/{name}.ko.xz"))
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(
        closure(&["nonsense"]).unwrap_err().to_string(),
        "collecting kernel modules: kernel 6.12.0-test has no module nonsense"
    );
}

#[test]
fn a_loop_is_named() {
    let modules = [module("a.ko", &["b"]), module("b.ko", &["a"])];
    let error = index_files(&modules, "", b"").unwrap_err();
    assert!(error.to_string().contains("depends on itself"), "{error}");
}

/// A folder with `usr/lib/modules/VERSION` of a real kernel, from
/// `MAILIMG_TEST_KERNEL`.
fn real_kernel() -> Option<(PathBuf, String)> {
    let Ok(root) = std::env::var("MAILIMG_TEST_KERNEL") else {
        println!("skipped: MAILIMG_TEST_KERNEL names no unpacked kernel package");
        return None;
    };
    let root = PathBuf::from(root);
    let versions = std::fs::read_dir(root.join("usr/lib/modules")).unwrap();
    let version = versions.into_iter().next().unwrap().unwrap().file_name();
    Some((root, version.into_string().unwrap()))
}

fn copy_to_tree(root: &Path) -> Tree {
    let mut tree = Tree::default();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(root).unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            tree.insert(path.to_str().unwrap(), Node::file(0o644, bytes))
                .unwrap();
        }
    }
    tree
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output.stdout
}

/// Lines as a set, the words after the first one sorted.
fn lines(bytes: &[u8]) -> BTreeSet<String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .map(|line| {
            let mut words: Vec<&str> = line.split_whitespace().collect();
            if let Some((_, rest)) = words.split_first_mut() {
                rest.sort_unstable();
            }
            words.join(" ")
        })
        .collect()
}

#[test]
fn a_real_kernels_files_are_depmods() {
    let Some((root, version)) = real_kernel() else {
        return;
    };
    if Command::new("depmod").arg("--version").output().is_err() {
        println!("skipped: depmod is not installed");
        return;
    }
    let begin = std::time::Instant::now();
    let mut tree = copy_to_tree(&root);
    install_module_indexes(&mut tree, &version).unwrap();
    println!("indexed in {:?}", begin.elapsed());
    let folder = tempfile::tempdir().unwrap();
    // depmod and modprobe of a merged /usr look below lib/.
    let theirs = folder.path().join("lib/modules").join(&version);
    std::fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    let source = root.join(modules_folder(&version));
    output(Command::new("cp").arg("-r").args([&source, &theirs]));
    output(
        Command::new("depmod")
            .arg("-b")
            .arg(folder.path())
            .arg(&version),
    );
    let ours = |name: &str| {
        let path = format!("{}/{name}", modules_folder(&version));
        tree.content(&path).unwrap().read().unwrap()
    };
    for name in [
        "modules.alias",
        "modules.builtin.bin",
        "modules.builtin.alias.bin",
        "modules.alias.bin",
        "modules.softdep",
        "modules.devname",
    ] {
        assert!(
            ours(name) == std::fs::read(theirs.join(name)).unwrap(),
            "{name} differs"
        );
    }
    for name in ["modules.dep", "modules.symbols"] {
        let difference: Vec<String> = lines(&ours(name))
            .symmetric_difference(&lines(&std::fs::read(theirs.join(name)).unwrap()))
            .cloned()
            .collect();
        assert_eq!(difference, Vec::<String>::new(), "{name}");
    }
    let symbols = "modules.symbols.bin";
    assert!(ours(symbols) == std::fs::read(theirs.join(symbols)).unwrap());
    // The search trees as modprobe reads them.
    for name in ["modules.dep", "modules.dep.bin"] {
        std::fs::write(theirs.join(name), ours(name)).unwrap();
    }
    for name in [
        "virtio_net",
        "dm-verity",
        "erofs",
        "vfat",
        "xfs",
        "fs-overlay",
        "nft_ct",
    ] {
        let shown = output(
            Command::new("modprobe")
                .args(["-S", &version, "--show-depends", name, "-d"])
                .arg(folder.path()),
        );
        let shown: BTreeSet<String> = String::from_utf8(shown)
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("insmod "))
            .map(|line| line.trim().split_once("/kernel/").unwrap().1.to_owned())
            .collect();
        let closure = module_closure(&tree, &version, &[name.to_owned()]).unwrap();
        let closure: BTreeSet<String> = closure
            .iter()
            .map(|path| path.split_once("/kernel/").unwrap().1.to_owned())
            .collect();
        assert!(shown.is_subset(&closure), "{name}: {shown:?} {closure:?}");
        println!(
            "{name}: {} by modprobe, {} by us",
            shown.len(),
            closure.len()
        );
    }
}
