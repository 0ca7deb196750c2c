//! What `mailctl` says in a container: of settings, health, other images and its host.

use crate::world::machine::Machine;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// A container whose engine gave nothing yet.
fn container() -> Machine {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.path("run/mailimg-container")).unwrap();
    machine
}

#[test]
fn it_says_how_settings_come_to_a_container() {
    let ways = contains("--env-file").and(contains("/run/secrets/settings.env"));
    let of_machines = contains("EFI").or(contains("hypervisor"));
    let machine = container();
    let said = machine.command(&["console"]).assert().success();
    said.stdout(ways.and(of_machines.not()));
}

#[test]
fn waiting_for_settings_is_well_for_a_boot_and_not_for_an_engine() {
    let machine = container();
    machine.command(&["health"]).assert().success();
    let strict = ["health", "--settings-needed"];
    machine
        .command(&strict)
        .assert()
        .code(1)
        .stdout(contains("Waiting for settings"));
}

#[test]
fn another_image_is_its_engines_to_choose() {
    let machine = container();
    for verb in ["upgrade", "rollback"] {
        machine.command(&[verb]).assert().code(1).stderr(
            "error: this is a container: its engine chooses the image\n\
             hint: start a container of the other image on the same volume, /var\n",
        );
    }
}

#[test]
fn settings_come_from_its_engine_and_ssh_is_no_loss() {
    let machine = container();
    let folder = tempfile::tempdir().unwrap();
    let settings = "DOMAIN=wombathub.de\nHOSTNAME=mail.wombathub.de\n";
    std::fs::write(folder.path().join("settings.env"), settings).unwrap();
    machine
        .command(&["import-settings"])
        .env("CREDENTIALS_DIRECTORY", folder.path())
        .assert()
        .success()
        .stdout("Took settings from the container engine.\n")
        .stderr(contains("SSH_AUTHORIZED_KEYS").not());
    let check = machine.command(&["settings", "check"]).assert().success();
    check.stdout(contains("SSH_AUTHORIZED_KEYS").not());
}

#[test]
fn a_workspace_is_taken_over_once() {
    let machine = Machine::provisioned();
    let account = "jens@wombathub.de:{SSHA256}abc:2001:2001:/host::\n";
    for (path, text) in [
        ("host/etc/dovecot/passwd", account),
        (
            "host/etc/postfix/vuser",
            "jens@wombathub.de x/user/Maildir/\n",
        ),
    ] {
        let path = machine.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let take = || machine.command(&["takeover"]).assert().success();
    take().stdout(contains("1 new"));
    machine
        .command(&["user", "del", "jens@wombathub.de"])
        .assert()
        .success();
    take().stdout(contains("was taken over before"));
    assert!(!machine.read("var/lib/mailimg/users").contains("jens@"));
}
