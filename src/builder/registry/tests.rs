//! Pushing to and pulling from a registry on the loopback that misbehaves as asked.

mod pull;
mod server;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tempfile::TempDir;

use super::{
    Artifact, Attachment, Blob, Client, Credentials, Lookup, Push, Pushed, Source, fetch_blobs,
    find_image,
};
use crate::builder::fetch::{Cache, FetchOptions};
use crate::builder::progress::Progress;
use crate::error::render;
use crate::format::oci::{
    Annotations, CONFIG_TYPE, Descriptor, INDEX_TYPE, Index, LAYER_TYPE, MANIFEST_TYPE, Manifest,
    Reference, parse_reference, to_json,
};
use server::{Asked, Registry, Reply, digest};

const PIECE: u64 = 1000;

struct Setup {
    _folder: TempDir,
    cache: Cache,
    lookup: Lookup,
    options: FetchOptions,
}

/// Configuration and layers of a small image.
struct Parts(Vec<Vec<u8>>);

impl Parts {
    fn new(seed: u8) -> Self {
        let noise = |length: usize| (0..length).map(|at| (at * 7 / 3) as u8 ^ seed).collect();
        Self(vec![b"{}".to_vec(), noise(500), noise(3500)])
    }

    fn manifest(&self) -> Manifest {
        let layers = self.0[1..].iter();
        Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: None,
            config: Descriptor::of(CONFIG_TYPE, &self.0[0]),
            layers: layers.map(|one| Descriptor::of(LAYER_TYPE, one)).collect(),
            subject: None,
            annotations: Annotations::new(),
        }
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|part| part.len() as u64).sum()
    }
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        Self {
            cache,
            _folder: folder,
            lookup: Lookup {
                found: None,
                looked: vec!["/a/auth.json".into()],
            },
            options: FetchOptions {
                pause: Duration::from_millis(1),
                rounds: 3,
                idle_timeout: Duration::from_millis(500),
                ..FetchOptions::default()
            },
        }
    }

    fn with_password(mut self) -> Self {
        self.lookup.found = Some(Credentials {
            user: "me".to_owned(),
            password: "secret".to_owned(),
            identity_token: None,
            origin: "/a/auth.json".to_owned(),
        });
        self
    }

    fn client(&self, registry: &Registry, writes: bool) -> Client {
        let reference = reference(registry);
        let options = self.options.clone();
        Client::new(&reference, self.lookup.clone(), true, writes, &[], options).unwrap()
    }

    fn push_with(
        &self,
        registry: &Registry,
        parts: &Parts,
        mount_from: Option<&str>,
        attachments: &[Attachment],
    ) -> Result<Pushed> {
        let client = self.client(registry, true);
        let push = Push {
            client: &client,
            cache: &self.cache,
            progress: &Progress::hidden(),
            mount_from,
            piece: PIECE,
        };
        let manifest = parts.manifest();
        let text = to_json(&manifest).unwrap();
        let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
        let blob = |(descriptor, bytes): (&Descriptor, &'static [u8])| Blob {
            descriptor: descriptor.clone(),
            source: Source::Bytes(bytes),
        };
        // Lives as long as the test.
        let kept = parts.0.iter().map(|part| &*part.clone().leak());
        let image = Artifact {
            manifest: &text,
            descriptor: Descriptor::of(MANIFEST_TYPE, &text),
            blobs: blobs.zip(kept).map(blob).collect(),
            attachments,
        };
        push.run(&[image], Some("1"))
    }

    fn push(&self, registry: &Registry, parts: &Parts) -> Result<Pushed, String> {
        self.push_with(registry, parts, None, &[])
            .map_err(|error| masked(registry, &error))
    }

    /// The blobs that come back, and how many bytes were received.
    fn pull(&self, registry: &Registry) -> Result<(Vec<Vec<u8>>, u64), String> {
        let client = Arc::new(self.client(registry, false));
        let pull = || -> Result<Vec<Vec<u8>>> {
            let manifest = find_image(&client, &reference(registry))?;
            let manifest: Manifest = serde_json::from_slice(&manifest)?;
            let (cache, progress) = (&self.cache, Progress::hidden());
            let paths = fetch_blobs(&client, &manifest, cache, &self.options, &progress)?;
            Ok(paths.iter().map(|path| fs::read(path).unwrap()).collect())
        };
        match pull() {
            Ok(blobs) => Ok((blobs, client.received())),
            Err(error) => Err(masked(registry, &error)),
        }
    }
}

fn reference(registry: &Registry) -> Reference {
    parse_reference(&format!("127.0.0.1:{}/mail:1", registry.port)).unwrap()
}

fn masked(registry: &Registry, error: &anyhow::Error) -> String {
    render(error).replace(&format!("127.0.0.1:{}", registry.port), "REGISTRY")
}

/// Fills a registry with an image.
fn pushed(registry: &Registry, parts: &Parts) {
    Setup::new().with_password().push(registry, parts).unwrap();
    registry.state().asked.clear();
}

#[test]
fn what_was_pushed_comes_back_and_is_not_sent_twice() {
    let (setup, registry, parts) = (Setup::new(), Registry::new(), Parts::new(1));
    let pushed = setup.push(&registry, &parts).unwrap();
    assert_eq!((pushed.sent, pushed.kept), (parts.bytes(), 0));
    let again = setup.push(&registry, &parts).unwrap();
    assert_eq!((again.sent, again.kept), (0, parts.bytes()));
    assert_eq!(setup.pull(&registry), Ok((parts.0.clone(), parts.bytes())));
    assert_eq!(setup.pull(&registry), Ok((parts.0, 0)));
}

#[test]
fn a_piece_that_breaks_off_goes_on_where_the_registry_says() {
    let (setup, registry, parts) = (Setup::new(), Registry::new(), Parts::new(2));
    registry.state().cut = Some(400);
    setup.push(&registry, &parts).unwrap();
    let state = registry.state();
    let patches = state
        .asked
        .iter()
        .filter(|asked| asked.line.starts_with("PATCH"));
    let ranges: Vec<&str> = patches.map(|asked| asked.header("content-range")).collect();
    assert_eq!(
        ranges,
        ["0-999", "400-1399", "1400-2399", "2400-3399", "3400-3499"]
    );
    assert!(state.blobs.contains_key(&digest(&parts.0[2])));
}

#[test]
fn a_push_that_ended_in_the_middle_goes_on_in_the_next_run() {
    let allowed = Arc::new(AtomicUsize::new(2));
    let left = Arc::clone(&allowed);
    let registry = Registry::with(move |asked| {
        let take = |left: usize| left.checked_sub(1);
        let is_patch = asked.line.starts_with("PATCH");
        let (set, get) = (Ordering::SeqCst, Ordering::SeqCst);
        let ended = is_patch && left.fetch_update(set, get, take).is_err();
        ended.then(|| Reply::status(500))
    });
    let (setup, parts) = (Setup::new(), Parts::new(3));
    let error = setup.push(&registry, &parts).unwrap_err();
    assert!(
        error.contains("the registry answered 500\nhint: "),
        "{error}"
    );
    allowed.store(100, Ordering::SeqCst);
    let pushed = setup.push(&registry, &parts).unwrap();
    assert_eq!((pushed.sent, pushed.kept), (1500, 502 + 2000));
    // An upload that the registry forgot begins anew.
    let other = Parts::new(4);
    allowed.store(1, Ordering::SeqCst);
    setup.push(&registry, &other).unwrap_err();
    registry.state().uploads.clear();
    allowed.store(100, Ordering::SeqCst);
    let pushed = setup.push(&registry, &other).unwrap();
    assert_eq!(pushed.sent, 3500);
}

#[test]
fn layers_of_another_repository_are_not_sent() {
    let (setup, registry, parts) = (Setup::new(), Registry::new(), Parts::new(5));
    pushed(&registry, &parts);
    registry.state().elsewhere = true;
    let pushed = setup
        .push_with(&registry, &parts, Some("other"), &[])
        .unwrap();
    assert_eq!((pushed.sent, pushed.mounted), (0, parts.bytes()));
    assert!(registry.lines("POST")[0].ends_with("&from=other"));
}

#[test]
fn what_is_about_an_image_is_listed_by_a_tag_where_nothing_else_does() {
    let (setup, registry, parts) = (Setup::new(), Registry::new(), Parts::new(6));
    let attachment = |name: &str, bytes: &[u8]| Attachment {
        kind: "application/x",
        name: name.to_owned(),
        bytes: bytes.to_vec(),
        annotations: Annotations::new(),
    };
    let attachments = [attachment("a.json", b"1"), attachment("b.json", b"2")];
    for _ in 0..2 {
        setup
            .push_with(&registry, &parts, None, &attachments)
            .unwrap();
    }
    let state = registry.state();
    let image = to_json(&parts.manifest()).unwrap();
    let (kind, index) = &state.manifests[&digest(&image).replace(':', "-")];
    assert_eq!(kind, INDEX_TYPE);
    let index: Index = serde_json::from_slice(index).unwrap();
    assert_eq!(index.manifests.len(), 2);
    for (descriptor, bytes) in index.manifests.iter().zip([b"1", b"2"]) {
        let manifest = &state.manifests[&descriptor.digest].1;
        let manifest: Manifest = serde_json::from_slice(manifest).unwrap();
        assert_eq!(manifest.subject.unwrap().digest, digest(&image));
        assert_eq!(manifest.artifact_type.as_deref(), Some("application/x"));
        assert_eq!(state.blobs[&manifest.layers[0].digest], bytes);
    }
}

#[test]
fn what_is_about_an_image_needs_no_tag_where_the_registry_lists_it() {
    let (setup, registry, parts) = (Setup::new(), Registry::new(), Parts::new(16));
    registry.state().lists = true;
    let attachment = Attachment {
        kind: "application/x",
        name: "a.json".to_owned(),
        bytes: b"1".to_vec(),
        annotations: Annotations::new(),
    };
    setup
        .push_with(&registry, &parts, None, &[attachment])
        .unwrap();
    let state = registry.state();
    let names = state.manifests.keys();
    assert!(!names.clone().any(|name| name.starts_with("sha256-")));
    assert_eq!(names.count(), 3);
}

fn asks_for_password(asked: &Asked) -> Option<Reply> {
    let known = asked.header("authorization") == "Basic bWU6c2VjcmV0";
    let asks = Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
    (!known).then_some(asks)
}

#[test]
fn a_registry_that_asks_is_told_who_we_are() {
    let registry = Registry::with(asks_for_password);
    let parts = Parts::new(7);
    Setup::new()
        .with_password()
        .push(&registry, &parts)
        .unwrap();
    let error = Setup::new().push(&registry, &parts).unwrap_err();
    assert!(error.contains("REGISTRY asks who you are"), "{error}");
    assert!(error.contains("hint: `podman login REGISTRY`"), "{error}");
    assert!(error.contains("/a/auth.json"), "{error}");
    let mut wrong = Setup::new().with_password();
    wrong.lookup.found.as_mut().unwrap().password = "hidden".to_owned();
    let error = wrong.push(&registry, &parts).unwrap_err();
    assert!(
        error.contains("REGISTRY does not take the credentials of /a/auth.json\nhint: "),
        "{error}"
    );
    assert!(!error.contains("hidden"));
    assert!(!format!("{:?}", wrong.lookup).contains("hidden"));
}

#[test]
fn tokens_are_fetched_with_the_password_and_used_for_the_registry_alone() {
    let tokens = Registry::with(|asked| {
        asks_for_password(asked).or_else(|| Some(Reply::status(200).body(b"{\"token\":\"abc\"}")))
    });
    let blobs = Arc::new(Registry::new());
    let elsewhere = Arc::clone(&blobs);
    let realm = format!("http://127.0.0.1:{}/token", tokens.port);
    let registry = Registry::with(move |asked| {
        if asked.header("authorization") != "Bearer abc" {
            let asks = format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"x\"");
            return Some(Reply::status(401).header("WWW-Authenticate", asks));
        }
        let path = asked
            .line
            .strip_prefix("GET ")
            .filter(|path| path.contains("/blobs/sha"))?;
        let to = format!("http://127.0.0.1:{}{path}", elsewhere.port);
        Some(Reply::status(307).header("Location", to))
    });
    let (setup, parts) = (Setup::new().with_password(), Parts::new(8));
    setup.push(&registry, &parts).unwrap();
    assert_eq!(tokens.lines("GET").len(), 1);
    assert!(tokens.lines("GET")[0].ends_with("service=s&scope=repository:mail:pull%2Cpush"));
    pushed(&blobs, &parts);
    assert_eq!(setup.pull(&registry).unwrap().0, parts.0);
    let asked = &blobs.state().asked;
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|asked| asked.header("authorization").is_empty())
    );
}

#[test]
fn a_token_that_stands_for_the_password_gets_others() {
    let tokens = Registry::with(|asked| {
        let form = String::from_utf8_lossy(&asked.body);
        let good = asked.line.starts_with("POST")
            && form.contains("grant_type=refresh_token")
            && form.contains("&refresh_token=long%20lived&")
            && asked.header("authorization").is_empty();
        let given = Reply::status(200).body(b"{\"access_token\":\"abc\"}");
        Some(if good { given } else { Reply::status(400) })
    });
    let realm = format!("http://127.0.0.1:{}/token", tokens.port);
    let registry = Registry::with(move |asked| {
        let asks = format!("Bearer realm=\"{realm}\",service=\"s\"");
        (asked.header("authorization") != "Bearer abc")
            .then(|| Reply::status(401).header("WWW-Authenticate", asks))
    });
    let mut setup = Setup::new().with_password();
    let known = setup.lookup.found.as_mut().unwrap();
    known.identity_token = Some("long lived".to_owned());
    setup.push(&registry, &Parts::new(17)).unwrap();
    assert_eq!(tokens.lines("POST").len(), 1);
}

/// What a push says to a registry that answers everything so.
fn refused(reply: Reply) -> String {
    let registry = Registry::with(move |asked| {
        let patch = asked.line.starts_with("PATCH");
        patch.then(|| reply.clone())
    });
    Setup::new().push(&registry, &Parts::new(9)).unwrap_err()
}

#[test]
fn a_registry_that_refuses_says_why_and_what_helps() {
    let denied = br#"{"errors":[{"code":"DENIED","message":"no rights"}]}"#;
    for (reply, words, hint) in [
        (
            Reply::status(403).body(denied),
            "the registry answered 403 (DENIED no rights)",
            "hint: `podman login REGISTRY`",
        ),
        (Reply::status(413), "answered 413", "client_max_body_size"),
        (Reply::status(507), "answered 507", "a full disk perhaps"),
        (Reply::status(405), "answered 405", "only reads"),
    ] {
        let error = refused(reply);
        assert!(error.contains(words) && error.contains(hint), "{error}");
        assert!(error.starts_with("error: sending sha256:"), "{error}");
    }
}

#[test]
fn a_registry_that_keeps_nothing_is_given_up() {
    let error = refused(Reply::status(202).header("Range", "0-0"));
    assert!(
        error.contains("the registry keeps nothing of what is sent\nhint: "),
        "{error}"
    );
}

#[test]
fn a_registry_that_limits_is_waited_for_within_limits() {
    let error = refused(Reply::status(429).header("Retry-After", "3600"));
    assert!(
        error.contains("answered 429, and asks to wait 3600 seconds\nhint: the registry limits"),
        "{error}"
    );
    let busy = AtomicUsize::new(1);
    let registry = Registry::with(move |asked| {
        let first = asked.line.starts_with("PATCH") && busy.swap(0, Ordering::SeqCst) == 1;
        first.then(|| Reply::status(429).header("Retry-After", "1"))
    });
    let start = Instant::now();
    Setup::new().push(&registry, &Parts::new(10)).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn without_tls_nobody_is_spoken_with_but_this_machine() {
    let reference = parse_reference("registry.example.org/mail:1").unwrap();
    let setup = Setup::new();
    let client = Client::new(
        &reference,
        setup.lookup.clone(),
        true,
        false,
        &[],
        setup.options,
    );
    let error = render(&client.unwrap_err());
    assert!(
        error.contains("which is not this machine\nhint: "),
        "{error}"
    );
    let registry = Registry::with(|asked| {
        let blob = asked.line.contains("/blobs/");
        blob.then(|| Reply::status(302).header("Location", "http://s.example/x"))
    });
    let error = Setup::new().push(&registry, &Parts::new(15)).unwrap_err();
    assert!(
        error.contains("sends on to s.example without TLS\nhint: "),
        "{error}"
    );
}
