//! `mailctl acme`: gets certificates from a CA and keeps them valid.
//!
//! Run at boot and every few minutes; most runs find nothing to do. For each
//! name, HOSTNAME first:
//!
//! ```text
//! due? ─► pause over? ─► clock, DNS, web server ─► order ─► chain ─► ready/NAME
//! ARI or    kept by        what costs nothing       resumed   checked   taken by
//! lifetime  record                                                      cert take
//! ```
//!
//! ACME is RFC 8555 (<https://www.rfc-editor.org/rfc/rfc8555>). The agent
//! installs nothing itself: it has no right to.

mod account;
mod alert;
mod back_off;
mod challenge;
mod client;
mod configuration;
mod failure;
mod keys;
mod names;
mod order;
mod preflight;
mod record;
mod renewal;
mod request;

use super::certificate::{chain_path, names_folder};
use super::certificate_chain::{CertificateFacts, check_key, check_links, parse_chain, read_facts};
use super::place::{self, Place};
use super::state::{PUBLIC, SECRET, ensure_folder, read_optional, sync_folder, write_file};
use account::{Ca, account_url, forget_registration, open_ca};
use anyhow::Context;
use back_off::Pause;
use challenge::{Method, clear_answers};
use failure::Kind;
use instant_acme::CertificateIdentifier;
use jiff::Timestamp;
use keys::{choose_key, ensure_next_key, key_digest, observe};
use names::{Tlsa, find_tlsa};
use order::{Issued, Wanted, forget_order, obtain};
use preflight::{
    check_clock, check_host, check_optional, check_web_server, look_up, own_addresses,
};
use record::store_record;
use renewal::Renewal;
use request::take_request;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::time::sleep;

pub use configuration::{Configuration, ensure_configuration, load_configuration};
pub use failure::Failure;
pub use record::{Record, load_record};
pub use renewal::Reason;
pub use request::{Request, is_left, leave_request};

/// How often an order is gone on with after a bad nonce.
const NONCE_TRIES: usize = 5;
/// Pause between two looks at a network that comes up.
const SETTLING: Duration = Duration::from_secs(3);
/// How often an optional name that does not lead here is looked at, in seconds.
const LOOK_AGAIN: i64 = 15 * 60;
/// Certificates of one name within a day, unless somebody insists.
const MOST_A_DAY: usize = 3;
/// Every how many failures the other challenge is tried, too.
const BOTH_WAYS: u32 = 3;
/// A day, in seconds.
const DAY: i64 = 86_400;
/// Longest wait for a certificate to be taken into use.
const TAKING: Duration = Duration::from_secs(60);

/// Where pairs wait to be taken.
pub fn ready_folder(place: &Place) -> PathBuf {
    place.path(place::ACME).join("ready")
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Does what is due, and returns what to say.
///
/// # Errors
/// State that cannot be read or written; what keeps a certificate from coming
/// is remembered and told, and no error.
pub fn run_agent(place: &Place) -> anyhow::Result<String> {
    let Some(configuration) = load_configuration(place)? else {
        return Ok("No settings yet: no name needs a certificate.".to_owned());
    };
    let folder = place.path(place::ACME);
    if !place.is_machine() {
        ensure_folder(&folder, 0o755, None)?;
    }
    ensure_folder(&folder.join("requests"), 0o755, None)?;
    let _lock = super::state::lock_file(&folder.join("lock"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let mut agent = Agent {
        place,
        configuration: &configuration,
        ca: None,
        unreachable: None,
        lines: Vec::new(),
    };
    runtime.block_on(agent.run())?;
    Ok(agent.lines.join("\n"))
}

/// The certificate of a name, taken or about to be.
pub fn find_chain(place: &Place, configuration: &Configuration, name: &str) -> Option<Vec<u8>> {
    let waiting = ready_folder(place).join(name).join("fullchain.pem");
    let installed = if name == configuration.hostname {
        place.path(chain_path())
    } else {
        place.path(names_folder(name)).join("fullchain.pem")
    };
    [waiting, installed]
        .into_iter()
        .find_map(|path| std::fs::read(path).ok())
}

/// One run.
struct Agent<'a> {
    place: &'a Place,
    configuration: &'a Configuration,
    ca: Option<Ca>,
    /// Why there is no `ca`, asked once in a run.
    unreachable: Option<Failure>,
    lines: Vec<String>,
}

impl Agent<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        clear_answers(self.place)?;
        let host = self.configuration.hostname.clone();
        self.publish_next_key(&host)?;
        let mut served = false;
        for name in self.configuration.names() {
            let mut record = load_record(self.place, name);
            if record.directory != self.configuration.directory {
                // Another CA: what the last one said does not count.
                record = Record {
                    issued_by: record.issued_by,
                    issued: record.issued,
                    tlsa: record.tlsa,
                    ..Record::default()
                };
            }
            let before = record.clone();
            if name == host {
                self.tend_host(name, &mut record).await?;
                served = self
                    .facts(name)
                    .is_some_and(|facts| !facts.self_signed && facts.is_for(name));
            } else if served {
                self.tend_optional(name, &mut record).await?;
            } else {
                record.waiting = Some(format!("{host} comes first"));
            }
            alert::tell(self.place, self.configuration, name, &mut record);
            if record != before {
                store_record(self.place, name, &record)?;
            }
        }
        self.publish_next_key(&host)
    }

    fn publish_next_key(&self, host: &str) -> anyhow::Result<()> {
        let next = ensure_next_key(self.place, host)?;
        let account = account_url(self.place, self.configuration);
        keys::publish(self.place, self.configuration, &next, account.as_deref())
    }

    fn facts(&self, name: &str) -> Option<CertificateFacts> {
        read_facts(&find_chain(self.place, self.configuration, name)?).ok()
    }

    async fn tend_host(&mut self, name: &str, record: &mut Record) -> anyhow::Result<()> {
        let next = key_digest(&ensure_next_key(self.place, name)?)?;
        let tlsa = find_tlsa(self.configuration.name_server, name);
        observe(&mut record.tlsa, &tlsa, &next, now());
        let Some(forced) = self.is_due(name, record).await? else {
            return Ok(());
        };
        let result = self.renew_host(name, record, tlsa, forced).await;
        self.conclude(name, record, result)
    }

    /// Whether something is to be done for a name, and whether somebody insists.
    async fn is_due(&mut self, name: &str, record: &mut Record) -> anyhow::Result<Option<bool>> {
        let request = take_request(self.place, name)?;
        let forced = request.is_some_and(|request| request.force);
        let facts = self
            .facts(name)
            .filter(|facts| !facts.self_signed && facts.is_for(name));
        record.directory.clone_from(&self.configuration.directory);
        let due = match facts {
            None => true,
            Some(facts) => {
                if check_clock(now()).is_ok() {
                    self.plan(&facts, name, record).await;
                }
                let came = record
                    .renewal
                    .as_ref()
                    .is_some_and(|renewal| now() >= renewal.at);
                // One that was imported is of no directory.
                let foreign = !record.issued_by.is_empty()
                    && record.issued_by != self.configuration.directory;
                came || foreign
            }
        };
        if !due && !forced {
            record.failed = None;
            record.pause = None;
            return Ok(None);
        }
        if let Some(pause) = record.pause {
            let asked_now = forced || (request.is_some() && !pause.asked);
            if !asked_now && !pause.is_over(now()) {
                return Ok(None);
            }
        }
        Ok(Some(forced))
    }

    /// Decides when a certificate is due, and asks the CA from time to time.
    async fn plan(&mut self, facts: &CertificateFacts, name: &str, record: &mut Record) {
        let mut renewal = record
            .renewal
            .take()
            .filter(|renewal| renewal.serial == facts.serial)
            .unwrap_or_else(|| Renewal::by_lifetime(facts));
        if renewal.is_to_be_asked(now())
            && account_url(self.place, self.configuration).is_some()
            && let Some(id) = self.identifier(name)
        {
            match self.ask_window(&id).await {
                Some((window, ask_in)) => {
                    renewal.take_window(window, ask_in, now(), rand::random());
                }
                None => renewal.miss_window(now()),
            }
        }
        record.renewal = Some(renewal);
    }

    /// How the CA calls a certificate of its own (RFC 9773, section 4.1).
    fn identifier(&self, name: &str) -> Option<CertificateIdentifier<'static>> {
        let chain = parse_chain(&find_chain(self.place, self.configuration, name)?).ok()?;
        let id = CertificateIdentifier::try_from(chain.first()?).ok()?;
        Some(id.into_owned())
    }

    async fn ask_window(&mut self, id: &CertificateIdentifier<'_>) -> Option<((i64, i64), i64)> {
        let ca = self.open().await.ok()?;
        let (info, ask_in) = match ca.account.renewal_info(id).await {
            Ok(answer) => answer,
            Err(error) => {
                // An authority need not know ARI, nor this certificate.
                let _ = ca.failure(&error);
                return None;
            }
        };
        let window = (
            info.suggested_window.start.unix_timestamp(),
            info.suggested_window.end.unix_timestamp(),
        );
        Some((window, i64::try_from(ask_in.as_secs()).unwrap_or(i64::MAX)))
    }

    /// The CA, opened once in a run.
    async fn open(&mut self) -> Result<&Ca, Failure> {
        if self.ca.is_none() {
            if let Some(failure) = &self.unreachable {
                return Err(failure.clone());
            }
            match self.open_patiently().await {
                Ok(ca) => self.ca = Some(ca),
                Err(failure) => {
                    self.unreachable = Some(failure.clone());
                    return Err(failure);
                }
            }
        }
        self.ca.as_ref().context("no CA").map_err(Failure::from)
    }

    /// At boot the network may come up a moment after us.
    async fn open_patiently(&self) -> Result<Ca, Failure> {
        let began = Instant::now();
        let patience = Duration::from_secs(self.configuration.patience);
        let mut nonces = NONCE_TRIES;
        loop {
            match open_ca(self.place, self.configuration).await {
                Err(failure) if failure.kind == Kind::Unreachable && began.elapsed() < patience => {
                    sleep(SETTLING).await;
                }
                Err(failure) if failure.kind == Kind::Nonce && nonces > 0 => nonces -= 1,
                result => return result,
            }
        }
    }

    async fn renew_host(
        &mut self,
        name: &str,
        record: &mut Record,
        tlsa: Tlsa,
        forced: bool,
    ) -> Result<Issued, Failure> {
        check_clock(now())?;
        match look_up(self.configuration, name) {
            Ok(resolved) => {
                let own = own_addresses(self.place, self.configuration);
                check_host(name, &resolved, &own, record, now())?;
            }
            // Then the CA cannot be found either, and says so better.
            Err(failure) => eprintln!("warning: {failure}"),
        }
        self.open().await?;
        // Now that the CA was found, DNS is there, which it may not have been at boot.
        let again = match tlsa {
            Tlsa::Unknown => find_tlsa(self.configuration.name_server, name),
            known => known,
        };
        let next = key_digest(&ensure_next_key(self.place, name)?)?;
        observe(&mut record.tlsa, &again, &next, now());
        let key = choose_key(self.place, name, &record.tlsa, &again, now())?;
        self.order(name, record, Some(key), forced).await
    }

    async fn tend_optional(&mut self, name: &str, record: &mut Record) -> anyhow::Result<()> {
        let Some(forced) = self.is_due(name, record).await? else {
            return Ok(());
        };
        let result = async {
            let resolved = look_up(self.configuration, name)?;
            let mut own = own_addresses(self.place, self.configuration);
            // A CA has proved that these are ours, too.
            let host = look_up(self.configuration, &self.configuration.hostname)?;
            own.extend(host.addresses);
            if let Some(reason) = check_optional(name, &resolved, &own) {
                return Ok(Err(reason));
            }
            self.order(name, record, None, forced).await.map(Ok)
        }
        .await;
        match result {
            Ok(Err(reason)) => {
                record.waiting = Some(reason);
                record.failed = None;
                record.pause = Some(Pause::of(LOOK_AGAIN, now()));
                Ok(())
            }
            Ok(Ok(issued)) => self.conclude(name, record, Ok(issued)),
            Err(failure) => {
                record.waiting = None;
                self.conclude(name, record, Err(failure))
            }
        }
    }

    /// Orders, by the other challenge when the first cannot work.
    async fn order(
        &mut self,
        name: &str,
        record: &mut Record,
        key: Option<String>,
        forced: bool,
    ) -> Result<Issued, Failure> {
        let today = record
            .issued
            .iter()
            .filter(|at| (now() - **at).abs() < DAY)
            .count();
        if !forced && today >= MOST_A_DAY {
            return Err(Failure::new(
                Kind::NotTaken,
                format!("{today} certificates were issued within a day and none is in use"),
                "journalctl -u mailimg-certificate.service says why",
            ));
        }
        let tls_alpn = self.configuration.tls_alpn;
        let first = Method::first(record.method, tls_alpn);
        let mut result = self.order_by(name, first, key.clone()).await;
        if let Err(failure) = &result {
            // Failed attempts are counted; so both ways only once in a while.
            let both = record
                .failed
                .as_ref()
                .is_none_or(|failed| failed.times % BOTH_WAYS == 0);
            if let Some(second) = first.after(failure.kind, tls_alpn).filter(|_| both) {
                eprintln!("warning: {name}: {failure}; trying {second:?}");
                let again = self.order_by(name, second, key).await;
                match again {
                    Ok(issued) => {
                        record.method = second;
                        result = Ok(issued);
                    }
                    // The first port is what most people can open.
                    Err(other) if first == Method::TlsAlpn01 => {
                        record.method = Method::Http01;
                        result = Err(other);
                    }
                    Err(_) => {}
                }
            }
        } else {
            record.method = first;
        }
        result
    }

    async fn order_by(
        &mut self,
        name: &str,
        method: Method,
        key: Option<String>,
    ) -> Result<Issued, Failure> {
        if method == Method::Http01 {
            self.wait_for_web_server().await?;
        }
        let mut reopened = false;
        let mut nonces = NONCE_TRIES;
        loop {
            let replaces = self.identifier(name);
            let place = self.place;
            let ca = self.open().await?;
            let wanted = Wanted {
                name,
                method,
                key: key.clone(),
                replaces,
            };
            match obtain(place, ca, wanted).await {
                Err(failure) if failure.kind == Kind::Nonce && nonces > 0 => nonces -= 1,
                Err(failure) if failure.kind == Kind::AccountGone && !reopened => {
                    reopened = true;
                    eprintln!("warning: {failure}; it is told of it anew");
                    forget_registration(self.place)?;
                    forget_order(self.place, name)?;
                    self.ca = None;
                }
                result => return result,
            }
        }
    }

    /// It is started just before us.
    async fn wait_for_web_server(&self) -> Result<(), Failure> {
        let began = Instant::now();
        let patience = Duration::from_secs(self.configuration.patience.min(15));
        loop {
            match check_web_server(self.place, self.configuration) {
                Err(_) if began.elapsed() < patience => sleep(SETTLING / 3).await,
                result => return result,
            }
        }
    }

    /// Checks what came, leaves it to be taken, and remembers the outcome.
    fn conclude(
        &mut self,
        name: &str,
        record: &mut Record,
        result: Result<Issued, Failure>,
    ) -> anyhow::Result<()> {
        let result = result.and_then(|issued| {
            // Whatever it is, this order is over.
            forget_order(self.place, name)?;
            check_issued(name, &issued).map_err(|error| {
                Failure::new(
                    Kind::Chain,
                    format!("the CA sent a certificate that is refused: {error:#}"),
                    "the certificate in use stays; tell the CA, or choose another by \
                     ACME_DIRECTORY_URL",
                )
            })?;
            leave_ready(self.place, name, &issued)?;
            Ok(issued)
        });
        match result {
            Ok(issued) => {
                record.succeed(&self.configuration.directory, now());
                let facts = read_facts(issued.chain.as_bytes())?;
                record.renewal = Some(Renewal::by_lifetime(&facts));
                self.lines.push(format!(
                    "{name}: a certificate of {} came, serial {}.",
                    facts.issuer, facts.serial
                ));
                if name == self.configuration.hostname && self.place.is_machine() {
                    self.wait_until_taken(&facts);
                }
            }
            Err(failure) => {
                // What is looked at every few minutes is told when it changes.
                let told = record
                    .failed
                    .as_ref()
                    .is_some_and(|before| failure.is_local() && before.failure == failure);
                if !told {
                    self.lines
                        .push(format!("{name}: {failure}\n  hint: {}", failure.hint));
                }
                record.fail(failure, now(), rand::random());
            }
        }
        Ok(())
    }

    /// So that the next key is made in this run, once this one is in use.
    fn wait_until_taken(&self, facts: &CertificateFacts) {
        let began = Instant::now();
        while began.elapsed() < TAKING {
            let installed = read_optional(&self.place.path(chain_path()))
                .ok()
                .flatten()
                .and_then(|pem| read_facts(&pem).ok());
            if installed.is_some_and(|installed| installed.serial == facts.serial) {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        eprintln!("warning: the certificate waits to be taken into use");
    }
}

fn check_issued(name: &str, issued: &Issued) -> anyhow::Result<()> {
    let chain = parse_chain(issued.chain.as_bytes())?;
    super::certificate::check_pair(name, &issued.chain, &issued.key)?;
    check_key(&chain, issued.key.as_bytes())?;
    check_links(&chain, name, now())
}

/// Leaves a pair where `cert take` finds it, whole or not at all.
fn leave_ready(place: &Place, name: &str, issued: &Issued) -> anyhow::Result<()> {
    let aside = place.path(place::ACME).join("unready");
    if aside.exists() {
        std::fs::remove_dir_all(&aside).with_context(|| format!("removing {}", aside.display()))?;
    }
    ensure_folder(&aside, 0o700, None)?;
    write_file(
        &aside.join("privkey.pem"),
        issued.key.as_bytes(),
        SECRET,
        None,
    )?;
    write_file(
        &aside.join("fullchain.pem"),
        issued.chain.as_bytes(),
        PUBLIC,
        None,
    )?;
    // Others may look at the chain: `cert status` does.
    ensure_folder(&aside, 0o755, None)?;
    let ready = ready_folder(place);
    ensure_folder(&ready, 0o755, None)?;
    let target = ready.join(name);
    if target.exists() {
        // Never taken, and now never needed.
        std::fs::remove_dir_all(&target)
            .with_context(|| format!("removing {}", target.display()))?;
    }
    std::fs::rename(&aside, &target)
        .with_context(|| format!("moving a certificate to {}", target.display()))?;
    sync_folder(&ready)
}
