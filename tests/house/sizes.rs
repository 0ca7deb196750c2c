//! How long files and functions are.

use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, Item, ItemFn, Signature, TraitItemFn};

use super::sources::{Source, is_for_tests};

/// The longest file that one reads in one go, in lines.
pub const LINES_MAX: usize = 500;

/// Files with more lines than this.
pub fn longer_files(sources: &[Source], most: usize) -> Vec<String> {
    sources
        .iter()
        .map(|source| (&source.path, source.text.lines().count()))
        .filter(|(_, lines)| *lines > most)
        .map(|(path, lines)| format!("{path} has {lines} lines"))
        .collect()
}

/// Functions and how many lines each has to its last brace; tests are left out.
#[derive(Default)]
pub struct Functions(pub Vec<(String, usize)>);

impl Functions {
    fn keep(&mut self, signature: &Signature, body: &Block) {
        let begin = signature.fn_token.span.start().line;
        let end = body.brace_token.span.close().end().line;
        self.0.push((signature.ident.to_string(), end - begin + 1));
    }

    /// Those with more lines than this.
    pub fn longer(&self, most: usize) -> Vec<String> {
        self.0
            .iter()
            .filter(|(_, lines)| *lines > most)
            .map(|(name, lines)| format!("{name} has {lines} lines"))
            .collect()
    }
}

impl<'code> Visit<'code> for Functions {
    fn visit_item(&mut self, item: &'code Item) {
        if !is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, function: &'code ItemFn) {
        self.keep(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'code ImplItemFn) {
        self.keep(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'code TraitItemFn) {
        if let Some(body) = &function.default {
            self.keep(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}
