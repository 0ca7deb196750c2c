//! Making an account that the CA has to know beforehand.
//!
//! RFC 8555, section 7.3.4 (<https://www.rfc-editor.org/rfc/rfc8555#section-7.3.4>),
//! in the clothes of RFC 7515. The library makes such accounts only with a key
//! that it creates in that moment: an answer that is lost costs the account, and
//! there are CAs that take a binding once. Here the key is one that was kept
//! before, so that asking again finds the account (section 7.3.1). All that
//! comes after is the library's again.

use super::client::CaClient;
use super::configuration::ExternalAccount;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_TYPE, LOCATION};
use http::response::Parts;
use http::{Method, Request};
use hyper::body::Bytes;
use instant_acme::{BodyWrapper, Error, HttpClient, Problem};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde::Deserialize;
use serde_json::{Value, json};

/// Length of a coordinate of P-256, in bytes.
const COORDINATE: usize = 32;
/// Where the CA leaves a nonce (section 6.5.1).
const REPLAY_NONCE: &str = "replay-nonce";

/// Who asks for an account.
pub struct Applicant<'a> {
    /// What the CA gave out.
    pub external: &'a ExternalAccount,
    /// The secret of it.
    pub secret: &'a [u8],
    /// Where the CA may write to.
    pub contact: &'a str,
    /// The account's key, PKCS #8.
    pub key: &'a [u8],
}

/// What is needed of a directory (section 7.1.1).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    new_nonce: String,
    new_account: String,
}

/// Asks for the account, and returns its address.
pub async fn register_external(
    client: &CaClient,
    directory: &str,
    applicant: &Applicant<'_>,
) -> Result<String, Error> {
    let (_, body) = ask(client, Method::GET, directory, None).await?;
    let directory: Directory = serde_json::from_slice(&body)?;
    let (parts, _) = ask(client, Method::HEAD, &directory.new_nonce, None).await?;
    let nonce = header(&parts, REPLAY_NONCE).ok_or(Error::Str("a nonce"))?;
    let message = application(applicant, &directory.new_account, nonce)?;
    let body = Some(message.to_string());
    let (parts, body) = ask(client, Method::POST, &directory.new_account, body).await?;
    if !parts.status.is_success() {
        return Err(serde_json::from_slice::<Problem>(&body)?.into());
    }
    let address = header(&parts, LOCATION.as_str()).ok_or(Error::Str("the account's address"))?;
    Ok(address.to_owned())
}

async fn ask(
    client: &CaClient,
    method: Method,
    address: &str,
    body: Option<String>,
) -> Result<(Parts, Bytes), Error> {
    let request = Request::builder()
        .method(method)
        .uri(address)
        .header(CONTENT_TYPE, "application/jose+json")
        .body(BodyWrapper::from(body.unwrap_or_default().into_bytes()))?;
    let mut response = client.request(request).await?;
    let body = response.body.into_bytes().await.map_err(Error::Other)?;
    Ok((response.parts, body))
}

fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

/// The request, signed by the account's key, with the binding in it.
fn application(applicant: &Applicant<'_>, address: &str, nonce: &str) -> Result<Value, Error> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, applicant.key, &random)
        .map_err(|_| Error::KeyRejected)?;
    let public = public_key(&key)?;
    let secret = hmac::Key::new(hmac::HMAC_SHA256, applicant.secret);
    let binding = signed(
        &json!({ "alg": "HS256", "kid": applicant.external.kid, "url": address }),
        &public,
        |input| Ok(hmac::sign(&secret, input)),
    )?;
    signed(
        &json!({ "alg": "ES256", "jwk": public, "nonce": nonce, "url": address }),
        &json!({
            "termsOfServiceAgreed": true,
            "contact": [applicant.contact],
            "externalAccountBinding": binding,
        }),
        |input| key.sign(&random, input).map_err(|_| Error::Crypto),
    )
}

/// The public half as a JSON Web Key (RFC 7518, section 6.2.1).
fn public_key(key: &EcdsaKeyPair) -> Result<Value, Error> {
    // Uncompressed: a byte that says so, then both coordinates.
    let point = key.public_key().as_ref().get(1..).ok_or(Error::Crypto)?;
    let (x, y) = point.split_at_checked(COORDINATE).ok_or(Error::Crypto)?;
    Ok(json!({
        "crv": "P-256",
        "kty": "EC",
        "x": URL_SAFE_NO_PAD.encode(x),
        "y": URL_SAFE_NO_PAD.encode(y),
    }))
}

/// Header and payload with their signature (RFC 7515, section 7.2.2).
fn signed<S: AsRef<[u8]>>(
    protected: &Value,
    payload: &Value,
    sign: impl FnOnce(&[u8]) -> Result<S, Error>,
) -> Result<Value, Error> {
    let protected = URL_SAFE_NO_PAD.encode(protected.to_string());
    let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
    let signature = sign(format!("{protected}.{payload}").as_bytes())?;
    Ok(json!({
        "protected": protected,
        "payload": payload,
        "signature": URL_SAFE_NO_PAD.encode(signature),
    }))
}
