//! Where aliases lead from one to the next: loops, long ways, large expansions.
//!
//! Only the shape is looked at; whether an alias or a target is right is asked
//! in `alias_check`.

use super::name::{Wrong, untagged};
use std::collections::BTreeMap;

/// Most aliases in a row; `virtual_alias_recursion_limit` of Postfix lies above.
const CHAIN_LENGTH_MAX: usize = 100;

/// Indices of the edges that leave each alias.
type Graph<'a> = BTreeMap<&'a str, Vec<usize>>;

/// One target of one alias; role addresses have no line.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Where it is written.
    pub line: Option<usize>,
    /// Where mail comes in.
    pub alias: String,
    /// Where it goes.
    pub target: String,
}

fn graph(edges: &[Edge]) -> Graph<'_> {
    let mut graph = Graph::new();
    for (index, edge) in edges.iter().enumerate() {
        graph.entry(&edge.alias).or_default().push(index);
    }
    graph
}

/// Edges that close a loop or lead on for too long, by index, with what is wrong.
pub fn find_loops(edges: &[Edge]) -> BTreeMap<usize, Wrong> {
    let graph = graph(edges);
    let mut walk = Walk {
        edges,
        graph: &graph,
        path: Vec::new(),
        heights: BTreeMap::new(),
        dropped: BTreeMap::new(),
    };
    for start in graph.keys() {
        walk.visit(start);
    }
    walk.dropped
}

/// The first alias that becomes more than so many addresses. There are no loops any more.
pub fn find_large(edges: &[Edge], most: usize) -> Option<String> {
    let graph = graph(edges);
    let mut sizes = BTreeMap::new();
    graph
        .keys()
        .find(|alias| expansion(edges, &graph, alias, &mut sizes) > most)
        .map(|alias| (*alias).to_owned())
}

fn expansion(
    edges: &[Edge],
    graph: &Graph<'_>,
    alias: &str,
    sizes: &mut BTreeMap<String, usize>,
) -> usize {
    if let Some(size) = sizes.get(alias) {
        return *size;
    }
    let mut size: usize = 0;
    for index in graph.get(alias).into_iter().flatten() {
        let target = untagged(&edges[*index].target);
        size = size.saturating_add(if graph.contains_key(target.as_str()) {
            expansion(edges, graph, &target, sizes)
        } else {
            1
        });
    }
    sizes.insert(alias.to_owned(), size);
    size
}

/// A way through all aliases that notes which edges must go.
struct Walk<'a> {
    edges: &'a [Edge],
    graph: &'a Graph<'a>,
    /// Edges from the start to here.
    path: Vec<usize>,
    /// The longest way down from each alias that is done.
    heights: BTreeMap<String, usize>,
    dropped: BTreeMap<usize, Wrong>,
}

impl Walk<'_> {
    fn visit(&mut self, alias: &str) -> usize {
        if let Some(height) = self.heights.get(alias) {
            return *height;
        }
        let mut height = 1;
        for index in self.graph.get(alias).into_iter().flatten() {
            let target = untagged(&self.edges[*index].target);
            self.path.push(*index);
            let edge = |at: &usize| &self.edges[*at];
            if let Some(start) = self.path.iter().position(|at| edge(at).alias == target) {
                self.drop_loop(start);
            } else if self.graph.contains_key(target.as_str()) {
                let below = if self.path.len() < CHAIN_LENGTH_MAX {
                    self.visit(&target)
                } else {
                    CHAIN_LENGTH_MAX
                };
                if below < CHAIN_LENGTH_MAX {
                    height = height.max(1 + below);
                } else {
                    let wrong = format!(
                        "'{alias}' leads on to more than {CHAIN_LENGTH_MAX} aliases in a row"
                    );
                    self.dropped
                        .insert(*index, (wrong, "a shorter way to the accounts".to_owned()));
                }
            }
            self.path.pop();
        }
        self.heights.insert(alias.to_owned(), height);
        height
    }

    fn drop_loop(&mut self, start: usize) {
        let edges = &self.path[start..];
        let mut names: Vec<&str> = edges
            .iter()
            .map(|index| self.edges[*index].alias.as_str())
            .collect();
        names.extend(names.first().copied());
        let wrong = format!("leads in a loop: {}", names.join(" -> "));
        // The one that closes it, unless nobody wrote that one.
        let written = |index: &&usize| self.edges[**index].line.is_some();
        if let Some(index) = edges.iter().rev().find(written) {
            let expected = "targets that end at accounts".to_owned();
            self.dropped.insert(*index, (wrong, expected));
        }
    }
}
