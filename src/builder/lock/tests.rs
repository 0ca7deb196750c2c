//! From recipes and tiny signed archives to locks, good ones and refused ones.

mod held;
mod later;
mod real;
mod refused;

use anyhow::Result;
use pgp::composed::SignedSecretKey;

use super::{Lock, LockedPackage, make_lock_with_keys, objects};
use crate::builder::archive::fixture::keys::{certificate, make_key};
use crate::builder::archive::fixture::{MIRROR, Mirror, NOW, Suite};
use crate::builder::progress::Progress;
use crate::builder::recipe::{Archive, Drop, Effects, Recipe, Strip};
use crate::error::render;

/// A recipe over suites of the test archive.
fn recipe(suites: &[&str], packages: &[&str]) -> Recipe {
    Recipe {
        name: "tiny".to_owned(),
        version: "1".to_owned(),
        architecture: "amd64".to_owned(),
        sources: suites
            .iter()
            .map(|suite| Archive {
                suite: (*suite).to_owned(),
                mirrors: vec![MIRROR.to_owned()],
                snapshots: Vec::new(),
                components: vec!["main".to_owned()],
                keys: vec!["test".to_owned()],
            })
            .collect(),
        packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        drop: Vec::new(),
        strip: Strip::default(),
        effects: Effects::default(),
        image: None,
        container: None,
        update: Default::default(),
        accounts_file: None,
        scripts_file: None,
        overlay: false,
        accounts: crate::builder::recipe::Accounts::default(),
        scripts: Vec::new(),
        blocks_file: None,
        blocks: crate::builder::recipe::Blocks::default(),
        key_files: std::collections::BTreeMap::new(),
    }
}

fn dropping(mut recipe: Recipe, packages: &[&str]) -> Recipe {
    recipe.drop = vec![Drop {
        packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        reason: "a test does without".to_owned(),
    }];
    recipe
}

fn lock_from(
    recipe: &Recipe,
    mirror: &Mirror,
    trusted: &SignedSecretKey,
    previous: Option<&Lock>,
) -> Result<Lock> {
    make_lock_with_keys(
        recipe,
        mirror,
        previous,
        &[],
        NOW,
        &Progress::hidden(),
        &|_: &str| Ok(vec![certificate(trusted)]),
    )
}

/// Resolves against one suite named `tiny`; returns names and versions.
fn resolved(recipe: &Recipe, packages: &str) -> Result<String> {
    let key = make_key(1);
    let mirror = Mirror::publish(&[Suite::new("tiny", packages)], &key);
    let lock = lock_from(recipe, &mirror, &key, None)?;
    Ok(listed(&lock))
}

fn listed(lock: &Lock) -> String {
    lock.packages
        .iter()
        .map(|package| format!("{} {}", package.name, package.version))
        .collect::<Vec<_>>()
        .join("\n")
}

fn refused(recipe: &Recipe, packages: &str) -> String {
    render(&resolved(recipe, packages).unwrap_err())
}

const BASE: &str = "\
Package: base
Version: 1
Essential: yes
Pre-Depends: awk

Package: mawk
Version: 2
Provides: awk
Priority: required

Package: gawk
Version: 3
Provides: awk

Package: mailer
Version: 4
Depends: library (>= 1.5), base, perl:any, extra | other, interface (>= 2)

Package: library
Version: 1.6-1
Provides: interface (= 2.1)
Recommends: gawk

Package: other
Version: 5
Conflicts: extra

Package: extra
Version: 6
Architecture: i386

Package: perl
Version: 7
Multi-Arch: allowed
";

#[test]
fn relations_of_every_kind_are_followed() {
    assert_eq!(
        resolved(&recipe(&["tiny"], &["mailer"]), BASE).unwrap(),
        "base 1\nlibrary 1.6-1\nmailer 4\nmawk 2\nother 5\nperl 7"
    );
}

#[test]
fn dropped_packages_count_as_there() {
    let recipe = dropping(recipe(&["tiny"], &["mailer"]), &["mawk", "perl", "library"]);
    assert_eq!(
        resolved(&recipe, BASE).unwrap(),
        "base 1\nmailer 4\nother 5"
    );
}

#[test]
fn an_essential_package_may_be_dropped() {
    let recipe = dropping(recipe(&["tiny"], &["perl"]), &["base"]);
    assert_eq!(resolved(&recipe, BASE).unwrap(), "perl 7");
}

#[test]
fn the_first_alternative_is_preferred_unless_another_is_there_anyway() {
    let packages = "\
Package: wants
Version: 1
Depends: first | second

Package: first
Version: 1

Package: second
Version: 1
";
    let wanted = |names: &[&str]| resolved(&recipe(&["tiny"], names), packages).unwrap();
    assert_eq!(wanted(&["wants"]), "first 1\nwants 1");
    assert_eq!(wanted(&["wants", "second"]), "second 1\nwants 1");
    assert_eq!(wanted(&["second", "wants"]), "second 1\nwants 1");
}

#[test]
fn a_package_may_conflict_with_what_it_provides() {
    let packages = "\
Package: postfix
Version: 1
Provides: mail-transport-agent
Conflicts: mail-transport-agent

Package: exim
Version: 1
Provides: mail-transport-agent
Conflicts: mail-transport-agent

Package: cron
Version: 1
Depends: exim | mail-transport-agent
";
    assert_eq!(
        resolved(&recipe(&["tiny"], &["cron", "postfix"]), packages).unwrap(),
        "cron 1\npostfix 1"
    );
    assert_eq!(
        refused(&recipe(&["tiny"], &["exim", "postfix"]), packages),
        "error: resolving the packages of tiny: no set of packages fulfils it:\n  \
         the recipe asks for exim 1\n  \
         the recipe asks for postfix 1\n  \
         exim 1 cannot be beside postfix 1 (it excludes mail-transport-agent)\n\
         hint: change 'packages' in the recipe, add the source that has what is missing, \
         or name a package under 'drop' to do without it"
    );
}

#[test]
fn an_alternative_gives_way_to_a_conflict() {
    let packages = "\
Package: top
Version: 1
Depends: a | b, c

Package: a
Version: 1
Breaks: c (<< 2)

Package: b
Version: 1
Breaks: c (>> 1)

Package: c
Version: 1
";
    assert_eq!(
        resolved(&recipe(&["tiny"], &["top"]), packages).unwrap(),
        "b 1\nc 1\ntop 1"
    );
}

#[test]
fn what_is_missing_is_said_with_the_chain_that_leads_to_it() {
    let packages = "\
Package: top
Version: 1
Depends: middle

Package: middle
Version: 1
Depends: low (>= 2) | gone, virtual (>= 3)

Package: low
Version: 1
Provides: virtual
";
    let text = refused(&recipe(&["tiny"], &["top"]), packages);
    let chain = "the recipe asks for top 1\n  top 1 needs middle\n  ";
    assert!(text.contains(chain), "{text}");
    assert!(
        text.contains(
            "middle 1 needs low (>= 2) | gone, \
             but the newest low is 1 (tiny) and no source has gone"
        ) || text.contains(
            "middle 1 needs virtual (>= 3), \
             but virtual is only provided by low 1, not in this version"
        ),
        "{text}"
    );
}

#[test]
fn names_in_the_recipe_are_checked() {
    for (name, expected) in [
        ("mailr", "no source has a package named 'mailr'"),
        (
            "awk",
            "'awk' is a virtual package\nhint: name one that provides it: mawk, gawk",
        ),
    ] {
        let text = refused(&recipe(&["tiny"], &[name]), BASE);
        assert!(text.contains(expected), "{text}");
    }
    let both = dropping(recipe(&["tiny"], &["perl"]), &["perl"]);
    assert!(refused(&both, BASE).contains("the recipe both asks for 'perl' and drops it"));
    let twice = recipe(&["tiny", "tiny"], &["perl"]);
    assert!(refused(&twice, BASE).contains("the recipe names the suite tiny twice"));
}

#[test]
fn the_highest_version_of_all_sources_wins_and_ties_go_to_the_first() {
    let key = make_key(1);
    let one = "Package: a\nVersion: 1.0-1\n\nPackage: b\nVersion: 2\n\nPackage: c\nVersion: 1\n";
    let two = "Package: a\nVersion: 1.0-1+deb13u1\n\nPackage: b\nVersion: 2\n\nPackage: c\nVersion: 1~rc1\n";
    let mirror = Mirror::publish(&[Suite::new("one", one), Suite::new("two", two)], &key);
    let lock = lock_from(
        &recipe(&["one", "two"], &["a", "b", "c"]),
        &mirror,
        &key,
        None,
    )
    .unwrap();
    let from: Vec<String> = lock
        .packages
        .iter()
        .map(|package| format!("{} {} {}", package.name, package.version, package.suite))
        .collect();
    assert_eq!(from, ["a 1.0-1+deb13u1 two", "b 2 one", "c 1 one"]);
}

/// It passed, and failed later in words that nobody understood.
#[test]
fn digests_of_a_lock_are_written_small() {
    let key = make_key(1);
    let mirror = Mirror::publish(&[Suite::new("tiny", "Package: a\nVersion: 1\n")], &key);
    let lock = lock_from(&recipe(&["tiny"], &["a"]), &mirror, &key, None).unwrap();
    let text = lock.to_text();
    for digest in [
        &lock.recipe_sha256,
        &lock.sources[0].inrelease_sha256,
        &lock.packages[0].sha256,
    ] {
        let shouted = text.replace(digest.as_str(), &digest.to_uppercase());
        let error = render(&Lock::parse(&shouted).unwrap_err());
        assert!(error.contains("SHA-256"), "{error}");
        assert!(
            error.contains("\nhint: delete it and run 'mailimg lock'"),
            "{error}"
        );
    }
}

#[test]
fn a_lock_reads_back_and_its_text_is_stable() {
    let key = make_key(1);
    let mirror = Mirror::publish(
        &[Suite::new(
            "tiny",
            "Package: a\nVersion: 1:2~x\nArchitecture: all\n",
        )],
        &key,
    );
    let recipe = recipe(&["tiny"], &["a"]);
    let lock = lock_from(&recipe, &mirror, &key, None).unwrap();
    let text = lock.to_text();
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    assert_eq!(
        text,
        format!(
            "# Written by `mailimg lock`; run it again instead of editing this file.\n\
             recipe_sha256 = \"{}\"\nmade = {NOW} # 2026-11-22 12:00:00 UTC\n\n\
             [[sources]]\nsuite = \"tiny\"\nmirrors = [\"http://mirror.test/debian\"]\n\
             date = 1795345200 # 2026-11-22 11:00:00 UTC\ninrelease_sha256 = \"{}\"\n\n\
             [[packages]]\nname = \"a\"\nversion = \"1:2~x\"\narchitecture = \"all\"\n\
             suite = \"tiny\"\npath = \"pool/main/a_1:2~x.deb\"\nsize = 1\nsha256 = \"{}\"\n",
            lock.recipe_sha256, lock.sources[0].inrelease_sha256, lock.packages[0].sha256
        )
    );
    let object = &objects(&lock, &recipe)[0];
    assert_eq!(object.label, "a 1:2~x");
    assert_eq!(
        object.urls,
        ["http://mirror.test/debian/pool/main/a_1:2~x.deb"]
    );
}

#[test]
fn a_lock_that_was_tampered_with_is_refused() {
    let mut lock = Lock {
        recipe_sha256: "0".repeat(64),
        made: None,
        sources: Vec::new(),
        packages: Vec::new(),
    };
    lock.packages.push(LockedPackage {
        name: "a".to_owned(),
        version: "1".to_owned(),
        architecture: "all".to_owned(),
        suite: "tiny".to_owned(),
        path: "../a.deb".to_owned(),
        size: 1,
        sha256: "0".repeat(64),
        held: None,
    });
    let error = render(&Lock::parse(&lock.to_text()).unwrap_err());
    assert_eq!(
        error,
        "error: checking the lock: the path of a leaves the archive\n\
         hint: delete it and run 'mailimg lock' to write it anew"
    );
    let error = render(&Lock::parse("recipe_sha256 = 1\n").unwrap_err());
    assert!(error.starts_with("error: reading the lock: "), "{error}");
}
