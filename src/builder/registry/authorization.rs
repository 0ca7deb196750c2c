//! Saying who we are: name and password as they are, or for a token of limited rights.
//!
//! Specification: <https://distribution.github.io/distribution/spec/auth/token/>, and
//! `oauth/` beside it for tokens that stand for a password. Nothing is said before a registry
//! asks, and then only what it asks for.

use std::io::Read;

use serde::Deserialize;
use ureq::http::Method;
use ureq::http::header::{self, HeaderMap, HeaderName};

use super::credentials::{Credentials, Lookup};
use super::failure::{Failure, words};
use super::message::{Answer, Asked, Body};
use crate::error::hinted;
use crate::format::oci::{Challenge, encoded, parse_challenges, with_parameter};

/// Most bytes of an answer with a token.
const TOKEN_BYTES_MAX: u64 = 1 << 20;

/// Sends a request without following where it is sent on to.
type Exchange<'a> = &'a dyn Fn(&Asked<'_>, Option<&str>) -> Result<Answer, Failure>;

/// What we can say, and what was said last.
pub(super) struct Authorization {
    registry: String,
    lookup: Lookup,
    scopes: Vec<String>,
    header: Option<String>,
}

/// What a server of tokens answers.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Authorization {
    pub fn new(registry: &str, lookup: Lookup, scopes: Vec<String>) -> Self {
        Self {
            registry: registry.to_owned(),
            lookup,
            scopes,
            header: None,
        }
    }

    /// What the registry took last.
    pub fn header(&self) -> Option<String> {
        self.header.clone()
    }

    /// What a registry asks for.
    pub fn answer(&mut self, headers: &HeaderMap, send: Exchange<'_>) -> Result<String, Failure> {
        let asked = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let asked: Vec<Challenge> = asked
            .filter_map(|header| header.to_str().ok())
            .flat_map(parse_challenges)
            .collect();
        let bearer = asked.iter().find_map(|one| match one {
            Challenge::Bearer { realm, service } => Some((realm, service)),
            Challenge::Basic => None,
        });
        let header = match (bearer, &self.lookup.found) {
            (Some((realm, service)), _) => {
                format!("Bearer {}", self.token(realm, service.as_deref(), send)?)
            }
            (None, Some(known)) if known.identity_token.is_none() && !asked.is_empty() => {
                known.basic()
            }
            _ => return Err(Failure::Final(self.refused(headers))),
        };
        self.header = Some(header.clone());
        Ok(header)
    }

    /// Gets a token; without credentials one for what everybody may.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        send: Exchange<'_>,
    ) -> Result<String, Failure> {
        let known = self.lookup.found.as_ref();
        let identity = known.and_then(|known| known.identity_token.as_deref());
        let answer = match identity {
            Some(identity) => {
                let mut form = format!(
                    "grant_type=refresh_token&client_id=mailimg&refresh_token={}&scope={}",
                    encoded(identity),
                    encoded(&self.scopes.join(" "))
                );
                if let Some(service) = service {
                    form.push_str(&format!("&service={}", encoded(service)));
                }
                let kind = "application/x-www-form-urlencoded".to_owned();
                let headers: [(HeaderName, String); 1] = [(header::CONTENT_TYPE, kind)];
                let asked = Asked {
                    method: Method::POST,
                    url: realm,
                    headers: &headers,
                    body: Body::Bytes(form.as_bytes()),
                };
                send(&asked, None)?
            }
            None => {
                let mut url = realm.to_owned();
                if let Some(service) = service {
                    url = with_parameter(&url, "service", service);
                }
                for scope in &self.scopes {
                    url = with_parameter(&url, "scope", scope);
                }
                let basic = known.map(Credentials::basic);
                send(&Asked::new(Method::GET, &url), basic.as_deref())?
            }
        };
        if answer.status == 401 || answer.status == 403 {
            return Err(Failure::Final(self.refused(&answer.headers)));
        }
        let answer = Failure::of_later(answer)?;
        if answer.status != 200 {
            return Err(Failure::unusable(&format!(
                "gave no token: {}",
                words(answer)
            )));
        }
        let mut text = Vec::new();
        // What cannot be read is no token.
        let _ = answer.reader.take(TOKEN_BYTES_MAX).read_to_end(&mut text);
        serde_json::from_slice(&text)
            .ok()
            .and_then(|token: Token| token.token.or(token.access_token))
            .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| Failure::unusable("gave no token"))
    }

    /// The error that a registry does not know us.
    pub fn refused(&self, headers: &HeaderMap) -> anyhow::Error {
        let registry = &self.registry;
        match &self.lookup.found {
            Some(known) => hinted(
                format!(
                    "{registry} does not take the credentials of {}",
                    known.origin
                ),
                self.advice(),
            ),
            None if headers.contains_key(header::WWW_AUTHENTICATE) => hinted(
                format!("{registry} asks who you are, and no credentials are known for it"),
                self.advice(),
            ),
            None => hinted(format!("{registry} lets nobody in"), self.advice()),
        }
    }

    /// What helps who is not let in.
    pub fn advice(&self) -> String {
        let registry = &self.registry;
        match &self.lookup.found {
            Some(known) => format!(
                "the credentials of {} need the right to do this; `podman login {registry}` \
                 stores others",
                known.origin
            ),
            None => {
                let looked = self.lookup.looked.iter();
                let looked: Vec<String> = looked.map(|path| path.display().to_string()).collect();
                format!(
                    "`podman login {registry}` stores some; looked into {}, and REGISTRY_AUTH_FILE \
                     names another file",
                    looked.join(", ")
                )
            }
        }
    }
}
