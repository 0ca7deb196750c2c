//! The life of a container: settings, mail, another image on the same volume, and bad days.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::container::Container;
use super::engine::{Engine, Kind, START_LIMIT};
use super::imap::{Imap, wait_for_message};
use super::site::{DOMAIN, HOST_NAME, Site};
use super::smtp::{Account, Conversation};
use super::ssh::SshKey;
use crate::world::network::{CLIENTS, OUTSIDE_CLIENTS, inside};
use crate::world::process::run;
use crate::world::wait::until;

/// Names the raw image, beside which the archive lies.
const IMAGE: &str = "MAILIMG_IMAGE";
/// An engine waits ten seconds and kills then.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// What makes it the same server to others: its own id, and keys.
const IDENTITY: &str = "cat /var/lib/mailimg/machine-id; sha256sum /var/lib/mailimg/dkim/*/*.txt \
                        /var/lib/mailimg/ssh/*.pub /var/lib/mailimg/tls/*.pem";
const PASSWORD: &str = "admin: pa$$ word;";

#[test]
fn a_container_serves_mail_and_its_volume_outlives_it() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside(
        "containers::a_container_serves_mail_and_its_volume_outlives_it",
        || live(Kind::Podman, &image),
    )
}

#[test]
#[ignore = "the same as under podman, of an engine that CI has not; ci/full"]
fn docker_runs_it_as_well() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside("containers::docker_runs_it_as_well", || {
        live(Kind::Docker, &image)
    })
}

#[test]
fn a_volume_moves_between_machine_and_container() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside(
        "containers::a_volume_moves_between_machine_and_container",
        || move_volume(&image),
    )
}

/// From a container to a machine, and back; the machine's root is run without its kernel.
fn move_volume(image: &Path) -> Result<()> {
    let site = Site::start()?;
    let key = SshKey::make()?;
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let volume = folder.path().join("var.ext4");
    let admin = Account {
        address: format!("postmaster@{DOMAIN}"),
        password: PASSWORD.to_owned(),
    };
    let settings = format!(
        "DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nADMIN_USER_INITIAL_PASSWORD={PASSWORD}\n\
         SSH_AUTHORIZED_KEYS={}\n",
        key.public
    );
    let credential = site.dns.credential();
    let root_of_dns = String::from_utf8_lossy(credential.value());
    let in_container = |settings: &str, subject: &str, expected: usize| -> Result<Option<String>> {
        let Some(engine) = Engine::with_archive_of(Kind::Podman, image, Some(&volume))? else {
            return Ok(None);
        };
        let secrets = [("settings.env", settings), ("mailimg.dns", &root_of_dns)];
        let mut options = vec!["--cap-add".to_owned(), "NET_ADMIN".to_owned()];
        for (name, text) in secrets.iter().filter(|(_, text)| !text.is_empty()) {
            let file = engine.file(name, text)?;
            options.push("--volume".to_owned());
            options.push(format!("{file}:/run/secrets/{name}:ro"));
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        engine.create(&options)?;
        engine.wait_for_banner(25)?;
        engine.shell("mailctl health --settings-needed --timeout 120")?;
        receive(engine.address(), &admin, subject)?;
        ensure_messages(engine.address(), &admin, expected)?;
        let identity = engine.shell(IDENTITY)?;
        engine.remove()?;
        Ok(Some(identity))
    };
    let Some(first) = in_container(&settings, "in a container", 1)? else {
        return Ok(());
    };

    let mut machine = Container::start(image, std::slice::from_ref(&credential), Some(&volume), 0)?;
    machine.is_possible()?;
    machine.wait_for_banner(25)?;
    machine.wait_for_ssh(&key)?;
    receive(machine.address(), &admin, "on a machine")?;
    ensure_messages(machine.address(), &admin, 2)?;
    let second = key.run(machine.address(), IDENTITY)?;
    machine.power_off(&key)?;

    let third = in_container("", "back in a container", 3)?.unwrap_or_default();
    ensure!(first == second && second == third, "{first}{second}{third}");
    Ok(())
}

fn ensure_messages(address: IpAddr, account: &Account, expected: usize) -> Result<()> {
    let mut imap = Imap::open(CLIENTS[0].into(), address, HOST_NAME, account)?;
    let found = imap.messages("INBOX")?.len();
    ensure!(found == expected, "{found} messages, not {expected}");
    imap.log_out()
}

fn live(kind: Kind, image: &Path) -> Result<()> {
    let site = Site::start()?;
    let Some(engine) = Engine::with_archive_of(kind, image, None)? else {
        return Ok(());
    };
    let root_of_dns = engine.file(
        "mailimg.dns",
        &String::from_utf8_lossy(site.dns.credential().value()),
    )?;
    let root_of_dns = format!("{root_of_dns}:/run/secrets/mailimg.dns:ro");

    // Without settings it waits, and says in the log what it waits for.
    engine.create(&["--volume", &root_of_dns])?;
    until("what is missing", START_LIMIT, || {
        let log = engine.log()?;
        Ok((log.contains("DOMAIN") && log.contains("--env-file")).then_some(()))
    })?;
    let healthy = engine.output(&["exec", "mail", "mailctl", "health", "--settings-needed"])?;
    ensure!(!healthy.status.success(), "healthy without settings");
    let identity = engine.shell("cat /etc/machine-id")?;
    engine.remove()?;
    println!("waits for settings, and says so");

    // With a wrong one as well.
    engine.create(&[
        "--env",
        &format!("DOMAIN={DOMAIN}"),
        "--env",
        "HOSTNAME=wrong_",
    ])?;
    until("what is wrong", START_LIMIT, || {
        Ok(engine.log()?.contains("HOSTNAME").then_some(()))
    })?;
    engine.remove()?;

    // With settings in the environment it serves; a kill in the middle of the first start
    // costs nothing.
    let settings = engine.file(
        "settings.env",
        &format!("DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nADMIN_USER_INITIAL_PASSWORD={PASSWORD}\n"),
    )?;
    let options = [
        "--env-file",
        &settings,
        "--cap-add",
        "NET_ADMIN",
        "--volume",
        &root_of_dns,
    ];
    engine.create(&options)?;
    until("the first key", START_LIMIT, || {
        let made = engine.output(&["exec", "mail", "test", "-e", "/run/mailimg/configured"])?;
        Ok(made.status.success().then_some(()))
    })?;
    engine.run(&["kill", "--signal", "KILL", "mail"])?;
    engine.run(&["start", "mail"])?;
    engine.wait_for_banner(25)?;
    engine.shell("mailctl health --settings-needed --timeout 120")?;
    let admin = Account {
        address: format!("postmaster@{DOMAIN}"),
        password: PASSWORD.to_owned(),
    };
    receive(engine.address(), &admin, "before")?;
    ensure!(
        engine.shell("cat /etc/machine-id")? == identity,
        "another machine"
    );
    let failed = engine.shell("systemctl --failed --plain --no-legend")?;
    ensure!(failed.trim().is_empty(), "failed units:\n{failed}");
    let environment = engine.shell("tr '\\0' '\\n' </proc/1/environ")?;
    ensure!(
        !environment.contains(PASSWORD),
        "the first process shows the password"
    );
    ensure!(
        !engine.log()?.contains(PASSWORD),
        "the log shows the password"
    );
    let status = engine.shell("mailctl status")?;
    ensure!(!status.contains("Not running"), "{status}");
    println!("serves, with every unit and its own id");

    let took = engine.stop()?;
    println!("stopped in {:.1} s", took.as_secs_f64());
    ensure!(took < STOP_LIMIT, "stopping took {took:?}");
    engine.remove()?;

    // Another container has the mail; a kill loses none.
    engine.create(&options)?;
    engine.wait_for_banner(25)?;
    engine.shell("mailctl health --settings-needed --timeout 120")?;
    receive(engine.address(), &admin, "after")?;
    engine.run(&["kill", "--signal", "KILL", "mail"])?;
    engine.run(&["start", "mail"])?;
    engine.wait_for_banner(25)?;
    engine.shell("mailctl health --settings-needed --timeout 120")?;
    for subject in ["before", "after"] {
        wait_for_message(
            CLIENTS[0].into(),
            engine.address(),
            HOST_NAME,
            &admin,
            subject,
        )
        .with_context(|| format!("looking for the message {subject}"))?;
    }
    engine.remove()?;
    println!("another container has the mail");

    take_over(&engine, &options)?;
    refuse(&engine, &options)
}

/// The workspace of a container of t-lo/mailserver, mounted where that had it.
fn take_over(engine: &Engine, options: &[&str]) -> Result<()> {
    let inbox = format!("workspace/mail/inboxes/{DOMAIN}/old@{DOMAIN}/Maildir");
    engine.file(&format!("{inbox}/tmp/.keep"), "")?;
    engine.file(
        &format!("{inbox}/cur/1700000000.M1P1.seed:2,S"),
        "From: a@friends.example\nSubject: from the seed\n\nHello.\n",
    )?;
    // doveadm pw -s SHA512-CRYPT, as the seed does it; openssl passwd -6 makes the same.
    let hash = run(Command::new("openssl").args(["passwd", "-6", PASSWORD]))?;
    let home = format!("/host/mail/inboxes/{DOMAIN}/old@{DOMAIN}");
    let accounts = engine.file(
        "workspace/etc/dovecot/passwd",
        &format!(
            "old@{DOMAIN}:{{SHA512-CRYPT}}{}:2001:2001:{home}::\n",
            hash.trim()
        ),
    )?;
    let line = format!("old@{DOMAIN} {HOST_NAME}/user/Maildir/\n");
    engine.file("workspace/etc/postfix/vuser", &line)?;
    let workspace = accounts.trim_end_matches("/etc/dovecot/passwd");
    let mount = format!("{workspace}:/host:ro");
    let options = [options, &["--volume", &mount]].concat();
    engine.create(&options)?;
    engine.wait_for_banner(25)?;
    until("what was taken over", START_LIMIT, || {
        Ok(engine.log()?.contains("Imported /host").then_some(()))
    })
    .with_context(|| engine.log().unwrap_or_default())?;
    let old = Account {
        address: format!("old@{DOMAIN}"),
        password: PASSWORD.to_owned(),
    };
    let mut imap = Imap::open(CLIENTS[0].into(), engine.address(), HOST_NAME, &old)?;
    let messages = imap.messages("INBOX")?;
    ensure!(
        messages.len() == 1,
        "{} messages of the seed's",
        messages.len()
    );
    imap.log_out()?;
    println!("the seed's workspace was taken over");
    engine.remove()
}

/// What cannot be, each with a sentence in the log.
fn refuse(engine: &Engine, options: &[&str]) -> Result<()> {
    let said = engine.refusal(":ro", &[])?;
    ensure!(said.contains("/var is read-only"), "{said}");
    let said = engine.plain_refusal()?;
    ensure!(said.contains("hint: podman does it by itself"), "{said}");
    engine.create(options)?;
    engine.shell("echo 99 >/var/lib/mailimg/state-version")?;
    engine.remove()?;
    let said = engine.refusal("", &[])?;
    ensure!(
        said.contains("the state in /var/lib/mailimg has version 99"),
        "{said}"
    );
    Ok(())
}

/// A stranger's message, until it is in the mailbox.
fn receive(address: IpAddr, account: &Account, subject: &str) -> Result<()> {
    let sender = "stranger@friends.example";
    let message = format!(
        "From: {sender}\r\nTo: {}\r\nSubject: {subject}\r\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{subject}@test.example>\r\n\r\nHello.\r\n",
        account.address
    );
    let target = (address, 25).into();
    let (conversation, _) = Conversation::open(OUTSIDE_CLIENTS[0].into(), target)?;
    conversation.deliver(sender, &account.address, &message)?;
    wait_for_message(CLIENTS[0].into(), address, HOST_NAME, account, subject)?;
    Ok(())
}
