//! Debian's registry of container images, with TLS and a password, behind a line that can be cut.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::folder_server::Server;
use super::peers::fetched_program;
use super::port::unused_port;
use super::process::Process;
use super::wait::until;

/// `me` with the password `secret`, as htpasswd writes it.
const PASSWORDS: &str = "me:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";
/// The same in a file of podman.
pub const PAIR: &str = "bWU6c2VjcmV0";

/// Who tokens are for, and who gives them out.
const SERVICE: &str = "registry.test";
const ISSUER: &str = "a test";

/// A server that gives everybody the same token, for one repository:
/// <https://distribution.github.io/distribution/spec/auth/jwt/>.
pub struct Tokens {
    folder: tempfile::TempDir,
    pub server: Server,
}

impl Tokens {
    /// Whoever has its token may do all in a repository.
    pub fn start(repository: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let run = |arguments: &[&str]| {
            let mut command = Command::new("openssl");
            command.current_dir(folder.path()).args(arguments);
            assert!(command.output().unwrap().status.success(), "{arguments:?}");
        };
        run(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=signer",
            "-keyout",
            "signer.key",
            "-out",
            "signer.pem",
        ]);
        let certificate = fs::read_to_string(path("signer.pem")).unwrap();
        let lines = certificate.lines().filter(|line| !line.starts_with('-'));
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = json!({"typ": "JWT", "alg": "RS256", "x5c": [lines.collect::<String>()]});
        let claims = json!({
            "iss": ISSUER, "sub": "", "aud": SERVICE, "jti": "1",
            "nbf": 0, "iat": 0, "exp": 4_000_000_000_u64,
            "access": [{"type": "repository", "name": repository, "actions": ["pull", "push"]}],
        });
        let signed = format!("{}.{}", encode(head), encode(claims));
        fs::write(path("signed"), &signed).unwrap();
        run(&[
            "dgst",
            "-sha256",
            "-sign",
            "signer.key",
            "-out",
            "signature",
            "signed",
        ]);
        let signature = URL_SAFE_NO_PAD.encode(fs::read(path("signature")).unwrap());
        let token = json!({"token": format!("{signed}.{signature}")});
        fs::create_dir(path("served")).unwrap();
        fs::write(path("served/token"), token.to_string()).unwrap();
        let server = Server::of(path("served"));
        Self { folder, server }
    }
}

/// The registry.
pub struct Registry {
    folder: tempfile::TempDir,
    _process: Process,
    line: Line,
}

impl Registry {
    /// Starts an empty one, which knows one user.
    pub fn start() -> Self {
        Self::with(|folder| {
            let passwords = folder.join("passwords");
            fs::write(&passwords, PASSWORDS).unwrap();
            json!({"htpasswd": {"realm": "test", "path": passwords}})
        })
    }

    /// One that asks nobody who it is.
    pub fn for_everybody() -> Self {
        Self::with(|_| json!({}))
    }

    /// One that wants a token, whoever asks.
    pub fn with_tokens(tokens: &Tokens) -> Self {
        Self::with(|_| {
            json!({"token": {
                "realm": format!("{}token", tokens.server.address()),
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": tokens.folder.path().join("signer.pem"),
            }})
        })
    }

    fn with(auth: impl FnOnce(&Path) -> Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        fs::write(path("server.pem"), certificate.pem()).unwrap();
        fs::write(path("server.key"), key.serialize_pem()).unwrap();
        let port = unused_port();
        // JSON is YAML too.
        let configuration = json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": path("images")}},
            "http": {
                "addr": format!("127.0.0.1:{port}"),
                "secret": "of this test alone",
                "tls": {"certificate": path("server.pem"), "key": path("server.key")},
            },
            "auth": auth(folder.path()),
        });
        fs::write(path("registry.yml"), configuration.to_string()).unwrap();
        let mut command = fetched_program("docker-registry").unwrap();
        command.arg("serve").arg(path("registry.yml"));
        let mut process = Process::start(&mut command, &path("log")).unwrap();
        until("the registry", Duration::from_secs(30), || {
            process.check_running()?;
            Ok(TcpStream::connect(("127.0.0.1", port)).ok())
        })
        .unwrap();
        let registry = Self {
            folder,
            _process: process,
            line: Line::to(port),
        };
        registry.write_credentials(PAIR);
        registry
    }

    /// What its images are called.
    pub fn reference(&self, name: &str) -> String {
        format!("oci://localhost:{}/{name}", self.line.port)
    }

    /// The certificate that it is trusted by.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// A file with the credentials.
    pub fn credentials(&self) -> PathBuf {
        self.folder.path().join("auth.json")
    }

    /// Writes other ones.
    pub fn write_credentials(&self, pair: &str) {
        let host = format!("localhost:{}", self.line.port);
        let file = json!({"auths": {host: {"auth": pair}}});
        fs::write(self.credentials(), file.to_string()).unwrap();
    }

    /// The tags of a repository.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let folder = format!("images/docker/registry/v2/repositories/{repository}/_manifests/tags");
        let entries = fs::read_dir(self.folder.path().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// The line that leads to it.
    pub fn line(&self) -> &Line {
        &self.line
    }
}

/// A line that lets so many bytes pass each way, and then none.
pub struct Line {
    port: u16,
    state: Arc<State>,
}

struct State {
    /// Bytes that may still pass to the registry and back.
    left: [AtomicUsize; 2],
    dead: AtomicBool,
}

impl Line {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Self {
            port: listener.local_addr().unwrap().port(),
            state: Arc::new(State {
                left: [AtomicUsize::new(usize::MAX), AtomicUsize::new(usize::MAX)],
                dead: AtomicBool::new(false),
            }),
        };
        let state = Arc::clone(&line.state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    return;
                };
                let ends = [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                ];
                for (way, (from, to)) in ends.into_iter().enumerate() {
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || pass(&from, &to, way, &state));
                }
            }
        });
        line
    }

    /// Goes dead after so many bytes to the registry and back.
    pub fn cut_after(&self, there: usize, back: usize) {
        self.state.left[0].store(there, Ordering::SeqCst);
        self.state.left[1].store(back, Ordering::SeqCst);
        self.state.dead.store(false, Ordering::SeqCst);
    }

    /// Lets everything pass again.
    pub fn mend(&self) {
        self.cut_after(usize::MAX, usize::MAX);
    }

    /// Whether nothing passes any more.
    pub fn is_dead(&self) -> bool {
        self.state.dead.load(Ordering::SeqCst)
    }
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, way: usize, state: &State) {
    let mut buffer = vec![0; 1 << 14];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let take = |left: usize| match left {
            usize::MAX => Some(left),
            left => left.checked_sub(length),
        };
        let (set, get) = (Ordering::SeqCst, Ordering::SeqCst);
        if state.left[way].fetch_update(set, get, take).is_err() {
            state.dead.store(true, Ordering::SeqCst);
            while state.dead.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            break;
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
