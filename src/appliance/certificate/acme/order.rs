//! One order, from asking for a certificate to having it.
//!
//! RFC 8555, section 7.4 (<https://www.rfc-editor.org/rfc/rfc8555#section-7.4>).
//! Its key is kept before anything is asked, its address as soon as the CA
//! tells it: a run that is cut short goes on where it was.

use super::account::Ca;
use super::challenge::{ChallengeMethod, PublishedAnswer, publish_alpn, publish_http};
use super::failure::{Failure, Kind};
use super::keys::key_digest;
use super::record::name_folder;
use crate::appliance::machine::clock::{DAY, now};
use crate::appliance::machine::files::{
    SECRET, ensure_folder, read_optional, remove_file, write_file,
};
use crate::appliance::machine::place::Place;
use anyhow::{Context, Result};
use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error, Identifier,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Longest wait for the CA to make up its mind.
const DECISION_LIMIT: Duration = Duration::from_secs(90);
/// First pause between two looks at an order.
const FIRST_POLL_PAUSE: Duration = Duration::from_millis(250);
/// An order has fewer states than this.
const MOST_STEPS: usize = 8;
/// Orders older than this are not gone on with, in seconds.
const ORDER_AGE_MAX: i64 = 3 * DAY;

/// What is kept of an order.
#[derive(Serialize, Deserialize)]
struct Kept {
    account: String,
    url: Option<String>,
    key: String,
    begun: i64,
}

/// A certificate as the CA issued it.
pub struct Issued {
    /// The chain, PEM.
    pub chain: String,
    /// Its key, PEM.
    pub key: String,
}

/// What is asked for.
pub struct Wanted<'a> {
    /// The one name.
    pub name: &'a str,
    /// How the CA is to reach us.
    pub method: ChallengeMethod,
    /// The key it has to be for, or any that is kept, or a new one.
    pub key: Option<String>,
    /// The certificate that it follows.
    pub replaces: Option<CertificateIdentifier<'static>>,
}

fn order_path(place: &Place, name: &str) -> PathBuf {
    name_folder(place, name).join("order.json")
}

fn store(place: &Place, name: &str, kept: &Kept) -> Result<()> {
    ensure_folder(&name_folder(place, name), 0o755, None)?;
    let text = serde_json::to_vec(kept).context("writing JSON")?;
    write_file(&order_path(place, name), &text, SECRET, None)
}

/// Forgets the order of a name.
pub fn forget_order(place: &Place, name: &str) -> Result<()> {
    remove_file(&order_path(place, name))
}

/// The order to go on with, `None` when there is none that fits.
fn load_kept(place: &Place, wanted: &Wanted<'_>, account: &str) -> Result<Option<Kept>> {
    let Some(bytes) = read_optional(&order_path(place, wanted.name))? else {
        return Ok(None);
    };
    // A torn file is an order that the CA forgets in time.
    let Ok(kept) = serde_json::from_slice::<Kept>(&bytes) else {
        return Ok(None);
    };
    let age = now() - kept.begun;
    let fits = match &wanted.key {
        Some(key) => key_digest(key).ok() == key_digest(&kept.key).ok(),
        None => key_digest(&kept.key).is_ok(),
    };
    Ok(Some(kept).filter(|kept| kept.account == account && fits && age.abs() < ORDER_AGE_MAX))
}

/// Gets a certificate. After a failure the next call goes on where this one ended.
pub async fn obtain(place: &Place, ca: &Ca, mut wanted: Wanted<'_>) -> Result<Issued, Failure> {
    let account = ca.account.id().to_owned();
    let kept = match load_kept(place, &wanted, &account)? {
        Some(kept) => kept,
        None => {
            let key = match wanted.key.take() {
                Some(key) => key,
                None => super::keys::make_key()?,
            };
            let kept = Kept {
                account,
                url: None,
                key,
                begun: now(),
            };
            store(place, wanted.name, &kept)?;
            kept
        }
    };
    let mut order = open_order(place, ca, &wanted, &kept).await?;
    match advance(place, ca, &wanted, &mut order, &kept.key).await {
        Ok(chain) => Ok(Issued {
            chain,
            key: kept.key,
        }),
        Err(failure) => {
            if matches!(failure.kind, Kind::OrderGone)
                || order.state().status == OrderStatus::Invalid
            {
                forget_order(place, wanted.name)?;
            }
            Err(failure)
        }
    }
}

async fn open_order(
    place: &Place,
    ca: &Ca,
    wanted: &Wanted<'_>,
    kept: &Kept,
) -> Result<Order, Failure> {
    if let Some(url) = &kept.url {
        match ca.account.order(url.clone()).await {
            Ok(mut order) => {
                if order.state().status != OrderStatus::Invalid {
                    return Ok(order);
                }
            }
            Err(error) => {
                let failure = ca.failure(&error);
                // What else the CA says of an order is that it knows no such one.
                let gone = matches!(error, Error::Api(_))
                    && matches!(failure.kind, Kind::Refused | Kind::Account);
                if !gone {
                    return Err(failure);
                }
            }
        }
    }
    let order = make_order(ca, wanted).await?;
    let kept = Kept {
        account: kept.account.clone(),
        url: Some(order.url().to_owned()),
        key: kept.key.clone(),
        begun: now(),
    };
    store(place, wanted.name, &kept)?;
    Ok(order)
}

async fn make_order(ca: &Ca, wanted: &Wanted<'_>) -> Result<Order, Failure> {
    let identifiers = [Identifier::Dns(wanted.name.to_owned())];
    if let Some(replaces) = &wanted.replaces {
        let order = NewOrder::new(&identifiers).replaces(replaces.clone());
        match ca.account.new_order(&order).await {
            Ok(order) => return Ok(order),
            Err(error) => {
                let failure = ca.failure(&error);
                // A CA may know no predecessor, or one that was followed already.
                if !matches!(failure.kind, Kind::Refused) {
                    return Err(failure);
                }
            }
        }
    }
    ca.account
        .new_order(&NewOrder::new(&identifiers))
        .await
        .map_err(|error| ca.failure(&error))
}

fn policy() -> RetryPolicy {
    RetryPolicy::new()
        .initial_delay(FIRST_POLL_PAUSE)
        .backoff(1.5)
        .timeout(DECISION_LIMIT)
}

/// Takes an order from whatever state it is in to its end.
async fn advance(
    place: &Place,
    ca: &Ca,
    wanted: &Wanted<'_>,
    order: &mut Order,
    key: &str,
) -> Result<String, Failure> {
    for _ in 0..MOST_STEPS {
        match order.state().status {
            OrderStatus::Pending => authorize(place, ca, wanted, order).await?,
            OrderStatus::Ready => {
                let request = signing_request(wanted.name, key)?;
                order
                    .finalize_csr(&request)
                    .await
                    .map_err(|error| ca.failure(&error))?;
            }
            OrderStatus::Processing => {
                return order
                    .poll_certificate(&policy())
                    .await
                    .map_err(|error| ca.failure(&error));
            }
            OrderStatus::Valid => {
                return order
                    .certificate()
                    .await
                    .map_err(|error| ca.failure(&error))?
                    .context("the CA keeps the certificate to itself")
                    .map_err(Failure::from);
            }
            OrderStatus::Invalid => return Err(blame(ca, wanted.method, order).await),
        }
    }
    Err(Failure::new(
        Kind::OrderGone,
        "the CA's order does not come to an end",
        "nothing has to be done if this passes by itself",
    ))
}

/// Answers the challenges of an order and waits for the CA to look.
async fn authorize(
    place: &Place,
    ca: &Ca,
    wanted: &Wanted<'_>,
    order: &mut Order,
) -> Result<(), Failure> {
    let mut answers: Vec<PublishedAnswer> = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|error| ca.failure(&error))?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(wanted.method.challenge()) else {
            return Err(Failure::new(
                Kind::Refused,
                format!("the CA does not offer {:?}", wanted.method),
                "choose another CA by ACME_DIRECTORY_URL",
            ));
        };
        let text = challenge.key_authorization();
        answers.push(match wanted.method {
            ChallengeMethod::Http01 => publish_http(place, &challenge.token, text.as_str())?,
            ChallengeMethod::TlsAlpn01 => publish_alpn(place, wanted.name, &text)?,
        });
        if challenge.status == ChallengeStatus::Pending {
            challenge
                .set_ready()
                .await
                .map_err(|error| ca.failure(&error))?;
        }
    }
    match order.poll_ready(&policy()).await {
        Ok(_) => Ok(()),
        // What was wrong is said by the authorizations.
        Err(Error::Api(_)) if is_decided(order) => Ok(()),
        // A CA may name the error a moment before it ends the order.
        Err(Error::Api(_)) if order.state().error.is_some() => {
            Err(blame(ca, wanted.method, order).await)
        }
        Err(error) => Err(ca.failure(&error)),
    }
}

fn is_decided(order: &mut Order) -> bool {
    matches!(
        order.state().status,
        OrderStatus::Ready | OrderStatus::Invalid | OrderStatus::Valid
    )
}

/// Why an order came to nothing.
async fn blame(ca: &Ca, method: ChallengeMethod, order: &mut Order) -> Failure {
    let mut found = None;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else {
            break;
        };
        if let Err(error) = authorization.refresh().await {
            return ca.failure(&error);
        }
        for challenge in &authorization.challenges {
            let port = match challenge.r#type {
                ChallengeType::Http01 => ChallengeMethod::Http01.port(),
                ChallengeType::TlsAlpn01 => ChallengeMethod::TlsAlpn01.port(),
                _ => method.port(),
            };
            if let Some(problem) = &challenge.error {
                found = Some(Failure::of_challenge(problem, port));
            }
        }
    }
    if let Some(failure) = found {
        return failure;
    }
    match &order.state().error {
        Some(problem) => Failure::of_order(problem, method.port()),
        None => Failure::new(
            Kind::Refused,
            "the CA gave the order up and does not say why",
            "nothing has to be done if this passes by itself",
        ),
    }
}

/// A signing request for one name (RFC 2986), DER.
fn signing_request(name: &str, key: &str) -> Result<Vec<u8>> {
    let key = KeyPair::from_pem(key).context("reading the order's key")?;
    let mut parameters = CertificateParams::new([name.to_owned()])?;
    parameters.distinguished_name = DistinguishedName::new();
    let request = parameters
        .serialize_request(&key)
        .context("making the signing request")?;
    Ok(request.der().to_vec())
}
