//! `mailctl user` as a person types it, in a folder that stands for the machine.

use crate::world::machine::Machine;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

#[test]
fn the_texts_are_those_of_the_seed_project() {
    let machine = Machine::provisioned();
    let output = machine.run(&["user", "add", "jens@wombathub.de"]);
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let password = text
        .strip_prefix("Created user 'jens@wombathub.de', generated password is:'")
        .and_then(|rest| rest.strip_suffix("'.\n"))
        .unwrap();
    assert_eq!(password.len(), 20);
    machine
        .run(&["user", "add", "Meier@Entropiesenke.de", "secret"])
        .success()
        .stdout("Created user 'meier@entropiesenke.de' with password provided.\n");
    machine
        .run(&["user", "del", "jens@wombathub.de"])
        .success()
        .stdout("Deleted 'jens@wombathub.de'.\n");
    machine.run(&["user", "add", "jens@wombathub.de"]).success();
    let inbox = machine.path("var/vmail/mail/inboxes/wombathub.de/jens@wombathub.de");
    std::fs::create_dir_all(inbox.join("Maildir/new")).unwrap();
    std::fs::write(inbox.join("Maildir/new/1"), vec![0; 2048]).unwrap();
    let size = du(&inbox.join("Maildir"));
    machine.run(&["user", "list"]).success().stdout(format!(
        "                                    user |  mbox size | sanity checks\n\
         \u{20}                   -------------------- + ---------- + ------------\n\
         \u{20}                      jens@wombathub.de | {size:>10} | OK\n\
         \u{20}                 meier@entropiesenke.de |    <empty> | OK\n\
         \u{20}                postmaster@wombathub.de |    <empty> | OK\n"
    ));
    machine
        .run(&["user", "del", "--purge-inbox", "jens@wombathub.de"])
        .success()
        .stdout(
            "Deleted 'jens@wombathub.de' and purged \
             mail/inboxes/wombathub.de/jens@wombathub.de.\n",
        );
    assert!(!inbox.exists());
    assert!(!machine.path("var/vmail/purged/jens@wombathub.de").exists());
}

/// What du(1) says about a folder.
fn du(folder: &std::path::Path) -> String {
    let output = std::process::Command::new("du")
        .arg("-sh")
        .arg(folder)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn accounts_and_maps_change_together() {
    let machine = Machine::provisioned();
    machine
        .run(&["user", "add", "jens@wombathub.de", "x"])
        .success();
    assert_eq!(
        machine.read("run/mailimg/postfix/mailboxes"),
        "jens@wombathub.de jens@wombathub.de\n\
         postmaster@wombathub.de postmaster@wombathub.de\n"
    );
    let users = machine.read("var/lib/mailimg/users");
    let line = users.lines().next().unwrap();
    assert!(line.starts_with("jens@wombathub.de:{ARGON2ID}$argon2id$v=19$"));
    assert!(line.ends_with("::::::"));
}

#[test]
fn passwords_come_from_standard_input_too() {
    let machine = Machine::provisioned();
    machine
        .command(&["user", "add", "jens@wombathub.de", "--password-stdin"])
        .write_stdin("pa ss:w'ord\n")
        .assert()
        .success()
        .stdout("Created user 'jens@wombathub.de' with password provided.\n");
    let before = machine.read("var/lib/mailimg/users");
    machine
        .run(&["user", "passwd", "jens@wombathub.de", "other"])
        .success()
        .stdout("Updated password for user 'jens@wombathub.de'\n");
    assert_ne!(machine.read("var/lib/mailimg/users"), before);
    machine
        .command(&["user", "passwd", "jens@wombathub.de", "--password-stdin"])
        .write_stdin("\n")
        .assert()
        .code(2)
        .stderr("error: the password is empty\n");
}

#[test]
fn refusals_say_what_to_do() {
    let machine = Machine::provisioned();
    for (arguments, code, text) in [
        (
            &["user", "add", "jens@foreign.example"][..],
            1,
            "error: 'foreign.example' is no domain of this machine\n\
             hint: it serves wombathub.de, entropiesenke.de; more go into ADDITIONAL_DOMAINS of \
             /var/lib/mailimg/settings.env, then mailctl settings apply\n",
        ),
        (
            &["user", "add", "POSTMASTER@wombathub.de"][..],
            1,
            "error: 'postmaster@wombathub.de' exists already\n\
             hint: mailctl user passwd postmaster@wombathub.de sets a new password\n",
        ),
        (
            &["user", "del", "nobody@wombathub.de"][..],
            1,
            "error: 'nobody@wombathub.de' does not exist\nhint: mailctl user list shows all accounts\n",
        ),
        (
            &["user", "add", "jens"][..],
            2,
            "error: 'jens' has no '@'\nhint: expected an address such as jens@example.org\n",
        ),
    ] {
        machine.run(arguments).code(code).stderr(text);
    }
    let before = machine.read("var/lib/mailimg/users");
    for bad in [
        "../x@wombathub.de",
        "a/b@wombathub.de",
        "a:b@wombathub.de",
        "a\nb@wombathub.de",
        "$(id)@wombathub.de",
        "a b@wombathub.de",
        "a+b@wombathub.de",
        ".*@wombathub.de",
    ] {
        machine
            .run(&["user", "add", bad])
            .code(2)
            .stderr(contains("is no user name"));
        machine.run(&["user", "del", "--purge-inbox", bad]).code(2);
    }
    assert_eq!(machine.read("var/lib/mailimg/users"), before);
}

#[test]
fn passwords_may_look_like_options() {
    let machine = Machine::provisioned();
    for (index, password) in ["-secret", "--secret", "-hx", "-", "--purge=x", "-1"]
        .iter()
        .enumerate()
    {
        let address = format!("user{index}@wombathub.de");
        machine
            .run(&["user", "add", &address, password])
            .success()
            .stdout(format!(
                "Created user '{address}' with password provided.\n"
            ));
        machine
            .run(&["user", "passwd", &address, password])
            .success();
    }
    // Options of mailctl itself need the two dashes that every program knows.
    machine
        .run(&["user", "passwd", "user0@wombathub.de", "--", "--help"])
        .success()
        .stdout("Updated password for user 'user0@wombathub.de'\n");
}

#[test]
fn a_new_password_needs_an_account_and_ends_sessions() {
    let machine = Machine::provisioned();
    machine
        .run(&["user", "passwd", "jens@wombathub.de", "x"])
        .code(1)
        .stderr(
            "error: User 'jens@wombathub.de' does not exist. Please create the user first.\n\
             hint: mailctl user add jens@wombathub.de creates it\n",
        );
    machine
        .run(&["user", "add", "jens@wombathub.de", "x"])
        .success();
    let revoked = machine.path("run/mailimg/revoked/jens@wombathub.de");
    assert!(!revoked.exists());
    let output = machine.run(&["user", "passwd", "Jens@WombatHub.de"]);
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let password = text
        .strip_prefix("Updated password for user 'jens@wombathub.de', generated password is:'")
        .and_then(|rest| rest.strip_suffix("'.\n"))
        .unwrap();
    assert_eq!(password.len(), 20);
    assert!(revoked.exists());
    std::fs::remove_file(&revoked).unwrap();
    machine.run(&["user", "del", "jens@wombathub.de"]).success();
    assert!(revoked.exists());
}

#[test]
fn purging_goes_on_where_it_stopped() {
    let machine = Machine::provisioned();
    machine
        .run(&["user", "add", "jens@wombathub.de", "x"])
        .success();
    // Cut short after the mail was set aside; new mail came with a new account of that name.
    for folder in [
        "var/vmail/purged/jens@wombathub.de/0/Maildir/cur",
        "var/vmail/mail/inboxes/wombathub.de/jens@wombathub.de/Maildir/cur",
    ] {
        std::fs::create_dir_all(machine.path(folder)).unwrap();
        std::fs::write(machine.path(folder).join("1"), "x").unwrap();
    }
    machine
        .run(&["user", "del", "jens@wombathub.de", "--purge-inbox"])
        .success()
        .stdout(
            "Deleted 'jens@wombathub.de' and purged \
             mail/inboxes/wombathub.de/jens@wombathub.de.\n",
        );
    assert!(!machine.path("var/vmail/purged/jens@wombathub.de").exists());
    assert!(
        !machine
            .path("var/vmail/mail/inboxes/wombathub.de/jens@wombathub.de")
            .exists()
    );
    machine
        .run(&["user", "del", "--purge-inbox", "jens@wombathub.de"])
        .code(1)
        .stderr(contains("does not exist"));
    std::fs::create_dir_all(machine.path("var/vmail/purged/jens@wombathub.de/0")).unwrap();
    machine
        .run(&["user", "del", "--purge-inbox", "jens@wombathub.de"])
        .success();
}

#[test]
fn quotas_and_foreign_fields_survive_every_change() {
    let machine = Machine::provisioned();
    let users = machine.path("var/lib/mailimg/users");
    machine
        .run(&["user", "add", "jens@wombathub.de", "x"])
        .success();
    let text = std::fs::read_to_string(&users).unwrap();
    let text = text.replacen("::::::\n", "::::::allow_nets=192.0.2.0/24,::1\n", 1);
    std::fs::write(&users, text).unwrap();
    machine
        .run(&["user", "quota", "jens@wombathub.de", "2G"])
        .success()
        .stdout("Mailbox of 'jens@wombathub.de' has a quota of 2147483648 bytes.\n");
    machine
        .run(&["user", "passwd", "jens@wombathub.de", "y"])
        .success();
    machine
        .run(&["user", "add", "anna@wombathub.de", "x"])
        .success();
    let line = |text: &str| {
        let mut lines = text.lines().map(str::to_owned);
        lines.find(|line| line.starts_with("jens@")).unwrap()
    };
    assert!(
        line(&machine.read("var/lib/mailimg/users"))
            .ends_with("::::::allow_nets=192.0.2.0/24,::1 userdb_quota_storage_size=2147483648B")
    );
    let list = |expected: &str| {
        machine
            .run(&["user", "list", "--json"])
            .success()
            .stdout(contains(expected));
    };
    list("\"quota_bytes\": 2147483648");
    machine
        .run(&["user", "quota", "jens@wombathub.de", "none"])
        .success()
        .stdout("Mailbox of 'jens@wombathub.de' has no quota.\n");
    assert!(line(&machine.read("var/lib/mailimg/users")).ends_with("=0B"));
    machine
        .run(&["user", "quota", "jens@wombathub.de", "default"])
        .success();
    assert!(line(&machine.read("var/lib/mailimg/users")).ends_with("::1"));
    machine
        .run(&["user", "quota", "jens@wombathub.de", "2 GB"])
        .code(2)
        .stderr(contains("'2 GB' is no size").and(contains("or default")));
    machine
        .run(&["user", "quota", "nobody@wombathub.de", "2G"])
        .code(1)
        .stderr(contains("does not exist"));
}

#[test]
fn the_list_says_what_is_wrong() {
    let machine = Machine::provisioned();
    std::fs::write(
        machine.path("var/lib/mailimg/users"),
        "jens@foreign.example:{CRYPT}x::::::\nanna@wombathub.de:::::::\nbob:{CRYPT}x::::::\n",
    )
    .unwrap();
    machine.run(&["user", "list"]).success().stdout(
        contains("jens@foreign.example |    <empty> | [domain is not served: add it to ADDITIONAL_DOMAINS]\n")
            .and(contains("anna@wombathub.de |    <empty> | [no password set: user cannot log in]\n"))
            .and(contains("bob |    <empty> | [no valid address]\n")),
    );
}

#[test]
fn changes_at_once_lose_nothing() {
    let machine = Machine::provisioned();
    std::thread::scope(|scope| {
        for index in 0..24 {
            let machine = &machine;
            scope.spawn(move || {
                let address = format!("user{index}@wombathub.de");
                machine.run(&["user", "add", &address, "x"]).success();
                if index % 3 == 0 {
                    machine.run(&["user", "del", &address]).success();
                }
            });
        }
    });
    assert_eq!(machine.read("var/lib/mailimg/users").lines().count(), 17);
    assert_eq!(
        machine
            .read("run/mailimg/postfix/mailboxes")
            .lines()
            .count(),
        17
    );
}

#[test]
fn the_first_password_is_kept_until_it_is_changed() {
    let machine = Machine::new();
    machine.put_esp("DOMAIN=a.example\nHOSTNAME=mail.a.example\n");
    machine.boot();
    let password = machine.read("var/lib/mailimg/admin-password");
    assert_eq!(password.trim().len(), 20);
    assert!(
        machine
            .read("run/mailimg/console/tty1.issue")
            .contains(password.trim())
    );
    assert!(
        !machine
            .read("run/issue.d/50-mailimg.issue")
            .contains(password.trim())
    );
    machine
        .run(&["user", "passwd", "postmaster@a.example", "x"])
        .success();
    assert!(!machine.path("var/lib/mailimg/admin-password").exists());
    assert!(!machine.path("run/mailimg/console/tty1.issue").exists());
    // Deleted on purpose: the next boot does not bring it back.
    machine
        .run(&["user", "del", "postmaster@a.example"])
        .success()
        .stderr(contains("warning: mail to postmaster reaches nobody"));
    machine.boot();
    assert_eq!(machine.read("var/lib/mailimg/users"), "");
}
