//! Loading a program out of a tree as ld.so(8) and the kernel would.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;

use crate::builder::tree::{Tree, name_of, parent_of};

use super::file::{ElfFile, Priority};

/// What `ld.so --help` of Debian's amd64 glibc prints as system search path.
const SYSTEM_DIRECTORIES: [&str; 4] = [
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib",
    "usr/lib",
];
/// What `$LIB` and `$PLATFORM` stand for on Debian's amd64.
const LIB: &str = "lib/x86_64-linux-gnu";
const PLATFORM: &str = "x86_64";

/// What loading a program or library brings into memory.
#[derive(Default)]
pub(super) struct Loaded {
    /// Paths of the libraries, links not followed, in the loader's order.
    pub libraries: Vec<String>,
    /// Files and names of the libraries that they miss.
    pub missing: Vec<(String, String)>,
}

/// Reads the headers of the file at a path without links; none if it is no ELF file.
pub(super) type ReadElf<'a> = dyn FnMut(&str) -> Result<Option<Arc<ElfFile>>> + 'a;

/// Loads the file at a path without links, level by level.
///
/// A library that something loaded before asked for is not searched again,
/// which is how systemd's finds another whose folder only the program names.
/// `opens` says which of the libraries opened at run time are loaded too.
pub(super) fn load(
    tree: &Tree,
    path: &str,
    read: &mut ReadElf,
    opens: &dyn Fn(&str) -> bool,
) -> Result<Loaded> {
    let Some(file) = read(path)? else {
        return Ok(Loaded::default());
    };
    let mut loading = Loading::start(tree, path, file);
    let mut linked = 0;
    let mut opened = 0;
    loop {
        while let Some((user, file)) = loading.queue.get(linked).cloned() {
            linked += 1;
            for name in &file.needed {
                loading.bring(name, &user, &file, read)?;
            }
        }
        let Some((user, file)) = loading.queue.get(opened).cloned() else {
            return Ok(loading.loaded);
        };
        opened += 1;
        for library in &file.dlopen {
            let first = library.soname.iter().find(|name| {
                library.priority != Priority::Suggested
                    && opens(name)
                    && find_library(tree, name, &file, &user).is_some()
            });
            if let Some(name) = first {
                loading.bring(name, &user, &file, read)?;
            }
        }
    }
}

/// A load on its way.
struct Loading<'a> {
    tree: &'a Tree,
    /// Names that need not be searched any more.
    names: BTreeSet<String>,
    /// What is in memory: the path it was found at, and its headers.
    queue: Vec<(String, Arc<ElfFile>)>,
    loaded: Loaded,
}

impl<'a> Loading<'a> {
    fn start(tree: &'a Tree, path: &str, file: Arc<ElfFile>) -> Self {
        let mut loaded = Loaded::default();
        if let Some(interpreter) = &file.interpreter {
            if tree.content(interpreter).is_some() {
                loaded.libraries.push(clean(interpreter));
            } else {
                let missing = (path.to_owned(), interpreter.clone());
                loaded.missing.push(missing);
            }
        }
        // The loader itself is in memory before all others.
        let interpreter = file.interpreter.as_deref().unwrap_or(INTERPRETER);
        Self {
            tree,
            names: BTreeSet::from([name_of(interpreter).to_owned()]),
            queue: vec![(path.to_owned(), file)],
            loaded,
        }
    }

    /// Loads a library for a user unless it is there.
    fn bring(&mut self, name: &str, user: &str, file: &ElfFile, read: &mut ReadElf) -> Result<()> {
        if self.names.contains(name) {
            return Ok(());
        }
        let Some(path) = find_library(self.tree, name, file, user) else {
            let missing = (user.to_owned(), name.to_owned());
            self.loaded.missing.push(missing);
            return Ok(());
        };
        if let Some(target) = self.tree.resolve(&path)
            && let Some(library) = read(&target)?
        {
            self.queue.push((path.clone(), library));
        }
        self.loaded.libraries.push(path);
        self.names.insert(name.to_owned());
        Ok(())
    }
}

/// Where the loader finds a library for a file at a path, links not followed.
pub(super) fn find_library(tree: &Tree, name: &str, user: &ElfFile, at: &str) -> Option<String> {
    if name.contains('/') {
        return tree.content(name).map(|_| clean(name));
    }
    let origin = parent_of(at).unwrap_or_default();
    let own = user.search.iter().map(|directory| {
        let directory = directory
            .replace("${ORIGIN}", "$ORIGIN")
            .replace("${LIB}", "$LIB")
            .replace("${PLATFORM}", "$PLATFORM");
        clean(
            &directory
                .replace("$ORIGIN", &format!("/{origin}"))
                .replace("$LIB", LIB)
                .replace("$PLATFORM", PLATFORM),
        )
    });
    own.chain(SYSTEM_DIRECTORIES.map(str::to_owned))
        .map(|directory| format!("{directory}/{name}"))
        .find(|path| tree.content(path).is_some())
}

/// The interpreter of Debian's amd64, x86-64 psABI.
const INTERPRETER: &str = "/lib64/ld-linux-x86-64.so.2";

/// A path as the tree writes it: relative, without empty names and dots.
fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            _ => names.push(name),
        }
    }
    names.join("/")
}
