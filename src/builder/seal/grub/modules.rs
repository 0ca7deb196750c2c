//! Which modules come along, and in which order: what a module needs before itself.
//!
//! `moddep.lst` has one line a module, `NAME: NEEDED NEEDED`, made with GRUB's modules.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// No chain of modules that need each other is as long; a circle is.
const DEEPEST: usize = 32;

/// Names of modules with all that they need, each behind what it needs.
pub(super) fn order_modules(dependencies: &str, wanted: &[&str]) -> Result<Vec<String>> {
    let needs: BTreeMap<&str, Vec<&str>> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, needed)| (name, needed.split_whitespace().collect()))
        .collect();
    let mut ordered = Vec::new();
    for name in wanted {
        place(&needs, name, 0, &mut ordered)?;
    }
    Ok(ordered)
}

fn place(
    needs: &BTreeMap<&str, Vec<&str>>,
    name: &str,
    depth: usize,
    ordered: &mut Vec<String>,
) -> Result<()> {
    if ordered.iter().any(|placed| placed == name) {
        return Ok(());
    }
    ensure!(
        depth < DEEPEST,
        "reading moddep.lst: module {name} needs itself"
    );
    let needed = needs
        .get(name)
        .with_context(|| format!("reading moddep.lst: there is no module {name}"))?;
    for needed in needed {
        place(needs, needed, depth + 1, ordered)?;
    }
    ordered.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::order_modules;

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let list = "fat: fshelp\nfshelp:\nlinux: boot mmap\nmmap: boot\nboot:\nother: fat\n";
        assert_eq!(
            order_modules(list, &["linux", "fat", "boot"]).unwrap(),
            ["boot", "mmap", "linux", "fshelp", "fat"]
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        let refused = |list: &str| order_modules(list, &["a"]).unwrap_err().to_string();
        assert_eq!(
            refused("a: b\n"),
            "reading moddep.lst: there is no module b"
        );
        assert_eq!(
            refused("a: b\nb: a\n"),
            "reading moddep.lst: module a needs itself"
        );
    }
}
