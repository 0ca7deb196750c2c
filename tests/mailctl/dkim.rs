//! `mailctl dkim`: from one signing key to the next.

use crate::world::machine::Machine;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

const SETTINGS: &str = "DOMAIN=a.example\nHOSTNAME=mail.a.example\nADMIN_USER_INITIAL_PASSWORD=x\n";
const KEY_TABLE: &str = "run/mailimg/opendkim/KeyTable";
const FOLDER: &str = "var/lib/mailimg/dkim/a.example";

fn machine() -> Machine {
    let machine = Machine::new();
    machine.put_esp(SETTINGS);
    machine.boot();
    machine
}

fn output(machine: &Machine, arguments: &[&str]) -> String {
    let assert = machine.run(arguments).success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// The selector of the first record in a text.
fn selector(text: &str) -> String {
    let line = text.lines().find(|line| !line.starts_with(';')).unwrap();
    line.split('.').next().unwrap().to_owned()
}

#[test]
fn signing_never_stops_and_old_records_stay() {
    let machine = machine();
    let first = output(&machine, &["dkim", "show"]);
    assert!(
        first.starts_with("; a.example: active\nmailserver._domainkey.a.example. 3600 IN TXT (")
    );

    let prepared = output(&machine, &["dkim", "rotate"]);
    let next = selector(&prepared);
    assert!(next.starts_with("mailserver-20") && next.len() == "mailserver-20261122".len());
    // Asked again, it is the same key; the old one signs until told otherwise.
    assert_eq!(output(&machine, &["dkim", "rotate", "a.example"]), prepared);
    machine.boot();
    assert!(machine.read(KEY_TABLE).contains("a.example:mailserver:"));
    let shown = output(&machine, &["dkim", "show"]);
    assert!(shown.contains("; a.example: pending: publish") && shown.contains(first.trim_end()));

    // No resolver here: that is no proof that the record is published.
    machine
        .run(&["dkim", "rotate", "--activate"])
        .code(1)
        .stderr(
            contains(format!("checking the record {next}._domainkey.a.example"))
                .and(contains("--force activates the key all the same")),
        );
    assert!(machine.read(KEY_TABLE).contains("a.example:mailserver:"));

    let said = output(
        &machine,
        &["dkim", "rotate", "--activate", "--force", "a.example"],
    );
    assert!(said.starts_with(&format!(
        "a.example signs with '{next}'. Leave the record of 'mailserver' published until 20"
    )));
    assert!(machine.read(KEY_TABLE).contains(&format!(
        "a.example:{next}:/var/lib/mailimg/dkim/a.example/{next}.private"
    )));
    let shown = output(&machine, &["dkim", "show"]);
    assert!(shown.contains("; a.example: retired, the record may be removed after 20"));
    assert!(shown.contains("mailserver._domainkey.a.example."));
    machine
        .run(&["dkim", "rotate", "--activate"])
        .code(1)
        .stderr("error: no key waits to be used\nhint: mailctl dkim rotate makes the next one\n");
    let again = selector(&output(&machine, &["dkim", "rotate"]));
    assert_eq!(again, format!("{next}-2"));
    machine.boot();
    assert!(
        machine
            .path(&format!("{FOLDER}/mailserver.private"))
            .exists()
    );

    // Two weeks later.
    let path = machine.path(&format!("{FOLDER}/selectors.json"));
    let mut state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    state["retired"][0]["until"] = 1_700_000_000.into();
    std::fs::write(&path, state.to_string()).unwrap();
    machine.run(&["dkim", "ensure"]).success();
    assert!(
        !machine
            .path(&format!("{FOLDER}/mailserver.private"))
            .exists()
    );
    assert!(machine.path(&format!("{FOLDER}/mailserver.txt")).exists());
    machine
        .run(&["dkim", "show", "--json"])
        .success()
        .stdout(contains("\"removable_after\": \"2023-11-14\""));
    machine
        .run(&["dkim", "rotate", "b.example"])
        .code(1)
        .stderr(contains("'b.example' is no domain of this machine"));
}

#[test]
fn another_selector_in_the_settings_is_another_key() {
    let machine = machine();
    let settings = machine.path("var/lib/mailimg/settings.env");
    std::fs::write(&settings, format!("{SETTINGS}DKIM_KEY_SELECTOR=s2\n")).unwrap();
    machine.boot();
    assert!(machine.read(KEY_TABLE).contains("a.example:s2:"));
    let shown = output(&machine, &["dkim", "show"]);
    assert!(shown.starts_with("; a.example: active\ns2._domainkey.a.example."));
    assert!(shown.contains("; a.example: retired"));
    // Back again within two weeks: the key whose record is still published.
    let before = machine.read(&format!("{FOLDER}/mailserver.private"));
    std::fs::write(&settings, SETTINGS).unwrap();
    machine.boot();
    assert!(machine.read(KEY_TABLE).contains("a.example:mailserver:"));
    assert_eq!(
        machine.read(&format!("{FOLDER}/mailserver.private")),
        before
    );
    // A torn state file stops nothing.
    std::fs::write(machine.path(&format!("{FOLDER}/selectors.json")), "{").unwrap();
    machine.boot();
    assert!(machine.read(KEY_TABLE).contains("a.example:mailserver:"));
}

#[test]
fn a_damaged_state_is_told_and_kept() {
    let machine = machine();
    let path = machine.path(FOLDER).join("selectors.json");
    std::fs::write(&path, "{\"active\": \"other\"").unwrap();
    machine
        .run(&["dkim", "ensure"])
        .success()
        .stderr(contains("selectors.json").and(contains("'mailserver' signs for a.example")));
    let kept = std::fs::read_to_string(path.with_extension("json.damaged")).unwrap();
    assert_eq!(kept, "{\"active\": \"other\"");
    machine
        .run(&["dkim", "ensure"])
        .success()
        .stderr(contains("warning").not());
}

/// The signer's user owns the folder, and root wrote, chmodded, chowned and read by name in it.
#[test]
fn links_that_the_signer_laid_lead_nowhere() {
    let machine = machine();
    machine.run(&["dkim", "ensure"]).success();
    let precious = machine.path("precious");
    std::fs::write(&precious, "precious").unwrap();
    std::fs::set_permissions(&precious, Permissions::from_mode(0o600)).unwrap();
    let replace = |name: &str, target: &Path| {
        let link = machine.path(&format!("var/lib/mailimg/dkim/{name}"));
        if std::fs::remove_file(&link).is_err() {
            std::fs::rename(&link, link.with_extension("before")).unwrap();
        }
        symlink(target, link).unwrap();
    };
    for name in ["a.example/selectors.json", "a.example/mailserver.txt"] {
        replace(name, &precious);
        if name.ends_with(".txt") {
            let refused = machine.run(&["dkim", "show"]).code(1);
            refused.stderr(contains("a link lies there, or on the way"));
        }
        machine.run(&["dkim", "ensure"]).success();
        assert!(
            !machine
                .path(&format!("var/lib/mailimg/dkim/{name}"))
                .is_symlink()
        );
    }
    let elsewhere = machine.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    for (name, target) in [
        ("a.example/mailserver.private", &precious),
        ("a.example", &elsewhere),
    ] {
        replace(name, target);
        machine
            .run(&["dkim", "ensure"])
            .code(1)
            .stderr(contains("a link lies there, or on the way").and(contains("precious").not()));
    }
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
    assert_eq!(
        precious.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(std::fs::read_dir(elsewhere).unwrap().count(), 0);
}
