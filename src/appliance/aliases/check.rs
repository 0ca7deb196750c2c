//! What the aliases mean: where each leads, and what is wrong with the file.
//!
//! An alias lies in a served domain or is a whole one (`@domain`); a target is
//! an account, an alias or a role address of this machine, or any address
//! elsewhere. Loops, chains and expansions beyond Postfix's limits
//! (<https://www.postfix.org/postconf.5.html#virtual_alias_expansion_limit>)
//! are found here, because Postfix would tell the senders. What is wrong costs
//! only itself: everything else stays in use.

use super::AliasText;
use super::graph::{Edge, find_large, find_loops};
use super::name::{Wrong, is_local, parse_alias, parse_target, role_addresses, untagged};
use crate::appliance::users::Users;
use crate::settings::{Problem, Settings};
use std::collections::{BTreeMap, BTreeSet};

/// Most addresses that one alias may become: `virtual_alias_expansion_limit`.
const LARGEST_EXPANSION: usize = 1000;
/// The aliases in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases {
    /// Alias to its targets, in the order written.
    pub targets: BTreeMap<String, Vec<String>>,
    /// What is wrong, by line.
    pub problems: Vec<Problem>,
}

struct Checker<'a> {
    settings: &'a Settings,
    users: &'a Users,
    edges: Vec<Edge>,
    /// Every alias of the file, in use or not.
    named: BTreeSet<String>,
    problems: Vec<Problem>,
}

/// Says where every alias leads, and what is wrong.
pub fn check_aliases(settings: &Settings, users: &Users, text: &AliasText) -> Aliases {
    let mut checker = Checker {
        settings,
        users,
        edges: Vec::new(),
        named: BTreeSet::new(),
        problems: Vec::new(),
    };
    checker.read(text);
    // Whatever is dropped may have been what something else led to.
    while checker.drop_loops() || checker.drop_missing() || checker.drop_large() {}
    let mut targets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for edge in &checker.edges {
        targets
            .entry(edge.alias.clone())
            .or_default()
            .push(edge.target.clone());
    }
    let mut problems = checker.problems;
    problems.sort_by_key(|problem| problem.line);
    Aliases { targets, problems }
}

impl Checker<'_> {
    fn problem(&mut self, line: Option<usize>, (wrong, expected): Wrong) {
        self.problems.push(Problem {
            line,
            key: None,
            wrong,
            expected,
        });
    }

    fn read(&mut self, text: &AliasText) {
        let mut seen = BTreeSet::new();
        for entry in text.entries() {
            let alias = match parse_alias(self.settings, &entry.alias) {
                Ok(alias) => alias,
                Err(wrong) => {
                    self.problem(Some(entry.line), wrong);
                    continue;
                }
            };
            let mut targets = Vec::new();
            for (line, target) in &entry.targets {
                match parse_target(self.settings, target) {
                    Ok(target) => targets.push((*line, target)),
                    Err(wrong) => self.problem(Some(*line), wrong),
                }
            }
            if entry.targets.is_empty() {
                self.problem(
                    Some(entry.line),
                    (
                        format!("'{alias}' has no target"),
                        format!("{alias} TARGET, TARGET..."),
                    ),
                );
            }
            if self.users.contains(&alias) {
                // Other servers need such a line to except an account from `@domain`.
                if targets.iter().any(|(_, target)| *target != alias) {
                    self.problem(
                        Some(entry.line),
                        (
                            format!("'{alias}' is an account"),
                            "an address that is none; the account can forward with a sieve script"
                                .to_owned(),
                        ),
                    );
                }
                continue;
            }
            for (line, target) in targets {
                if seen.insert((alias.clone(), target.clone())) {
                    self.edges.push(Edge {
                        line: Some(line),
                        alias: alias.clone(),
                        target,
                    });
                }
            }
        }
        self.named = self.edges.iter().map(|edge| edge.alias.clone()).collect();
        for alias in role_addresses(self.settings) {
            if !self.users.contains(&alias) && !self.named.contains(&alias) {
                self.edges.push(Edge {
                    line: None,
                    alias,
                    target: self.settings.admin.to_string(),
                });
            }
        }
    }

    /// Drops an edge for a reason; the implied ones stay, since nobody wrote them.
    fn drop_edge(&mut self, index: usize, wrong: Wrong) {
        let edge = self.edges.remove(index);
        self.problem(edge.line, wrong);
    }

    fn drop_missing(&mut self) -> bool {
        let known: BTreeSet<String> = self.edges.iter().map(|edge| edge.alias.clone()).collect();
        let missing = |edge: &Edge| {
            let domain = edge
                .target
                .rsplit_once('@')
                .map_or("", |(_, domain)| domain);
            let address = untagged(&edge.target);
            edge.line.is_some()
                && is_local(self.settings, domain)
                && !self.users.contains(&address)
                && !known.contains(&address)
        };
        let indices: Vec<usize> = (0..self.edges.len())
            .filter(|index| missing(&self.edges[*index]))
            .collect();
        for index in indices.iter().rev() {
            let target = &self.edges[*index].target;
            let (wrong, expected) = if self.named.contains(&untagged(target)) {
                (
                    format!("'{target}' leads nowhere"),
                    "an alias without mistakes of its own",
                )
            } else {
                (
                    format!("'{target}' is neither an account nor an alias"),
                    "an address that mailctl user list or mailctl alias list shows",
                )
            };
            self.drop_edge(*index, (wrong, expected.to_owned()));
        }
        !indices.is_empty()
    }

    fn drop_loops(&mut self) -> bool {
        let dropped = find_loops(&self.edges);
        let found = !dropped.is_empty();
        for (index, wrong) in dropped.into_iter().rev() {
            self.drop_edge(index, wrong);
        }
        found
    }

    fn drop_large(&mut self) -> bool {
        let large = find_large(&self.edges, LARGEST_EXPANSION);
        let Some(alias) = large else {
            return false;
        };
        let line = self
            .edges
            .iter()
            .filter(|edge| edge.alias == alias)
            .filter_map(|edge| edge.line)
            .min();
        self.edges.retain(|edge| edge.alias != alias);
        let wrong = format!("'{alias}' leads to more than {LARGEST_EXPANSION} addresses");
        self.problem(
            line,
            (wrong, "fewer; a mailing list is another program".to_owned()),
        );
        true
    }
}

impl Aliases {
    /// The accounts that an alias reaches in the end, and so may send as it.
    pub fn owners(&self, users: &Users, alias: &str) -> BTreeSet<String> {
        let mut owners = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut next = vec![alias.to_owned()];
        while let Some(address) = next.pop() {
            if users.contains(&address) {
                owners.insert(address);
            } else if seen.insert(address.clone()) {
                let targets = self.targets.get(&address).into_iter().flatten();
                next.extend(targets.map(|target| untagged(target)));
            }
        }
        owners
    }

    /// Aliases that name an address among their targets.
    pub fn leading_to(&self, address: &str) -> Vec<&str> {
        self.targets
            .iter()
            .filter(|(_, targets)| targets.iter().any(|target| untagged(target) == address))
            .map(|(alias, _)| alias.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Aliases, check_aliases};
    use crate::appliance::aliases::AliasText;
    use crate::appliance::users::Users;
    use crate::settings::{Settings, parse_settings, resolve_settings};

    fn settings() -> Settings {
        let written = parse_settings(
            b"DOMAIN=a.example\nHOSTNAME=mail.a.example\nADMIN_USER=jens\nADDITIONAL_DOMAINS=b.example\n",
        )
        .unwrap();
        resolve_settings(&written).unwrap().settings
    }

    fn users() -> Users {
        Users::parse("anna@b.example:x::::::\njens@a.example:x::::::\n")
    }

    fn check(text: &str) -> Aliases {
        check_aliases(&settings(), &users(), &AliasText::parse(text))
    }

    fn problems(text: &str) -> Vec<String> {
        check(text)
            .problems
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn files_of_the_seed_are_understood() {
        let aliases = check(
            "# comment\nInfo@A.example Jens\ninfo@a.example\tanna@b.example,jens+info@a.example\n\
             @b.example jens Out+x@Else.example\njens@a.example jens@a.example\n",
        );
        assert!(aliases.problems.is_empty(), "{:?}", aliases.problems);
        assert_eq!(
            aliases.targets["info@a.example"],
            ["jens@a.example", "anna@b.example", "jens+info@a.example"]
        );
        assert_eq!(
            aliases.targets["@b.example"],
            ["jens@a.example", "Out+x@else.example"]
        );
        assert!(!aliases.targets.contains_key("jens@a.example"));
        assert_eq!(aliases.targets["abuse@b.example"], ["jens@a.example"]);
    }

    #[test]
    fn every_mistake_is_named_and_costs_only_itself() {
        let text = "info jens\ninfo@c.example jens\ninfo+x@a.example jens\nin fo@a.example jens\n\
                    info@a.example\njens@a.example anna@b.example\n\
                    team@a.example jens, nobody, a@b@c.example\n  (cat), x@localhost\n\
                    last@a.example gone@b.example\n";
        assert_eq!(
            problems(text),
            [
                "line 1: 'info' has no '@'; expected NAME@a.example, or @a.example for all of the domain",
                "line 2: 'c.example' is no domain of this machine; expected one of a.example, b.example",
                "line 3: 'info+x@a.example' has a tag; expected info@a.example, which takes mail with every tag",
                "line 4: 'in' has no '@'; expected NAME@a.example, or @a.example for all of the domain",
                "line 5: 'info@a.example' has no target; expected info@a.example TARGET, TARGET...",
                "line 6: 'jens@a.example' is an account; expected an address that is none; the account can forward with a sieve script",
                "line 7: 'a@b@c.example' is no address; expected a full address, or a user name of the first domain",
                "line 7: 'nobody@a.example' is neither an account nor an alias; expected an address that mailctl user list or mailctl alias list shows",
                "line 8: '(cat)' is no address; expected a full address, or a user name of the first domain",
                "line 8: 'localhost' has only one label; expected a full name such as mail.example.org",
                "line 9: 'gone@b.example' is neither an account nor an alias; expected an address that mailctl user list or mailctl alias list shows",
            ]
            .map(|line: &str| line.to_owned())
            .to_vec()
        );
        assert_eq!(check(text).targets["team@a.example"], ["jens@a.example"]);
    }

    #[test]
    fn loops_are_named_with_their_path() {
        let text = "a@a.example b\nb@a.example c@b.example, jens\nc@b.example a+x\nd@a.example d\n\
                    e@a.example a\n";
        assert_eq!(
            problems(text),
            [
                "line 2: 'c@b.example' leads nowhere; expected an alias without mistakes of its own",
                "line 3: leads in a loop: a@a.example -> b@a.example -> c@b.example -> a@a.example; expected targets that end at accounts",
                "line 4: leads in a loop: d@a.example -> d@a.example; expected targets that end at accounts",
            ]
        );
        assert_eq!(check(text).targets["e@a.example"], ["a@a.example"]);
        // Mail to postmaster goes to the admin: here that would come back.
        let written =
            parse_settings(b"DOMAIN=a.example\nHOSTNAME=mail.a.example\nADMIN_USER=boss\n");
        let settings = resolve_settings(&written.unwrap()).unwrap().settings;
        let text = AliasText::parse("boss@a.example postmaster\n");
        let aliases = check_aliases(&settings, &users(), &text);
        assert_eq!(
            aliases.problems[0].to_string(),
            "line 1: leads in a loop: boss@a.example -> postmaster@a.example -> boss@a.example; \
             expected targets that end at accounts"
        );
    }

    #[test]
    fn expansion_is_bounded() {
        let mut text = String::new();
        for level in 0..4 {
            for name in 0..10 {
                let targets: Vec<String> = match level {
                    0 => vec!["jens".to_owned()],
                    _ => (0..10)
                        .map(|next| format!("n{next}.{}", level - 1))
                        .collect(),
                };
                text.push_str(&format!(
                    "n{name}.{level}@a.example {}\n",
                    targets.join(" ")
                ));
            }
        }
        assert!(problems(&text).is_empty());
        text.push_str("all@a.example n1.3, n2.3\n");
        assert_eq!(
            problems(&text),
            [
                "line 41: 'all@a.example' leads to more than 1000 addresses; expected fewer; a mailing list is another program"
            ]
        );
        let chain = |length: usize| -> String {
            let lines = (0..length).map(|at| format!("n{at}@a.example n{}\n", at + 1));
            lines
                .chain([format!("n{length}@a.example jens\n")])
                .collect()
        };
        assert!(problems(&chain(99)).is_empty());
        let problems = problems(&chain(5000));
        let long = "'n99@a.example' leads on to more than 100 aliases in a row";
        assert!(problems.iter().any(|problem| problem.contains(long)));
    }

    #[test]
    fn owners_are_all_accounts_reached() {
        let aliases = check(
            "team@a.example jens, x@else.example\nall@b.example team@a.example, anna+all@b.example\n",
        );
        let owners: Vec<String> = aliases
            .owners(&users(), "all@b.example")
            .into_iter()
            .collect();
        assert_eq!(owners, ["anna@b.example", "jens@a.example"]);
        assert_eq!(aliases.leading_to("team@a.example"), ["all@b.example"]);
    }
}
