//! Which aliases of another machine fit here.
//!
//! They are Postfix's own (<https://www.postfix.org/virtual.5.html>), and most
//! mean the same here. One form does not: `@old @new` leads every address of a
//! domain to the one of the same name in another, whether that exists or not.
//! It becomes an alias for each address that does.

use crate::appliance::aliases::AliasText;
use crate::appliance::aliases::check::check_aliases;
use crate::appliance::aliases::name::{is_local, parse_alias, parse_target};
use crate::appliance::users::Users;
use crate::settings::{Settings, parse_host_name};
use std::collections::{BTreeMap, BTreeSet};

/// One target of one alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it stands over there.
    pub line: usize,
    /// Where mail comes in.
    pub alias: String,
    /// Where it goes.
    pub target: String,
}

/// What is to be taken over.
#[derive(Debug, Default)]
pub struct Chosen {
    /// In the order of the file.
    pub wanted: Vec<Wanted>,
    /// How many targets are here already.
    pub kept: usize,
    /// What is left out, and why, by line.
    pub notes: Vec<(usize, String)>,
}

/// A whole domain that leads to another.
struct DomainAlias {
    line: usize,
    from: String,
    to: String,
}

struct Chooser<'a> {
    settings: &'a Settings,
    users: &'a Users,
    /// Aliases here, with their targets.
    ours: BTreeMap<String, Vec<String>>,
    chosen: Chosen,
}

/// Chooses what of the old file is missing in ours, and no mistake there.
pub fn choose_aliases(
    settings: &Settings,
    users: &Users,
    ours: &AliasText,
    old: &AliasText,
) -> Chosen {
    let mut chooser = Chooser {
        settings,
        users,
        ours: check_aliases(settings, users, ours).targets,
        chosen: Chosen::default(),
    };
    let domains = chooser.read(old);
    for domain in domains {
        chooser.spread(&domain);
    }
    chooser.drop_wrong(ours);
    chooser.chosen
}

impl Chooser<'_> {
    fn note(&mut self, line: usize, (wrong, expected): (String, String)) {
        self.chosen.notes.push((
            line,
            match expected.as_str() {
                "" => wrong,
                expected => format!("{wrong}; expected {expected}"),
            },
        ));
    }

    fn want(&mut self, line: usize, alias: &str, target: String) {
        let is_there = self
            .ours
            .get(alias)
            .is_some_and(|there| there.contains(&target));
        if is_there {
            self.chosen.kept += 1;
            return;
        }
        let alias = alias.to_owned();
        self.chosen.wanted.push(Wanted {
            line,
            alias,
            target,
        });
    }

    /// Takes the lines that mean the same here, and returns the others.
    fn read(&mut self, old: &AliasText) -> Vec<DomainAlias> {
        let mut domains = Vec::new();
        for entry in old.entries() {
            let written = if entry.alias.contains('@') {
                entry.alias
            } else {
                format!("{}@{}", entry.alias, self.settings.domain)
            };
            let alias = match parse_alias(self.settings, &written) {
                Ok(alias) => alias,
                Err(wrong) => {
                    self.note(entry.line, wrong);
                    continue;
                }
            };
            for (line, target) in entry.targets {
                if let (Some(from), Some(to)) = (alias.strip_prefix('@'), target.strip_prefix('@'))
                {
                    let (from, to) = (from.to_owned(), to.to_ascii_lowercase());
                    domains.push(DomainAlias { line, from, to });
                    continue;
                }
                match parse_target(self.settings, &target) {
                    // How an account was excepted from an alias for its whole domain.
                    Ok(target) if target == alias && self.users.contains(&alias) => {}
                    Ok(target) => self.want(line, &alias, target),
                    Err(wrong) => self.note(line, wrong),
                }
            }
        }
        domains
    }

    /// Makes an alias for each address of the other domain.
    fn spread(&mut self, domain: &DomainAlias) {
        let DomainAlias { line, from, to } = domain;
        let what = format!("'@{from} @{to}' leads a whole domain to another");
        if parse_host_name(to).is_err() || !is_local(self.settings, to) || from == to {
            let expected = format!("an alias for each address, as in NAME@{from} NAME@{to}");
            self.note(*line, (what, expected));
            return;
        }
        let wanted = self.chosen.wanted.clone();
        let written = |alias: &str| {
            self.ours.contains_key(alias) || wanted.iter().any(|wanted| wanted.alias == alias)
        };
        let suffix = format!("@{to}");
        let accounts = self.users.accounts.keys();
        let aliases = wanted.iter().map(|wanted| &wanted.alias);
        let addresses: BTreeSet<&str> = accounts
            .chain(aliases)
            .chain(self.ours.keys())
            .filter_map(|address| address.strip_suffix(suffix.as_str()))
            .collect();
        let mut spread = Vec::new();
        for name in addresses {
            let (alias, target) = (format!("{name}@{from}"), format!("{name}@{to}"));
            if name.is_empty() {
                // Whatever nobody else gets there goes where the other domain's goes.
                let whole = wanted.iter().filter(|wanted| wanted.alias == target);
                let whole = whole.map(|wanted| wanted.target.clone());
                let there = self.ours.get(&target).cloned().unwrap_or_default();
                let targets = whole.chain(there);
                spread.extend(targets.map(|target| (alias.clone(), target)));
                continue;
            }
            let is_taken =
                self.users.contains(&alias) || (written(&alias) && !self.leads(&alias, &target));
            if !is_taken {
                spread.push((alias, target));
            }
        }
        for (alias, target) in spread {
            self.want(*line, &alias, target);
        }
        let text = format!(
            "{what}: here each address has an alias of its own, and those that you make later \
             need one (mailctl alias add NAME@{from} NAME@{to})"
        );
        self.note(*line, (text, String::new()));
    }

    /// Whether an alias leads there already, as after an import before.
    fn leads(&self, alias: &str, target: &str) -> bool {
        let there = self.ours.get(alias);
        there.is_some_and(|targets| targets.iter().any(|found| found == target))
    }

    /// Leaves out what would make a mistake of our file, until nothing does.
    fn drop_wrong(&mut self, ours: &AliasText) {
        loop {
            let mut trial = ours.clone();
            let before = trial.line_count();
            for wanted in &self.chosen.wanted {
                trial.push(&format!("{} {}", wanted.alias, wanted.target));
            }
            let problems = check_aliases(self.settings, self.users, &trial).problems;
            let mut wrong: Vec<(usize, (String, String))> = problems
                .into_iter()
                .filter_map(|problem| {
                    let index = problem.line?.checked_sub(before + 1)?;
                    Some((index, (problem.wrong, problem.expected)))
                })
                .collect();
            wrong.dedup_by_key(|(index, _)| *index);
            if wrong.is_empty() {
                return;
            }
            for (index, text) in wrong.into_iter().rev() {
                let line = self.chosen.wanted.remove(index).line;
                self.note(line, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Chosen, choose_aliases};
    use crate::appliance::aliases::AliasText;
    use crate::appliance::users::Users;
    use crate::settings::{parse_settings, resolve_settings};

    fn choose(ours: &str, old: &str) -> Chosen {
        let written = parse_settings(
            b"DOMAIN=new.example\nHOSTNAME=mail.new.example\nADMIN_USER=jens\n\
              ADDITIONAL_DOMAINS=old.example\n",
        );
        let settings = resolve_settings(&written.unwrap()).unwrap().settings;
        let users = Users::parse(
            "anna@new.example:x::::::\nanna@old.example:x::::::\njens@new.example:x::::::\n",
        );
        let (ours, old) = (AliasText::parse(ours), AliasText::parse(old));
        choose_aliases(&settings, &users, &ours, &old)
    }

    fn wanted(chosen: &Chosen) -> Vec<String> {
        let wanted = chosen.wanted.iter();
        wanted
            .map(|wanted| format!("{} {} {}", wanted.line, wanted.alias, wanted.target))
            .collect()
    }

    #[test]
    fn a_domain_that_leads_to_another_is_spread() {
        let old = "info@new.example jens\nteam@old.example anna\nteam@new.example jens\n\
                   @Old.example @New.example\no'neil jens\n";
        let chosen = choose("", old);
        assert_eq!(
            wanted(&chosen),
            [
                "1 info@new.example jens@new.example",
                "2 team@old.example anna@new.example",
                "3 team@new.example jens@new.example",
                "5 o'neil@new.example jens@new.example",
                "4 info@old.example info@new.example",
                "4 jens@old.example jens@new.example",
                "4 o'neil@old.example o'neil@new.example",
            ]
        );
        assert_eq!(
            chosen.notes,
            [(
                4,
                "'@old.example @new.example' leads a whole domain to another: here each address \
                 has an alias of its own, and those that you make later need one (mailctl alias \
                 add NAME@old.example NAME@new.example)"
                    .to_owned()
            )]
        );
        // Once more, and with what nobody else gets.
        let ours = "info@new.example jens\njens@old.example jens\ninfo@old.example info\n";
        let chosen = choose(ours, "@old.example @new.example\n@new.example anna\n");
        assert_eq!(chosen.kept, 2);
        assert_eq!(
            wanted(&chosen),
            [
                "2 @new.example anna@new.example",
                "1 @old.example anna@new.example",
            ]
        );
    }

    #[test]
    fn what_cannot_be_said_here_is_told() {
        for (line, note) in [
            (
                "@old.example @else.example",
                "'@old.example @else.example' leads a whole domain to another; expected an \
                 alias for each address, as in NAME@old.example NAME@else.example",
            ),
            (
                "@old.example @",
                "'@old.example @' leads a whole domain to another; expected an alias for each \
                 address, as in NAME@old.example NAME@",
            ),
            (
                "info@old.example @new.example",
                "'@new.example' is a whole domain; expected an address in it",
            ),
            (
                "@else.example jens",
                "'else.example' is no domain of this machine; expected one of new.example, \
                 old.example",
            ),
        ] {
            let chosen = choose("", line);
            assert_eq!(chosen.notes, [(1, note.to_owned())]);
            assert!(chosen.wanted.is_empty());
        }
    }
}
