//! One request to a registry: who we are, where it is sent on to, and what an answer means.
//!
//! Specification: <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md>.
//! Redirects of what only reads are followed, also to another server, which blobs often lie
//! on; what says who we are stays behind then. Left out: certificates of clients.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow};
use ureq::SendBody;
use ureq::http::{Method, Request, header};

use super::authorization::Authorization;
use super::credentials::Lookup;
use super::failure::{Failure, Patience, refusal};
use super::message::{Answer, Asked, Body};
use crate::builder::fetch::{FetchOptions, Problem, make_client};
use crate::error::{Hint, hinted};
use crate::format::oci::{Reference, is_loopback, is_same_server, join};

/// How many redirects are followed.
const REDIRECTS_MAX: usize = 5;

/// Speaks with the registry of one repository.
pub struct Client {
    agent: ureq::Agent,
    /// Address of the repository.
    base: String,
    /// Speaks without TLS.
    plain: bool,
    authorization: Mutex<Authorization>,
    options: FetchOptions,
    /// Bytes of blobs that came.
    pub(super) received: Arc<AtomicU64>,
    /// Bytes of blobs that went.
    pub(super) sent: AtomicU64,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Client of {}", self.base)
    }
}

impl Client {
    /// Speaks with the registry of a repository, to read it or to write to it too.
    ///
    /// `plain` leaves TLS out, which only a registry on this machine may. `also` are other
    /// repositories to read.
    pub fn new(
        reference: &Reference,
        lookup: Lookup,
        plain: bool,
        writes: bool,
        also: &[&str],
        options: FetchOptions,
    ) -> Result<Self> {
        let registry = &reference.registry;
        if plain && !is_loopback(registry) {
            return Err(hinted(
                format!("speaking without TLS with {registry}, which is not this machine"),
                "leave --plain-http out; `--ca-file FILE` names a CA of your own",
            ))
            .usage();
        }
        let scheme = if plain { "http" } else { "https" };
        let agent = make_client(&options, !plain, 0)
            .map_err(|reason| anyhow!(reason))
            .context("reading the trusted CAs")
            .hint_where_none("install ca-certificates, or name a file with --ca-file")?;
        let mut scopes = vec![reference.scope(if writes { "pull,push" } else { "pull" })];
        scopes.extend(also.iter().map(|other| format!("repository:{other}:pull")));
        Ok(Self {
            agent,
            base: reference.repository_url(scheme),
            plain,
            authorization: Mutex::new(Authorization::new(registry, lookup, scopes)),
            options,
            received: Arc::default(),
            sent: AtomicU64::new(0),
        })
    }

    /// The address of something in the repository.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// How hard it is tried.
    pub(super) fn patience(&self) -> Patience {
        Patience::new(&self.options)
    }

    /// Bytes of blobs that were received so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes of blobs that were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn authorization(&self) -> MutexGuard<'_, Authorization> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks until there is an answer that is worth one.
    pub(super) fn ask(&self, asked: &Asked<'_>, doing: &str) -> Result<Answer> {
        let mut patience = self.patience();
        loop {
            match self.send(asked) {
                Ok(answer) => return Ok(answer),
                Err(failure) => patience.wait(failure).with_context(|| doing.to_owned())?,
            }
        }
    }

    /// Asks once, and again when the registry wants to know who we are.
    ///
    /// Answers that say to come back later are failures, all others are not.
    pub(super) fn send(&self, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let known = self.authorization().header();
        let answer = self.follow(asked, known.as_deref())?;
        let answer = if answer.status == 401 {
            let header = self.authorize(&answer)?;
            let answer = self.follow(asked, Some(&header))?;
            if answer.status == 401 {
                return Err(Failure::Final(
                    self.authorization().refused(&answer.headers),
                ));
            }
            answer
        } else {
            answer
        };
        if answer.status == 403 {
            return Err(Failure::Final(self.forbidden(answer)));
        }
        Failure::of_later(answer)
    }

    fn forbidden(&self, answer: Answer) -> anyhow::Error {
        let advice = self.authorization().advice();
        Err::<(), _>(refusal(answer)).hint(advice).unwrap_err()
    }

    /// Follows redirects of what only reads.
    fn follow(&self, asked: &Asked<'_>, header: Option<&str>) -> Result<Answer, Failure> {
        let reads = asked.method == Method::GET || asked.method == Method::HEAD;
        let mut url = asked.url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            self.check(&url)?;
            let own = is_same_server(&url, &self.base);
            let answer = self.exchange(asked, &url, header.filter(|_| own))?;
            if !reads || !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            url = answer
                .header("location")
                .and_then(|location| join(&url, location))
                .ok_or_else(|| Failure::unusable("sends on to nowhere"))?;
        }
        Err(Failure::unusable("sends on and on"))
    }

    /// Refuses to go where somebody in between would read along.
    pub(super) fn check(&self, url: &str) -> Result<(), Failure> {
        let rest = url.strip_prefix("http://");
        let host = rest.and_then(|rest| rest.split(['/', '?']).next());
        match host {
            Some(host) if !(self.plain && is_loopback(host)) => Err(Failure::Final(hinted(
                format!("the registry sends on to {host} without TLS"),
                "ask who runs it: its own address has to be set to https",
            ))),
            _ => Ok(()),
        }
    }

    fn exchange(
        &self,
        asked: &Asked<'_>,
        url: &str,
        authorization: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(asked.method.clone()).uri(url);
        for (name, value) in asked.headers {
            request = request.header(name, value);
        }
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let unusable = |_| Failure::unusable("names an address that is none");
        let response = match &asked.body {
            Body::Nothing => self.agent.run(request.body(()).map_err(unusable)?),
            Body::Bytes(bytes) => self.agent.run(request.body(*bytes).map_err(unusable)?),
            Body::Part(length, make) => {
                let mut reader = make();
                let request = request.header(header::CONTENT_LENGTH, *length);
                let body = SendBody::from_reader(&mut *reader);
                self.agent.run(request.body(body).map_err(unusable)?)
            }
        };
        response
            .map(Answer::from)
            .map_err(|error| Failure::of(Problem::of_request(&error)))
    }

    /// What says who we are, for a registry that asked.
    fn authorize(&self, answer: &Answer) -> Result<String, Failure> {
        let mut authorization = self.authorization();
        authorization.answer(&answer.headers, &|asked, header| {
            self.check(asked.url)?;
            self.exchange(asked, asked.url, header)
        })
    }
}
