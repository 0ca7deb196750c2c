//! Proofs about a tree: every program finds its libraries, ours runs in it.

use anyhow::{Context, Result, bail};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::error::hinted;
use crate::tree::{Kind, Tree};

use super::file::ElfFile;
use super::loader::find_library;

/// Where programs and libraries lie.
const ROOTS: [&str; 10] = [
    "bin",
    "lib",
    "lib64",
    "opt",
    "sbin",
    "usr/bin",
    "usr/lib",
    "usr/libexec",
    "usr/local",
    "usr/sbin",
];
/// Bytes that tell an ELF file of our machine.
const START: u64 = 20;

/// Proves that no ld.so.cache is needed.
///
/// Fails, naming all of them, when a program or library needs a library that
/// is neither in its own search path nor in the loader's built-in one.
pub fn check_tree(tree: &Tree) -> Result<()> {
    let files: Vec<_> = ROOTS
        .into_iter()
        .flat_map(|root| tree.below(root))
        .filter_map(|(path, node)| match &node.kind {
            Kind::File(content) if content.len() >= START => Some((path, content)),
            _ => None,
        })
        .collect();
    let missing: Vec<Vec<String>> = files
        .into_par_iter()
        .map(|(path, content)| {
            let mut start = [0; START as usize];
            content
                .read_exact_at(&mut start, 0)
                .with_context(|| format!("reading /{path}"))?;
            if !ElfFile::matches(&start) {
                return Ok(Vec::new());
            }
            let bytes = content.read().with_context(|| format!("reading /{path}"))?;
            let file = ElfFile::parse(&bytes).with_context(|| format!("reading /{path}"))?;
            Ok(file.map_or_else(Vec::new, |file| missing_of(tree, &file, path)))
        })
        .collect::<Result<_>>()?;
    let missing = missing.concat();
    if missing.is_empty() {
        return Ok(());
    }
    Err(hinted(
        format!("checking that libraries are found: {}", missing.join(", ")),
        "the image has no ld.so.cache: add the package that brings the library, or drop the user of it",
    ))
}

fn missing_of(tree: &Tree, file: &ElfFile, path: &str) -> Vec<String> {
    file.needed
        .iter()
        .filter(|name| find_library(tree, name, file, path).is_none())
        .map(|name| format!("/{path} needs {name}"))
        .collect()
}

/// Proves that a program of ours runs with the tree's libraries.
///
/// It must be static, or everything it is linked with must be in the tree in
/// a version that provides the symbol versions it was linked against.
pub fn check_runs_in(binary: &[u8], tree: &Tree) -> Result<()> {
    /// Where our programs lie in an image.
    const AT: &str = "usr/bin/program";
    const HINT: &str =
        "compile it statically, or on the Debian release the image is made of or an older one";
    let Some(file) = ElfFile::parse(binary)? else {
        return Err(hinted("it is not an x86-64 ELF program", HINT));
    };
    if let Some(interpreter) = &file.interpreter
        && tree.content(interpreter).is_none()
    {
        return Err(hinted(format!("the image has no {interpreter}"), HINT));
    }
    for name in &file.needed {
        let Some(path) = find_library(tree, name, &file, AT) else {
            return Err(hinted(format!("the image has no {name}"), HINT));
        };
        let Some(content) = tree.content(&path) else {
            bail!("reading /{path}: not a file");
        };
        let bytes = content.read().with_context(|| format!("reading /{path}"))?;
        let library = ElfFile::parse(&bytes)
            .with_context(|| format!("reading /{path}"))?
            .unwrap_or_default();
        let lacking: Vec<&str> = file
            .needed_versions
            .get(name)
            .into_iter()
            .flatten()
            .filter(|version| !library.versions.contains(*version))
            .map(String::as_str)
            .collect();
        if !lacking.is_empty() {
            return Err(hinted(
                format!("the image's {name} lacks {}", lacking.join(", ")),
                HINT,
            ));
        }
    }
    Ok(())
}
