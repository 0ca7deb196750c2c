//! Who we are for a registry: the files and helpers that podman and docker keep it in.
//!
//! The files are those of containers-auth.json(5)
//! (<https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md>) and of
//! docker (<https://docs.docker.com/reference/cli/docker/login/#credential-stores>); the first
//! that knows the registry counts. Programs that store credentials elsewhere are asked as
//! docker asks them (<https://github.com/docker/docker-credential-helpers>): the registry's
//! name goes to their standard input, so no process list shows anything. Left out: storing,
//! which `podman login` does.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::{Hint, hinted};
use crate::format::oci::Reference;

/// Names a file instead of the usual ones.
const FILE_VARIABLE: &str = "REGISTRY_AUTH_FILE";
/// Docker Hub, as references name it, and under what docker keeps its credentials.
const DOCKER_HUB: [&str; 2] = ["docker.io", "https://index.docker.io/v1/"];
/// Most bytes that a program answers which keeps credentials.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// How often its end is looked for.
const INTERVAL: Duration = Duration::from_millis(10);
/// The name that stands for a token instead of a password.
const TOKEN_USER: &str = "<token>";

/// Name and password, or a token that stands for both.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
    /// A token that gets others.
    pub identity_token: Option<String>,
    /// Where they are from, for messages.
    pub origin: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Credentials of {}", self.origin)
    }
}

impl Credentials {
    /// The header of basic authentication, RFC 7617.
    pub(super) fn basic(&self) -> String {
        let pair = format!("{}:{}", self.user, self.password);
        format!("Basic {}", STANDARD.encode(pair))
    }
}

/// What was found, and where it was looked for.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// The credentials, if any file has some.
    pub found: Option<Credentials>,
    /// The files that were looked into, there or not.
    pub looked: Vec<PathBuf>,
}

/// A file of podman or docker.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Looks for the credentials of a repository's registry.
///
/// A program that is asked for them has so long to answer.
pub fn find_credentials(reference: &Reference, patience: Duration) -> Result<Lookup> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    find_in(files(&variable), reference, patience)
}

/// The files in their order.
fn files(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Vec<PathBuf> {
    if let Some(path) = variable(FILE_VARIABLE) {
        return vec![path.into()];
    }
    let folder = |name: &str| variable(name).map(PathBuf::from);
    let home = |path: &str| folder("HOME").map(|home| home.join(path));
    let user = rustix::process::geteuid().as_raw();
    let runtime = folder("XDG_RUNTIME_DIR")
        .map(|runtime| runtime.join("containers"))
        .unwrap_or_else(|| format!("/run/containers/{user}").into());
    let config = folder("XDG_CONFIG_HOME").or_else(|| home(".config"));
    let docker = folder("DOCKER_CONFIG").or_else(|| home(".docker"));
    [
        Some(runtime.join("auth.json")),
        config.map(|config| config.join("containers/auth.json")),
        docker.map(|docker| docker.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn find_in(looked: Vec<PathBuf>, reference: &Reference, patience: Duration) -> Result<Lookup> {
    for path in &looked {
        let reading = || format!("reading the credentials in {}", path.display());
        let text = match fs::read(path) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                continue;
            }
            text => text.with_context(reading)?,
        };
        // An error of the parser quotes what it read.
        let file: AuthFile = serde_json::from_slice(&text)
            .map_err(|error| anyhow!("line {} is no JSON of such a file", error.line()))
            .with_context(reading)
            .hint(format!(
                "`podman login {}` writes it anew once it is moved away",
                reference.registry
            ))?;
        if let Some(found) = file.look(path, reference, patience).with_context(reading)? {
            return Ok(Lookup {
                found: Some(found),
                looked,
            });
        }
    }
    Ok(Lookup {
        found: None,
        looked,
    })
}

impl AuthFile {
    fn look(
        &self,
        path: &Path,
        reference: &Reference,
        patience: Duration,
    ) -> Result<Option<Credentials>> {
        let registry = reference.registry.as_str();
        if let Some(helper) = self.cred_helpers.get(registry) {
            return ask_helper(helper, registry, patience);
        }
        for name in names(reference) {
            let entries = self.auths.iter();
            let mut entries = entries.filter(|(key, _)| plain_name(key) == name);
            let Some((_, entry)) = entries.next() else {
                continue;
            };
            if let Some(found) = entry.credentials(path)? {
                return Ok(Some(found));
            }
        }
        if self.creds_store.is_empty() {
            return Ok(None);
        }
        let server = if registry == DOCKER_HUB[0] {
            DOCKER_HUB[1]
        } else {
            registry
        };
        ask_helper(&self.creds_store, server, patience)
    }
}

impl Entry {
    fn credentials(&self, path: &Path) -> Result<Option<Credentials>> {
        let (mut user, mut password) = (self.username.clone(), self.password.clone());
        if !self.auth.is_empty() {
            let pair = STANDARD.decode(self.auth.trim()).ok();
            let pair = pair.and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
            let (name, secret) = pair.context("an `auth` in it is no name and password")?;
            (user, password) = (name.to_owned(), secret.trim_end_matches('\0').to_owned());
        }
        let token = Some(self.identitytoken.clone()).filter(|token| !token.is_empty());
        if user.is_empty() && token.is_none() {
            return Ok(None);
        }
        Ok(Some(Credentials {
            user,
            password,
            identity_token: token,
            origin: path.display().to_string(),
        }))
    }
}

/// What an entry may be called, the narrowest first: `host/a/b`, `host/a`, `host`.
fn names(reference: &Reference) -> Vec<String> {
    let whole = format!("{}/{}", reference.registry, reference.repository);
    let mut names: Vec<String> = whole
        .match_indices('/')
        .map(|(at, _)| whole[..at].to_owned())
        .collect();
    names.push(whole.clone());
    names.reverse();
    names
}

/// The name of an entry without what docker puts around it.
fn plain_name(key: &str) -> &str {
    if key == DOCKER_HUB[1] {
        return DOCKER_HUB[0];
    }
    let scheme = ["https://", "http://"];
    let name = scheme.iter().find_map(|scheme| key.strip_prefix(scheme));
    let name = name.unwrap_or(key).trim_end_matches('/');
    let version = ["/v1", "/v2"];
    let without = version
        .iter()
        .find_map(|version| name.strip_suffix(version));
    without.unwrap_or(name)
}

/// Asks a program that keeps credentials; nothing when it has none.
fn ask_helper(name: &str, server: &str, patience: Duration) -> Result<Option<Credentials>> {
    let program = format!("docker-credential-{name}");
    let asking = || format!("asking {program}");
    let working = format!("`echo {server} | {program} get` has to work");
    ensure!(
        !name.is_empty() && !name.contains('/'),
        "'{name}' names no program that keeps credentials"
    );
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(asking)
        .hint(format!(
            "install it, or take '{name}' out of the file and run `podman login {server}`"
        ))?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read its question says so by its answer.
        let _ = writeln!(input, "{server}");
    }
    let stdout = child.stdout.take();
    let said = std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(stdout) = stdout {
            // What cannot be read is no answer.
            let _ = stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut said);
        }
        said
    });
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().with_context(asking)? {
            break status;
        }
        if began.elapsed() > patience {
            // It may wait for somebody to open a vault, who is not there.
            let _ = child.kill();
            let _ = child.wait();
            return Err(hinted(format!("{program} does not answer"), working));
        }
        std::thread::sleep(INTERVAL);
    };
    let said = said.join().unwrap_or_default();
    if !status.success() {
        // It tells on standard output why not.
        let said = String::from_utf8_lossy(&said);
        if said.contains("not found") {
            return Ok(None);
        }
        return Err(hinted(format!("{program} ended with {status}"), working));
    }
    // What it answered is secret: no error quotes it.
    let answer: Answer = serde_json::from_slice(&said)
        .map_err(|_| anyhow!("{program} answered something else than credentials"))
        .hint(working)?;
    let is_token = answer.username == TOKEN_USER;
    Ok(Some(Credentials {
        user: answer.username,
        identity_token: is_token.then(|| answer.secret.clone()),
        password: answer.secret,
        origin: program,
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::{files, find_in};
    use crate::error::render;
    use crate::format::oci::parse_reference;

    fn found(text: &str, reference: &str) -> Result<Option<(String, String)>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.json");
        fs::write(&path, text).unwrap();
        let looked = vec![folder.path().join("none.json"), path];
        match find_in(looked, &parse_reference(reference).unwrap(), Duration::ZERO) {
            Ok(lookup) => Ok(lookup.found.map(|found| (found.user, found.password))),
            Err(error) => Err(render(&error).replace(folder.path().to_str().unwrap(), "FOLDER")),
        }
    }

    #[test]
    fn the_narrowest_entry_counts_whatever_docker_puts_around_it() {
        // a:1, b:2, c:3.
        let text = r#"{"auths":{"https://r.example/v2/":{"auth":"YTox"},
            "r.example/team":{"auth":"Yjoy"},"https://index.docker.io/v1/":{"auth":"Yzoz"},
            "empty.example":{}}}"#;
        let pair = |user: &str, password: &str| Ok(Some((user.to_owned(), password.to_owned())));
        assert_eq!(found(text, "r.example/mail:1"), pair("a", "1"));
        assert_eq!(found(text, "r.example/team/mail:1"), pair("b", "2"));
        assert_eq!(found(text, "docker.io/team/mail:1"), pair("c", "3"));
        assert_eq!(found(text, "r.example.org/mail:1"), Ok(None));
        assert_eq!(found(text, "empty.example/mail:1"), Ok(None));
    }

    #[test]
    fn no_error_quotes_a_secret() {
        for text in [
            r#"{"auths":{"r.example":{"auth":"c2VjcmV0"}}}"#,
            r#"{"auths":{"r.example":"secret"}}"#,
            r#"{"auths":{"r.example":{"auth":"secret"#,
        ] {
            let error = found(text, "r.example/mail:1").unwrap_err();
            assert!(error.contains("FOLDER/auth.json"), "{error}");
            assert!(
                !error.contains("secret") && !error.contains("c2Vj"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_is_named_is_the_only_one() {
        let set = |name: &str| match name {
            "HOME" => Some("/home/a".into()),
            "XDG_RUNTIME_DIR" => Some("/run/user/7".into()),
            _ => None,
        };
        let usual = [
            "/run/user/7/containers/auth.json",
            "/home/a/.config/containers/auth.json",
            "/home/a/.docker/config.json",
        ];
        assert_eq!(files(&set), usual.map(PathBuf::from));
        let named = |name: &str| (name == "REGISTRY_AUTH_FILE").then(|| "/a".into());
        assert_eq!(files(&named), [PathBuf::from("/a")]);
    }
}
