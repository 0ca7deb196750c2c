//! The account at the CA, made once.
//!
//! RFC 8555, section 7.3 (<https://www.rfc-editor.org/rfc/rfc8555#section-7.3>).
//! The key is kept before the CA hears of it, so that a run cut short finds
//! its account again by asking for the same key. Another account is made only
//! for another directory or another external account; the old one is kept.

use super::client::{CaClient, LastSaid};
use super::configuration::Configuration;
use super::external_account::{Applicant, register_external};
use super::failure::{Failure, Kind};
use crate::appliance::machine::clock::now;
use crate::appliance::machine::files::{SECRET, read_optional, write_file};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use instant_acme::{Account, Error, Key};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The CA refuses for now and may say until when.
const TOO_MANY_REQUESTS: u16 = 429;
/// The CA is busy and may say until when.
const SERVICE_UNAVAILABLE: u16 = 503;

/// What is kept of the account.
#[derive(Serialize, Deserialize)]
struct Kept {
    directory: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    contact: String,
    /// PKCS #8 in base64.
    key: String,
    /// Its address, once the CA answered.
    #[serde(default)]
    address: Option<String>,
}

/// A CA with our account at it.
pub struct Ca {
    /// The account.
    pub account: Account,
    said: LastSaid,
}

impl Ca {
    /// How many seconds the CA's clock is ahead of ours, as far as it says.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.said.clock_ahead()
    }

    /// What an error means, with what the CA said about asking again.
    pub fn failure(&self, error: &Error) -> Failure {
        explain(error, &self.said)
    }
}

fn explain(error: &Error, said: &LastSaid) -> Failure {
    let mut failure = Failure::of_error(error);
    if let Some(refusal) = said.take_refusal()
        && matches!(refusal.status, TOO_MANY_REQUESTS | SERVICE_UNAVAILABLE)
    {
        failure.retry_after = refusal.retry_after;
        if refusal.status == TOO_MANY_REQUESTS {
            failure.kind = Kind::RateLimited;
            "nothing has to be done: it is asked again when it allows"
                .clone_into(&mut failure.hint);
        }
    }
    failure
}

fn account_path(place: &Place) -> PathBuf {
    place.path(place::ACME).join("account.json")
}

fn load_kept(place: &Place) -> Result<Option<Kept>> {
    let path = account_path(place);
    let Some(bytes) = read_optional(&path)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(kept) => Ok(Some(kept)),
        Err(error) => {
            let aside = path.with_extension("json.damaged");
            tell!(
                "warning: reading {}: {error}; it is kept as {} and an account is made anew",
                path.display(),
                aside.display()
            );
            write_file(&aside, &bytes, SECRET, None)?;
            Ok(None)
        }
    }
}

fn store(place: &Place, kept: &Kept) -> Result<()> {
    let text = serde_json::to_vec(kept).context("writing JSON")?;
    write_file(&account_path(place), &text, SECRET, None)
}

/// The address of the account, if there is one for this CA.
pub fn account_url(place: &Place, configuration: &Configuration) -> Option<String> {
    let bytes = read_optional(&account_path(place)).ok()??;
    let kept: Kept = serde_json::from_slice(&bytes).ok()?;
    if !is_for(&kept, configuration) {
        return None;
    }
    kept.address
}

fn kid(configuration: &Configuration) -> Option<&str> {
    configuration
        .external_account
        .as_ref()
        .map(|account| account.kid.as_str())
}

fn is_for(kept: &Kept, configuration: &Configuration) -> bool {
    kept.directory == configuration.directory && kept.kid.as_deref() == kid(configuration)
}

/// Opens the account, and makes it when there is none.
pub async fn open_ca(place: &Place, configuration: &Configuration) -> Result<Ca, Failure> {
    let mut kept = load_kept(place)?;
    if let Some(old) = kept.take_if(|kept| !is_for(kept, configuration)) {
        let now = now();
        let aside = account_path(place).with_file_name(format!("account-until-{now}.json"));
        let text = serde_json::to_vec(&old)
            .context("writing JSON")
            .map_err(Failure::from)?;
        write_file(&aside, &text, SECRET, None)?;
    }
    let mut kept = match kept {
        Some(kept) => kept,
        None => {
            let kept = begin(configuration)?;
            store(place, &kept)?;
            kept
        }
    };
    let key = STANDARD
        .decode(&kept.key)
        .map(PrivatePkcs8KeyDer::from)
        .context("the account's key is damaged")
        .map_err(Failure::from)?;
    let said = LastSaid::default();
    let client = Box::new(CaClient::new(place, said.clone())?);
    let account = match &kept.address {
        Some(address) => reopen(client, configuration, key, address)
            .await
            .map_err(|error| explain(&error, &said))?,
        None => {
            let account = register(client, configuration, key, &said).await?;
            kept.address = Some(account.id().to_owned());
            store(place, &kept)?;
            account
        }
    };
    let ca = Ca { account, said };
    if kept.contact != configuration.contact {
        update_contact(place, configuration, &ca, kept).await;
    }
    Ok(ca)
}

/// Forgets that the CA knows the account; the key stays.
pub fn forget_registration(place: &Place) -> Result<()> {
    let Some(mut kept) = load_kept(place)? else {
        return Ok(());
    };
    kept.address = None;
    kept.contact.clear();
    store(place, &kept)
}

fn begin(configuration: &Configuration) -> Result<Kept, Failure> {
    let (_, pkcs8) = Key::generate_pkcs8()
        .context("making the account's key")
        .map_err(Failure::from)?;
    Ok(Kept {
        directory: configuration.directory.clone(),
        kid: kid(configuration).map(str::to_owned),
        contact: String::new(),
        key: STANDARD.encode(pkcs8.secret_pkcs8_der()),
        address: None,
    })
}

async fn reopen(
    client: Box<CaClient>,
    configuration: &Configuration,
    key: PrivatePkcs8KeyDer<'_>,
    address: &str,
) -> Result<Account, Error> {
    Account::builder_with_http(client)
        .from_parts(address.to_owned(), key, configuration.directory.clone())
        .await
}

/// Makes the account, or finds that it was made.
async fn register(
    client: Box<CaClient>,
    configuration: &Configuration,
    key: PrivatePkcs8KeyDer<'static>,
    said: &LastSaid,
) -> Result<Account, Failure> {
    let registered = match &configuration.external_account {
        Some(external) => {
            let secret = external.secret().ok_or_else(|| {
                Failure::new(
                    Kind::Account,
                    "ACME_EAB_HMAC is no base64",
                    "copy ACME_EAB_HMAC again from what the CA gave you, then run mailctl \
                     settings apply",
                )
            })?;
            let applicant = Applicant {
                external,
                secret: &secret,
                contact: &format!("mailto:{}", configuration.contact),
                key: key.secret_pkcs8_der(),
            };
            match register_external(&client, &configuration.directory, &applicant).await {
                Ok(address) => reopen(client, configuration, key, &address).await,
                Err(error) => Err(error),
            }
        }
        None => {
            let pair = Key::from_pkcs8_der(key.clone_key())
                .context("reading the account's key")
                .map_err(Failure::from)?;
            let directory = configuration.directory.clone();
            Account::builder_with_http(client)
                .create_from_key((pair, PrivateKeyDer::Pkcs8(key)), directory)
                .await
                .map(|(account, _)| account)
        }
    };
    registered.map_err(|error| {
        let mut failure = explain(&error, said);
        if matches!(failure.kind, Kind::Refused) && matches!(error, Error::Api(_)) {
            failure.kind = Kind::Account;
        }
        failure
    })
}

/// Where the CA may write to; no reason to go without a certificate.
async fn update_contact(place: &Place, configuration: &Configuration, ca: &Ca, mut kept: Kept) {
    let contact = format!("mailto:{}", configuration.contact);
    match ca.account.update_contacts(&[&contact]).await {
        Ok(()) => {}
        Err(error) => {
            let failure = ca.failure(&error);
            if !matches!(error, Error::Api(_)) || failure.kind == Kind::Nonce {
                return;
            }
            // Not asked again before ADMIN_EMAIL changes.
            tell!("warning: the CA does not take ADMIN_EMAIL: {failure}");
        }
    }
    kept.contact.clone_from(&configuration.contact);
    if let Err(error) = store(place, &kept) {
        tell!("warning: {error:#}");
    }
}
