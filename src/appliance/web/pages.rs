//! Texts that are made for a visitor, from the image's templates.
//!
//! Escaping is on: an address comes from whoever asks. Formats: Thunderbird's
//! (<https://www.bucksch.org/1/projects/thunderbird/autoconfiguration/config-file-format.html>),
//! Outlook's ([MS-OXDSCLI], <https://learn.microsoft.com/openspecs/exchange_server_protocols/ms-oxdscli/>),
//! Apple's (<https://developer.apple.com/documentation/devicemanagement/mail>).

use super::configuration::Configuration;
use crate::appliance::machine::place::{self, Place};
use crate::settings::MailAddress;
use anyhow::{Context, Result};
use base64::Engine;
use serde::Serialize;
use sha2::{Digest, Sha256};

const INDEX: &str = "index.html";
const AUTOCONFIG: &str = "autoconfig.xml";
const AUTODISCOVER: &str = "autodiscover.xml";
const AUTODISCOVER_ERROR: &str = "autodiscover-error.xml";
const PROFILE: &str = "profile.xml";
const TEMPLATES: [&str; 5] = [INDEX, AUTOCONFIG, AUTODISCOVER, AUTODISCOVER_ERROR, PROFILE];
/// Endings of names whose values are escaped: all of them.
const ESCAPED: [&str; 2] = [".html", ".xml"];

/// What Thunderbird replaces by the address that it was given.
pub const EMAIL_ADDRESS: &str = "%EMAILADDRESS%";

/// The look of the one page; the policy for its content names it by digest.
const STYLE: &str = "body{font:1rem/1.5 sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}\
th,td{text-align:left;padding:.2rem 1rem .2rem 0}\
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}";

/// The templates, read once.
pub struct Pages {
    tera: tera::Tera,
    /// Content-Security-Policy of everything (<https://www.w3.org/TR/CSP3/>).
    pub content_policy: String,
}

#[derive(Serialize)]
struct IndexValues<'a> {
    hostname: &'a str,
    domains: &'a [String],
    style: &'a str,
}

#[derive(Serialize)]
struct AutoconfigValues<'a> {
    hostname: &'a str,
    domain: &'a str,
    username: &'a str,
}

#[derive(Serialize)]
struct AddressValues<'a> {
    hostname: &'a str,
    address: String,
}

#[derive(Serialize)]
struct ErrorValues<'a> {
    code: u16,
    message: &'a str,
}

#[derive(Serialize)]
struct ProfileValues<'a> {
    hostname: &'a str,
    address: String,
    domain: &'a str,
    identifier: String,
    account_uuid: String,
    profile_uuid: String,
}

impl Pages {
    /// Reads the templates.
    pub fn load(place: &Place) -> Result<Self> {
        let mut tera = tera::Tera::new();
        tera.autoescape_on(ESCAPED);
        for name in TEMPLATES {
            let path = place.path(place::TEMPLATES).join("web").join(name);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("reading {}", path.display()))?;
            tera.add_raw_template(name, &text)
                .with_context(|| format!("reading the template {name}"))?;
        }
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
        Ok(Self {
            tera,
            content_policy: format!(
                "default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; \
                 base-uri 'none'; frame-ancestors 'none'"
            ),
        })
    }

    fn render(&self, name: &str, values: &impl Serialize) -> Result<String> {
        let context = tera::Context::from_serialize(values)?;
        self.tera
            .render(name, &context)
            .with_context(|| format!("rendering the template {name}"))
    }

    /// The first page.
    pub fn index(&self, configuration: &Configuration) -> Result<String> {
        let values = IndexValues {
            hostname: &configuration.hostname,
            domains: &configuration.domains,
            style: STYLE,
        };
        self.render(INDEX, &values)
    }

    /// What Thunderbird asks for.
    pub fn autoconfig(&self, hostname: &str, domain: &str, username: &str) -> Result<String> {
        let values = AutoconfigValues {
            hostname,
            domain,
            username,
        };
        self.render(AUTOCONFIG, &values)
    }

    /// What Outlook asks for.
    pub fn autodiscover(&self, hostname: &str, address: &MailAddress) -> Result<String> {
        let address = address.to_string();
        self.render(AUTODISCOVER, &AddressValues { hostname, address })
    }

    /// Why Outlook gets nothing.
    pub fn autodiscover_error(&self, code: u16, message: &str) -> Result<String> {
        self.render(AUTODISCOVER_ERROR, &ErrorValues { code, message })
    }

    /// What iPhones and Macs take; the password is asked for there.
    pub fn profile(&self, hostname: &str, address: &MailAddress) -> Result<String> {
        let reversed: Vec<&str> = hostname.rsplit('.').collect();
        let values = ProfileValues {
            hostname,
            address: address.to_string(),
            domain: &address.domain,
            identifier: format!("{}.{}", reversed.join("."), uuid("identifier", address)),
            account_uuid: uuid("account", address),
            profile_uuid: uuid("profile", address),
        };
        self.render(PROFILE, &values)
    }
}

/// The same for the same address, so that loading a profile again replaces it.
///
/// Version 8 of RFC 9562 (<https://www.rfc-editor.org/rfc/rfc9562#section-5.8>).
fn uuid(purpose: &str, address: &MailAddress) -> String {
    let digest = Sha256::digest(format!("mailimg {purpose} {address}"));
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex::encode_upper(bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    )
}
