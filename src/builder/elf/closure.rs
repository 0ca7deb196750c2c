//! All files that a set of programs needs to run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::builder::tree::{Content, Kind, Tree};
use crate::error::hinted;

use super::file::ElfFile;
use super::loader::load;

/// Longest first line of a script that the kernel reads, BINPRM_BUF_SIZE.
const SCRIPT_LINE: u64 = 256;

/// The paths that these paths need to run, themselves and all links among them.
///
/// Taken along: links on the way, the loader, linked libraries, interpreters
/// of scripts, and of the libraries that programs say they open at run time
/// those that are not just suggested and exist. Names of libraries in
/// `skipped` are not opened. A linked library that is missing is an error.
pub fn closure(tree: &Tree, roots: &[String], skipped: &[String]) -> Result<BTreeSet<String>> {
    let mut closure = Closure {
        tree,
        skipped,
        found: BTreeSet::new(),
        files: BTreeMap::new(),
    };
    for root in roots {
        if tree.resolve(root).is_none() {
            return Err(hinted(
                format!("following what /{root} needs: no such path in the tree"),
                "a file pattern or link names something that no package brings",
            ));
        }
        closure.take(root)?;
    }
    closure.found.remove("");
    Ok(closure.found)
}

/// A closure on its way.
struct Closure<'a> {
    tree: &'a Tree,
    skipped: &'a [String],
    found: BTreeSet<String>,
    /// Headers that were read, by path without links.
    files: BTreeMap<String, Option<Arc<ElfFile>>>,
}

impl Closure<'_> {
    /// Takes a path and what it needs.
    fn take(&mut self, path: &str) -> Result<()> {
        let target = self.add(path);
        let Some(Kind::File(content)) = self.tree.get(&target).map(|node| &node.kind) else {
            return Ok(());
        };
        if let Some(interpreter) = script_interpreter(content, &target)? {
            if self.tree.content(&interpreter).is_none() {
                bail!("following what /{target} needs: no {interpreter} in the tree");
            }
            return self.take(&interpreter);
        }
        let (tree, skipped, files) = (self.tree, self.skipped, &mut self.files);
        let mut read = |path: &str| read_once(tree, files, path);
        let opens = |name: &str| !skipped.iter().any(|skipped| skipped == name);
        let loaded = load(tree, &target, &mut read, &opens)?;
        if let Some((user, name)) = loaded.missing.first() {
            bail!("following what /{user} needs: no {name} where the loader looks");
        }
        for library in &loaded.libraries {
            self.add(library);
        }
        Ok(())
    }

    /// Notes a path that exists and the links on the way; returns where they lead.
    fn add(&mut self, path: &str) -> String {
        let found = &mut self.found;
        let target = self.tree.follow(path, &mut |link| {
            found.insert(link.to_owned());
        });
        let target = target.unwrap_or_else(|| path.to_owned());
        self.found.insert(target.clone());
        target
    }
}

fn read_once(
    tree: &Tree,
    files: &mut BTreeMap<String, Option<Arc<ElfFile>>>,
    path: &str,
) -> Result<Option<Arc<ElfFile>>> {
    if let Some(file) = files.get(path) {
        return Ok(file.clone());
    }
    let file = match tree.get(path).map(|node| &node.kind) {
        Some(Kind::File(content)) => ElfFile::read_content(path, content)?.map(Arc::new),
        _ => None,
    };
    files.insert(path.to_owned(), file.clone());
    Ok(file)
}

/// The program in a script's first line.
fn script_interpreter(content: &Content, path: &str) -> Result<Option<String>> {
    let mut start = vec![0; content.len().min(SCRIPT_LINE) as usize];
    content
        .read_exact_at(&mut start, 0)
        .with_context(|| format!("reading /{path}"))?;
    let Some(line) = start.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or(line);
    let line = String::from_utf8_lossy(line);
    Ok(line.split_whitespace().next().map(str::to_owned))
}
