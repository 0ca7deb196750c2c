//! `mailctl user` as a person types it, in a folder that stands for the machine.

mod machine;

use machine::Machine;
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
    machine.run(&["user", "list"]).success().stdout(
        "USER                        MAILBOX  SANITY\n\
         jens@wombathub.de           2.0 KiB  ok\n\
         meier@entropiesenke.de            -  ok\n\
         postmaster@wombathub.de           -  ok\n",
    );
    machine
        .run(&["user", "del", "--purge-inbox", "jens@wombathub.de"])
        .success()
        .stdout(
            "Deleted 'jens@wombathub.de' and purged \
             mail/inboxes/wombathub.de/jens@wombathub.de.\n",
        );
    assert!(!inbox.exists());
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
        .stdout("Changed password of 'jens@wombathub.de' to the one provided.\n");
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
        .success();
    machine.boot();
    assert_eq!(machine.read("var/lib/mailimg/users"), "");
}
