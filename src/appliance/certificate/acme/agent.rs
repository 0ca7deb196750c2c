//! One run of the agent: what is due for each name, and how it ended.

use super::account::{Ca, account_url, forget_registration, open_ca};
use super::alert;
use super::back_off::Pause;
use super::challenge::{ChallengeMethod, clear_answers};
use super::configuration::Configuration;
use super::failure::{Failure, Kind};
use super::keys::{choose_key, ensure_next_key, key_digest, observe, publish};
use super::names::{Tlsa, find_tlsa};
use super::order::{Issued, Wanted, forget_order, obtain};
use super::preflight::{
    blame_clock, check_clock, check_host, check_optional, check_skew, check_web_server, look_up,
    own_addresses,
};
use super::ready::find_chain;
use super::record::{Record, load_record, store_record};
use super::renewal::Renewal;
use super::request::take_request;
use crate::appliance::certificate::chain::{CertificateFacts, parse_chain, read_facts};
use crate::appliance::machine::clock::{DAY, is_synchronized, now, uptime};
use crate::appliance::machine::place::Place;
use anyhow::{Context, Result};
use instant_acme::CertificateIdentifier;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How often an order is gone on with after a bad nonce.
const NONCE_TRIES: usize = 5;
/// Pause between two looks at a network that comes up.
const NETWORK_POLL_PAUSE: Duration = Duration::from_secs(3);
/// How often an optional name that does not lead here is looked at, in seconds.
const OPTIONAL_NAME_PAUSE: i64 = 5 * 60;
/// For how long after power-on it is waited for a network, in seconds.
const BOOT_SECONDS: i64 = 5 * 60;
/// Certificates of one name within a day, unless somebody insists.
const CERTIFICATES_A_DAY_MAX: usize = 3;
/// Every how many failures the other challenge is tried, too.
const FAILURES_BEFORE_OTHER_CHALLENGE: u32 = 3;

/// One run.
pub struct Agent<'a> {
    pub(super) place: &'a Place,
    pub(super) configuration: &'a Configuration,
    ca: Option<Ca>,
    /// Why there is no `ca`, asked once in a run.
    unreachable: Option<Failure>,
    pub(super) lines: Vec<String>,
}

impl<'a> Agent<'a> {
    /// A run that has not begun.
    pub fn new(place: &'a Place, configuration: &'a Configuration) -> Self {
        Self {
            place,
            configuration,
            ca: None,
            unreachable: None,
            lines: Vec::new(),
        }
    }

    /// Tends every name, and returns what to say.
    pub async fn run(mut self) -> Result<String> {
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
        self.publish_next_key(&host)?;
        Ok(self.lines.join("\n"))
    }

    fn publish_next_key(&self, host: &str) -> Result<()> {
        let next = ensure_next_key(self.place, host)?;
        let account = account_url(self.place, self.configuration);
        publish(self.place, self.configuration, &next, account.as_deref())
    }

    fn facts(&self, name: &str) -> Option<CertificateFacts> {
        read_facts(&find_chain(self.place, self.configuration, name)?).ok()
    }

    async fn tend_host(&mut self, name: &str, record: &mut Record) -> Result<()> {
        let next = key_digest(&ensure_next_key(self.place, name)?)?;
        let tlsa = find_tlsa(self.configuration.name_server, name);
        observe(&mut record.tlsa, &tlsa, &next, now());
        let Some(forced) = self.is_due(name, record).await? else {
            return Ok(());
        };
        if !forced && self.tend_kept(name, record)? {
            return Ok(());
        }
        let result = self.renew_host(name, record, tlsa, forced).await;
        self.conclude(name, record, result, forced)
    }

    /// Whether something is to be done for a name, and whether somebody insists.
    async fn is_due(&mut self, name: &str, record: &mut Record) -> Result<Option<bool>> {
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
            // Somebody insisted in vain: that is told until it could be tried again.
            if record.pause.is_none_or(|pause| pause.is_over(now())) {
                record.failed = None;
                record.pause = None;
            }
            return Ok(None);
        }
        if let Some(pause) = record.pause {
            let asked_now = forced || (request.is_some() && !pause.asked);
            // With a wrong clock neither DNSSEC nor TLS works.
            let clock_came = !pause.asked
                && is_synchronized(self.place)
                && record
                    .failed
                    .as_ref()
                    .is_some_and(|failed| failed.unsynchronized);
            if !asked_now && !clock_came && !pause.is_over(now()) {
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

    /// At boot the network may come up a moment after us; later on the next run is soon.
    async fn open_patiently(&self) -> Result<Ca, Failure> {
        let began = Instant::now();
        let patience = if uptime(self.place).is_some_and(|seconds| seconds > BOOT_SECONDS) {
            Duration::ZERO
        } else {
            Duration::from_secs(self.configuration.patience)
        };
        let mut nonces = NONCE_TRIES;
        loop {
            match open_ca(self.place, self.configuration).await {
                Err(failure) if failure.kind == Kind::Unreachable && began.elapsed() < patience => {
                    sleep(NETWORK_POLL_PAUSE).await;
                }
                Err(failure) if failure.kind == Kind::Nonce && nonces > 0 => nonces -= 1,
                Err(failure) => return Err(blame_clock(self.place, failure)),
                Ok(ca) => return Ok(ca),
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
            Err(failure) => tell!("warning: {failure}"),
        }
        let ahead = self.open().await?.clock_ahead();
        check_skew(self.place, ahead)?;
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

    async fn tend_optional(&mut self, name: &str, record: &mut Record) -> Result<()> {
        let Some(forced) = self.is_due(name, record).await? else {
            return Ok(());
        };
        if !forced && self.tend_kept(name, record)? {
            return Ok(());
        }
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
                record.pause = Some(Pause::of(OPTIONAL_NAME_PAUSE, now()));
                Ok(())
            }
            Ok(Ok(issued)) => self.conclude(name, record, Ok(issued), forced),
            Err(failure) => {
                record.waiting = None;
                self.conclude(name, record, Err(failure), forced)
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
        if !forced && today >= CERTIFICATES_A_DAY_MAX {
            return Err(Failure::new(
                Kind::Enough,
                format!("{today} certificates came within a day, and another is due"),
                "journalctl -u mailimg-certificate.service says whether they are taken into \
                 use; mailctl cert renew --force asks for one more",
            ));
        }
        let tls_alpn = self.configuration.tls_alpn;
        let first = ChallengeMethod::first(record.method, tls_alpn);
        let mut result = self.order_by(name, first, key.clone()).await;
        if let Err(failure) = &result {
            // Failed attempts are counted; so both ways only once in a while.
            let both = record
                .failed
                .as_ref()
                .is_none_or(|failed| failed.times % FAILURES_BEFORE_OTHER_CHALLENGE == 0);
            if let Some(second) = first.after(failure.kind, tls_alpn).filter(|_| both) {
                tell!("warning: {name}: {failure}; trying {second:?}");
                let again = self.order_by(name, second, key).await;
                match again {
                    Ok(issued) => {
                        record.method = second;
                        result = Ok(issued);
                    }
                    // The first port is what most people can open.
                    Err(other) if first == ChallengeMethod::TlsAlpn01 => {
                        record.method = ChallengeMethod::Http01;
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
        method: ChallengeMethod,
        key: Option<String>,
    ) -> Result<Issued, Failure> {
        if method == ChallengeMethod::Http01 {
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
                    tell!("warning: {failure}; it is told of it anew");
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
                Err(_) if began.elapsed() < patience => sleep(NETWORK_POLL_PAUSE / 3).await,
                result => return result,
            }
        }
    }
}
