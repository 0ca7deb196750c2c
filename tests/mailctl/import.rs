//! `mailctl import`: a workspace of t-lo/mailserver, made by hand after its scripts.

use crate::world::machine::Machine;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use rsa::RsaPrivateKey;
use rsa::pkcs1::{EncodeRsaPrivateKey, LineEnding};
use rsa::rand_core::OsRng;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const HOSTNAME: &str = "mail.wombathub.de";

struct Workspace {
    folder: TempDir,
}

impl Workspace {
    fn new() -> Self {
        let workspace = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let home = "/host/mail/inboxes";
        workspace.write(
            "etc/dovecot/passwd",
            &format!(
                "postmaster@wombathub.de:{{SSHA256}}old:2001:2001:{home}/postmaster@wombathub.de::\n\
                 jens@wombathub.de:{{SSHA256}}abc/+=:2001:2001:{home}/jens@wombathub.de::\n\
                 meier@entropiesenke.de:{{SSHA256}}def:2001:2001:{home}/meier@entropiesenke.de::\n\
                 gone@foreign.example:{{SSHA256}}ghi:2001:2001:{home}/gone@foreign.example::\n"
            ),
        );
        workspace.write(
            "etc/postfix/vuser",
            "postmaster@wombathub.de mail.wombathub.de/user/Maildir/\n\
             jens@wombathub.de mail.wombathub.de/user/Maildir/\n",
        );
        workspace.write(
            "etc/postfix/valias",
            "# mine\ninfo@wombathub.de jens@wombathub.de\ninfo@wombathub.de team\nteam jens, x+y@else.example\n\
             @entropiesenke.de jens@wombathub.de\nmeier@entropiesenke.de meier@entropiesenke.de\n\
             sales@wombathub.de nobody, jens\nold@foreign.example jens\n",
        );
        workspace.write(
            "etc/opendkim/keytable",
            "mailserver._domainkey.wombathub.de wombathub.de:mailserver:/etc/opendkim/keys/mailserver.private\n\
             mailserver._domainkey.entropiesenke.de entropiesenke.de:mailserver:/etc/opendkim/keys/mailserver.private\n",
        );
        let key = RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
        workspace.write(
            "etc/opendkim/keys/mailserver.private",
            &key.to_pkcs1_pem(LineEnding::LF).unwrap(),
        );
        let jens = "mail/inboxes/wombathub.de/jens@wombathub.de";
        workspace.write(&format!("{jens}/Maildir/cur/1.M1P1.host,S=5:2,S"), "hello");
        workspace.write(&format!("{jens}/Maildir/.Sent/cur/2.M1P1.host:2,"), "sent");
        workspace.write(&format!("{jens}/Maildir/dovecot-uidlist"), "3 V1 N2");
        workspace.write(&format!("{jens}/sieve/mine.sieve"), "keep;");
        symlink(
            "sieve/mine.sieve",
            workspace.path(&format!("{jens}/.dovecot.sieve")),
        )
        .unwrap();
        workspace
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// As certbot leaves it: links from `live` into `archive`.
    fn put_certificate(&self, hostname: &str, last_year: i32) {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![hostname.to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let chain = parameters.self_signed(&key).unwrap().pem();
        for (name, text) in [("fullchain", chain), ("privkey", key.serialize_pem())] {
            self.write(
                &format!("etc/letsencrypt/archive/{HOSTNAME}/{name}1.pem"),
                &text,
            );
            let link = self.path(&format!("etc/letsencrypt/live/{HOSTNAME}/{name}.pem"));
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            let _ = std::fs::remove_file(&link);
            symlink(format!("../../archive/{HOSTNAME}/{name}1.pem"), link).unwrap();
        }
    }

    fn import(&self, machine: &Machine, more: &[&str]) -> String {
        let path = self.folder.path().to_str().unwrap().to_owned();
        let arguments = [&["import", path.as_str()], more].concat();
        let assert = machine.run(&arguments).success();
        let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        text.replace(&path, "WORKSPACE")
    }
}

/// All files below a folder with what they hold and when they changed.
fn listing(root: &Path) -> Vec<String> {
    walkdir::WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| !entry.file_type().is_dir() && !entry.path().ends_with("import.lock"))
        .map(|entry| {
            let text = std::fs::read(entry.path()).unwrap_or_default();
            let time = entry.metadata().unwrap().modified().unwrap();
            format!(
                "{} {} {time:?}",
                entry.path().display(),
                String::from_utf8_lossy(&text)
            )
        })
        .collect()
}

#[test]
fn everything_is_taken_over_once() {
    let machine = Machine::provisioned();
    let workspace = Workspace::new();
    workspace.put_certificate(HOSTNAME, 2099);
    let source = listing(workspace.folder.path());
    let first_key = machine.read("var/lib/mailimg/dkim/wombathub.de/mailserver.private");
    let before = listing(&machine.path("var"));

    let dry = workspace.import(&machine, &["--dry-run"]);
    assert!(dry.starts_with(
        "Would import WORKSPACE; nothing is changed.\n    jens@wombathub.de: 2 messages\n"
    ));
    assert!(dry.contains("    account meier@entropiesenke.de\n"));
    assert!(dry.contains("    alias info@wombathub.de to team@wombathub.de\n"));
    assert!(dry.contains("    key 'mailserver' of wombathub.de\n"));
    assert_eq!(listing(&machine.path("var")), before);

    let said = workspace.import(&machine, &[]);
    insta::assert_snapshot!(said, @r"
    Imported WORKSPACE.
      mail         2 messages (9), 0 here already
      scripts      1
      accounts     2 new, 1 here already
      aliases      6 targets new, 0 here already
      DKIM keys    2 new, 0 here already
      certificate  new
    note: 'gone@foreign.example' is left out, since foreign.example is not served: add it to ADDITIONAL_DOMAINS, run mailctl settings apply and import again
    note: 'postmaster@wombathub.de' exists and keeps its password
    note: line 8 of etc/postfix/valias: 'foreign.example' is no domain of this machine; expected one of wombathub.de, entropiesenke.de
    note: line 7 of etc/postfix/valias: 'nobody@wombathub.de' is neither an account nor an alias; expected an address that mailctl user list or mailctl alias list shows
    ");
    let users = machine.read("var/lib/mailimg/users");
    assert!(users.contains("jens@wombathub.de:{SSHA256}abc/+=::::::\n"));
    assert!(users.contains("postmaster@wombathub.de:{ARGON2ID}"));
    assert_eq!(
        machine.read("var/lib/mailimg/aliases"),
        "info@wombathub.de jens@wombathub.de, team@wombathub.de\n\
         team@wombathub.de jens@wombathub.de, x+y@else.example\n\
         @entropiesenke.de jens@wombathub.de\nsales@wombathub.de jens@wombathub.de\n"
    );
    let table = machine.read("run/mailimg/postfix/aliases");
    assert!(table.contains("\nmeier@entropiesenke.de meier@entropiesenke.de\n"));
    let home = "var/vmail/mail/inboxes/wombathub.de/jens@wombathub.de";
    assert_eq!(
        machine.read(&format!("{home}/Maildir/cur/1.M1P1.host,S=5:2,S")),
        "hello"
    );
    assert_eq!(
        machine.read(&format!("{home}/Maildir/.Sent/cur/2.M1P1.host:2,")),
        "sent"
    );
    assert_eq!(machine.read(&format!("{home}/.dovecot.sieve")), "keep;");
    // The key of old signs under its selector, ours is kept under another.
    let keys = machine.path("var/lib/mailimg/dkim/wombathub.de");
    assert_ne!(
        machine.read("var/lib/mailimg/dkim/wombathub.de/mailserver.private"),
        first_key
    );
    let kept = std::fs::read_dir(&keys)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| std::fs::read_to_string(path).unwrap() == first_key)
        .unwrap();
    assert!(
        kept.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("mailserver-20")
    );
    let shown = machine.run(&["dkim", "show", "wombathub.de"]).success();
    let shown = String::from_utf8(shown.get_output().stdout.clone()).unwrap();
    assert!(shown.starts_with("; wombathub.de: active\nmailserver._domainkey.wombathub.de."));
    assert!(!machine.path("var/lib/mailimg/tls/self-signed").exists());

    // Twice is once.
    let after = listing(&machine.path("var"));
    let again = workspace.import(&machine, &[]);
    assert!(
        again.contains("accounts     0 new, 3 here already"),
        "{again}"
    );
    assert!(again.contains("0 messages (0), 2 here already"), "{again}");
    assert!(
        again.contains("DKIM keys    0 new, 2 here already"),
        "{again}"
    );
    assert_eq!(listing(&machine.path("var")), after);
    assert_eq!(listing(workspace.folder.path()), source);
    machine.boot();
    assert!(
        machine
            .read("run/mailimg/opendkim/KeyTable")
            .contains("wombathub.de:mailserver:")
    );
}

#[test]
fn what_does_not_fit_is_left_out_with_a_reason() {
    let machine = Machine::provisioned();
    let workspace = Workspace::new();
    let chain = machine.read("var/lib/mailimg/tls/fullchain.pem");
    for (hostname, year, reason) in [
        (
            HOSTNAME,
            2021,
            "note: certificate: it is out of date: valid until 2021-01-01T00:00:00Z",
        ),
        (
            "other.example",
            2099,
            "note: certificate: it is not for mail.wombathub.de",
        ),
    ] {
        workspace.put_certificate(hostname, year);
        assert!(workspace.import(&machine, &[]).contains(reason));
    }
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    workspace.put_certificate(HOSTNAME, 2099);
    workspace.write(
        &format!("etc/letsencrypt/archive/{HOSTNAME}/privkey1.pem"),
        &other.serialize_pem(),
    );
    let said = workspace.import(&machine, &[]);
    assert!(
        said.contains("note: certificate: comparing it with its key"),
        "{said}"
    );
    assert_eq!(machine.read("var/lib/mailimg/tls/fullchain.pem"), chain);

    let nowhere = tempfile::tempdir().unwrap();
    let path = nowhere.path().to_str().unwrap();
    machine.run(&["import", path]).code(1).stderr(
        contains("is no workspace: it has no etc/dovecot/passwd").and(contains(
            "hint: it is the folder _server_workspace_ beside t-lo/mailserver's scripts",
        )),
    );
    std::fs::rename(
        workspace.folder.path(),
        nowhere.path().join("_server_workspace_"),
    )
    .unwrap();
    machine
        .run(&["import", path])
        .code(1)
        .stderr(contains(format!(
            "hint: mailctl import {path}/_server_workspace_"
        )));
}

#[test]
fn mail_without_an_account_is_named_and_taken_once_there_is_one() {
    let machine = Machine::provisioned();
    let workspace = Workspace::new();
    // What `user.sh del` keeps.
    let gone = "mail/inboxes/wombathub.de/gone@wombathub.de";
    workspace.write(&format!("{gone}/Maildir/cur/1.M1.host:2,S"), "one");
    workspace.write(&format!("{gone}/Maildir/.Sent/new/2.M1.host"), "two");
    workspace.write(
        "mail/inboxes/foreign.example/kim@foreign.example/Maildir/cur/1.M1.host:2,",
        "kim",
    );
    workspace.write(
        "mail/inboxes/wombathub.de/o'neil@wombathub.de/Maildir/cur/1.M1.host:2,",
        "odd",
    );
    workspace.write("mail/inboxes/wombathub.de/backup.tar", "x");
    workspace.write("etc/postfix/vuser", "lost@wombathub.de x\n");
    let expected = [
        "note: mail/inboxes/wombathub.de/gone@wombathub.de (2 messages) is left out, since nobody \
         has this account: mailctl user add gone@wombathub.de, then import again\n",
        "note: mail/inboxes/foreign.example/kim@foreign.example (1 messages) is left out, since \
         nobody has this account: add foreign.example to ADDITIONAL_DOMAINS, mailctl settings \
         apply, mailctl user add kim@foreign.example, then import again\n",
        "note: mail/inboxes/wombathub.de/o'neil@wombathub.de (1 messages) is left out, since its \
         name is no address of an account: 'o'neil' is no user name; expected letters, digits and \
         any of . _ - between them; rename it there, mailctl user add ADDRESS, then import again\n",
        "note: mail/inboxes/wombathub.de/backup.tar is no mail, and is left out\n",
        "note: 'lost@wombathub.de' gets mail there and has no password: mailctl user add \
         lost@wombathub.de\n",
        "  left out     1 files, named below\n",
    ];
    let dry = workspace.import(&machine, &["--dry-run"]);
    let said = workspace.import(&machine, &[]);
    for line in expected {
        assert!(dry.contains(line), "{line}{dry}");
        assert!(said.contains(line), "{line}{said}");
    }
    let home = format!("var/vmail/{gone}");
    assert!(!machine.path(&home).exists());

    machine.run(&["user", "add", "gone@wombathub.de"]).success();
    // Delivered and read here meanwhile.
    let inbox = machine.path(&format!("{home}/Maildir/cur"));
    std::fs::create_dir_all(&inbox).unwrap();
    std::fs::write(inbox.join("1.M1.host:2,RS"), "ours").unwrap();
    let said = workspace.import(&machine, &[]);
    assert!(
        said.contains("mail         1 messages (3), 3 here already"),
        "{said}"
    );
    assert!(!said.contains("gone@wombathub.de ("), "{said}");
    assert_eq!(
        machine.read(&format!("{home}/Maildir/cur/1.M1.host:2,RS")),
        "ours"
    );
    assert_eq!(
        machine.read(&format!("{home}/Maildir/.Sent/new/2.M1.host")),
        "two"
    );
    assert!(!inbox.join("1.M1.host:2,S").exists());
}

#[test]
fn what_lies_among_the_mail_is_named() {
    let machine = Machine::provisioned();
    let workspace = Workspace::new();
    let jens = "mail/inboxes/wombathub.de/jens@wombathub.de";
    workspace.write(
        &format!("{jens}/Maildir/.Entwürfe/cur/3.M1.host:2,"),
        "draft",
    );
    workspace.write(&format!("{jens}/Maildir/dovecot.index.cache"), "x");
    workspace.write(&format!("{jens}/Maildir/Old/cur/4.M1.host:2,"), "old");
    workspace.write(&format!("{jens}/Maildir/.Work"), "x");
    workspace.write("etc/postfix/valias", "@entropiesenke.de @wombathub.de\n");
    let said = workspace.import(&machine, &[]);
    for line in [
        "  mail         3 messages (14), 0 here already\n",
        "  not needed   1 files that Dovecot makes again\n",
        "  left out     2 files, named below\n",
        "  aliases      1 targets new, 1 here already\n",
        "Maildir/.Entwürfe has a name that Dovecot does not open, and is taken as 'Entwürfe'\n",
        "Maildir/Old is a folder that no mail program sees (move it to Maildir/.NAME there), and \
         is left out with 1 files\n",
        "Maildir/.Work is no folder, and is left out\n",
        "note: line 1 of etc/postfix/valias: '@entropiesenke.de @wombathub.de' leads a whole \
         domain to another: here each address has an alias of its own",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
    let folder = format!("var/vmail/{jens}/Maildir/.Entw&APw-rfe/cur/3.M1.host:2,");
    assert_eq!(machine.read(&folder), "draft");
    assert_eq!(
        machine.read("var/lib/mailimg/aliases"),
        "jens@entropiesenke.de jens@wombathub.de\n"
    );
}
