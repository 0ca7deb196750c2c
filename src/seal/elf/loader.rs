//! Finding a library or a program in a tree as ld.so(8) and the kernel would.

use crate::tree::{Kind, Tree, parent_of};

use super::file::ElfFile;

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
/// The kernel's own limit, path_resolution(7).
const MAX_LINKS: usize = 40;

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
        // A library in a private folder was found there through its user's RUNPATH,
        // and the user has loaded, or names too, what the library needs from it.
        .or_else(|| {
            let beside = format!("{origin}/{name}");
            let is_library = user.interpreter.is_none();
            (is_library && tree.content(&beside).is_some()).then_some(beside)
        })
        // The program that loads is there already, under its own name.
        .or_else(|| {
            let interpreter = user.interpreter.as_deref().unwrap_or(INTERPRETER);
            (crate::tree::name_of(interpreter) == name && tree.content(interpreter).is_some())
                .then(|| clean(interpreter))
        })
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

/// Follows a path to what it names, telling every link passed on the way.
///
/// Returns nothing for a dangling link or a loop, like [`Tree::resolve`].
pub(super) fn follow(tree: &Tree, path: &str, passed: &mut impl FnMut(&str)) -> Option<String> {
    let mut links = 0;
    let mut done: Vec<String> = Vec::new();
    let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    while let Some(name) = rest.pop() {
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                done.pop();
                continue;
            }
            _ => done.push(name),
        }
        let at = done.join("/");
        match &tree.get(&at)?.kind {
            Kind::Directory | Kind::File(_) => {}
            Kind::HardLink(target) => {
                passed(&at);
                done = target.split('/').map(str::to_owned).collect();
            }
            Kind::Symlink(target) => {
                passed(&at);
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                rest.extend(target.split('/').rev().map(str::to_owned));
            }
        }
    }
    Some(done.join("/"))
}
