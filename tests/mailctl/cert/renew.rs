//! Renewals: the key rule, the CA's own wish, and runs that are cut short.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use instant_acme::{Account, BodyWrapper, BytesResponse, Error, HttpClient, RevocationRequest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::HOST;
use super::world::{EXTERNAL_ACCOUNT, Manner, World};

const CHAIN: &str = "var/lib/mailimg/tls/fullchain.pem";

/// Sets of TLSA records with when each went out of date.
struct History {
    sets: Vec<(Vec<String>, Option<Instant>)>,
    ttl: Duration,
}

impl History {
    fn publish(&mut self, world: &World, digests: Vec<String>) {
        if let Some((_, until)) = self.sets.last_mut() {
            until.get_or_insert_with(Instant::now);
        }
        world
            .names
            .set_tlsa(&digests, u32::try_from(self.ttl.as_secs()).unwrap());
        self.sets.push((digests, None));
    }

    /// A client that remembers any set as long as it may.
    fn check(&self, served: &str) {
        for (set, until) in &self.sets {
            if until.is_none_or(|until| until.elapsed() < self.ttl) {
                assert!(
                    set.iter().any(|digest| digest == served),
                    "{served}: {set:?}"
                );
            }
        }
    }
}

fn served(world: &World) -> String {
    let digest = &world.status(HOST)["certificate"]["key_sha256"];
    digest.as_str().unwrap().to_owned()
}

fn next_key(world: &World) -> String {
    world.public()["next_key"].as_str().unwrap().to_owned()
}

#[test]
fn twenty_renewals_and_no_moment_of_mismatch() {
    let world = World::started(Manner::default());
    let mut history = History {
        sets: Vec::new(),
        ttl: Duration::from_secs(1),
    };
    // Records were published before the first certificate came.
    world.acme();
    history.publish(&world, vec![served(&world), next_key(&world)]);
    std::fs::remove_dir_all(world.machine.path("var/lib/mailimg/acme/ready")).unwrap();
    let mut keys = BTreeSet::new();
    for round in 0..20 {
        // Every third renewal comes too early for another key, every seventh
        // while DNS is down.
        if round % 3 != 0 {
            std::thread::sleep(history.ttl + Duration::from_millis(1100));
        }
        world.names.fail_tlsa(round % 7 == 6);
        world.machine.run(&["cert", "renew", "--force"]).success();
        history.check(&served(&world));
        world.machine.run(&["cert", "take"]).success();
        history.check(&served(&world));
        world.acme();
        let (current, next) = (served(&world), next_key(&world));
        assert_ne!(current, next);
        history.publish(&world, vec![current.clone(), next]);
        history.check(&current);
        // The agent looks every few minutes.
        world.names.fail_tlsa(false);
        world.acme();
        keys.insert(current);
    }
    assert!((8..=14).contains(&keys.len()), "{} keys", keys.len());
    assert_eq!(world.counts().0, 1);
}

struct Client(ureq::Agent);

impl HttpClient for Client {
    fn request(
        &self,
        request: http::Request<BodyWrapper<hyper::body::Bytes>>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        use http_body_util::BodyExt;
        let agent = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let response = if body.is_empty() {
                agent.run(http::Request::from_parts(parts, ()))
            } else {
                agent.run(http::Request::from_parts(parts, &body[..]))
            };
            let (parts, mut body) = response.unwrap().into_parts();
            let body = body.read_to_vec().unwrap();
            Ok(BytesResponse {
                parts,
                body: Box::new(hyper::body::Bytes::from(body)),
            })
        })
    }
}

/// Revokes the certificate in use, by which Pebble moves its window up.
fn revoke(world: &World) {
    let roots = std::fs::read(world.machine.path("run/mailimg/trust.pem")).unwrap();
    let root = ureq::tls::Certificate::from_pem(&roots).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&[root]))
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .tls_config(tls)
        .build();
    let kept: Value =
        serde_json::from_str(&world.machine.read("var/lib/mailimg/acme/account.json")).unwrap();
    let text = |name: &str| kept[name].as_str().unwrap().to_owned();
    let key = STANDARD.decode(text("key")).unwrap();
    let chain = world.machine.read(CHAIN);
    let certificate = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let client = Client(ureq::Agent::new_with_config(config));
            let account = Account::builder_with_http(Box::new(client))
                .from_parts(text("address"), key.into(), text("directory"))
                .await
                .unwrap();
            let request = RevocationRequest {
                certificate: &certificate,
                reason: None,
            };
            account.revoke(&request).await.unwrap();
        });
}

#[test]
fn renewed_when_the_authority_moves_its_window_up() {
    let world = World::started(Manner::default());
    world.acme_and_take();
    world.acme();
    let before = world.status(HOST);
    let ask_at = world.record(HOST)["renewal"]["ask_at"].as_i64().unwrap();
    revoke(&world);
    // Asked again only when the CA said so.
    world.acme_and_take();
    assert_eq!(world.record(HOST)["renewal"]["ask_at"], ask_at);
    assert_eq!(world.counts(), (1, 1));
    world.change_record(HOST, |record| record["renewal"]["ask_at"] = 0.into());
    world.acme_and_take();
    assert_eq!(world.counts(), (1, 2));
    let after = world.status(HOST);
    assert_ne!(
        after["certificate"]["serial"],
        before["certificate"]["serial"]
    );
    assert!(world.ca_log().contains("is a replacement of"));
    // The new one's window lies ahead.
    world.acme_and_take();
    assert_eq!(world.counts(), (1, 2));
}

/// An agent that is killed after a while.
fn run_and_kill(world: &World, after: Duration) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mailctl"))
        .env_clear()
        .arg("--root")
        .arg(world.machine.path(""))
        .arg("acme")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn killed_at_any_moment_it_goes_on() {
    kill_at_any_moment(&World::started(Manner::default()));
}

#[test]
fn killed_at_any_moment_it_has_one_external_account() {
    let (kid, hmac) = EXTERNAL_ACCOUNT;
    let world = World::started(Manner::bound());
    world.set_external_account(kid, hmac);
    kill_at_any_moment(&world);
}

fn kill_at_any_moment(world: &World) {
    let order = world
        .machine
        .path(&format!("var/lib/mailimg/acme/names/{HOST}/order.json"));
    let mut resumed = 0;
    for step in 1..=12 {
        let before = world.counts().1;
        let kept: Option<Value> = std::fs::read(&order)
            .ok()
            .map(|bytes| serde_json::from_slice(&bytes).unwrap());
        let url = kept.and_then(|kept| kept["url"].as_str().map(str::to_owned));
        run_and_kill(world, Duration::from_millis(25 * step));
        assert!(world.counts().0 <= 1, "more than one account");
        if url.is_some() {
            resumed += 1;
            assert_eq!(world.counts().1, before, "an order was not gone on with");
        }
        if world
            .machine
            .path("var/lib/mailimg/acme/ready")
            .join(HOST)
            .exists()
        {
            break;
        }
    }
    println!("gone on with an order {resumed} times");
    world.acme_and_take();
    assert_eq!(world.counts().0, 1);
    assert_eq!(world.status(HOST)["certificate"]["self_signed"], false);
    assert!(!order.exists());
}
