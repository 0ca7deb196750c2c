//! A machine that has an authority and a name server to publish at.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use mailimg::builder::command::boot::credentials::{Credential, SETTINGS_NAME};

use super::super::disk::Disk;
use super::super::dns::{self, UPDATE_KEY};
use super::super::imap::wait_for_message;
use super::super::machine::{BOOT_LIMIT, Machine, Start};
use super::super::pebble::{self, Pebble};
use super::super::resolver::Resolver;
use super::super::served::{self, Served};
use super::super::site::{DOMAIN, HOST_NAME, SECOND_DOMAIN, Site};
use super::super::smtp::{Account, Conversation};
use super::super::ssh::SshKey;
use crate::world::network::{
    CLIENTS, OUTSIDE_AUTHORITY, PUBLIC_GATEWAY6, PUBLIC_TAP, machine_address, machine_address6,
};
use crate::world::wait::until;

/// The credential that carries the root of a private authority.
const AUTHORITY_CREDENTIAL: &str = "private-ca.pem";
/// Who gets alerts: the account that the first boot makes.
const ADMIN: &str = "postmaster";
/// From an order to its certificate on a port, under emulation.
pub const ORDER_LIMIT: Duration = Duration::from_secs(180);
/// Mail from one server to another, under emulation.
pub const DELIVERY_LIMIT: Duration = Duration::from_secs(240);

/// Everything that a row may use.
pub struct World {
    /// Names, addresses and mail outside.
    pub site: Site,
    /// The machine.
    pub machine: Machine,
    /// Root's way in.
    pub key: SshKey,
    /// The authority in the settings.
    pub pebble: Pebble,
    /// Another one, which asks for an external account.
    pub bound: Pebble,
    _resolver: Resolver,
    next_client: Cell<usize>,
    next_number: Cell<u32>,
}

impl World {
    /// Boots a machine and waits until it can be reached.
    pub fn make(image: &Path) -> Result<Self> {
        let site = Site::start_around(PUBLIC_TAP)?;
        let place = pebble::place(OUTSIDE_AUTHORITY.into());
        let resolver = Resolver::start(&site.dns.root_hints())?;
        let pebble = Pebble::start(&site.authority, &resolver, place, false)?;
        let place = SocketAddr::new(place.ip(), place.port() + 1);
        let bound = Pebble::start(&site.authority, &resolver, place, true)?;
        let key = SshKey::make()?;
        let (update_key, algorithm, secret) = UPDATE_KEY;
        let six = machine_address6(PUBLIC_TAP);
        let settings = format!(
            "DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nADDITIONAL_DOMAINS={SECOND_DOMAIN}\n\
             SSH_AUTHORIZED_KEYS={}\nADMIN_USER={ADMIN}\nADMIN_USER_INITIAL_PASSWORD={ADMIN}-password\n\
             ACME_DIRECTORY_URL={}\nACME_CA_FILE={AUTHORITY_CREDENTIAL}\n\
             PUBLIC_IPV4={}\nPUBLIC_IPV6={six}\n\
             IPV6_ADDRESS={six}/64\nIPV6_GATEWAY={PUBLIC_GATEWAY6}\n\
             DNS_UPDATE_SERVER={}\nDNS_UPDATE_KEY={update_key}\n\
             DNS_UPDATE_ALGORITHM={algorithm}\nDNS_UPDATE_SECRET={secret}\n",
            key.public,
            pebble.directory(),
            machine_address(PUBLIC_TAP),
            dns::address(),
        );
        let roots = [
            site.authority.pem(),
            pebble.root().to_owned(),
            bound.root().to_owned(),
        ];
        let start = Start {
            credentials: vec![
                Credential::new(SETTINGS_NAME, settings),
                Credential::new(AUTHORITY_CREDENTIAL, roots.concat()),
                site.dns.credential(),
            ],
            tap: PUBLIC_TAP,
            ..Start::default()
        };
        let (mut machine, _) = Machine::start_serving(|| Disk::over(image), &start, &[25])?;
        println!(
            "power-on to SMTP banner {:.1} s",
            machine.age().as_secs_f64()
        );
        let client = CLIENTS[0].into();
        let address = machine.address();
        // Before anybody logs in: what follows must not slow the machine down.
        let certified = until("a certificate of the authority", BOOT_LIMIT, || {
            machine.check_running()?;
            let served = served::look_everywhere(client, address, HOST_NAME).ok();
            Ok(served.filter(|served| !served.self_signed))
        });
        let age = machine.age();
        machine.wait_for_ssh(&key, BOOT_LIMIT)?;
        key.keep_connection(machine.address())?;
        match certified {
            Ok(_) => println!(
                "power-on to the certificate on all ports {:.1} s",
                age.as_secs_f64()
            ),
            Err(error) => println!("{error:#}"),
        }
        let world = Self {
            site,
            machine,
            key,
            pebble,
            bound,
            _resolver: resolver,
            next_client: Cell::new(0),
            next_number: Cell::new(0),
        };
        for name in ["anna", "bert"] {
            let account = world.account(name);
            world.run(&format!(
                "mailctl user add {} '{}'",
                account.address, account.password
            ))?;
        }
        Ok(world)
    }

    /// An account of the machine.
    pub fn account(&self, name: &str) -> Account {
        let password = match name {
            ADMIN => format!("{ADMIN}-password"),
            _ => format!("{name}: pa$$ word;"),
        };
        Account {
            address: format!("{name}@{DOMAIN}"),
            password,
        }
    }

    /// Who gets alerts.
    pub fn admin(&self) -> Account {
        self.account(ADMIN)
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

    /// The exit code of a shell command, and all that it printed.
    pub fn try_run(&self, command: &str) -> Result<(i32, String)> {
        let output = self
            .key
            .output(self.address(), &format!("{{ {command}\n}} 2>&1"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.code().unwrap_or(-1), text))
    }

    /// One of the clients beside the machine, in turn.
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

    /// What port 25 shows.
    pub fn served(&self) -> Result<Served> {
        self.served_on(25)
    }

    /// What a port shows to who asks for the machine by its name.
    pub fn served_on(&self, port: u16) -> Result<Served> {
        served::look(self.client(), self.address(), port, HOST_NAME)
    }

    /// What all ports show, the same on each.
    pub fn served_everywhere(&self) -> Result<Served> {
        served::look_everywhere(self.client(), self.address(), HOST_NAME)
    }

    /// Orders a certificate at once and returns it when port 25 shows it.
    pub fn renew(&self) -> Result<Served> {
        let before = self.served()?;
        self.run("mailctl cert renew --force")?;
        self.wait_for_change(&before)
    }

    /// Waits until port 25 shows another certificate.
    pub fn wait_for_change(&self, before: &Served) -> Result<Served> {
        until("a new certificate on port 25", ORDER_LIMIT, || {
            let served = self.served()?;
            Ok((served.serial != before.serial).then_some(served))
        })
        .with_context(|| self.try_run("mailctl cert status").unwrap_or_default().1)
    }

    /// A conversation on port 465 after the login.
    pub fn submission(&self, account: &Account) -> Result<Conversation> {
        let mut conversation = Conversation::open_tls(self.client(), self.port(465), HOST_NAME)?;
        conversation.hello()?;
        conversation.log_in(account)?.must_be(&[235], "the login")?;
        Ok(conversation)
    }

    /// Moves the machine's clock on, as date(1) understands it, for good: Dovecot
    /// answers nobody for as long as a clock was put back.
    pub fn move_clock(&self, by: &str) -> Result<()> {
        let command = format!("systemctl stop systemd-timesyncd && date -s '{by}'");
        self.run(&command).map(drop)
    }

    /// Waits for a message in an inbox.
    pub fn read(&self, account: &Account, subject: &str) -> Result<String> {
        wait_for_message(self.client(), self.address(), HOST_NAME, account, subject)
    }

    /// Waits until one of the outside's servers has a message to a recipient.
    pub fn caught(&self, recipient: &str) -> Result<super::super::sink::Caught> {
        self.site
            .sink
            .wait_for(recipient, DELIVERY_LIMIT)
            .with_context(|| self.run("postqueue -p").unwrap_or_default())
    }

    /// What services said while a row ran, and what the authority said last.
    pub fn recent_log(&self, time: Duration) -> String {
        let journal = self
            .run(&format!(
                "journalctl --no-pager -o short-monotonic -b -n 40 -u 'postfix*' -u 'dovecot*' \
                 -u 'unbound*' -u 'mailimg-*' --since '-{} s'; mailctl cert status 2>&1 || true",
                time.as_secs() + 2
            ))
            .unwrap_or_else(|error| format!("{error:#}"));
        let pebble = self.pebble.log();
        let pebble: Vec<&str> = pebble.lines().rev().take(8).collect();
        journal
            .lines()
            .chain(pebble.into_iter().rev())
            .fold(String::new(), |text, line| text + "       | " + line + "\n")
    }

    /// Fails when the machine or something around it has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.site.check_running()?;
        self.pebble.check_running()?;
        self.bound.check_running()?;
        self.machine.check_running()
    }

    /// Switches the machine off.
    pub fn end(self) -> Result<()> {
        self.machine.power_off()
    }
}
