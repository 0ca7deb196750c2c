//! Which page a request means, and the page.
//!
//! The paths are those that clients look for by themselves: RFC 8555 section
//! 8.3, RFC 8461 section 3.3, Thunderbird's autoconfig, Outlook's autodiscover.

use super::answer::Answer;
use super::asked::{Asked, Name, decode};
use super::autodiscover::parse_request;
use super::challenge::{CHALLENGE_PATH, load_answer};
use super::configuration::Configuration;
use super::pages::{EMAIL_ADDRESS, Pages};
use crate::appliance::aliases::name::untagged;
use crate::appliance::machine::place::Place;
use crate::settings::{MailAddress, parse_mail_address};
use anyhow::Result;
use http::{Method, StatusCode, header};

const AUTOCONFIG_PATHS: [&str; 2] = [
    "/mail/config-v1.1.xml",
    "/.well-known/autoconfig/mail/config-v1.1.xml",
];
const AUTODISCOVER_PATH: &str = "/autodiscover/autodiscover.xml";
const PROTOCOLS_PATH: &str = "/autodiscover/autodiscover.json";
const STS_PATH: &str = "/.well-known/mta-sts.txt";
const PROFILE_PATH: &str = "/apple.mobileconfig";

const XML: &str = "application/xml; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

/// Error codes of Outlook's protocol: a request that says nothing, and no such service.
const INVALID_REQUEST: u16 = 600;
const NO_PROVIDER: u16 = 601;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// The answer to a token of HTTP-01.
    Challenge(&'a str),
    /// The same page over https.
    Upgrade,
    /// Outlook's page over https, which it only follows under 302.
    AutodiscoverUpgrade,
    /// Our MTA-STS policy.
    StsPolicy,
    /// Thunderbird's settings.
    Autoconfig,
    /// Outlook's settings.
    Autodiscover,
    /// Where Outlook finds which protocol.
    Protocols,
    /// Apple's settings.
    Profile,
    /// The first page.
    Index,
    /// What robots may read.
    Robots,
    /// Nothing.
    Missing,
}

impl<'a> Route<'a> {
    /// Finds the page that a path means under that name.
    pub fn find(asked: &Asked<'a>) -> Self {
        let path = asked.path;
        if let Some(token) = path.strip_prefix(CHALLENGE_PATH) {
            return Self::Challenge(token);
        }
        let is_autodiscover = path.eq_ignore_ascii_case(AUTODISCOVER_PATH);
        let is_autoconfig = AUTOCONFIG_PATHS.contains(&path);
        match asked.name {
            // Thunderbird asks over plain HTTP too, and some versions take no redirect.
            Some(Name::Host(_) | Name::Domain(_) | Name::Autoconfig(_)) if is_autoconfig => {
                Self::Autoconfig
            }
            Some(_) if !asked.is_secure && is_autodiscover => Self::AutodiscoverUpgrade,
            _ if !asked.is_secure => Self::Upgrade,
            None => Self::Missing,
            Some(Name::Sts(_)) if path == STS_PATH => Self::StsPolicy,
            Some(_) if is_autodiscover => Self::Autodiscover,
            Some(_) if is_protocols(path) => Self::Protocols,
            Some(_) => match path {
                "/" => Self::Index,
                "/robots.txt" => Self::Robots,
                PROFILE_PATH => Self::Profile,
                _ => Self::Missing,
            },
        }
    }

    /// The methods that it knows, as `Allow` lists them.
    pub fn methods(self) -> &'static str {
        match self {
            Self::Autodiscover | Self::Upgrade | Self::AutodiscoverUpgrade | Self::Missing => {
                "GET, HEAD, POST"
            }
            _ => "GET, HEAD",
        }
    }

    /// Whether it knows this method.
    pub fn knows(self, method: &Method) -> bool {
        self.methods().split(", ").any(|known| known == method)
    }
}

/// The path alone, or followed by version and address.
fn is_protocols(path: &str) -> bool {
    path.get(..PROTOCOLS_PATH.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PROTOCOLS_PATH))
        && matches!(path.as_bytes().get(PROTOCOLS_PATH.len()), None | Some(b'/'))
}

/// What pages are made of.
pub struct PageMaker<'a> {
    /// The machine.
    pub place: &'a Place,
    /// Its templates.
    pub pages: &'a Pages,
    /// Its settings.
    pub configuration: &'a Configuration,
    /// Whether the name asked for can be reached over https without a warning.
    pub is_covered: bool,
}

impl PageMaker<'_> {
    /// The page; `body` is what a client posted.
    pub fn answer(
        &self,
        route: Route<'_>,
        asked: &Asked<'_>,
        body: Option<&[u8]>,
    ) -> Result<Answer> {
        let hostname = &self.configuration.hostname;
        let missing = || Answer::plain(StatusCode::NOT_FOUND);
        Ok(match route {
            Route::Challenge(token) => match load_answer(self.place, token) {
                Some(text) => Answer::new("application/octet-stream", text),
                None => missing(),
            },
            Route::Upgrade => self.upgrade(asked),
            Route::AutodiscoverUpgrade => redirect(
                found(asked.method),
                &format!("https://{hostname}{AUTODISCOVER_PATH}"),
            ),
            Route::StsPolicy => Answer::new(TEXT, self.configuration.sts_policy.clone()),
            Route::Autoconfig => match self.autoconfig(asked) {
                Some((domain, username)) => {
                    let text = self.pages.autoconfig(hostname, &domain, &username)?;
                    Answer::new(XML, text)
                }
                None => missing(),
            },
            Route::Autodiscover => self.autodiscover(asked, body)?,
            Route::Protocols => self.protocols(asked)?,
            Route::Profile => match self.account(asked.parameter("email").as_deref()) {
                Some(address) => {
                    let text = self.pages.profile(hostname, &address)?;
                    Answer::new("application/x-apple-aspen-config", text)
                        .with(
                            header::CONTENT_DISPOSITION,
                            "attachment; filename=\"mail.mobileconfig\"",
                        )
                        .with(header::CACHE_CONTROL, "no-store")
                }
                None => missing(),
            },
            Route::Index => Answer::new(
                "text/html; charset=utf-8",
                self.pages.index(self.configuration)?,
            ),
            Route::Robots => Answer::new(TEXT, "User-agent: *\nDisallow: /\n"),
            Route::Missing => missing(),
        })
    }

    /// The same page where a certificate for it is, which without one of its own is `HOSTNAME`.
    fn upgrade(&self, asked: &Asked<'_>) -> Answer {
        let hostname = self.configuration.hostname.as_str();
        let host = if asked.name.is_some() && self.is_covered {
            &asked.host
        } else {
            hostname
        };
        // '*' and the authority of CONNECT are no paths.
        let path = if asked.path.starts_with('/') {
            asked.path
        } else {
            "/"
        };
        let mark = if asked.query.is_empty() { "" } else { "?" };
        let status = match *asked.method {
            Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
            _ => StatusCode::PERMANENT_REDIRECT,
        };
        // Never with a port: https of the outside is 443, whoever listens there.
        redirect(
            status,
            &format!("https://{host}{path}{mark}{}", asked.query),
        )
    }

    /// The domain and the name to log in with.
    fn autoconfig(&self, asked: &Asked<'_>) -> Option<(String, String)> {
        let Some(address) = asked.parameter("emailaddress") else {
            let domain = asked.name?.domain().to_owned();
            return Some((domain, EMAIL_ADDRESS.to_owned()));
        };
        let (local, domain) = address.rsplit_once('@')?;
        let domain = domain.to_ascii_lowercase();
        if !self.configuration.domains.contains(&domain) {
            return None;
        }
        // The program puts in the address as it was typed, and nobody logs in with a tag.
        let account = local.contains('+').then(|| self.account(Some(&address)));
        let username = account.flatten().map(|account| account.to_string());
        Some((domain, username.unwrap_or_else(|| EMAIL_ADDRESS.to_owned())))
    }

    /// The account that an address in a domain of ours means, without its tag; whether it has a
    /// mailbox is nobody's business.
    fn account(&self, text: Option<&str>) -> Option<MailAddress> {
        let address = parse_mail_address(&untagged(text?)).ok()?;
        let is_ours = self.configuration.domains.contains(&address.domain);
        is_ours.then_some(address)
    }

    fn autodiscover(&self, asked: &Asked<'_>, body: Option<&[u8]>) -> Result<Answer> {
        let (address, takes_mail) = match body {
            Some(body) => match parse_request(body) {
                Some(request) => (Some(request.address), request.takes_mail),
                None => (None, true),
            },
            None => {
                let parameter = asked.parameter("email");
                (parameter.or_else(|| asked.parameter("emailaddress")), true)
            }
        };
        let text = match address {
            None => self
                .pages
                .autodiscover_error(INVALID_REQUEST, "Invalid Request")?,
            Some(_) if !takes_mail => self
                .pages
                .autodiscover_error(NO_PROVIDER, "Only IMAP and SMTP are served here")?,
            Some(address) => match self.account(Some(&address)) {
                Some(address) => {
                    let hostname = &self.configuration.hostname;
                    self.pages.autodiscover(hostname, &address)?
                }
                None => return Ok(Answer::plain(StatusCode::NOT_FOUND)),
            },
        };
        Ok(Answer::new(XML, text).with(header::CACHE_CONTROL, "no-store"))
    }

    /// The second version knows where protocols are found; of those here it has only the first.
    fn protocols(&self, asked: &Asked<'_>) -> Result<Answer> {
        let in_path = asked.path.rsplit('/').next().filter(|last| {
            let decoded = decode(last);
            decoded.is_some_and(|text| text.contains('@'))
        });
        let address = match in_path {
            Some(text) => decode(text),
            None => asked.parameter("email"),
        };
        if address.is_some() && self.account(address.as_deref()).is_none() {
            return Ok(Answer::plain(StatusCode::NOT_FOUND));
        }
        let is_first = asked
            .parameter("protocol")
            .is_some_and(|name| name.eq_ignore_ascii_case("AutodiscoverV1"));
        let (status, value) = if is_first {
            let url = format!("https://{}{AUTODISCOVER_PATH}", self.configuration.hostname);
            let value = serde_json::json!({"Protocol": "AutodiscoverV1", "Url": url});
            (StatusCode::OK, value)
        } else {
            let value = serde_json::json!({
                "ErrorCode": "InvalidProtocol",
                "ErrorMessage": "Only AutodiscoverV1 is served here.",
            });
            (StatusCode::BAD_REQUEST, value)
        };
        Ok(Answer::new(JSON, serde_json::to_string(&value)?).with_status(status))
    }
}

/// A redirect that a browser does not keep, with the method as it was.
fn found(method: &Method) -> StatusCode {
    match *method {
        Method::GET | Method::HEAD => StatusCode::FOUND,
        _ => StatusCode::TEMPORARY_REDIRECT,
    }
}

fn redirect(status: StatusCode, location: &str) -> Answer {
    Answer::plain(status).with(header::LOCATION, location)
}
