//! Where settings come from, what becomes of them, and how mistakes are told.

use crate::world::machine::Machine;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

const GOOD: &str =
    "DOMAIN=a.example\nHOSTNAME=mail.a.example\nADMIN_USER_INITIAL_PASSWORD=s3cret\n";

#[test]
fn a_machine_without_settings_waits_and_is_healthy() {
    let machine = Machine::new();
    machine.boot();
    machine
        .run(&["health"])
        .success()
        .stdout("Healthy: waiting for settings.\n");
    machine
        .run(&["status"])
        .success()
        .stdout(contains("waiting for settings"));
    assert!(machine.path("run/mailimg/unbound/unbound.conf").exists());
    assert!(!machine.path("run/mailimg/provisioned").exists());
    assert!(
        machine
            .read("run/issue.d/50-mailimg.issue")
            .contains("waits for its settings")
    );
    machine.run(&["user", "list"]).code(1).stderr(
        "error: this machine has no settings yet\nhint: mailctl console says how to supply them\n",
    );
}

#[test]
fn the_shipped_template_counts_as_no_settings() {
    let machine = Machine::new();
    machine.put_esp(&mailimg::settings::settings_template());
    machine.boot();
    assert!(!machine.path("var/lib/mailimg/settings.env").exists());
}

#[test]
fn secrets_leave_the_esp_and_stay_on_the_machine() {
    let machine = Machine::new();
    machine.put_esp(GOOD);
    machine.boot();
    let esp = machine.read("run/mailimg-initrd/esp/settings.env");
    assert!(
        esp.contains("ADMIN_USER_INITIAL_PASSWORD=__KEPT_ON_THE_MACHINE__\n"),
        "{esp}"
    );
    assert_eq!(machine.read("var/lib/mailimg/settings.env"), GOOD);
    machine
        .run(&["settings", "show"])
        .success()
        .stdout(contains("ADMIN_USER_INITIAL_PASSWORD=(hidden)").and(contains("s3cret").not()));

    // Edited on the machine, then booted: the unchanged ESP is not taken again.
    let edited = GOOD.replace("mail.a.example", "mx.a.example");
    std::fs::write(machine.path("var/lib/mailimg/settings.env"), &edited).unwrap();
    machine.boot();
    assert_eq!(machine.read("var/lib/mailimg/settings.env"), edited);

    // Changed on the ESP with the marker left in: the stored secret stays.
    machine.put_esp(&esp.replace("mail.a.example", "post.a.example"));
    machine.boot();
    let stored = machine.read("var/lib/mailimg/settings.env");
    assert!(stored.contains("HOSTNAME=post.a.example\nADMIN_USER_INITIAL_PASSWORD=s3cret\n"));
    assert_eq!(machine.read("var/lib/mailimg/settings.env.old"), edited);
}

#[test]
fn the_credential_comes_first() {
    let machine = Machine::new();
    machine.put_esp(GOOD);
    let folder = tempfile::tempdir().unwrap();
    let text = GOOD.replace("mail.a.example", "credential.a.example");
    std::fs::write(folder.path().join("settings.env"), text).unwrap();
    for said in [
        "Took settings from the systemd credential.\n",
        "Settings are unchanged.\n",
    ] {
        machine
            .command(&["import-settings"])
            .env("CREDENTIALS_DIRECTORY", folder.path())
            .assert()
            .success()
            .stdout(said);
    }
    assert!(
        machine
            .read("var/lib/mailimg/settings.env")
            .contains("credential.a.example")
    );
}

#[test]
fn bad_settings_are_told_and_do_not_stop_the_boot() {
    let machine = Machine::new();
    machine.put_esp("DOMAIN=a.example\nHOSTNAME=mail\n");
    machine.boot();
    let expected = "line 2: HOSTNAME: 'mail' has only one label; expected a full name such as mail.example.org";
    assert!(
        machine
            .read("run/issue.d/50-mailimg.issue")
            .contains(expected)
    );
    machine.run(&["health"]).success();

    machine.put_esp(GOOD);
    machine.boot();
    machine.put_esp("DOMAIN=a.example\nDOMAIN=b.example\n");
    machine.boot();
    assert_eq!(machine.read("var/lib/mailimg/settings.env"), GOOD);
    assert!(machine.path("run/mailimg/provisioned").exists());
    assert!(
        machine
            .read("run/issue.d/50-mailimg.issue")
            .contains("line 2: DOMAIN")
    );
}

#[test]
fn check_names_line_key_and_expectation() {
    let machine = Machine::new();
    let file = machine.path("settings.env");
    std::fs::write(
        &file,
        "DOMAIN=a.example\nHOSTNAME=mail.a.example\nMETRIX=true\n",
    )
    .unwrap();
    let name = file.to_str().unwrap();
    machine
        .run(&["settings", "check", name])
        .success()
        .stdout(format!(
            "warning: line 3: METRIX: is no known key and is ignored; expected METRICS\n\
         warning: SSH_AUTHORIZED_KEYS: is empty: ssh stays off, and only the console is left, which shows messages and takes no login\n\
         {name}: good\n"
        ));
    std::fs::write(&file, "DOMAIN=\"a.example\"\n").unwrap();
    machine
        .run(&["settings", "check", name])
        .code(1)
        .stderr(format!(
            "error: checking {name}: line 1: DOMAIN: is in quotes, which would become part of the \
         value; expected the bare value\n"
        ));
    machine
        .run(&["settings", "check", "/nonexistent/settings.env"])
        .code(1)
        .stderr(contains("reading /nonexistent/settings.env: No such file"));
}

#[test]
fn state_of_a_newer_image_is_refused() {
    let machine = Machine::provisioned();
    std::fs::write(machine.path("var/lib/mailimg/state-version"), "2\n").unwrap();
    for verb in ["import-settings", "render", "provision"] {
        machine
            .run(&[verb])
            .code(1)
            .stderr(contains("boot the newer image again"));
    }
}

#[test]
fn keys_and_certificate_are_made_once() {
    let machine = Machine::provisioned();
    let files = [
        "var/lib/mailimg/dkim/wombathub.de/mailserver.private",
        "var/lib/mailimg/dkim/entropiesenke.de/mailserver.private",
        "var/lib/mailimg/tls/privkey.pem",
        "var/lib/mailimg/tls/fullchain.pem",
        "var/lib/mailimg/users",
    ];
    let before: Vec<String> = files.iter().map(|file| machine.read(file)).collect();
    machine.boot();
    let after: Vec<String> = files.iter().map(|file| machine.read(file)).collect();
    assert_eq!(before, after);
    machine
        .run(&["dkim", "show", "entropiesenke.de"])
        .success()
        .stdout(contains(
            "mailserver._domainkey.entropiesenke.de. 3600 IN TXT ( \"v=DKIM1; k=rsa; p=",
        ));
}

#[test]
fn edited_settings_come_into_use_without_a_reboot() {
    let machine = Machine::provisioned();
    let file = machine.path("var/lib/mailimg/settings.env");
    machine
        .run(&["user", "add", "meier@entropiesenke.de", "x"])
        .success();
    std::fs::write(
        &file,
        "DOMAIN=wombathub.de\nHOSTNAME=mail.wombathub.de\nADDITIONAL_DOMAINS=new.example\n\
         ADMIN_USER=boss\nMETRIX=true\n",
    )
    .unwrap();
    machine.run(&["settings", "apply"]).success().stdout(
        contains("warning: line 5: METRIX: is no known key and is ignored; expected METRICS\n")
            .and(contains(
                "warning: 1 accounts lie in domains that are not served and get no mail: \
                 meier@entropiesenke.de\n",
            ))
            .and(contains("Settings are in use.\n")),
    );
    assert!(
        machine
            .path("var/lib/mailimg/dkim/new.example/mailserver.private")
            .exists()
    );
    let keys = machine.read("run/mailimg/opendkim/KeyTable");
    assert!(keys.contains("new.example:mailserver:") && !keys.contains("entropiesenke"));
    // The account stays, for the day the domain is back.
    assert!(
        machine
            .read("var/lib/mailimg/users")
            .contains("meier@entropiesenke.de:{")
    );
    assert!(
        !machine
            .read("run/mailimg/postfix/senders")
            .contains("meier@")
    );
    machine
        .run(&["user", "list"])
        .success()
        .stdout(contains("[domain is not served"));
    // Another admin: an account of its own, and the mail to the role addresses.
    let aliases = machine.read("run/mailimg/postfix/aliases");
    assert!(aliases.contains("abuse@new.example boss@wombathub.de\n"));
    assert!(
        machine
            .read("var/lib/mailimg/users")
            .contains("boss@wombathub.de:{ARGON2ID}")
    );
    assert_eq!(
        machine.read("var/lib/mailimg/admin-password").trim().len(),
        20
    );
    machine.run(&["user", "del", "boss@wombathub.de"]).success();
    machine.run(&["settings", "apply"]).success().stdout(contains(
        "warning: mail to postmaster reaches nobody: mailctl user add boss@wombathub.de mends it\n",
    ));
}

#[test]
fn wrong_settings_change_nothing() {
    let machine = Machine::provisioned();
    let file = machine.path("var/lib/mailimg/settings.env");
    let before = machine.read("run/mailimg/postfix/main.cf");
    std::fs::write(
        &file,
        "DOMAIN=wombathub.de\nHOSTNAM=mx.wombathub.de\nMETRICS=maybe\n",
    )
    .unwrap();
    for verb in [&["settings", "apply"][..], &["settings", "check"]] {
        machine.run(verb).code(1).stderr(
            contains("line 2: HOSTNAM: is no known key and is ignored; expected HOSTNAME")
                .and(contains("line 3: METRICS: 'maybe' is neither yes nor no"))
                .and(contains("HOSTNAME: is missing")),
        );
    }
    assert_eq!(machine.read("run/mailimg/postfix/main.cf"), before);
}
