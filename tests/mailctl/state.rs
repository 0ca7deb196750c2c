//! State outlives versions: what the first one wrote is read today, and what is written today
//! could be read by it.
//!
//! There is no migration, since no form has changed: what came later came beside it. Whoever
//! changes a form finds here who else reads it; then [`STATE_VERSION`] rises, the new form is
//! written beside the old one, and the old one goes when the version is kept.
//!
//! [`STATE_VERSION`]: the number in /var/lib/mailimg/state-version

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use sha2::{Digest, Sha256};

use crate::world::machine::Machine;

const STATE: &str = "var/lib/mailimg";
/// Accounts and aliases as the first version wrote them.
const USERS: &str = "\
anna@wombathub.de:{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$cGVwcGVycGVwcGVy$qqM8k1nP0RZT9rEJc9mxwDX0SYhbUH0ZVQMIkAGS3fM::::::
postmaster@wombathub.de:{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$rU8vO2VJxX6cZ0hJkR1y3c3F2n4T2f0Wl7V6gkzq1bM::::::
";
const ALIASES: &str = "sales@wombathub.de anna@wombathub.de\n";

/// Every file that a machine has after its first boot. One more is one more to keep readable.
const FILES: [&str; 16] = [
    "admin-created",
    "aliases",
    "dh/ffdhe4096.pem",
    "dkim/entropiesenke.de/mailserver.private",
    "dkim/entropiesenke.de/mailserver.txt",
    "dkim/entropiesenke.de/selectors.json",
    "dkim/lock",
    "dkim/wombathub.de/mailserver.private",
    "dkim/wombathub.de/mailserver.txt",
    "dkim/wombathub.de/selectors.json",
    "imports.json",
    "settings.env",
    "state-version",
    "tls/self-signed",
    "users",
    "users.lock",
];

fn machine() -> Machine {
    let machine = Machine::provisioned();
    machine
        .run(&["user", "add", "anna@wombathub.de", "anna anna"])
        .success();
    machine
        .run(&["alias", "add", "sales@wombathub.de", "anna@wombathub.de"])
        .success();
    machine
}

fn path(machine: &Machine, name: &str) -> std::path::PathBuf {
    machine.path(STATE).join(name)
}

fn read(machine: &Machine, name: &str) -> String {
    fs::read_to_string(path(machine, name)).unwrap()
}

/// Certificate and key, and the keys that sign.
fn keys(machine: &Machine) -> Vec<String> {
    let names = [
        "tls/fullchain.pem",
        "tls/privkey.pem",
        "dkim/wombathub.de/mailserver.private",
        "dkim/entropiesenke.de/mailserver.private",
    ];
    names.map(|name| read(machine, name)).to_vec()
}

#[test]
fn what_the_first_version_wrote_is_read() {
    let machine = machine();
    let before = keys(&machine);
    // It had the pair where it is read, and one key a domain, of the configured selector.
    for name in ["fullchain.pem", "privkey.pem"] {
        let bytes = read(&machine, &format!("tls/{name}"));
        fs::remove_file(path(&machine, &format!("tls/{name}"))).unwrap();
        fs::write(path(&machine, &format!("tls/{name}")), bytes).unwrap();
    }
    fs::remove_file(path(&machine, "tls/key-and-chain.pem")).unwrap();
    fs::remove_file(path(&machine, "tls/current")).unwrap();
    fs::remove_dir_all(path(&machine, "tls/pairs")).unwrap();
    for domain in ["wombathub.de", "entropiesenke.de"] {
        fs::remove_file(path(&machine, &format!("dkim/{domain}/selectors.json"))).unwrap();
    }
    fs::write(path(&machine, "users"), USERS).unwrap();
    fs::write(path(&machine, "aliases"), ALIASES).unwrap();
    fs::write(path(&machine, "state-version"), "1\n").unwrap();

    machine.boot();
    assert!(keys(&machine) == before);
    assert_eq!(read(&machine, "users"), USERS);
    assert_eq!(read(&machine, "aliases"), ALIASES);
    machine
        .run(&["user", "list"])
        .success()
        .stdout(contains("anna@wombathub.de").and(contains("postmaster@wombathub.de")));
    machine
        .run(&["alias", "list"])
        .success()
        .stdout(contains("sales@wombathub.de"));
    // The next change keeps what is there.
    machine
        .run(&["user", "add", "bert@wombathub.de", "bert bert"])
        .success();
    assert!(read(&machine, "users").starts_with(USERS.lines().next().unwrap()));
}

#[test]
fn the_first_version_could_read_what_is_written() {
    let machine = machine();
    for file in FILES {
        assert!(path(&machine, file).is_file(), "{file} is gone");
    }
    for entry in walkdir::WalkDir::new(machine.path(STATE)) {
        let entry = entry.unwrap();
        let name = entry.path().strip_prefix(machine.path(STATE)).unwrap();
        let name = name.to_str().unwrap();
        let pair = name.starts_with("tls/pairs/");
        assert!(
            !entry.file_type().is_file() || pair || FILES.contains(&name),
            "{name} is new: can the version before do without it, and with it?"
        );
    }
    assert_eq!(read(&machine, "state-version"), "1\n");
    for line in read(&machine, "users").lines() {
        let fields: Vec<&str> = line.split(':').collect();
        assert_eq!(fields.len(), 8, "{line}");
        assert!(fields[0].contains('@') && fields[1].starts_with("{ARGON2ID}$argon2id$"));
        assert!(fields[2..].iter().all(|field| field.is_empty()), "{line}");
    }
    assert_eq!(read(&machine, "aliases"), ALIASES);
    assert_eq!(read(&machine, "admin-created"), "postmaster@wombathub.de\n");

    // The pair where it was, and the mark of a self-signed one.
    let [chain, key] =
        ["fullchain", "privkey"].map(|name| read(&machine, &format!("tls/{name}.pem")));
    let digest = Sha256::new()
        .chain_update(&chain)
        .chain_update(&key)
        .finalize();
    let mark = format!("mail.wombathub.de {}\n", hex::encode(digest));
    assert_eq!(read(&machine, "tls/self-signed"), mark);
    assert!(chain.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    // A key by the name of the configured selector, for the signer alone.
    let signing = path(&machine, "dkim/wombathub.de/mailserver.private");
    assert!(
        fs::read_to_string(&signing)
            .unwrap()
            .starts_with("-----BEGIN PRIVATE KEY-----\n")
    );
    assert_eq!(mode(&signing), 0o600);

    let imports: serde_json::Value = serde_json::from_str(&read(&machine, "imports.json")).unwrap();
    for digests in imports.as_object().unwrap().values() {
        let digests = digests.as_array().unwrap();
        let hexadecimal = |value: &serde_json::Value| value.as_str().unwrap().len() == 64;
        assert!(digests.iter().all(hexadecimal), "{imports}");
    }
    // What later versions need of it; more may come.
    let selectors: serde_json::Value =
        serde_json::from_str(&read(&machine, "dkim/wombathub.de/selectors.json")).unwrap();
    assert_eq!(selectors["active"], "mailserver");
    assert_eq!(selectors["configured"], "mailserver");
    assert!(selectors["retired"].is_array());
}

/// A version that finds state of a newer form says so and changes nothing; on trial, that is
/// the way back to the newer one.
#[test]
fn state_of_a_newer_form_is_left_alone() {
    let machine = machine();
    fs::write(path(&machine, "state-version"), "2\n").unwrap();
    let before = crate::world::bench::files_below(&machine.path(STATE));
    for verb in [
        &["settings", "start"][..],
        &["provision"],
        &["user", "add", "carl@wombathub.de", "c"],
    ] {
        machine
            .run(verb)
            .code(1)
            .stderr(contains("has version 2, this image knows up to 1"))
            .stderr(contains("hint: boot the newer image again"));
    }
    assert!(crate::world::bench::files_below(&machine.path(STATE)) == before);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
