//! The rules of the house that can be read off the code: who may import whom.
//!
//! `src/lib.rs` tells them in words. Read are `use` lines and paths in the code, those
//! in macros too; tests are not. A name that a module hands on
//! (`pub use`) counts as imported from where it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility};

/// The longest file that one reads in one go, in lines.
const LINES_MAX: usize = 500;

/// What may only be imported from further down this list, in each half.
const FLOORS: [(&str, &[&str]); 2] = [
    (
        "appliance",
        &[
            "command",
            "takeover",
            "boot",
            "services",
            // One service a folder; each may look at those below it.
            "dns",
            "web",
            "dovecot",
            "postfix",
            "sts",
            "guard",
            "filter",
            "opendmarc",
            "dkim",
            "certificate",
            "ssh",
            "unbound",
            "network",
            // What services are made of.
            "probe",
            "aliases",
            "users",
            "wire",
            "machine",
        ],
    ),
    (
        "builder",
        &[
            "command", "write", "seal", "bill", "compose", "kmod", "elf", "deb", "lock", "archive",
            "fetch", "recipe", "tree", "progress",
        ],
    ),
];

/// The path of a module from the crate's root.
type Module = Vec<String>;

/// All modules, and what each imports of others.
struct House {
    arrows: BTreeMap<Module, BTreeSet<Module>>,
    lines: BTreeMap<Module, usize>,
}

/// What one file names.
#[derive(Default)]
struct Names {
    /// Paths as they are written, without inline modules' own `super`.
    paths: Vec<Module>,
    /// Those that are handed on.
    faces: Vec<Module>,
    /// Modules in files of their own that only tests have.
    tests: Vec<String>,
    /// How many inline modules are around.
    inside: usize,
}

impl Names {
    fn keep(&mut self, mut path: Module, face: bool) {
        let own = path
            .iter()
            .take_while(|segment| *segment == "super")
            .count()
            .min(self.inside);
        if self.inside > 0 && own == self.inside {
            path.drain(..own);
            // What an inline module takes from the file around it says nothing.
            if path.first().is_none_or(|first| first != "super") {
                return;
            }
        }
        let kept = if face {
            &mut self.faces
        } else {
            &mut self.paths
        };
        kept.push(path);
    }

    fn keep_tree(&mut self, tree: &UseTree, before: &Module, face: bool) {
        let with = |name: &syn::Ident| {
            let mut path = before.clone();
            path.push(name.to_string());
            path
        };
        match tree {
            UseTree::Path(path) => self.keep_tree(&path.tree, &with(&path.ident), face),
            UseTree::Name(name) if name.ident == "self" => self.keep(before.clone(), face),
            UseTree::Name(name) => self.keep(with(&name.ident), face),
            UseTree::Rename(name) => self.keep(with(&name.ident), face),
            UseTree::Glob(_) => self.keep(before.clone(), face),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.keep_tree(tree, before, face);
                }
            }
        }
    }

    /// Paths in what only a macro can read.
    fn keep_tokens(&mut self, tokens: TokenStream) {
        let mut path: Module = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.keep(std::mem::take(&mut path), false);
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.keep(std::mem::take(&mut path), false);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.keep_tokens(group.stream());
                    }
                }
            }
        }
        self.keep(path, false);
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    })
}

impl<'code> Visit<'code> for Names {
    fn visit_item(&mut self, item: &'code Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        match item {
            _ if !is_for_tests(attributes) => visit::visit_item(self, item),
            Item::Mod(item) if item.content.is_none() => self.tests.push(item.ident.to_string()),
            _ => {}
        }
    }

    /// `pub(super)` imports nothing.
    fn visit_visibility(&mut self, _: &'code Visibility) {}

    fn visit_item_mod(&mut self, item: &'code ItemMod) {
        self.inside += 1;
        visit::visit_item_mod(self, item);
        self.inside -= 1;
    }

    fn visit_item_use(&mut self, item: &'code ItemUse) {
        let face = !matches!(item.vis, Visibility::Inherited);
        self.keep_tree(&item.tree, &Vec::new(), face);
    }

    fn visit_path(&mut self, path: &'code syn::Path) {
        let segments = path.segments.iter();
        self.keep(segments.map(|one| one.ident.to_string()).collect(), false);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'code Macro) {
        self.keep_tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }
}

/// The path from the root that a written one stands for, if it is of this crate.
fn absolute(of: &Module, path: &Module, modules: &BTreeMap<Module, Names>) -> Option<Module> {
    let first = path.first()?;
    if first == "crate" {
        return Some(path[1..].to_vec());
    }
    if first == "self" {
        return Some([of, &path[1..]].concat());
    }
    let up = path.iter().take_while(|one| *one == "super").count();
    if up > 0 {
        return Some([&of[..of.len().checked_sub(up)?], &path[up..]].concat());
    }
    let child = [of.as_slice(), &path[..1]].concat();
    modules
        .contains_key(&child)
        .then(|| [of, path.as_slice()].concat())
}

impl House {
    fn read() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut modules: BTreeMap<Module, Names> = BTreeMap::new();
        let mut lines = BTreeMap::new();
        for entry in walkdir::WalkDir::new(&source) {
            let path = entry.unwrap().into_path();
            if path.extension().is_none_or(|kind| kind != "rs") {
                continue;
            }
            let inside = path.strip_prefix(&source).unwrap().with_extension("");
            let mut module: Module = inside
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            if module[0] == "bin" || module[0] == "build" {
                continue;
            }
            module.pop_if(|last| last == "mod" || last == "lib");
            let text = fs::read_to_string(&path).unwrap();
            let mut names = Names::default();
            names.visit_file(&syn::parse_file(&text).unwrap());
            lines.insert(module.clone(), text.lines().count());
            modules.insert(module, names);
        }
        let tests: Vec<Module> = modules
            .iter()
            .flat_map(|(module, names)| {
                let tests = names.tests.iter();
                tests.map(|name| [module.as_slice(), std::slice::from_ref(name)].concat())
            })
            .collect();
        let is_tests = |module: &Module| tests.iter().any(|tests| module.starts_with(tests));
        modules.retain(|module, _| !is_tests(module));
        lines.retain(|module, _| !is_tests(module));
        let mut made: BTreeMap<Module, Module> = BTreeMap::new();
        for (module, names) in &modules {
            for face in &names.faces {
                let from = absolute(module, face, &modules).unwrap_or_else(|| face.clone());
                let name = from.last().unwrap().clone();
                made.insert([module.as_slice(), &[name]].concat(), from);
            }
        }
        let mut arrows = BTreeMap::new();
        for (module, names) in &modules {
            let makers = |paths: &[Module]| -> BTreeSet<Module> {
                let absolute = |path| absolute(module, path, &modules);
                let paths = paths.iter().filter_map(absolute);
                paths
                    .filter_map(|path| maker(path, &made, &modules))
                    .collect()
            };
            let mut found = makers(&names.paths);
            // A folder's own file only hands on what its children make.
            let handed = makers(&names.faces).into_iter();
            found.extend(handed.filter(|from| !from.starts_with(module)));
            found.retain(|from| from != module && !from.is_empty());
            arrows.insert(module.clone(), found);
        }
        Self { arrows, lines }
    }

    fn each(&self) -> impl Iterator<Item = (&Module, &Module)> {
        self.arrows
            .iter()
            .flat_map(|(from, all)| all.iter().map(move |to| (from, to)))
    }
}

/// The module that makes what a path names.
fn maker(
    mut path: Module,
    made: &BTreeMap<Module, Module>,
    modules: &BTreeMap<Module, Names>,
) -> Option<Module> {
    loop {
        let length = (0..=path.len())
            .rev()
            .find(|&length| modules.contains_key(&path[..length]))?;
        let Some(next) = path.get(..=length).and_then(|name| made.get(name)) else {
            return Some(path[..length].to_vec());
        };
        path = [next.as_slice(), &path[length + 1..]].concat();
    }
}

fn told(arrow: (&Module, &Module)) -> String {
    format!("{} imports {}", arrow.0.join("::"), arrow.1.join("::"))
}

#[test]
fn the_halves_never_import_each_other_and_the_ground_neither() {
    let house = House::read();
    let half = |module: &Module| {
        let first = module.first().map(String::as_str);
        first
            .filter(|first| FLOORS.iter().any(|(half, _)| half == first))
            .map(str::to_owned)
    };
    let wrong: Vec<String> = house
        .each()
        .filter(|(from, to)| half(to).is_some() && half(from) != half(to))
        .map(told)
        .collect();
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn imports_run_down_the_floors() {
    let house = House::read();
    let floor = |module: &Module| {
        let (_, floors) = FLOORS
            .iter()
            .find(|(half, _)| module.first().is_some_and(|first| first == half))?;
        let name = module.get(1)?;
        let found = floors.iter().position(|floor| floor == name);
        Some(found.unwrap_or_else(|| panic!("{} is on no floor", module.join("::"))))
    };
    let wrong: Vec<String> = house
        .each()
        .filter(|(from, to)| from.first() == to.first())
        .filter(|(from, to)| {
            floor(from)
                .zip(floor(to))
                .is_some_and(|(from, to)| from > to)
        })
        .map(told)
        .collect();
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn no_imports_run_in_a_circle() {
    let mut house = House::read();
    // Who imports nothing that is left is in no circle.
    loop {
        let done: Vec<Module> = house
            .arrows
            .iter()
            .filter(|(_, to)| to.iter().all(|to| !house.arrows.contains_key(to)))
            .map(|(from, _)| from.clone())
            .collect();
        if done.is_empty() {
            break;
        }
        for module in done {
            house.arrows.remove(&module);
        }
    }
    let left: Vec<String> = house
        .each()
        .filter(|(_, to)| house.arrows.contains_key(*to))
        .map(told)
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn no_file_is_longer_than_one_reads_in_one_go() {
    let long: Vec<String> = House::read()
        .lines
        .iter()
        .filter(|(_, lines)| **lines > LINES_MAX)
        .map(|(module, lines)| format!("{} has {lines} lines", module.join("::")))
        .collect();
    assert_eq!(long, [""; 0]);
}
