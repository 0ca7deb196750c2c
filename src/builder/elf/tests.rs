//! Closures and checks over trees of made-up ELF files and this test program.

use crate::builder::tree::{Node, Tree};
use crate::error::render;

use super::{check_runs_in, check_tree, closure};

const DT_NEEDED: u64 = 1;
const DT_RUNPATH: u64 = 29;
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// A section: its type, the section it refers to, its bytes.
type Section = (u32, u32, Vec<u8>);

/// A library that says that it needs these names.
fn elf(needed: &[&str], runpath: Option<&str>, dlopen: Option<&str>) -> Vec<u8> {
    let mut strings = vec![0];
    let mut dynamic: Vec<u64> = Vec::new();
    let entries = needed.iter().map(|name| (DT_NEEDED, *name));
    for (tag, text) in entries.chain(runpath.map(|path| (DT_RUNPATH, path))) {
        dynamic.extend([tag, strings.len() as u64]);
        strings.extend(text.as_bytes());
        strings.push(0);
    }
    dynamic.extend([0, 0]);
    let dynamic = dynamic.iter().flat_map(|word| word.to_le_bytes()).collect();
    // Types: 3 strings, 6 dynamic, 7 notes.
    let mut sections: Vec<Section> = vec![(0, 0, Vec::new()), (3, 0, strings), (6, 1, dynamic)];
    if let Some(json) = dlopen {
        let mut note = Vec::new();
        for word in [4, json.len() as u32 + 1, 0x407c_0c0a] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"FDO\0");
        note.extend(json.as_bytes());
        note.resize((note.len() + 1).next_multiple_of(4), 0);
        sections.push((7, 0, note));
    }
    assemble(&sections)
}

fn assemble(sections: &[Section]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(64, 0);
    let mut headers = Vec::new();
    for (kind, link, bytes) in sections {
        file.resize(file.len().next_multiple_of(8), 0);
        let mut header = [0; 64];
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(file.len() as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        header[40..44].copy_from_slice(&link.to_le_bytes());
        header[48] = 4;
        headers.extend(header);
        file.extend(bytes);
    }
    file.resize(file.len().next_multiple_of(8), 0);
    let table = file.len() as u64;
    file[16..18].copy_from_slice(&3u16.to_le_bytes());
    file[18..20].copy_from_slice(&62u16.to_le_bytes());
    file[20] = 1;
    file[40..48].copy_from_slice(&table.to_le_bytes());
    file[52] = 64;
    file[54] = 56;
    file[58] = 64;
    file[60] = sections.len() as u8;
    file[62] = 1;
    file.extend(headers);
    file
}

/// A tree with a program, the libraries it needs and one that it may open.
fn sample() -> Tree {
    let mut tree = Tree::default();
    let mut put = |path: &str, bytes: Vec<u8>| {
        tree.insert(path, Node::file(0o755, bytes)).unwrap();
    };
    let notes = r#"[
        {"soname":["libnone.so.2","libopen.so.1"],"priority":"recommended"},
        {"soname":["libmaybe.so.1"],"priority":"suggested"},
        {"soname":["libgone.so.1"],"priority":"required"}]"#;
    put(
        "usr/bin/tool",
        elf(&["libown.so"], Some("/none:$ORIGIN/../lib/tool"), None),
    );
    put(
        "usr/lib/tool/libown.so",
        elf(&["liba.so.1"], None, Some(notes)),
    );
    for name in ["liba.so.1.2", "libopen.so.1", "libmaybe.so.1"] {
        put(&format!("{LIBRARIES}/{name}"), elf(&[], None, None));
    }
    put("usr/lib/run", b"#!/bin/tool -x\n".to_vec());
    for (path, target) in [
        ("bin", "usr/bin"),
        ("usr/lib/x86_64-linux-gnu/liba.so.1", "liba.so.1.2"),
    ] {
        tree.insert(path, Node::symlink(target)).unwrap();
    }
    tree
}

fn paths(tree: &Tree, root: &str, skipped: &[&str]) -> Vec<String> {
    let skipped: Vec<String> = skipped.iter().map(|name| (*name).to_owned()).collect();
    closure(tree, &[root.to_owned()], &skipped)
        .unwrap()
        .into_iter()
        .collect()
}

#[test]
fn a_closure_has_links_libraries_and_interpreters() {
    let all = [
        "bin",
        "usr/bin/tool",
        "usr/lib/run",
        "usr/lib/tool/libown.so",
        "usr/lib/x86_64-linux-gnu/liba.so.1",
        "usr/lib/x86_64-linux-gnu/liba.so.1.2",
        "usr/lib/x86_64-linux-gnu/libopen.so.1",
    ];
    assert_eq!(paths(&sample(), "usr/lib/run", &[]), all);
    assert_eq!(paths(&sample(), "usr/lib/run", &["libopen.so.1"]), all[..6]);
}

#[test]
fn a_missing_library_names_both_files() {
    let mut tree = sample();
    check_tree(&tree).unwrap();
    tree.remove("usr/lib/x86_64-linux-gnu/liba.so.1.2");
    let error = closure(&tree, &["usr/bin/tool".into()], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "following what /usr/lib/tool/libown.so needs: no liba.so.1 where the loader looks"
    );
    tree.remove("usr/lib/tool/libown.so");
    tree.insert(
        "usr/sbin/other",
        Node::file(0o755, elf(&["libx.so"], None, None)),
    )
    .unwrap();
    assert_eq!(
        render(&check_tree(&tree).unwrap_err()),
        "error: checking that libraries are found: /usr/bin/tool needs libown.so, \
         /usr/sbin/other needs libx.so\n\
         hint: the image has no ld.so.cache: add the package that brings the library, \
         or drop the user of it"
    );
}

#[test]
fn this_program_runs_where_its_libraries_are() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let mut tree = Tree::default();
    let mut put = |path: &str| match std::fs::read(format!("/{path}")) {
        Ok(bytes) => tree.insert(path, Node::file(0o755, bytes)).is_ok(),
        Err(_) => false,
    };
    let names = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"];
    let there = names.map(|name| put(&format!("lib/x86_64-linux-gnu/{name}")));
    if there.contains(&false) || !put("lib64/ld-linux-x86-64.so.2") {
        println!("skipped: this machine is not laid out like Debian's amd64");
        return;
    }
    check_runs_in(&program, &tree).unwrap();
    let libc = "lib/x86_64-linux-gnu/libc.so.6";
    tree.insert(libc, Node::file(0o755, elf(&[], None, None)))
        .unwrap();
    let error = check_runs_in(&program, &tree).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the image's libc.so.6 lacks GLIBC_2."),
        "{error}"
    );
    tree.remove(libc);
    let error = check_runs_in(&program, &tree).unwrap_err();
    assert_eq!(error.to_string(), "the image has no libc.so.6");
}

#[test]
fn damaged_headers_are_an_error_that_names_the_file() {
    let mut tree = sample();
    let mut bytes = elf(&["liba.so.1"], None, None);
    bytes[40] = 0xff;
    bytes[46] = 0xff;
    tree.insert("usr/bin/bad", Node::file(0o755, bytes))
        .unwrap();
    let error = check_tree(&tree).unwrap_err();
    assert!(format!("{error:#}").starts_with("reading /usr/bin/bad: reading ELF headers"));
    assert!(check_runs_in(b"#!/bin/sh", &tree).is_err());
}
