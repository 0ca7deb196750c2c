//! What a Kubernetes cluster needs that runs the image: objects of one organisation, for
//! `kubectl apply`.
//!
//! Kubernetes 1.32 (<https://kubernetes.io/docs/reference/kubernetes-api/>), from typed
//! structures. A set (StatefulSet) of one pod with the claim for its data, a Service that
//! keeps clients' addresses, and a Secret with the settings. Left out: a namespace, an
//! ingress (mail is not only web), more than one pod (mailboxes are files).

mod name;
mod set;

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, Service, ServicePort, ServiceSpec};
use serde::Serialize;

use crate::builder::write::yaml::Yaml;
use crate::format::oci::Reference;
use crate::settings::Authority;
use name::{labels, metadata, object_name, secret_name};
use set::stateful_set;

/// What the text begins with.
const HEAD: &str = "# `kubectl apply -f FILE` makes this organisation's mail server.\n";
/// What mail programs, servers and browsers ask for; names have at most 15 letters.
const PORTS: [(&str, i32); 8] = [
    ("smtp", 25),
    ("http", 80),
    ("imap", 143),
    ("https", 443),
    ("submissions", 465),
    ("submission", 587),
    ("imaps", 993),
    ("sieve", 4190),
];

/// Settings of an organisation.
#[derive(Clone, Copy, Debug)]
pub struct KubeSettings<'build> {
    /// `DOMAIN`, which names its objects.
    pub domain: &'build str,
    /// The text of settings.env.
    pub text: &'build [u8],
    /// The root certificate that it names.
    pub authority: Option<&'build Authority>,
}

/// All objects as one text.
pub fn kube_objects(image: &Reference, settings: Option<KubeSettings<'_>>) -> Result<String> {
    let name = object_name(settings.map(|settings| settings.domain));
    let mut text = HEAD.to_owned();
    if let Some(settings) = settings {
        text.push_str(&document(&secret(&name, &settings))?);
    }
    text.push_str(&document(&service(&name))?);
    text.push_str(&document(&stateful_set(&name, image))?);
    Ok(text)
}

fn document(object: &impl Serialize) -> Result<String> {
    let value = serde_json::to_value(object).context("writing an object of Kubernetes")?;
    Ok(format!("---\n{}", Yaml::from(value).to_document()))
}

fn secret(name: &str, settings: &KubeSettings<'_>) -> Secret {
    let mut secret = Secret {
        metadata: metadata(secret_name(name), labels(name)),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    let authority = settings.authority;
    let authority = authority.map(|authority| (authority.name.as_str(), &*authority.bytes));
    for (file, bytes) in [("settings.env", settings.text)]
        .into_iter()
        .chain(authority)
    {
        // As text where it is one: people edit it.
        match String::from_utf8(bytes.to_vec()) {
            Ok(text) => {
                let texts = secret.string_data.get_or_insert_default();
                texts.insert(file.to_owned(), text);
            }
            Err(_) => {
                let data = secret.data.get_or_insert_default();
                data.insert(file.to_owned(), ByteString(bytes.to_vec()));
            }
        }
    }
    secret
}

fn service(name: &str) -> Service {
    let port = |(name, port): &(&str, i32)| ServicePort {
        name: Some((*name).to_owned()),
        port: *port,
        ..ServicePort::default()
    };
    Service {
        metadata: metadata(name, labels(name)),
        spec: Some(ServiceSpec {
            type_: Some("LoadBalancer".to_owned()),
            // Otherwise every client has a node's address: bans would hit all, SPF none.
            external_traffic_policy: Some("Local".to_owned()),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            selector: Some(labels(name)),
            ports: Some(PORTS.iter().map(port).collect()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
