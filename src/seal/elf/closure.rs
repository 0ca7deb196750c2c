//! All files that a set of programs needs to run.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::error::hinted;
use crate::tree::{Kind, Tree};

use super::file::{ElfFile, Priority};
use super::loader::{find_library, follow};

/// Longest first line of a script that the kernel reads, BINPRM_BUF_SIZE.
const SCRIPT_LINE: usize = 256;

/// The paths that these paths need to run, themselves and all links among them.
///
/// Taken along: links on the way, the loader, linked libraries, interpreters
/// of scripts, and of the libraries that programs say they open at run time
/// those that are not just suggested and exist. Names of libraries in
/// `skipped` are not opened. A linked library that is missing is an error.
pub fn closure(tree: &Tree, roots: &[String], skipped: &[String]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut queue: Vec<(String, String)> = Vec::new();
    for root in roots {
        queue.push((root.clone(), String::new()));
    }
    let mut read = BTreeSet::new();
    while let Some((path, user)) = queue.pop() {
        let target = follow(tree, &path, &mut |link| {
            found.insert(link.to_owned());
        });
        let Some(target) = target else {
            if user.is_empty() {
                return Err(hinted(
                    format!("following what /{path} needs: no such path in the tree"),
                    "a file pattern or link names something that no package brings",
                ));
            }
            bail!("following what /{user} needs: no /{path} in the tree");
        };
        if !read.insert(target.clone()) {
            continue;
        }
        for need in needs_of(tree, &target, skipped)? {
            queue.push((need, target.clone()));
        }
        found.insert(target);
    }
    found.remove("");
    Ok(found)
}

/// The paths that one resolved path needs directly.
fn needs_of(tree: &Tree, path: &str, skipped: &[String]) -> Result<Vec<String>> {
    let Some(Kind::File(content)) = tree.get(path).map(|node| &node.kind) else {
        return Ok(Vec::new());
    };
    let mut start = vec![0; content.len().min(SCRIPT_LINE as u64) as usize];
    content
        .read_exact_at(&mut start, 0)
        .with_context(|| format!("reading /{path}"))?;
    if let Some(interpreter) = script_interpreter(&start) {
        return Ok(vec![interpreter]);
    }
    if !ElfFile::matches(&start) {
        return Ok(Vec::new());
    }
    let bytes = content.read().with_context(|| format!("reading /{path}"))?;
    let Some(file) = ElfFile::parse(&bytes).with_context(|| format!("reading /{path}"))? else {
        return Ok(Vec::new());
    };
    let mut needs: Vec<String> = file.interpreter.iter().cloned().collect();
    for name in &file.needed {
        let Some(library) = find_library(tree, name, &file, path) else {
            bail!("following what /{path} needs: no library {name} where the loader looks");
        };
        needs.push(library);
    }
    for library in &file.dlopen {
        if library.priority == Priority::Suggested {
            continue;
        }
        let first = library
            .soname
            .iter()
            .filter(|name| !skipped.contains(name))
            .find_map(|name| find_library(tree, name, &file, path));
        needs.extend(first);
    }
    Ok(needs)
}

/// The program in a script's first line.
fn script_interpreter(start: &[u8]) -> Option<String> {
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let line = String::from_utf8_lossy(line);
    line.split_whitespace().next().map(str::to_owned)
}
