//! Proofs about a tree: every program finds its libraries, ours runs in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::builder::tree::{Content, Kind, Tree, name_of};
use crate::error::hinted;

use super::file::ElfFile;
use super::loader::{find_library, load};

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
/// Proves that no ld.so.cache is needed.
///
/// Fails, naming all of them, when a program misses a library that is neither
/// in the search path of what needs it nor in the loader's built-in one.
/// Libraries that no program is linked with must find theirs alone.
pub fn check_tree(tree: &Tree) -> Result<()> {
    let candidates: Vec<(&str, &Content)> = ROOTS
        .into_iter()
        .flat_map(|root| tree.below(root))
        .filter_map(|(path, node)| match &node.kind {
            Kind::File(content) => Some((path, content)),
            _ => None,
        })
        .collect();
    let files: BTreeMap<&str, Arc<ElfFile>> = candidates
        .into_par_iter()
        .map(|(path, content)| Ok((path, ElfFile::read_content(path, content)?)))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter_map(|(path, file)| Some((path, Arc::new(file?))))
        .collect();
    let mut reached = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for programs in [true, false] {
        for (path, file) in &files {
            let done = !programs && reached.contains(*path);
            if file.interpreter.is_some() != programs || done {
                continue;
            }
            let mut read = |path: &str| Ok(files.get(path).cloned());
            let loaded = load(tree, path, &mut read, &|_| false)?;
            reached.extend(
                loaded
                    .libraries
                    .iter()
                    .filter_map(|path| tree.resolve(path)),
            );
            let lines = loaded.missing.iter();
            missing.extend(lines.map(|(user, name)| format!("/{user} needs {name}")));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<String> = missing.into_iter().collect();
    Err(hinted(
        format!("checking that libraries are found: {}", missing.join(", ")),
        "the image has no ld.so.cache: add the package that brings the library, or drop the user of it",
    ))
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
        let own = file.interpreter.clone();
        let path = own
            .filter(|interpreter| name_of(interpreter) == name)
            .or_else(|| find_library(tree, name, &file, AT));
        let Some(path) = path else {
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
