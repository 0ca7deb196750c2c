//! From the name of a domain to the answer for Postfix.
//!
//! However many ask about a domain, one looks and the others wait for it; who
//! asks about another domain waits for neither.

use super::answer::{Answer, Dane, answer};
use super::cache::{Cache, Held};
use super::configuration::CONFIGURATION;
use super::dane::find_dane;
use super::fetch::{fetch_policy, make_client};
use super::name_server::NameServer;
use super::policy::{Mode, Policy, parse_records};
use crate::appliance::certificate::trust::roots_path;
use crate::appliance::machine::clock::{may_be_set, unsigned_now, uptime};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::wire::internet::Strangers;
use anyhow::{Context, Result};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

/// Longest that anybody waits for an answer, well below Postfix's 100 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Longest for record, addresses and policy of a domain together.
const DOMAIN_LIMIT: Duration = Duration::from_secs(10);
/// The same for its mail servers.
const DANE_LIMIT: Duration = Duration::from_secs(9);
/// Most policies that are fetched at once.
const FETCHES_MAX: usize = 16;
/// Longest wait for one of those to end.
const ROOM_LIMIT: Duration = Duration::from_secs(2);

/// There is more to fetch than can be: nothing is known, and mail waits.
#[derive(Debug, thiserror::Error)]
#[error("too many policies are being fetched")]
struct Busy;

/// Answers for domains.
pub struct Lookup {
    place: Place,
    server: NameServer,
    https_port: u16,
    strangers: Strangers,
    /// When the newest policy of runs before had been fetched.
    newest: Option<u64>,
    cache: RefCell<Cache>,
    /// Domains that somebody is looking up.
    running: RefCell<BTreeMap<String, Rc<Mutex<()>>>>,
    fetches: Semaphore,
}

impl Lookup {
    /// Loads what is on disk.
    pub fn new(
        place: &Place,
        server: NameServer,
        https_port: u16,
        strangers: Strangers,
    ) -> Result<Self> {
        let folder = place.path(place::STS).join("policies");
        let now = (!may_be_set(place)).then(unsigned_now);
        let cache = Cache::load(folder, now)?;
        Ok(Self {
            place: place.clone(),
            server,
            https_port,
            strangers,
            newest: cache.newest(),
            cache: RefCell::new(cache),
            running: RefCell::default(),
            fetches: Semaphore::new(FETCHES_MAX),
        })
    }

    /// The time: a clock that may still be set by years does not end a policy, nor make one
    /// of last year hold again; it is later than the newest was fetched.
    fn now(&self) -> u64 {
        let newest = self.newest.filter(|_| may_be_set(&self.place));
        let since_power_on = || uptime(&self.place).map_or(0, i64::unsigned_abs);
        newest.map_or_else(unsigned_now, |newest| newest + since_power_on())
    }

    /// The answer for a domain, which is a valid name in lower case.
    pub async fn answer(&self, domain: &str) -> Answer {
        let Ok(answer) = timeout(ANSWER_LIMIT, self.look_up(domain)).await else {
            return Answer::Later("looking up the policy takes too long");
        };
        answer
    }

    async fn look_up(&self, domain: &str) -> Answer {
        let policy = match self.find_policy(domain).await {
            Ok(Some(policy)) => policy,
            Ok(None) => return Answer::NotFound,
            Err(Busy) => return Answer::Later("too many policies are being fetched"),
        };
        if policy.mode == Mode::None {
            return Answer::NotFound;
        }
        match timeout(DANE_LIMIT, self.find_dane(domain)).await {
            Ok(Ok(dane)) => answer(domain, &policy, dane),
            // Without knowing of DANE neither answer is right.
            Ok(Err(error)) => {
                tell!("{domain}: {error:#}");
                Answer::Later("looking up the mail servers failed")
            }
            Err(_) => Answer::Later("looking up the mail servers takes too long"),
        }
    }

    async fn find_dane(&self, domain: &str) -> Result<Dane> {
        if CONFIGURATION.load(&self.place)?.dnssec {
            find_dane(self.server, domain).await
        } else {
            Ok(Dane::None)
        }
    }

    /// The policy that holds for a domain.
    async fn find_policy(&self, domain: &str) -> Result<Option<Policy>, Busy> {
        match self.cache.borrow_mut().get(domain, self.now()) {
            Held::Policy(policy) => return Ok(Some(policy)),
            Held::Nothing => return Ok(None),
            Held::Stale(_) | Held::Unknown => {}
        }
        let lock = self
            .running
            .borrow_mut()
            .entry(domain.to_owned())
            .or_default()
            .clone();
        let held = {
            let _first = lock.lock().await;
            // Whoever was first has left what it found.
            let held = self.cache.borrow_mut().get(domain, self.now());
            match held {
                Held::Stale(_) | Held::Unknown => {
                    self.refresh(domain).await;
                    self.cache.borrow_mut().get(domain, self.now())
                }
                known => known,
            }
        };
        // One here and one in the map: nobody else waits.
        if Rc::strong_count(&lock) <= 2 {
            self.running.borrow_mut().remove(domain);
        }
        match held {
            Held::Policy(policy) => Ok(Some(policy)),
            Held::Stale(entry) => Ok(Some(entry.policy)),
            Held::Nothing => Ok(None),
            Held::Unknown => Err(Busy),
        }
    }

    /// Looks at the record, and fetches the policy if that is called for.
    async fn refresh(&self, domain: &str) {
        let looked = timeout(DOMAIN_LIMIT, self.refresh_patiently(domain)).await;
        let result = looked.unwrap_or_else(|_| Err(anyhow::anyhow!("it takes too long")));
        let now = self.now();
        let mut cache = self.cache.borrow_mut();
        if cache.entry(domain).is_some() {
            cache.note_check(domain, result.is_err(), now);
        } else {
            match &result {
                Ok(false) => cache.put_absence(domain, false, now),
                Err(error) if error.is::<Busy>() => {}
                Err(_) => cache.put_absence(domain, true, now),
                Ok(true) => {}
            }
        }
        if let Err(error) = result {
            tell!("policy of {domain}: {error:#}");
        }
    }

    /// Whether the domain announces a policy, which is then in the cache.
    async fn refresh_patiently(&self, domain: &str) -> Result<bool> {
        let texts = self.server.texts(&format!("_mta-sts.{domain}")).await?;
        let id = parse_records(&texts);
        let known = self.cache.borrow().entry(domain).cloned();
        let wanted = match &known {
            Some(entry) => Cache::wants_fetch(entry, id.as_deref(), self.now()),
            None => id.is_some(),
        };
        if !wanted {
            return Ok(id.is_some());
        }
        // The record may be gone while the policy holds; the server is asked all the same.
        let id = id
            .or_else(|| known.map(|entry| entry.id))
            .unwrap_or_default();
        let policy = self.fetch(domain).await?;
        tell!(
            "policy domain={domain} id={id} mode={} max_age={}",
            policy.mode.word(),
            policy.max_age
        );
        if let Err(error) = self.cache.borrow_mut().put(domain, &id, policy, self.now()) {
            tell!("{error:#}");
        }
        Ok(true)
    }

    async fn fetch(&self, domain: &str) -> Result<Policy> {
        let _permit = timeout(ROOM_LIMIT, self.fetches.acquire())
            .await
            .map_err(|_| Busy)??;
        let addresses = self.server.addresses(&format!("mta-sts.{domain}")).await?;
        let roots = roots_path(&self.place);
        let (strangers, port, domain) = (self.strangers, self.https_port, domain.to_owned());
        tokio::task::spawn_blocking(move || {
            let client = make_client(&roots, strangers, &addresses, port)?;
            fetch_policy(&client, &domain)
        })
        .await
        .context("fetching a policy")?
    }

    /// Fetches again what will run out, one after the other.
    pub async fn refresh_due(&self) {
        self.cache.borrow_mut().forget(self.now());
        // Left by those who waited too long and went away.
        self.running
            .borrow_mut()
            .retain(|_, lock| Rc::strong_count(lock) > 1);
        let due = self.cache.borrow().due(self.now());
        for domain in due {
            self.refresh(&domain).await;
        }
    }
}
