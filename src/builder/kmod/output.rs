//! The index files, as text for people and as search trees for libkmod.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::index::Index;
use super::info::{Module, module_name, pairs, underscored};

/// Makes the files; modules come in the order that breaks ties.
///
/// `built_in` is the kernel's `modules.builtin`, `built_in_info` its
/// `modules.builtin.modinfo`.
pub(super) fn index_files(
    modules: &[Module],
    built_in: &str,
    built_in_info: &[u8],
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let (dep, dep_bin) = dependencies(modules)?;
    let (alias, alias_bin) = aliases(modules)?;
    let (symbols, symbols_bin) = symbols(modules)?;
    let mut built_in_bin = Index::default();
    for path in built_in.lines().filter(|line| !line.is_empty()) {
        built_in_bin.insert(&module_name(path), "", 0);
    }
    Ok(vec![
        ("modules.alias", alias.into_bytes()),
        ("modules.alias.bin", alias_bin.encode()?),
        (
            "modules.builtin.alias.bin",
            built_in_aliases(built_in_info).encode()?,
        ),
        ("modules.builtin.bin", built_in_bin.encode()?),
        ("modules.dep", dep.into_bytes()),
        ("modules.dep.bin", dep_bin.encode()?),
        ("modules.devname", device_names(modules).into_bytes()),
        ("modules.softdep", soft(modules).into_bytes()),
        ("modules.symbols", symbols.into_bytes()),
        ("modules.symbols.bin", symbols_bin.encode()?),
        ("modules.weakdep", weak(modules).into_bytes()),
    ])
}

fn dependencies(modules: &[Module]) -> Result<(String, Index)> {
    let numbers: BTreeMap<&str, usize> = modules
        .iter()
        .enumerate()
        .map(|(number, module)| (module.name.as_str(), number))
        .collect();
    let direct: Vec<Vec<usize>> = modules
        .iter()
        .map(|module| {
            module
                .depends
                .iter()
                .map(|name| match numbers.get(name.as_str()) {
                    Some(number) => Ok(*number),
                    None => bail!(
                        "indexing kernel modules: {} depends on {name}, which is not there",
                        module.path
                    ),
                })
                .collect()
        })
        .collect::<Result<_>>()?;
    let depths = depths(modules, &direct)?;
    let mut text = String::new();
    let mut index = Index::default();
    for (number, module) in modules.iter().enumerate() {
        let mut all = BTreeSet::new();
        let mut open = direct[number].clone();
        while let Some(next) = open.pop() {
            if all.insert(next) {
                open.extend(&direct[next]);
            }
        }
        // Loading goes from the last to the first: the deepest come last.
        let mut sorted: Vec<usize> = all.into_iter().collect();
        sorted.sort_by_key(|other| (std::cmp::Reverse(depths[*other]), *other));
        let mut line = format!("{}:", module.path);
        for other in sorted {
            line.push(' ');
            line.push_str(&modules[other].path);
        }
        index.insert(&module.name, &line, number as u32);
        text.push_str(&line);
        text.push('\n');
    }
    Ok((text, index))
}

/// The length of the longest chain of dependencies below every module.
fn depths(modules: &[Module], direct: &[Vec<usize>]) -> Result<Vec<usize>> {
    let mut depths = vec![0; modules.len()];
    for round in 0..=modules.len() {
        let mut changed = None;
        for number in 0..modules.len() {
            let below = direct[number].iter().map(|other| depths[*other] + 1);
            let depth = below.max().unwrap_or(0);
            if depth != depths[number] {
                depths[number] = depth;
                changed = Some(number);
            }
        }
        match changed {
            None => return Ok(depths),
            Some(number) if round == modules.len() => bail!(
                "indexing kernel modules: {} depends on itself",
                modules[number].path
            ),
            Some(_) => {}
        }
    }
    Ok(depths)
}

fn aliases(modules: &[Module]) -> Result<(String, Index)> {
    let mut text = "# Aliases extracted from modules themselves.\n".to_owned();
    let mut index = Index::default();
    for (number, module) in modules.iter().enumerate() {
        for alias in &module.aliases {
            let _ = writeln!(text, "alias {alias} {}", module.name);
            if let Some(key) = alias_key(alias) {
                index.insert(&key, &module.name, number as u32);
            }
        }
    }
    Ok((text, index))
}

/// An alias as it is looked up: `_` for `-`, except within brackets.
///
/// Nothing for one with unmatched brackets, which matches nothing.
pub(super) fn alias_key(alias: &str) -> Option<String> {
    let mut key = String::with_capacity(alias.len());
    let mut inside = false;
    for letter in alias.chars() {
        match letter {
            '[' if !inside => inside = true,
            ']' if inside => inside = false,
            ']' => return None,
            '-' if !inside => {
                key.push('_');
                continue;
            }
            _ => {}
        }
        key.push(letter);
    }
    (!inside).then_some(key)
}

fn built_in_aliases(info: &[u8]) -> Index {
    let mut index = Index::default();
    for (key, value) in pairs(info) {
        if let Some((module, "alias")) = key.rsplit_once('.')
            && let Some(alias) = alias_key(value)
        {
            index.insert(&alias, &underscored(module), 0);
        }
    }
    index
}

fn symbols(modules: &[Module]) -> Result<(String, Index)> {
    let mut text = "# Aliases for symbols, used by symbol_request().\n".to_owned();
    let mut index = Index::default();
    for (number, module) in modules.iter().enumerate() {
        for symbol in &module.exports {
            let _ = writeln!(text, "alias symbol:{symbol} {}", module.name);
            index.insert(&format!("symbol:{symbol}"), &module.name, number as u32);
        }
    }
    Ok((text, index))
}

fn soft(modules: &[Module]) -> String {
    let mut text = "# Soft dependencies extracted from modules themselves.\n".to_owned();
    for module in modules {
        for soft in &module.soft {
            let _ = writeln!(text, "softdep {} {soft}", module.name);
        }
    }
    text
}

fn weak(modules: &[Module]) -> String {
    let mut text = "# Weak dependencies extracted from modules themselves.\n".to_owned();
    for module in modules {
        for weak in &module.weak {
            let _ = writeln!(text, "weakdep {} {weak}", module.name);
        }
    }
    text
}

/// Device nodes that load a module when opened, for systemd-tmpfiles.
fn device_names(modules: &[Module]) -> String {
    let mut text = "# Device nodes to trigger on-demand module loading.\n".to_owned();
    for module in modules {
        let mut name = None;
        let mut number = None;
        for alias in &module.aliases {
            if let Some(device) = alias.strip_prefix("devname:") {
                name = Some(device);
            } else if let Some(numbers) = alias.strip_prefix("char-major-") {
                number = device_number('c', numbers).or(number);
            } else if let Some(numbers) = alias.strip_prefix("block-major-") {
                number = device_number('b', numbers).or(number);
            }
            if let (Some(name), Some(number)) = (name, &number) {
                let _ = writeln!(text, "{} {name} {number}", module.name);
                break;
            }
        }
    }
    text
}

fn device_number(kind: char, numbers: &str) -> Option<String> {
    let (major, minor) = numbers.split_once('-')?;
    let major: u32 = major.parse().ok()?;
    let minor: u32 = minor.parse().ok()?;
    Some(format!("{kind}{major}:{minor}"))
}
