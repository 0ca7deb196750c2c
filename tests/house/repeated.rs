//! What stands in more than one place.

use std::collections::HashMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Expr, ExprArray, Item, Macro, Pat, PatOr};

use super::sources::{Source, is_for_tests};

/// So many equal lines are no accident.
const BLOCK_LINES: usize = 6;
/// How the names of units end that services have.
const UNIT_ENDINGS: [&str; 3] = [".service\"", ".socket\"", ".timer\""];

/// Lines that say something, without white space: no imports, attributes, comments or
/// braces alone, which have to be alike. Each with its number.
fn telling_lines(text: &str) -> Vec<(usize, String)> {
    let mut inside_use = false;
    let mut kept = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line: String = line.split_whitespace().collect::<Vec<_>>().join(" ");
        inside_use |= line.starts_with("use ") || line.starts_with("pub use ");
        let telling = !inside_use
            && !line.starts_with("//")
            && !line.starts_with("#[")
            && line.contains(char::is_alphanumeric);
        if telling {
            kept.push((number + 1, line.replace(' ', "")));
        }
        inside_use &= !line.ends_with(';');
    }
    kept
}

/// Pairs of places that share [`BLOCK_LINES`] lines or more.
pub fn repeated_blocks(sources: &[Source]) -> Vec<String> {
    let files: Vec<Vec<(usize, String)>> = sources
        .iter()
        .map(|source| telling_lines(&source.text))
        .collect();
    let mut places: HashMap<Vec<&str>, Vec<(usize, usize)>> = HashMap::new();
    for (file, lines) in files.iter().enumerate() {
        for (at, block) in lines.windows(BLOCK_LINES).enumerate() {
            let block = block.iter().map(|(_, line)| line.as_str()).collect();
            places.entry(block).or_default().push((file, at));
        }
    }
    let before = |(file, at): (usize, usize)| Some(&files[file][at.checked_sub(1)?].1);
    let told = |(file, at): (usize, usize)| format!("{}:{}", sources[file].path, files[file][at].0);
    let mut found = Vec::new();
    for places in places.values() {
        for (index, &first) in places.iter().enumerate() {
            for &second in &places[index + 1..] {
                let apart = first.0 != second.0 || first.1.abs_diff(second.1) >= BLOCK_LINES;
                // A longer block counts once, where it begins.
                let begins = before(first).is_none() || before(first) != before(second);
                if apart && begins {
                    found.push(format!("{} and {}", told(first), told(second)));
                }
            }
        }
    }
    found.sort();
    found
}

/// Constants, arrays, macros and patterns that name two units or more: lists that have to
/// agree with the table of services. Tests are left out.
#[derive(Default)]
pub struct UnitLists(pub usize);

impl UnitLists {
    /// Counts what is a list; says whether it was one.
    fn keep(&mut self, names: usize) -> bool {
        let list = names > 1;
        self.0 += usize::from(list);
        list
    }
}

fn is_unit(text: &str) -> bool {
    UNIT_ENDINGS.iter().any(|ending| text.ends_with(ending))
}

fn units_of_tokens(tokens: TokenStream) -> usize {
    let each = tokens.into_iter().map(|token| match token {
        TokenTree::Group(group) => units_of_tokens(group.stream()),
        TokenTree::Literal(literal) => usize::from(is_unit(&literal.to_string())),
        _ => 0,
    });
    each.sum()
}

/// Counts units by their names in code.
#[derive(Default)]
struct Units(usize);

impl<'code> Visit<'code> for Units {
    fn visit_lit_str(&mut self, literal: &'code syn::LitStr) {
        self.0 += usize::from(is_unit(&literal.token().to_string()));
    }

    fn visit_macro(&mut self, called: &'code Macro) {
        self.0 += units_of_tokens(called.tokens.clone());
    }
}

fn units_of(expression: &Expr) -> usize {
    let mut units = Units::default();
    units.visit_expr(expression);
    units.0
}

impl<'code> Visit<'code> for UnitLists {
    fn visit_item(&mut self, item: &'code Item) {
        let list = match item {
            _ if is_for_tests(item) => return,
            Item::Const(item) => self.keep(units_of(&item.expr)),
            Item::Static(item) => self.keep(units_of(&item.expr)),
            _ => false,
        };
        if !list {
            visit::visit_item(self, item);
        }
    }

    fn visit_expr_array(&mut self, array: &'code ExprArray) {
        if !self.keep(array.elems.iter().map(units_of).sum()) {
            visit::visit_expr_array(self, array);
        }
    }

    fn visit_pat_or(&mut self, pattern: &'code PatOr) {
        let mut units = Units::default();
        units.visit_pat(&Pat::Or(pattern.clone()));
        self.keep(units.0);
    }

    fn visit_macro(&mut self, called: &'code Macro) {
        self.keep(units_of_tokens(called.tokens.clone()));
    }
}
