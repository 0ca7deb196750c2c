//! Rendered configuration, whole, so that a change reads as a diff.
//!
//! `INSTA_UPDATE=always cargo test --test mailctl render::` rewrites tests/golden.

use crate::world::golden::assert_golden;
use crate::world::machine::Machine;
use std::fmt::Write;

/// New at each boot.
const RANDOM: [&str; 4] = ["guard-key", "dovecot/guard.conf", "probe", "store-key"];

fn rendered(machine: &Machine) -> String {
    let root = machine.path("run/mailimg");
    let mut text = String::new();
    for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
        let entry = entry.unwrap();
        let name = entry.path().strip_prefix(&root).unwrap();
        if entry.file_type().is_file() && !RANDOM.iter().any(|random| name.starts_with(random)) {
            let name = name.display();
            let content = std::fs::read_to_string(entry.path()).unwrap();
            let _ = write!(text, "##### {name}\n{content}\n");
        }
    }
    text
}

#[test]
fn defaults() {
    assert_golden("defaults", &rendered(&Machine::provisioned()));
}

#[test]
fn everything_chosen() {
    let machine = Machine::new();
    machine.put_esp(
        "DOMAIN=a.example\nHOSTNAME=a.example\nADDITIONAL_DOMAINS=b.example\nADMIN_USER=jens\n\
         ADMIN_USER_INITIAL_PASSWORD=x\nDKIM_KEY_SELECTOR=s1\nAUTH_ON_PORT_25=yes\n\
         SSH_AUTHORIZED_KEYS=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE j\n\
         SSH_ALLOW_FROM=192.0.2.0/24,2001:db8::1\nDH_PARAMS=ffdhe2048\n\
         RELAYHOST=[relay.example]:465\nRELAYHOST_USER=me\nRELAYHOST_PASSWORD=p:w\n\
         DNSSEC=no\nDNS_SERVERS=192.0.2.53,2001:db8::53\n\
         MESSAGE_SIZE_LIMIT=20M\nMAILBOX_QUOTA=2G\nSENDING_LIMIT=none\nTRUSTED_SEALERS=lists.example\n",
    );
    machine.boot();
    assert_golden("everything_chosen", &rendered(&machine));
}

#[test]
fn the_resolver_follows_lease_clock_and_credential() {
    let machine = Machine::provisioned();
    let unbound = || machine.read("run/mailimg/unbound/unbound.conf");
    assert!(unbound().contains("val-permissive-mode: yes") && !unbound().contains("forward"));
    std::fs::create_dir_all(machine.path("run/systemd/netif")).unwrap();
    std::fs::create_dir_all(machine.path("run/systemd/timesync")).unwrap();
    std::fs::write(
        machine.path("run/systemd/netif/state"),
        "DNS=192.0.2.1 2001:db8::1\n",
    )
    .unwrap();
    std::fs::write(machine.path("run/systemd/timesync/synchronized"), "").unwrap();
    machine
        .run(&["resolver"])
        .success()
        .stdout("The resolver has a new configuration.\n");
    machine
        .run(&["resolver"])
        .success()
        .stdout("The resolver is up to date.\n");
    assert!(!unbound().contains("permissive"));
    assert!(unbound().contains("forward-addr: 192.0.2.1\n    forward-addr: 2001:db8::1\n"));

    let folder = tempfile::tempdir().unwrap();
    let credential =
        "root_hints = \". NS ns.\\nns. A 192.0.2.9\\n\"\ntrust_anchor = \". DS 1 13 2 AB\\n\"\n";
    std::fs::write(folder.path().join("mailimg.dns"), credential).unwrap();
    machine
        .command(&["resolver"])
        .env("CREDENTIALS_DIRECTORY", folder.path())
        .assert()
        .success();
    // Later calls see no credential and must keep to it.
    machine
        .run(&["resolver"])
        .success()
        .stdout("The resolver is up to date.\n");
    assert!(!unbound().contains("forward"));
    assert!(unbound().contains("trust-anchor-file: \"/run/mailimg/unbound/root.key\""));
    assert_eq!(
        machine.read("run/mailimg/unbound/root.key"),
        ". DS 1 13 2 AB\n"
    );
}

/// Rendering once stopped at the first service that could not be configured; a damaged
/// file of accounts then took ssh away, with which it can be mended.
#[test]
fn one_service_in_trouble_is_in_no_other_s_way() {
    let machine = Machine::new();
    machine.put_esp(
        "DOMAIN=a.example\nHOSTNAME=mail.a.example\n\
         SSH_AUTHORIZED_KEYS=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE j\n",
    );
    machine.boot();
    let users = machine.path("var/lib/mailimg/users");
    assert!(users.exists());
    std::fs::write(&users, b"\xff\xfe damaged").unwrap();
    std::fs::remove_dir_all(machine.path("run/mailimg")).unwrap();
    machine
        .run(&["render"])
        .failure()
        .code(1)
        .stderr(predicates::str::contains(
            "configuring postfix: reading the accounts",
        ));
    for file in [
        "unbound/unbound.conf",
        "dovecot/dovecot.conf",
        "ssh/sshd_config",
        "ssh/authorized_keys",
        "filter.json",
    ] {
        assert!(machine.path("run/mailimg").join(file).exists(), "{file}");
    }
    assert!(!machine.path("run/mailimg/configured").exists());
}
