//! What the mail image is made of, as text, so that a change reads as a diff.
//!
//! Composes the real tree from recipes/mail.lock; packages that the cache lacks
//! are fetched from Debian's mirror, or their successors when they left it.
//! `INSTA_UPDATE=always cargo test --test mailimg image::` rewrites tests/golden.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::BufRead as _;

use mailimg::builder::command::workbench::{RecipeArgs, Workbench, now};
use mailimg::builder::compose::{
    Composed, Ingredients, Origin, compose, enabled_units, install_version,
};
use mailimg::builder::fetch::Gone;
use mailimg::builder::lock::{check_fresh, make_lock};
use mailimg::builder::recipe::Recipe;
use mailimg::builder::tree::{Kind, Node, Tree, name_of};
use mailimg::builder::write::disk::{DiskUuids, plan_disk};

use crate::world::golden::assert_golden;

const UNITS: &str = "usr/lib/systemd/system";
const GENERATORS: &str = "usr/lib/systemd/system-generators";
const REPART: &str = "usr/lib/repart.d";

/// Mode bits of setuid and setgid.
const SET_ID: u16 = 0o6000;

fn open(recipe: &str) -> Workbench {
    Workbench::open(&RecipeArgs {
        recipe: recipe.to_owned(),
        offline: false,
        timeout: 30,
        json: true,
    })
    .unwrap()
}

fn composed() -> (Recipe, Composed) {
    let workbench = open("mail");
    let mut lock = workbench.lock().unwrap().clone();
    let unpacked = workbench.unpack(&lock).or_else(|error| {
        assert!(error.chain().any(|cause| cause.is::<Gone>()), "{error:#}");
        lock = make_lock(
            &workbench.recipe,
            &workbench.mirror,
            Some(&lock),
            &[],
            now(),
            &workbench.progress,
        )?;
        workbench.unpack(&lock)
    });
    let packages = unpacked.unwrap();
    let ingredients = Ingredients {
        resources: &workbench.resources,
        mailctl: None,
        lock: &lock,
    };
    let mut composed = compose(&workbench.recipe, &packages, &ingredients).unwrap();
    install_version(&mut composed, &workbench.recipe).unwrap();
    (workbench.recipe, composed)
}

fn text(tree: &Tree, path: &str) -> String {
    let content = tree.content(path).unwrap_or_else(|| panic!("no /{path}"));
    String::from_utf8(content.read().unwrap()).unwrap()
}

/// The tree's listing without sizes, which change with every version.
fn lines(tree: &Tree, wanted: impl Fn(&str, &Node) -> bool) -> String {
    let mut listing = String::new();
    for (line, (path, node)) in tree.listing().lines().zip(tree.iter()) {
        if !wanted(path, node) {
            continue;
        }
        match &node.kind {
            Kind::File(content) => {
                let size = format!(" {}", content.len());
                listing.push_str(&line.replacen(&size, "", 1));
            }
            _ => listing.push_str(line),
        }
        listing.push('\n');
    }
    listing
}

/// Units that a package starts by a link of its own, past every preset.
fn static_units(tree: &Tree) -> String {
    let mut links = String::new();
    for (path, node) in tree.below(UNITS) {
        let name = &path[UNITS.len() + 1..];
        let folder = name.split_once('/').map_or("", |(folder, _)| folder);
        if [".wants", ".requires", ".upholds"]
            .iter()
            .any(|suffix| folder.ends_with(suffix))
            && let Kind::Symlink(_) = node.kind
        {
            let _ = writeln!(links, "{name}");
        }
    }
    for (path, _) in tree.below(GENERATORS) {
        let _ = writeln!(links, "generator {}", name_of(path));
    }
    links
}

/// The table as written, and what systemd-repart adds at first boot.
fn partitions(recipe: &Recipe, tree: &Tree) -> String {
    // Derived from the root hash, which is another for every build.
    let uuids = DiskUuids {
        disk: [0; 16],
        esp: [0; 16],
        bios: [0; 16],
        root: [0; 16],
        verity: [0; 16],
    };
    let image = recipe.image.as_ref().unwrap();
    let plan = plan_disk(&image.disk, &recipe.name, "VERSION", &uuids).unwrap();
    let mut table = plan.to_string();
    for (path, _) in tree.below(REPART) {
        let _ = write!(table, "{}:", name_of(path));
        let definition = text(tree, path);
        let keys = definition
            .lines()
            .filter(|line| line.contains('=') && !line.starts_with('#'));
        for key in keys {
            let _ = write!(table, " {key}");
        }
        table.push('\n');
    }
    table
}

/// Every path has one origin, and the sizes of all origins are that of the tree.
fn assert_attributed(composed: &Composed) {
    let Composed { tree, origins, .. } = composed;
    let paths: Vec<&str> = origins.iter().map(|(path, _)| path).collect();
    assert_eq!(paths, tree.iter().map(|(path, _)| path).collect::<Vec<_>>());
    let size = |path: &str| match &tree.get(path).unwrap().kind {
        Kind::File(content) => content.len(),
        _ => 0,
    };
    let mut sizes: BTreeMap<&Origin, u64> = BTreeMap::new();
    for (path, origin) in origins.iter() {
        *sizes.entry(origin).or_default() += size(path);
    }
    let total: u64 = tree.iter().map(|(path, _)| size(path)).sum();
    assert_eq!(sizes.values().sum::<u64>(), total);
    let names: Vec<&str> = composed
        .manifest
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    for (path, origin) in [
        ("usr/sbin/postfix", Origin::Package("postfix".to_owned())),
        // Only its mode is declared.
        ("usr/sbin/postdrop", Origin::Package("postfix".to_owned())),
        ("etc/passwd", Origin::Builder),
        ("etc/ssl/certs/ca-certificates.crt", Origin::Builder),
        ("usr/lib/os-release", Origin::Builder),
        ("usr/lib/tmpfiles.d/zz-factory-var.conf", Origin::Builder),
        ("usr/lib/repart.d/70-var.conf", Origin::Units),
        ("etc/pam.d/common-auth", Origin::Overlay),
    ] {
        assert_eq!(origins.get(path), Some(&origin), "{path}");
    }
    for (origin, size) in sizes {
        match origin {
            Origin::Package(name) => assert!(names.contains(&name.as_str()), "{name}"),
            // What is neither a package's nor mailctl is small.
            _ => assert!(size < 4 << 20, "{origin}: {size}"),
        }
    }
}

#[test]
fn the_image_is_what_it_was() {
    let (recipe, composed) = composed();
    assert_attributed(&composed);
    let kernel = composed.kernel_version.unwrap();
    let tree = composed.tree;
    let accounts = ["passwd", "group", "shadow", "gshadow"].map(|name| {
        let table = text(&tree, &format!("etc/{name}"));
        format!("##### {name}\n{table}\n")
    });
    let command_line = &recipe.image.as_ref().unwrap().command_line;
    let goldens = [
        ("image_enabled_units", enabled_units(&tree)),
        ("image_static_units", static_units(&tree)),
        (
            "image_privileged_files",
            lines(&tree, |_, node| {
                let special = node.metadata.mode & SET_ID != 0 && !node.is_directory();
                special || !node.metadata.xattrs.is_empty()
            }),
        ),
        (
            "image_outside_usr",
            // A new kernel with the same files is no change.
            lines(&tree, |path, _| !path.starts_with("usr")).replace(&kernel, "KERNEL"),
        ),
        ("image_accounts", accounts.concat()),
        ("image_command_line", command_line.replace(' ', "\n")),
        ("image_partitions", partitions(&recipe, &tree)),
    ];
    // All of them before failing: one change often shows in several.
    let failed: Vec<&str> = goldens
        .iter()
        .filter(|(name, text)| std::panic::catch_unwind(|| assert_golden(name, text)).is_err())
        .map(|(name, _)| *name)
        .collect();
    assert!(failed.is_empty(), "not as in tests/golden: {failed:?}");
    assert_eq!(secrets(&tree), Vec::<String>::new());
}

/// A recipe that extends another one changes with it, and its lock has to follow.
#[test]
fn every_lock_is_that_of_its_recipe() {
    for recipe in ["mail", "metal", "small", "peers"] {
        let workbench = open(recipe);
        check_fresh(&workbench.recipe, workbench.lock().unwrap()).unwrap();
    }
}

/// Everything in a tree that must be made on the machine and nowhere else.
fn secrets(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, node) in tree.iter() {
        // What would land in /var comes from the factory.
        let place = path.trim_start_matches("usr/share/factory/");
        let name = name_of(path);
        if place == "var/lib/systemd/random-seed" {
            found.push(format!("/{path} is a random seed"));
        }
        if name.starts_with("ssh_host_") && name.contains("_key") {
            found.push(format!("/{path} is an ssh host key"));
        }
        let Kind::File(content) = &node.kind else {
            continue;
        };
        let bytes = content.read().unwrap();
        if ["etc/machine-id", "var/lib/dbus/machine-id"].contains(&place) && !bytes.is_empty() {
            found.push(format!("/{path} holds a machine's id"));
        }
        if ["shadow", "gshadow", "passwd", "group"].contains(&name.trim_end_matches('-')) {
            found.extend(passwords(path, &bytes));
        }
        if holds_private_key(&bytes) {
            found.push(format!("/{path} holds a private key"));
        }
    }
    found
}

/// Accounts whose second field is anything but "no password" or "see shadow".
fn passwords(path: &str, table: &[u8]) -> Vec<String> {
    let table = String::from_utf8_lossy(table);
    let accounts = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?, fields.next()?))
        });
    accounts
        .filter(|(_, password)| !["*", "!", "!*", "x"].contains(password))
        .map(|(name, _)| format!("/{path} has a password for {name}"))
        .collect()
}

/// A PEM block of a private key. Programs hold the first line alone, to look
/// for it; then no base64 follows.
fn holds_private_key(bytes: &[u8]) -> bool {
    /// Less than the shortest key in use has, Ed25519's.
    const SHORTEST_LINE: usize = 32;
    let mut rest = bytes;
    let mut line = Vec::new();
    let mut begun = false;
    loop {
        line.clear();
        if rest.read_until(b'\n', &mut line).unwrap() == 0 {
            return false;
        }
        let text = line.trim_ascii();
        let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
        if begun && text.len() >= SHORTEST_LINE && text.iter().all(base64) {
            return true;
        }
        // Headers of old and of PGP's format, and the empty line below them.
        begun = begun && (text.is_empty() || text.windows(2).any(|pair| pair == b": "));
        begun |= text.starts_with(b"-----BEGIN ") && text.ends_with(b"-----") && {
            let text = String::from_utf8_lossy(text);
            text.contains("PRIVATE KEY")
        };
    }
}

#[test]
fn each_kind_of_secret_is_noticed() {
    let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49\n-----END EC PRIVATE KEY-----\n";
    let old = key.replace(
        "KEY-----\nM",
        "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: X\n\nM",
    );
    for (path, content, complaint) in [
        ("usr/a.pem", key, "/usr/a.pem holds a private key"),
        ("usr/b.pem", &old, "/usr/b.pem holds a private key"),
        (
            "etc/machine-id",
            "0123\n",
            "/etc/machine-id holds a machine's id",
        ),
        (
            "etc/shadow",
            "a:*:::::::\nb:$y$j9T$x:::::::\n",
            "/etc/shadow has a password for b",
        ),
        (
            "etc/shadow-",
            "a::::::::\n",
            "/etc/shadow- has a password for a",
        ),
        (
            "usr/share/factory/var/lib/systemd/random-seed",
            "",
            "/usr/share/factory/var/lib/systemd/random-seed is a random seed",
        ),
        (
            "etc/ssh/ssh_host_rsa_key.pub",
            "",
            "/etc/ssh/ssh_host_rsa_key.pub is an ssh host key",
        ),
    ] {
        let mut tree = Tree::default();
        tree.insert(path, Node::file(0o644, content)).unwrap();
        assert_eq!(secrets(&tree), [complaint]);
    }
    for harmless in [
        "-----BEGIN PRIVATE KEY-----\0-----END PRIVATE KEY-----\0",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nMHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49\n",
    ] {
        assert!(!holds_private_key(harmless.as_bytes()), "{harmless}");
    }
}
