//! The files of a folder, read and parsed.

use std::fs;
use std::path::Path;

use syn::{Attribute, Item};

/// The path of a module from the crate's root.
pub type Module = Vec<String>;

/// One file.
pub struct Source {
    /// Its path below the repository.
    pub path: String,
    /// What it is called in the code; only in `src`.
    pub module: Module,
    pub text: String,
    pub syntax: syn::File,
}

/// All files of Rust below a folder of the repository, in the order of their names.
pub fn read_sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    walkdir::WalkDir::new(root.join(folder))
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let below = path.strip_prefix(root).unwrap();
            let mut module: Module = below
                .with_extension("")
                .iter()
                .skip(1)
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            module.pop_if(|last| last == "mod" || last == "lib");
            Source {
                path: below.to_str().unwrap().to_owned(),
                module,
                syntax: syn::parse_file(&text).unwrap(),
                text,
            }
        })
        .collect()
}

/// The files of `src` but those that only tests have.
pub fn read_code() -> Vec<Source> {
    let mut sources = read_sources("src");
    let tests: Vec<Module> = sources
        .iter()
        .flat_map(|source| {
            let items = source.syntax.items.iter();
            items.filter_map(|item| match item {
                Item::Mod(child) if child.content.is_none() && is_for_tests(item) => {
                    Some([source.module.as_slice(), &[child.ident.to_string()]].concat())
                }
                _ => None,
            })
        })
        .collect();
    sources.retain(|source| !tests.iter().any(|tests| source.module.starts_with(tests)));
    sources
}

/// Whether only tests have an item.
pub fn is_for_tests(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        _ => &[],
    };
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    })
}
