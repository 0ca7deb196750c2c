//! An update in a registry of container images: which of its blobs is which file.
//!
//! Specification: <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md>;
//! what the update looks like there is said in [`crate::format::update`]. The registry is
//! trusted with as little as a web server: all of it is checked as that of a folder is. A
//! registry may want a token also from whom it lets read all, and gives it to everybody
//! (<https://distribution.github.io/distribution/spec/auth/token/>). Left out: passwords,
//! since nothing in an update is secret.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use ureq::http::HeaderMap;
use ureq::http::header;

use crate::error::{Hint, hinted};
use crate::format::oci::{
    Challenge, DOCKER_LIST_TYPE, Descriptor, INDEX_TYPE, MANIFEST_TYPE, Manifest, Reference, TITLE,
    is_same_server, parse_challenges, with_parameter,
};
use crate::format::update::ARTIFACT_TYPE;

/// Gets a document by its address and the kinds that may come.
type Get<'a> = &'a mut dyn FnMut(&str, &str) -> Result<Option<Vec<u8>>>;

/// What one tag or digest names.
#[derive(Clone)]
pub(super) struct Registry {
    pub reference: Reference,
    /// The repository.
    url: String,
    /// The digest of each file by its path.
    files: BTreeMap<String, String>,
    token: Option<String>,
}

/// A manifest or an index, as far as they are told apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Either {
    manifests: Option<Vec<Descriptor>>,
    artifact_type: Option<String>,
}

impl Registry {
    /// Nothing is asked yet.
    pub fn of(reference: Reference) -> Self {
        Self {
            url: reference.repository_url("https"),
            reference,
            files: BTreeMap::new(),
            token: None,
        }
    }

    /// Where the blob of a file is.
    pub fn url(&self, path: &str) -> Option<String> {
        let digest = self.files.get(path)?;
        Some(format!("{}/blobs/{digest}", self.url))
    }

    /// What is shown to the registry, and to nobody else.
    pub fn token(&self, url: &str) -> Option<&str> {
        self.token
            .as_deref()
            .filter(|_| is_same_server(url, &self.url))
    }

    /// Knows the files from now on.
    pub fn take_files(&mut self, files: BTreeMap<String, String>) {
        self.files = files;
    }

    /// Finds the update under the tag; the digest of each file in it, by its path.
    pub fn find_files(&self, get: Get<'_>) -> Result<BTreeMap<String, String>> {
        let name = self.reference.manifest_name().unwrap_or_default();
        let reading = || format!("asking for the update in {}", self.reference);
        let bytes = self.document(name, get).with_context(reading)?;
        let either: Either = serde_json::from_slice(&bytes)
            .context("it is no manifest of a registry")
            .with_context(reading)
            .hint("check the address: this may be no registry")?;
        let bytes = match (either.manifests, either.artifact_type.as_deref()) {
            (None, Some(ARTIFACT_TYPE)) => bytes,
            (Some(entries), _) => match entries.iter().find(|entry| is_update(entry)) {
                Some(entry) => {
                    entry.sha256()?;
                    let bytes = self.document(&entry.digest, get).with_context(reading)?;
                    if !entry.is_of(&bytes) {
                        bail!("{}: {} is another document", reading(), entry.digest);
                    }
                    bytes
                }
                None => return Err(self.no_update()),
            },
            (None, _) => return Err(self.no_update()),
        };
        let manifest: Manifest = serde_json::from_slice(&bytes).with_context(reading)?;
        let mut files = BTreeMap::new();
        for file in &manifest.layers {
            file.sha256().with_context(reading)?;
            if let Some(path) = file.annotations.get(TITLE) {
                files.insert(path.clone(), file.digest.clone());
            }
        }
        Ok(files)
    }

    fn document(&self, name: &str, get: Get<'_>) -> Result<Vec<u8>> {
        let kinds = [MANIFEST_TYPE, INDEX_TYPE, DOCKER_LIST_TYPE].join(", ");
        let url = format!("{}/manifests/{name}", self.url);
        get(&url, &kinds)?.ok_or_else(|| {
            hinted(
                format!("there is no {name}"),
                "check the address: registry, repository and tag have to be there, and for \
                 everybody to read",
            )
        })
    }

    fn no_update(&self) -> anyhow::Error {
        hinted(
            format!("{} is no update of a machine's disk", self.reference),
            "`mailimg push FOLDER oci://…` adds one to the tag, with the folder that `mailimg \
             sign` wrote; an image for containers is for podman and docker",
        )
    }

    /// Where a token is given out, as a registry says that asked for one.
    pub fn token_url(&self, headers: &HeaderMap) -> Option<String> {
        let asked = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let mut asked = asked
            .filter_map(|header| header.to_str().ok())
            .flat_map(parse_challenges);
        let (realm, service) = asked.find_map(|one| match one {
            Challenge::Bearer { realm, service } => Some((realm, service)),
            Challenge::Basic => None,
        })?;
        let mut url = realm;
        if let Some(service) = service {
            url = with_parameter(&url, "service", &service);
        }
        Some(with_parameter(&url, "scope", &self.reference.scope("pull")))
    }

    /// Takes the token out of an answer; tells whether there was one.
    pub fn take_token(&mut self, answer: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Given {
            token: Option<String>,
            access_token: Option<String>,
        }
        let given: Option<Given> = serde_json::from_slice(answer).ok();
        let token = given.and_then(|given| given.token.or(given.access_token));
        let is_one =
            |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        self.token = token.filter(is_one);
        self.token.is_some()
    }
}

fn is_update(entry: &Descriptor) -> bool {
    entry.artifact_type.as_deref() == Some(ARTIFACT_TYPE)
}
