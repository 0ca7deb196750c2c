//! `mailctl alias` and the aliases file that a person edits.

use crate::world::machine::Machine;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

const FILE: &str = "var/lib/mailimg/aliases";
const TABLE: &str = "run/mailimg/postfix/aliases";
const SENDERS: &str = "run/mailimg/postfix/senders";

fn machine() -> Machine {
    let machine = Machine::provisioned();
    for address in ["jens@wombathub.de", "meier@entropiesenke.de"] {
        machine.run(&["user", "add", address, "x"]).success();
    }
    machine
}

fn write(machine: &Machine, text: &str) {
    std::fs::write(machine.path(FILE), text).unwrap();
}

#[test]
fn aliases_come_and_go_and_the_rest_of_the_file_stays() {
    let machine = machine();
    write(
        &machine,
        "# of the shop\n\nshop@wombathub.de\tjens   # for now\n",
    );
    machine
        .run(&[
            "alias",
            "add",
            "Info@Wombathub.de",
            "jens",
            "Meier@entropiesenke.de",
        ])
        .success()
        .stdout(
            "Added alias 'info@wombathub.de' for 'jens@wombathub.de', 'meier@entropiesenke.de'.\n",
        );
    machine
        .run(&[
            "alias",
            "add",
            "shop@wombathub.de",
            "info@wombathub.de",
            "Ann+x@Else.example",
        ])
        .success();
    assert_eq!(
        machine.read(FILE),
        "# of the shop\n\nshop@wombathub.de\tjens, info@wombathub.de, Ann+x@else.example   # for now\n\
         info@wombathub.de jens@wombathub.de, meier@entropiesenke.de\n"
    );
    let table = machine.read(TABLE);
    assert!(
        table
            .contains("shop@wombathub.de jens@wombathub.de,info@wombathub.de,Ann+x@else.example\n")
    );
    assert!(
        machine
            .read(SENDERS)
            .contains("shop@wombathub.de jens@wombathub.de,meier@entropiesenke.de\n")
    );
    machine.run(&["alias", "list"]).success().stdout(
        "info@wombathub.de  jens@wombathub.de, meier@entropiesenke.de\n\
             shop@wombathub.de  jens@wombathub.de, info@wombathub.de, Ann+x@else.example\n",
    );
    machine
        .run(&["alias", "del", "info@wombathub.de"])
        .code(1)
        .stderr(
            "error: alias 'shop@wombathub.de' leads to 'info@wombathub.de'\n\
             hint: mailctl alias del shop@wombathub.de info@wombathub.de goes first\n",
        );
    machine
        .run(&["alias", "del", "shop@wombathub.de", "info@wombathub.de"])
        .success()
        .stdout("Deleted 'info@wombathub.de' from alias 'shop@wombathub.de'.\n");
    machine
        .run(&["alias", "del", "info@wombathub.de"])
        .success()
        .stdout("Deleted alias 'info@wombathub.de'.\n");
    assert_eq!(
        machine.read(FILE),
        "# of the shop\n\nshop@wombathub.de\tjens, Ann+x@else.example   # for now\n"
    );
    assert!(!machine.read(TABLE).contains("info@wombathub.de"));
}

#[test]
fn names_of_people_and_firms_are_aliases() {
    let machine = machine();
    write(&machine, "# ours\nr&d@wombathub.de  jens, o'neil\n");
    machine
        .run(&["alias", "add", "O'Neil@wombathub.de", "jens"])
        .success()
        .stdout("Added alias 'o'neil@wombathub.de' for 'jens@wombathub.de'.\n");
    machine.run(&["update-aliases"]).success();
    for line in [
        "o'neil@wombathub.de jens@wombathub.de\n",
        "r&d@wombathub.de jens@wombathub.de,o'neil@wombathub.de\n",
    ] {
        assert!(machine.read(TABLE).contains(line), "{line}");
    }
    assert!(
        machine
            .read(SENDERS)
            .contains("r&d@wombathub.de jens@wombathub.de\n")
    );
    // What is said can be pasted into a shell.
    machine
        .run(&["alias", "del", "o'neil@wombathub.de"])
        .code(1)
        .stderr(
            "error: alias 'r&d@wombathub.de' leads to 'o'neil@wombathub.de'\n\
             hint: mailctl alias del 'r&d@wombathub.de' 'o'\\''neil@wombathub.de' goes first\n",
        );
    machine
        .run(&["alias", "del", "r&d@wombathub.de"])
        .success()
        .stdout("Deleted alias 'r&d@wombathub.de'.\n");
    machine
        .run(&["user", "add", "o'neil@wombathub.de"])
        .code(2)
        .stderr(contains("error: 'o'neil' is no user name\n"));
}

#[test]
fn refusals_say_what_to_do_and_change_nothing() {
    let machine = machine();
    write(
        &machine,
        "a@wombathub.de b\nb@wombathub.de jens\nold@wombathub.de gone\n",
    );
    let before = machine.read(FILE);
    for (arguments, code, text) in [
        (
            &["add", "info@foreign.example", "jens"][..],
            2,
            "error: 'foreign.example' is no domain of this machine\n\
             hint: expected one of wombathub.de, entropiesenke.de\n",
        ),
        (
            &["add", "info+x@wombathub.de", "jens"],
            2,
            "error: 'info+x@wombathub.de' has a tag\n\
             hint: expected info@wombathub.de, which takes mail with every tag\n",
        ),
        (
            &["add", "jens@wombathub.de", "meier@entropiesenke.de"],
            1,
            "error: 'jens@wombathub.de' is an account\n\
             hint: the account can forward with a sieve script, or be deleted with mailctl user del\n",
        ),
        (
            &["add", "a@wombathub.de", "b@wombathub.de"],
            1,
            "error: 'a@wombathub.de' leads to 'b@wombathub.de' already\n\
             hint: mailctl alias list shows all aliases\n",
        ),
        (
            &["add", "info@wombathub.de", "nobody"],
            1,
            "error: 'nobody@wombathub.de' is neither an account nor an alias; expected an address \
             that mailctl user list or mailctl alias list shows\n\
             hint: nothing was changed; mailctl alias list shows all aliases\n",
        ),
        (
            &["add", "b@wombathub.de", "a"],
            1,
            "error: leads in a loop: a@wombathub.de -> b@wombathub.de -> a@wombathub.de; \
             expected targets that end at accounts\n\
             hint: nothing was changed; mailctl alias list shows all aliases\n",
        ),
        (
            &["add", "info@wombathub.de", "a b@else.example"],
            2,
            "error: 'a b@else.example' is no address\n\
             hint: expected a full address, or a user name of the first domain\n",
        ),
        (
            &["del", "nobody@wombathub.de"],
            1,
            "error: there is no alias 'nobody@wombathub.de'\nhint: mailctl alias list shows all aliases\n",
        ),
        (
            &["del", "a@wombathub.de", "jens"],
            1,
            "error: 'a@wombathub.de' does not lead to 'jens@wombathub.de'\n\
             hint: it leads to 'b@wombathub.de'\n",
        ),
    ] {
        let arguments = [&["alias"], arguments].concat();
        machine.run(&arguments).code(code).stderr(text);
    }
    machine
        .run(&["user", "add", "a@wombathub.de", "x"])
        .code(1)
        .stderr(
            "error: 'a@wombathub.de' is an alias already\n\
             hint: mailctl alias del a@wombathub.de makes room for an account\n",
        );
    assert_eq!(machine.read(FILE), before);
    // Mistakes of old stop neither a change nor their own removal.
    machine
        .run(&["alias", "add", "info@wombathub.de", "jens"])
        .success();
    machine.run(&["alias", "del", "old@wombathub.de"]).success();
}

#[test]
fn an_edited_file_is_taken_whole_or_not_at_all() {
    let machine = machine();
    for verb in [&["update-aliases"][..], &["user", "update-aliases"]] {
        write(
            &machine,
            "info@wombathub.de jens\ninfo@wombathub.de meier@entropiesenke.de\n",
        );
        machine
            .run(verb)
            .success()
            .stdout("Updated aliases: 1 in use.\n");
        let good = machine.read(TABLE);
        assert!(good.contains("info@wombathub.de jens@wombathub.de,meier@entropiesenke.de\n"));
        write(
            &machine,
            "sales@wombathub.de jens\ninfo jens\nx@wombathub.de nobody\n",
        );
        machine.run(verb).code(1).stderr(
            "error: checking /var/lib/mailimg/aliases: 2 problems\n  \
             line 2: 'info' has no '@'; expected NAME@wombathub.de, or @wombathub.de for all of the domain\n  \
             line 3: 'nobody@wombathub.de' is neither an account nor an alias; expected an address \
             that mailctl user list or mailctl alias list shows\n\
             hint: nothing was changed; edit the file, then run mailctl update-aliases again\n",
        );
        assert_eq!(machine.read(TABLE), good);
    }
    machine
        .run(&["alias", "list", "--json"])
        .success()
        .stdout(contains("line 3: 'nobody@wombathub.de'").and(contains("\"lines\": [")));
    // A boot does not fail for it: what is right is in use.
    machine.boot();
    let table = machine.read(TABLE);
    assert!(table.contains("sales@wombathub.de jens@wombathub.de\n") && !table.contains("x@"));
    let console = || machine.read("run/issue.d/50-mailimg.issue");
    assert!(console().contains("/var/lib/mailimg/aliases has 2 mistakes"));
    machine.run(&["provision"]).success().stderr(contains(
        "warning: /var/lib/mailimg/aliases: line 2: 'info' has no '@'",
    ));
    machine
        .run(&["status", "--json"])
        .success()
        .stdout(contains("\"line 2: 'info' has no '@'"));
    write(&machine, "");
    machine.run(&["update-aliases"]).success();
    assert!(!console().contains("mistakes"));
}

#[test]
fn a_file_that_cannot_be_read_stops_no_boot() {
    let machine = machine();
    machine
        .run(&["alias", "add", "info@wombathub.de", "jens"])
        .success();
    let table = machine.read(TABLE);
    std::fs::remove_file(machine.path(FILE)).unwrap();
    std::fs::create_dir(machine.path(FILE)).unwrap();
    // What is in use stays in use until the next boot.
    machine
        .run(&["user", "add", "anna@wombathub.de", "x"])
        .code(1)
        .stderr(contains("reading").and(contains("aliases: it is no file")));
    assert_eq!(machine.read(TABLE), table);
    machine.boot();
    assert!(!machine.read(TABLE).contains("info@"));
    machine
        .run(&["status"])
        .success()
        .stdout(contains("it is no file"));
}

#[test]
fn bytes_that_are_no_text_cost_their_line() {
    let machine = machine();
    std::fs::write(
        machine.path(FILE),
        b"# J\xf6rg\ninfo@wombathub.de jens\nj\xf6rg@wombathub.de jens\n",
    )
    .unwrap();
    machine
        .run(&["update-aliases"])
        .code(1)
        .stderr(contains("line 3: ").and(contains("line 2").not()));
    machine
        .run(&["alias", "add", "x@wombathub.de", "jens"])
        .code(1)
        .stderr(contains("hint: save the file as UTF-8"));
    machine.boot();
    assert!(
        machine
            .read(TABLE)
            .contains("info@wombathub.de jens@wombathub.de\n")
    );
}

#[test]
fn deleting_an_account_leaves_its_aliases_to_the_others() {
    let machine = machine();
    write(&machine, "team@wombathub.de jens, meier@entropiesenke.de\n");
    machine.run(&["update-aliases"]).success();
    machine
        .run(&["user", "del", "jens@wombathub.de"])
        .success()
        .stdout("Deleted 'jens@wombathub.de'.\n")
        .stderr("warning: line 1 of /var/lib/mailimg/aliases still leads to 'jens@wombathub.de'\n");
    assert!(
        machine
            .read(TABLE)
            .contains("team@wombathub.de meier@entropiesenke.de\n")
    );
}

#[test]
fn the_rest_of_a_domain_never_takes_what_has_an_owner() {
    let machine = machine();
    machine
        .run(&["alias", "add", "@entropiesenke.de", "jens"])
        .success();
    let table = machine.read(TABLE);
    assert!(table.contains("\nmeier@entropiesenke.de meier@entropiesenke.de\n"));
    assert!(table.contains("\nabuse@entropiesenke.de postmaster@wombathub.de\n"));
    assert!(table.starts_with("@entropiesenke.de jens@wombathub.de\n"));
    assert!(
        machine
            .read(SENDERS)
            .starts_with("@entropiesenke.de jens@wombathub.de\n")
    );
}

#[test]
fn two_hundred_changes_at_once_lose_nothing() {
    let machine = machine();
    let indices: Vec<usize> = (0..200).collect();
    std::thread::scope(|scope| {
        // More processes than processors, fewer than would exhaust the host.
        for part in indices.chunks(25) {
            let machine = &machine;
            scope.spawn(move || {
                for index in part {
                    let alias = format!("alias{index}@wombathub.de");
                    match index % 4 {
                        0 => {
                            let address = format!("user{index}@wombathub.de");
                            machine.run(&["user", "add", &address, "x"]).success();
                            machine.run(&["alias", "add", &alias, &address]).success();
                        }
                        1 => {
                            machine.run(&["alias", "add", &alias, "jens"]).success();
                            machine.run(&["alias", "del", &alias]).success();
                        }
                        _ => {
                            machine.run(&["alias", "add", &alias, "jens"]).success();
                        }
                    }
                }
            });
        }
    });
    assert_eq!(machine.read(FILE).lines().count(), 150);
    assert_eq!(machine.read("var/lib/mailimg/users").lines().count(), 53);
    let table = machine.read(TABLE);
    let ours = table.lines().filter(|line| line.starts_with("alias"));
    assert_eq!(ours.count(), 150);
    assert_eq!(
        machine
            .read("run/mailimg/postfix/mailboxes")
            .lines()
            .count(),
        53
    );
}
