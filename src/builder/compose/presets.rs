//! Enabling units by preset, as `systemctl preset-all` would.
//!
//! Presets: <https://www.freedesktop.org/software/systemd/man/257/systemd.preset.html>;
//! `[Install]`: <https://www.freedesktop.org/software/systemd/man/257/systemd.unit.html>.
//! The result is links below `/etc/systemd/system`. Left out: specifiers other
//! than `%i` and `%p` in `[Install]`, and user units.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use globset::GlobBuilder;

use crate::builder::tree::{Kind, Node, Tree, name_of};

const UNITS: &str = "usr/lib/systemd/system";
const PRESETS: &str = "usr/lib/systemd/system-preset";
const ENABLED: &str = "etc/systemd/system";

/// One line of a preset file.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    enable: bool,
    pattern: String,
    instances: Vec<String>,
}

/// What a unit's `[Install]` section asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Install {
    /// Targets by the suffix of their folder: `wants`, `requires`, `upholds`.
    targets: Vec<(&'static str, String)>,
    aliases: Vec<String>,
    also: Vec<String>,
    default_instance: Option<String>,
}

/// Makes the links of every unit that the presets enable.
pub fn enable_units(tree: &mut Tree) -> Result<()> {
    let rules = load_rules(tree)?;
    let mut units = BTreeMap::new();
    for (path, node) in tree.below(UNITS) {
        let name = &path[UNITS.len() + 1..];
        if name.contains('/') {
            continue;
        }
        if let Kind::File(content) = &node.kind {
            let text = String::from_utf8_lossy(&content.read()?).into_owned();
            units.insert(name.to_owned(), parse_install(&text));
        }
    }
    let mut links = BTreeMap::new();
    for name in units.keys() {
        let Some(rule) = first_match(&rules, name)? else {
            continue;
        };
        if rule.enable {
            let instances = rule.instances.iter().map(String::as_str);
            for instance in instances
                .map(Some)
                .chain(rule.instances.is_empty().then_some(None))
            {
                enable(&units, name, instance, &mut links, 0);
            }
        }
    }
    for (path, target) in links {
        tree.insert(&path, Node::symlink(target))
            .context("enabling units")?;
    }
    Ok(())
}

/// Whether a preset speaks of this unit by more than a pattern for all.
pub fn names_unit(tree: &Tree, name: &str) -> Result<bool> {
    let rules = load_rules(tree)?;
    Ok(first_match(&rules, name)?.is_some_and(|rule| rule.pattern != "*"))
}

/// The enabled units as text, a link a line; tests compare it.
pub fn enabled_units(tree: &Tree) -> String {
    let mut text = String::new();
    for (path, node) in tree.below(ENABLED) {
        if let Kind::Symlink(target) = &node.kind {
            text.push_str(&format!("{} -> {target}\n", &path[ENABLED.len() + 1..]));
        }
    }
    text
}

fn load_rules(tree: &Tree) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (path, node) in tree.below(PRESETS) {
        if let (Kind::File(content), true) = (&node.kind, path.ends_with(".preset")) {
            rules.extend(parse_rules(&String::from_utf8_lossy(&content.read()?)));
        }
    }
    Ok(rules)
}

fn parse_rules(text: &str) -> Vec<Rule> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']));
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let enable = match words.next()? {
                "enable" => true,
                "disable" => false,
                _ => return None,
            };
            let pattern = words.next()?.to_owned();
            Some(Rule {
                enable,
                pattern,
                instances: words.map(str::to_owned).collect(),
            })
        })
        .collect()
}

fn first_match<'a>(rules: &'a [Rule], name: &str) -> Result<Option<&'a Rule>> {
    for rule in rules {
        if GlobBuilder::new(&rule.pattern)
            .build()?
            .compile_matcher()
            .is_match(name)
        {
            return Ok(Some(rule));
        }
    }
    Ok(None)
}

fn parse_install(text: &str) -> Install {
    let mut install = Install::default();
    let mut inside = false;
    let text = text.replace("\\\n", " ");
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[Install]";
        } else if let (true, Some((key, value))) = (inside, line.split_once('=')) {
            let words = value.split_whitespace().map(str::to_owned);
            match key.trim() {
                "WantedBy" => install.targets.extend(words.map(|word| ("wants", word))),
                "RequiredBy" => install.targets.extend(words.map(|word| ("requires", word))),
                "UpheldBy" => install.targets.extend(words.map(|word| ("upholds", word))),
                "Alias" => install.aliases.extend(words),
                "Also" => install.also.extend(words),
                "DefaultInstance" => install.default_instance = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    install
}

fn enable(
    units: &BTreeMap<String, Install>,
    name: &str,
    instance: Option<&str>,
    links: &mut BTreeMap<String, String>,
    depth: usize,
) {
    /// `Also=` may name units that name each other.
    const MAX_DEPTH: usize = 8;
    let Some(install) = units.get(name).filter(|_| depth < MAX_DEPTH) else {
        return;
    };
    let instance = instance.or(install.default_instance.as_deref());
    let link_name = match (name.split_once('@'), instance) {
        (Some((prefix, suffix)), Some(instance)) if suffix.starts_with('.') => {
            format!("{prefix}@{instance}{suffix}")
        }
        _ => name.to_owned(),
    };
    let prefix = name.split(['@', '.']).next().unwrap_or(name);
    let expand = |text: &str| {
        text.replace("%i", instance.unwrap_or(""))
            .replace("%p", prefix)
    };
    let target = format!("/{UNITS}/{name}");
    for (kind, wanted_by) in &install.targets {
        let wanted_by = expand(wanted_by);
        links.insert(
            format!("{ENABLED}/{wanted_by}.{kind}/{link_name}"),
            target.clone(),
        );
    }
    for alias in &install.aliases {
        links.insert(format!("{ENABLED}/{}", expand(alias)), target.clone());
    }
    for other in &install.also {
        enable(units, name_of(&expand(other)), None, links, depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::{PRESETS, UNITS, enable_units, enabled_units};
    use crate::builder::tree::{Node, Tree};

    #[test]
    fn presets_decide_and_the_last_line_disables_the_rest() {
        let mut tree = Tree::default();
        let mut put = |path: String, text: &str| {
            tree.insert(&path, Node::file(0o644, text)).unwrap();
        };
        put(
            format!("{PRESETS}/00-ours.preset"),
            "enable a.*\nenable getty@.service\ndisable *\n",
        );
        put(format!("{PRESETS}/90-systemd.preset"), "enable *\n");
        put(
            format!("{UNITS}/a.service"),
            "[Service]\nAlias=no\n[Install]\nWantedBy=multi-user.target\nAlias=b.service\nAlso=a.socket\n",
        );
        put(
            format!("{UNITS}/a.socket"),
            "[Install]\nWantedBy=sockets.target\n",
        );
        put(
            format!("{UNITS}/c.service"),
            "[Install]\nWantedBy=multi-user.target\n",
        );
        put(
            format!("{UNITS}/getty@.service"),
            "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
        );
        enable_units(&mut tree).unwrap();
        assert_eq!(
            enabled_units(&tree),
            "b.service -> /usr/lib/systemd/system/a.service\n\
             getty.target.wants/getty@tty1.service -> /usr/lib/systemd/system/getty@.service\n\
             multi-user.target.wants/a.service -> /usr/lib/systemd/system/a.service\n\
             sockets.target.wants/a.socket -> /usr/lib/systemd/system/a.socket\n"
        );
    }
}
