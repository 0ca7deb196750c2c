//! Who imports whom, and who may.
//!
//! Read are `use` lines and paths in the code, those in macros too; tests are not. A name
//! that a module hands on (`pub use`) counts as imported from where it is made.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse, Macro, UseTree, Visibility};

use super::sources::{Module, Source, is_for_tests};

/// What may only be imported from further down this list, in each half.
const FLOORS: [(&str, &[&str]); 2] = [
    (
        "appliance",
        &[
            "command",
            "takeover",
            "boot",
            "upgrade",
            "services",
            // One service a folder; each may look at those below it.
            "monitoring",
            "updates",
            "monitoring",
            "dns",
            "web",
            "dovecot",
            "postfix",
            "sts",
            "guard",
            "filter",
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
            "registry", "fetch", "recipe", "tree", "progress",
        ],
    ),
];

/// All modules, and what each imports of others.
pub struct Imports(BTreeMap<Module, BTreeSet<Module>>);

/// What one file names.
#[derive(Default)]
struct Names {
    /// Paths as they are written, without inline modules' own `super`.
    paths: Vec<Module>,
    /// Those that are handed on.
    faces: Vec<Module>,
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

impl<'code> Visit<'code> for Names {
    fn visit_item(&mut self, item: &'code Item) {
        if !is_for_tests(item) {
            visit::visit_item(self, item);
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

impl Imports {
    pub fn read(sources: &[Source]) -> Self {
        let mut modules: BTreeMap<Module, Names> = BTreeMap::new();
        for source in sources {
            let mut names = Names::default();
            names.visit_file(&source.syntax);
            modules.insert(source.module.clone(), names);
        }
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
        Self(arrows)
    }

    fn each(&self) -> impl Iterator<Item = (&Module, &Module)> {
        self.0
            .iter()
            .flat_map(|(from, all)| all.iter().map(move |to| (from, to)))
    }

    /// Imports of a half by the other, or by what both stand on.
    pub fn between_halves(&self) -> Vec<String> {
        let half = |module: &Module| {
            let first = module.first()?;
            FLOORS.iter().position(|(half, _)| half == first)
        };
        self.each()
            .filter(|(from, to)| half(to).is_some() && half(from) != half(to))
            .map(told)
            .collect()
    }

    /// Imports of a higher floor of the same half.
    pub fn upwards(&self) -> Vec<String> {
        let floor = |module: &Module| {
            let (_, floors) = FLOORS
                .iter()
                .find(|(half, _)| module.first().is_some_and(|first| first == half))?;
            let name = module.get(1)?;
            let found = floors.iter().position(|floor| floor == name);
            Some(found.unwrap_or_else(|| panic!("{} is on no floor", module.join("::"))))
        };
        self.each()
            .filter(|(from, to)| from.first() == to.first())
            .filter(|(from, to)| {
                floor(from)
                    .zip(floor(to))
                    .is_some_and(|(from, to)| from > to)
            })
            .map(told)
            .collect()
    }

    /// The modules of each circle: every one of them imports all the others in the end.
    pub fn circles(&self) -> BTreeSet<Vec<String>> {
        let reached: BTreeMap<&Module, BTreeSet<&Module>> = self
            .0
            .keys()
            .map(|module| (module, self.reached_from(module)))
            .collect();
        reached
            .iter()
            .filter(|(module, all)| all.contains(*module))
            .map(|(module, all)| {
                let back = all.iter().filter(|to| reached[**to].contains(module));
                back.map(|to| to.join("::")).collect()
            })
            .collect()
    }

    fn reached_from<'house>(&'house self, module: &'house Module) -> BTreeSet<&'house Module> {
        let mut reached = BTreeSet::new();
        let mut left = vec![module];
        while let Some(from) = left.pop() {
            let new = self.0[from].iter().filter(|to| reached.insert(*to));
            left.extend(new);
        }
        reached
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
