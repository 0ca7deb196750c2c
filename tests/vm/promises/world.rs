//! A provisioned machine and the ways to it that rows take.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mailimg::builder::command::boot::credentials::{Credential, SETTINGS_NAME};

use super::super::cloud::Drives;
use super::super::container::Container;
use super::super::disk::Disk;
use super::super::engine::{self, Engine};
use super::super::imap::{Imap, wait_in};
use super::super::machine::{BOOT_LIMIT, Machine, Start};
use super::super::site::{DOMAIN, FRIENDS_DOMAIN, HOST_NAME, SECOND_DOMAIN, Site};
use super::super::smtp::{Account, Conversation, Reply};
use super::super::ssh::SshKey;
use crate::world::network::{CLIENTS, OUTSIDE_CLIENTS};
use crate::world::wait::until;

/// `MESSAGE_SIZE_LIMIT`, in bytes.
pub const MESSAGE_SIZE: usize = 200 << 10;
/// `MAILBOX_QUOTA`, in bytes.
pub const QUOTA: usize = 2 << 20;
/// `SENDING_LIMIT`.
pub const SENDING_LIMIT: u32 = 20;
/// `ADMIN_USER_INITIAL_PASSWORD`.
pub const ADMIN_PASSWORD: &str = "correct-horse";
/// `GF_SECURITY_ADMIN_PASSWORD`.
pub const MONITORING_PASSWORD: &str = "wombats-watch";
/// Mail from one server to another, under emulation.
pub const DELIVERY_LIMIT: Duration = Duration::from_secs(240);

/// Domains of the words that the seed project's manual uses.
pub const MANUAL_DOMAINS: [&str; 2] = ["wombathub.de", "entropiesenke.de"];

/// Accounts in the first domain, each for the rows that name it.
const NAMES: [&str; 24] = [
    "anna", "bert", "carla", "dora", "emil", "fritz", "gerda", "hugo", "idla", "jana", "kurt",
    "lars", "mona", "nils", "olga", "petra", "quentin", "rita", "sven", "tina", "ulf", "vera",
    "wilma", "xaver",
];
/// Accounts in the second one.
const SECOND_NAMES: [&str; 2] = ["kim", "real"];

/// The aliases that rows rely on; bert is somebody, `info` and `team` are not.
const ALIASES: &str = "\
# Kept by the tests.
info@wombat.example     anna@wombat.example
team@wombat.example     anna@wombat.example, bert@wombat.example
office@wombat.example   anna
away@wombat.example     alias-target@outside.example
moved@wombat.example    unchanged@outside.example
orders@wombat.example   fritz@wombat.example
holiday@wombat.example  vera@wombat.example
@koala.example          kim@koala.example
";

/// What is to run the image.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An emulated machine.
    Machine,
    /// The kernel of this side, where it gives what that needs.
    Container,
    /// The archive beside the image, under a container engine.
    Engine(engine::Kind),
}

/// What runs the image.
pub enum Host {
    /// A machine that is emulated.
    Machine(Machine),
    /// The kernel of this side.
    Container(Container),
    /// A container of podman's.
    Engine(Engine),
}

impl Host {
    /// Starts one that takes these settings, and waits until it receives mail and lets the
    /// key in. A machine has the settings on a drive.
    fn start(
        image: &Path,
        kind: Kind,
        site: &Site,
        key: &SshKey,
        settings: String,
    ) -> Result<(Self, Option<Drives>)> {
        if let Kind::Engine(engine) = kind {
            let container = start_engine(engine, image, site, key, &settings)?;
            return Ok((Self::Engine(container), None));
        }
        if kind == Kind::Container {
            let credentials = [
                site.dns.credential(),
                Credential::new(SETTINGS_NAME, settings.clone()),
            ];
            let mut container = Container::start(image, &credentials, None, 0)?;
            match container.is_possible() {
                Ok(()) => {
                    container.wait_for_banner(25)?;
                    println!(
                        "start to SMTP banner: {:.1} s",
                        container.age().as_secs_f64()
                    );
                    container.wait_for_ssh(key)?;
                    return Ok((Self::Container(container), None));
                }
                Err(error) => println!("no containers here, so a machine is started: {error:#}"),
            }
        }
        let drives = Drives::make(&settings)?;
        let start = Start {
            credentials: vec![site.dns.credential()],
            options: drives.options(),
            ..Start::default()
        };
        let (mut machine, _) = Machine::start_serving(|| Disk::over(image), &start, &[25])?;
        println!(
            "power-on to SMTP banner with settings from a drive: {:.1} s",
            machine.age().as_secs_f64()
        );
        machine.wait_for_ssh(key, BOOT_LIMIT)?;
        Ok((Self::Machine(machine), Some(drives)))
    }

    fn address(&self) -> IpAddr {
        match self {
            Self::Machine(machine) => machine.address(),
            Self::Container(container) => container.address(),
            Self::Engine(container) => container.address(),
        }
    }

    fn check_running(&mut self) -> Result<()> {
        match self {
            Self::Machine(machine) => machine.check_running(),
            Self::Container(container) => container.check_running(),
            Self::Engine(container) => container.check_running(),
        }
    }

    fn power_off(self, key: &SshKey) -> Result<()> {
        match self {
            Self::Machine(machine) => machine.power_off(),
            Self::Container(container) => container.power_off(key),
            Self::Engine(container) => container.stop().map(|_| ()),
        }
    }
}

/// A container that serves, with a way in for the key: rows run their commands over ssh, which
/// a container leaves to its host.
fn start_engine(
    kind: engine::Kind,
    image: &Path,
    site: &Site,
    key: &SshKey,
    settings: &str,
) -> Result<Engine> {
    let container =
        Engine::with_archive_of(kind, image, None)?.context("finding a place for it")?;
    let root_of_dns = String::from_utf8_lossy(site.dns.credential().value()).into_owned();
    let files = [(SETTINGS_NAME, settings), ("mailimg.dns", &root_of_dns)];
    let volumes = files
        .iter()
        .map(|(name, text)| {
            Ok(format!(
                "{}:/run/secrets/{name}:ro",
                container.file(name, text)?
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut options = vec!["--cap-add", "NET_ADMIN"];
    for volume in &volumes {
        options.extend(["--volume", volume]);
    }
    container.create(&options)?;
    container.wait_for_banner(25)?;
    container.shell(
        "rm /etc/systemd/system/ssh.service && systemctl daemon-reload && systemctl start ssh",
    )?;
    until("ssh", BOOT_LIMIT, || {
        let output = key.output(container.address(), "true")?;
        Ok(output.status.success().then_some(()))
    })?;
    Ok(container)
}

/// Everything that a row may use.
pub struct World {
    /// Names, addresses and mail outside.
    pub site: Site,
    /// The machine.
    pub machine: Host,
    /// Root's way in.
    pub key: SshKey,
    _drives: Option<Drives>,
    next_client: Cell<usize>,
    next_number: Cell<u32>,
}

impl World {
    /// Whether time passes slowly in it.
    pub fn is_emulated(&self) -> bool {
        matches!(self.machine, Host::Machine(_))
    }

    /// Whether a container engine started it.
    pub fn has_engine(&self) -> bool {
        matches!(self.machine, Host::Engine(_))
    }

    /// Boots a machine and gives it accounts, aliases and DKIM records.
    pub fn make(image: &Path, kind: Kind) -> Result<Self> {
        let mut site = Site::start()?;
        let key = SshKey::make()?;
        let settings = format!(
            "DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nADDITIONAL_DOMAINS={SECOND_DOMAIN},{}\n\
             SSH_AUTHORIZED_KEYS={}\nADMIN_USER_INITIAL_PASSWORD={ADMIN_PASSWORD}\n\
             MESSAGE_SIZE_LIMIT={MESSAGE_SIZE}\nMAILBOX_QUOTA={QUOTA}\nSENDING_LIMIT={SENDING_LIMIT}\n\
             GF_SECURITY_ADMIN_PASSWORD={MONITORING_PASSWORD}\n",
            MANUAL_DOMAINS.join(","),
            key.public
        );
        let (machine, drives) = Host::start(image, kind, &site, &key, settings)?;
        key.keep_connection(machine.address())?;
        for domain in [DOMAIN, SECOND_DOMAIN] {
            // Keys are made beside the boot, one after the other.
            let record = until(&format!("the key of {domain}"), BOOT_LIMIT, || {
                let command = format!("cat /var/lib/mailimg/dkim/{domain}/*.txt");
                let output = key.output(machine.address(), &command)?;
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                Ok(output.status.success().then_some(text))
            })?;
            site.dns.add(&format!("{domain}."), &record)?;
        }
        let world = Self {
            site,
            machine,
            key,
            _drives: drives,
            next_client: Cell::new(0),
            next_number: Cell::new(0),
        };
        let accounts = NAMES
            .map(|name| world.account(name))
            .into_iter()
            .chain(SECOND_NAMES.map(|name| world.second_account(name)));
        let mut script = "set -e\n".to_owned();
        for account in accounts {
            script.push_str(&format!(
                "mailctl user add {} '{}'\n",
                account.address, account.password
            ));
        }
        script.push_str(&format!(
            "cat >/var/lib/mailimg/aliases <<'END'\n{ALIASES}END\nmailctl update-aliases\n"
        ));
        world.run(&script)?;
        Ok(world)
    }

    /// An account in the first domain.
    pub fn account(&self, name: &str) -> Account {
        Account {
            address: format!("{name}@{DOMAIN}"),
            password: format!("{name}: pa$$ word;"),
        }
    }

    /// An account in the second domain.
    pub fn second_account(&self, name: &str) -> Account {
        Account {
            address: format!("{name}@{SECOND_DOMAIN}"),
            password: format!("{name}: pa$$ word;"),
        }
    }

    /// The machine's address.
    pub fn address(&self) -> IpAddr {
        self.machine.address()
    }

    /// A port of the machine.
    pub fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(), port)
    }

    /// A shell command as root.
    pub fn run(&self, command: &str) -> Result<String> {
        self.key.run(self.address(), command)
    }

    /// One of the clients beside the machine, in turn: each may log in only so
    /// often within a minute.
    pub fn client(&self) -> IpAddr {
        let next = self.next_client.get();
        self.next_client.set(next + 1);
        CLIENTS[next % CLIENTS.len()].into()
    }

    /// A word that no other message has.
    pub fn unique(&self, word: &str) -> String {
        let next = self.next_number.get() + 1;
        self.next_number.set(next);
        format!("{word}-{next}")
    }

    /// Another server's conversation on port 25, after EHLO.
    pub fn stranger(&self) -> Result<Conversation> {
        self.stranger_from(OUTSIDE_CLIENTS[0].into())
    }

    /// The same from a given address.
    pub fn stranger_from(&self, source: IpAddr) -> Result<Conversation> {
        let (mut conversation, _) = Conversation::open(source, self.port(25))?;
        conversation.hello()?;
        Ok(conversation)
    }

    /// A conversation on port 465 after the login.
    pub fn submission(&self, account: &Account) -> Result<Conversation> {
        let mut conversation = Conversation::open_tls(self.client(), self.port(465), HOST_NAME)?;
        conversation.hello()?;
        conversation.log_in(account)?.must_be(&[235], "the login")?;
        Ok(conversation)
    }

    /// An IMAP session after the login.
    pub fn mailbox(&self, account: &Account) -> Result<Imap> {
        Imap::open(self.client(), self.address(), HOST_NAME, account)
    }

    /// Waits for a message in an inbox.
    pub fn read(&self, account: &Account, subject: &str) -> Result<String> {
        self.read_in(account, "INBOX", subject)
    }

    /// Waits for a message in any folder.
    pub fn read_in(&self, account: &Account, folder: &str, subject: &str) -> Result<String> {
        let mut imap = self.mailbox(account)?;
        let message = wait_in(&mut imap, folder, subject)
            .with_context(|| format!("reading the mail of {}", account.address))?;
        imap.log_out()?;
        Ok(message)
    }

    /// Sends one message from a stranger of the friends' domain.
    pub fn receive(&self, recipients: &[&str], subject: &str) -> Result<Reply> {
        let sender = friend("stranger");
        let message = letter(
            &sender,
            recipients.first().unwrap_or(&""),
            subject,
            "Hello.",
        );
        let mut stranger = self.stranger()?;
        let reply = stranger.send(&sender, recipients, message.as_bytes())?;
        stranger.say("QUIT", "221")?;
        Ok(reply)
    }

    /// Sends one message from an account through port 465.
    pub fn submit(&self, account: &Account, recipient: &str, subject: &str) -> Result<Reply> {
        let message = letter(&account.address, recipient, subject, "Hello.");
        let mut client = self.submission(account)?;
        let reply = client.send(&account.address, &[recipient], message.as_bytes())?;
        client.say("QUIT", "221")?;
        Ok(reply)
    }

    /// Waits until one of the outside's servers has a message to a recipient.
    pub fn caught(&self, recipient: &str) -> Result<super::super::sink::Caught> {
        self.site
            .sink
            .wait_for(recipient, DELIVERY_LIMIT)
            .with_context(|| self.run("postqueue -p").unwrap_or_default())
    }

    /// How many messages wait in the queue.
    pub fn queued(&self) -> Result<usize> {
        Ok(self.run("postqueue -j")?.lines().count())
    }

    /// What services of mail said while a row ran.
    pub fn recent_log(&self, time: Duration) -> String {
        self.run(&format!(
            "journalctl --no-pager -o cat --since '-{} s' -n 15 -u 'postfix*' -u 'dovecot*' \
             -u 'opend*' -u 'unbound*' -u 'mailimg-*'",
            time.as_secs() + 2
        ))
        .unwrap_or_else(|error| format!("{error:#}"))
        .lines()
        .fold(String::new(), |text, line| text + "       | " + line + "\n")
    }

    /// Fails when the machine or something around it has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.site.check_running()?;
        self.machine.check_running()
    }

    /// Switches the machine off.
    pub fn end(self) -> Result<()> {
        self.machine.power_off(&self.key)
    }
}

/// An address whose mail may come from anywhere.
pub fn friend(name: &str) -> String {
    format!("{name}@{FRIENDS_DOMAIN}")
}

/// A whole message.
pub fn letter(from: &str, to: &str, subject: &str, text: &str) -> String {
    let identity = subject.replace(' ', "-");
    format!(
        "From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{identity}@test.example>\r\n\r\n{text}\r\n"
    )
}

/// The values of a header, folded lines joined.
pub fn header_values<'a>(message: &'a str, name: &'a str) -> Vec<String> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    head.replace("\r\n ", " ")
        .replace("\r\n\t", " ")
        .lines()
        .filter_map(|line| {
            let (found, value) = line.split_once(':')?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
        .collect()
}

/// Fails unless a reply refuses for ever.
pub fn must_refuse(reply: &Reply, to: &str) -> Result<()> {
    ensure!(
        (500..600).contains(&reply.code),
        "{to:?} must be refused, the machine says {:?}",
        reply.text
    );
    Ok(())
}
