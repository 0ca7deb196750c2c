//! Chooses among alternatives: Debian's relations as a problem for `resolvo`.
//!
//! Each name has at most one candidate (see [`super::universe`]), so a package
//! is a name with one version. A dependency becomes a union over those who
//! satisfy it, in order of preference; Conflicts and Breaks become constraints
//! that no version of the other package fulfils. Replaces plays no part in
//! choosing; Recommends and Suggests are ignored.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;

use anyhow::{Context, Result};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem, Requirement,
    SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled, VersionSetId,
    VersionSetUnionId,
};

use super::explain::{Fact, explain};
use super::universe::{Id, Universe};
use crate::builder::archive::index::Field;
use crate::builder::archive::relation::{Alternatives, parse_relations};

/// A demand on one name: `text` is how the dependency was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Demand {
    name: NameId,
    text: String,
    /// Whether the candidate of that name fulfils it.
    admits: bool,
}

/// What the solver was told so far, by number.
#[derive(Debug, Default)]
struct Tables {
    /// Names that no candidate has; their ids follow those of the candidates.
    missing: Vec<String>,
    missing_ids: HashMap<String, NameId>,
    demands: Vec<Demand>,
    demand_ids: HashMap<Demand, VersionSetId>,
    unions: Vec<(Vec<VersionSetId>, String)>,
    union_ids: HashMap<String, VersionSetUnionId>,
    failure: Option<anyhow::Error>,
}

struct Provider<'a> {
    universe: &'a Universe<'a>,
    tables: RefCell<Tables>,
}

/// Chooses a set of packages that holds all of `wanted`; an error tells in
/// words why there is none.
pub fn solve(universe: &Universe<'_>, wanted: &[Id], suites: &[&str]) -> Result<Vec<Id>> {
    let provider = Provider {
        universe,
        tables: RefCell::default(),
    };
    let requirements = wanted
        .iter()
        .map(|id| ConditionalRequirement::from(provider.demand(name_of(*id), "", true)))
        .collect();
    let mut solver = Solver::new(provider);
    let outcome = solver.solve(Problem::new().requirements(requirements));
    if let Some(failure) = solver.provider().tables.borrow_mut().failure.take() {
        return Err(failure);
    }
    match outcome {
        Ok(solution) => {
            let mut chosen: Vec<Id> = solution.into_iter().map(SolvableId::into_raw).collect();
            chosen.sort_by_key(|id| universe.candidate(*id).entry.get(Field::Package));
            Ok(chosen)
        }
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            let graph = conflict.graph(&solver);
            let facts = solver.provider().facts(&graph);
            Err(explain(universe, suites, &facts))
        }
        Err(UnsolvableOrCancelled::Cancelled(_)) => unreachable!("nothing cancels the solver"),
    }
}

fn name_of(id: Id) -> NameId {
    NameId::from_raw(id)
}

impl Provider<'_> {
    fn candidate_of(&self, name: NameId) -> Option<Id> {
        let id = name.into_raw();
        ((id as usize) < self.universe.len()).then_some(id)
    }

    fn name(&self, name: &str) -> NameId {
        if let Some(id) = self.universe.find(name) {
            return name_of(id);
        }
        let mut tables = self.tables.borrow_mut();
        if let Some(id) = tables.missing_ids.get(name) {
            return *id;
        }
        let position = self.universe.len() + tables.missing.len();
        let id = NameId::from_raw(u32::try_from(position).expect("fewer names than 2^32"));
        tables.missing.push(name.to_owned());
        tables.missing_ids.insert(name.to_owned(), id);
        id
    }

    fn demand(&self, name: NameId, text: &str, admits: bool) -> VersionSetId {
        let demand = Demand {
            name,
            text: text.to_owned(),
            admits,
        };
        let mut tables = self.tables.borrow_mut();
        if let Some(id) = tables.demand_ids.get(&demand) {
            return *id;
        }
        let id = VersionSetId(u32::try_from(tables.demands.len()).expect("fewer than 2^32"));
        tables.demands.push(demand.clone());
        tables.demand_ids.insert(demand, id);
        id
    }

    fn union(&self, text: String, members: Vec<VersionSetId>) -> VersionSetUnionId {
        let mut tables = self.tables.borrow_mut();
        if let Some(id) = tables.union_ids.get(&text) {
            return *id;
        }
        let id = VersionSetUnionId(u32::try_from(tables.unions.len()).expect("fewer than 2^32"));
        tables.unions.push((members, text.clone()));
        tables.union_ids.insert(text, id);
        id
    }

    /// One dependency; none when the recipe drops what it asks for.
    fn requirement(&self, group: &Alternatives<'_>) -> Result<Option<Requirement>> {
        if group
            .iter()
            .any(|relation| self.universe.is_dropped(relation.name))
        {
            return Ok(None);
        }
        let mut satisfiers = Vec::new();
        for relation in group {
            for id in self.universe.satisfiers(relation)? {
                if !satisfiers.contains(&id) {
                    satisfiers.push(id);
                }
            }
        }
        let text = written(group);
        Ok(Some(match satisfiers.as_slice() {
            [] => self.demand(self.name(group[0].name), &text, false).into(),
            [only] => self.demand(name_of(*only), &text, true).into(),
            several => {
                let members = several
                    .iter()
                    .map(|id| self.demand(name_of(*id), "", true))
                    .collect();
                self.union(text, members).into()
            }
        }))
    }

    fn dependencies(&self, id: Id) -> Result<KnownDependencies> {
        let entry = &self.universe.candidate(id).entry;
        let mut known = KnownDependencies::default();
        for field in [Field::PreDepends, Field::Depends] {
            for group in parse_relations(entry.get(field))? {
                if let Some(requirement) = self.requirement(&group)? {
                    known.requirements.push(requirement.into());
                }
            }
        }
        for field in [Field::Conflicts, Field::Breaks] {
            for relation in parse_relations(entry.get(field))?.iter().flatten() {
                for other in self.universe.excluded(relation)? {
                    // A package never conflicts with what it provides itself.
                    if other != id {
                        let text = relation.to_string();
                        known
                            .constrains
                            .push(self.demand(name_of(other), &text, false));
                    }
                }
            }
        }
        Ok(known)
    }

    /// Turns the solver's conflict into facts about packages.
    fn facts(&self, graph: &resolvo::conflict::ConflictGraph) -> Vec<Fact> {
        use resolvo::conflict::{ConflictCause, ConflictEdge, ConflictNode};
        let tables = self.tables.borrow();
        let mut facts = Vec::new();
        for edge in graph.graph.edge_indices() {
            let (Some((from, to)), Some(kind)) = (
                graph.graph.edge_endpoints(edge),
                graph.graph.edge_weight(edge),
            ) else {
                continue;
            };
            let node = |position| match graph.graph.node_weight(position) {
                Some(ConflictNode::Solvable(id)) => Some(id.into_raw()),
                _ => None,
            };
            let text = match kind {
                ConflictEdge::Requires(Requirement::Single(id))
                | ConflictEdge::Conflict(ConflictCause::Constrains(id)) => {
                    tables.demands[id.0 as usize].text.clone()
                }
                ConflictEdge::Requires(Requirement::Union(id)) => {
                    tables.unions[id.0 as usize].1.clone()
                }
                ConflictEdge::Conflict(_) => String::new(),
            };
            facts.push(Fact {
                from: node(from),
                to: node(to),
                text,
                excludes: matches!(kind, ConflictEdge::Conflict(_)),
            });
        }
        facts
    }
}

/// Writes alternatives as a control file does.
fn written(group: &Alternatives<'_>) -> String {
    let parts: Vec<String> = group.iter().map(ToString::to_string).collect();
    parts.join(" | ")
}

impl Interner for Provider<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        self.universe.candidate(solvable.into_raw()).label()
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        match self.candidate_of(name) {
            Some(id) => self
                .universe
                .candidate(id)
                .entry
                .get(Field::Package)
                .to_owned(),
            None => {
                let position = name.into_raw() as usize - self.universe.len();
                self.tables.borrow().missing[position].clone()
            }
        }
    }

    fn display_version_set(&self, version_set: VersionSetId) -> impl Display + '_ {
        self.tables.borrow().demands[version_set.0 as usize]
            .text
            .clone()
    }

    fn display_string(&self, _: StringId) -> impl Display + '_ {
        "its fields cannot be read"
    }

    fn version_set_name(&self, version_set: VersionSetId) -> NameId {
        self.tables.borrow().demands[version_set.0 as usize].name
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        name_of(solvable.into_raw())
    }

    fn version_sets_in_union(
        &self,
        union: VersionSetUnionId,
    ) -> impl Iterator<Item = VersionSetId> {
        self.tables.borrow().unions[union.0 as usize]
            .0
            .clone()
            .into_iter()
    }

    fn resolve_condition(&self, _: ConditionId) -> Condition {
        unreachable!("Debian's relations have no conditions")
    }
}

impl DependencyProvider for Provider<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        version_set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let admits = self.tables.borrow().demands[version_set.0 as usize].admits;
        if admits == inverse {
            Vec::new()
        } else {
            candidates.to_vec()
        }
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let id = self.candidate_of(name)?;
        Some(Candidates {
            candidates: vec![SolvableId::from_raw(id)],
            hint_dependencies_available: HintDependenciesAvailable::None,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, _: &mut [SolvableId]) {
        // A name has one candidate; unions are in order already.
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let id = solvable.into_raw();
        let read = self
            .dependencies(id)
            .with_context(|| format!("reading package {}", self.universe.candidate(id).label()));
        match read {
            Ok(known) => Dependencies::Known(known),
            Err(error) => {
                self.tables.borrow_mut().failure.get_or_insert(error);
                Dependencies::Unknown(StringId(0))
            }
        }
    }
}
