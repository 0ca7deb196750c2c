//! How an image in a registry is named: `REGISTRY/REPOSITORY:TAG` or `@sha256:DIGEST`.
//!
//! Repository and tag are those of the distribution specification
//! (<https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests>),
//! digests those of the image specification
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md#digests>). Left
//! out on purpose: short names. Which registry they mean is a choice of each host.

use std::fmt;
use std::net::Ipv6Addr;

use anyhow::{Context, Result};

use crate::error::{Hint, hinted};

/// How the address of an image in a registry begins.
pub const SCHEME: &str = "oci://";
/// The registry of Docker Hub, and the host that answers for it.
pub const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Most characters of registry and repository together, which other programs take.
const NAME_LENGTH_MAX: usize = 255;
/// Most characters of a tag.
const TAG_LENGTH_MAX: usize = 128;
/// Registered algorithms of digests, and how many hexadecimal digits each has.
const ALGORITHMS: [(&str, usize); 2] = [("sha256", 64), ("sha512", 128)];
/// What a reference looks like, for hints.
const EXAMPLES: &str =
    "such as registry.example.org/mail:stable or registry.example.org/mail@sha256:DIGEST";

/// The name of an image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Host of the registry, with its port if it has one.
    pub registry: String,
    /// Path of the repository in it.
    pub repository: String,
    /// A name that may move to another image.
    pub tag: Option<String>,
    /// The digest of one image, `sha256:…`.
    pub digest: Option<String>,
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

impl Reference {
    /// The address of its repository in the registry's interface.
    pub fn repository_url(&self, scheme: &str) -> String {
        let (host, hub) = DOCKER_HUB;
        let repository = &self.repository;
        if self.registry != host {
            return format!("{scheme}://{}/v2/{repository}", self.registry);
        }
        let owner = if repository.contains('/') {
            ""
        } else {
            "library/"
        };
        format!("{scheme}://{hub}/v2/{owner}{repository}")
    }

    /// What it is called for who gives out tokens.
    pub fn scope(&self, actions: &str) -> String {
        let url = self.repository_url("");
        let path = url.split_once("/v2/").map_or("", |(_, path)| path);
        format!("repository:{path}:{actions}")
    }

    /// The name of the manifest: the digest, or the tag.
    pub fn manifest_name(&self) -> Option<&str> {
        self.digest.as_deref().or(self.tag.as_deref())
    }
}

/// Takes a reference apart; the error says which part is wrong.
pub fn parse_reference(text: &str) -> Result<Reference> {
    let wrong = |what: String, hint: String| hinted(format!("'{text}' {what}"), hint);
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(wrong(
            format!("begins with {scheme}://, and names of images have no scheme"),
            format!("write {rest}"),
        ));
    }
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    let Some((registry, rest)) = named.split_once('/').filter(|(host, _)| is_registry(host)) else {
        return Err(wrong(
            "does not begin with a registry".to_owned(),
            format!(
                "name a host with a dot, or with a port, before the first slash, {EXAMPLES}; \
                 images of Docker Hub begin with docker.io/"
            ),
        ));
    };
    let (repository, tag) = match rest.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    if !repository.split('/').all(is_component) {
        return Err(wrong(
            format!("has '{repository}' for a repository"),
            "a repository has words of a-z and 0-9, with '.', '_', '__' or dashes between them, \
             and slashes between those"
                .to_owned(),
        ));
    }
    if registry.len() + 1 + repository.len() > NAME_LENGTH_MAX {
        return Err(wrong(
            format!("has more than {NAME_LENGTH_MAX} characters before its tag"),
            "choose a shorter name for the repository".to_owned(),
        ));
    }
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(wrong(
            format!("has '{tag}' for a tag"),
            format!(
                "a tag has up to {TAG_LENGTH_MAX} of a-z, A-Z, 0-9, '_', '.' and '-', and begins \
                 with none of the last two"
            ),
        ));
    }
    if let Some(digest) = digest.filter(|digest| !is_digest(digest)) {
        return Err(wrong(
            format!("has '{digest}' for a digest"),
            "a digest is sha256: and 64 digits of 0-9 and a-f; `podman image inspect --format \
             {{.Digest}} IMAGE` prints one"
                .to_owned(),
        ));
    }
    Ok(Reference {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

/// Reads `oci://REGISTRY/REPOSITORY:TAG`.
pub fn parse_oci_reference(text: &str) -> Result<Reference> {
    let reading = || format!("reading '{text}'");
    let rest = text
        .strip_prefix(SCHEME)
        .ok_or_else(|| {
            hinted(
                "it does not begin with oci://",
                "write oci://REGISTRY/REPOSITORY:TAG, such as \
                 oci://registry.example.org/mail:stable",
            )
        })
        .with_context(reading)
        .usage()?;
    let reference = parse_reference(rest).with_context(reading).usage()?;
    if reference.manifest_name().is_none() {
        return Err(hinted(
            format!("{}: it has no tag", reading()),
            format!("add one, such as {text}:stable"),
        ))
        .usage();
    }
    Ok(reference)
}

/// A host, with a dot or a port: anything else would be taken for a part of the repository.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address lie inside its brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if let Some(port) = port
        && !(port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0))
    {
        return false;
    }
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']');
        return address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && (host.contains('.') || port.is_some() || host == "localhost")
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_separator =
        |text: &str| ["", ".", "_", "__"].contains(&text) || text.bytes().all(|byte| byte == b'-');
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| is_word(*byte));
    let bytes = text.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && text
            .split(|letter: char| u8::try_from(letter).is_ok_and(is_word))
            .all(is_separator)
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
fn is_tag(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=TAG_LENGTH_MAX).contains(&text.len())
        && text.bytes().all(inside)
        && !text.starts_with(['.', '-'])
}

fn is_digest(text: &str) -> bool {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.split_once(':').is_some_and(|(algorithm, digits)| {
        ALGORITHMS.contains(&(algorithm, digits.len())) && digits.bytes().all(hexadecimal)
    })
}

#[cfg(test)]
mod tests {
    use super::{Reference, parse_oci_reference, parse_reference};
    use crate::error::render;

    fn digest() -> String {
        format!("sha256:{}", "0123456789abcdef".repeat(4))
    }

    #[test]
    fn names_are_taken_apart_and_put_together_again() {
        let digest = digest();
        for (text, registry, repository, tag) in [
            (
                "registry.example.org/mail:1.2",
                "registry.example.org",
                "mail",
                Some("1.2"),
            ),
            ("localhost/mail", "localhost", "mail", None),
            (
                "localhost:5000/a/b-c/d__e:_x",
                "localhost:5000",
                "a/b-c/d__e",
                Some("_x"),
            ),
            (
                "127.0.0.1:5000/a.b--c_d:X-.9",
                "127.0.0.1:5000",
                "a.b--c_d",
                Some("X-.9"),
            ),
            ("[::1]:5000/mail:a", "[::1]:5000", "mail", Some("a")),
            ("[2001:db8::1]/mail", "[2001:db8::1]", "mail", None),
            ("host:1/0", "host:1", "0", None),
        ] {
            let expected = Reference {
                registry: registry.to_owned(),
                repository: repository.to_owned(),
                tag: tag.map(str::to_owned),
                digest: None,
            };
            let parsed = parse_reference(text).unwrap();
            assert_eq!(parsed, expected);
            assert_eq!(parsed.to_string(), text);
            let text = format!("{text}@{digest}");
            let parsed = parse_reference(&text).unwrap();
            assert_eq!(parsed.digest.as_ref(), Some(&digest));
            assert_eq!(parsed.to_string(), text);
        }
        let long = format!("a.example/{}:{}", "a".repeat(245), "t".repeat(128));
        parse_reference(&long).unwrap();
        parse_reference(&format!("a.example/b@sha512:{}", "0f".repeat(64))).unwrap();
    }

    #[test]
    fn what_names_no_image_is_refused_by_its_wrong_part() {
        let digest = digest();
        let long_tag = format!("a.example/b:{}", "t".repeat(129));
        let long_name = format!("a.example/{}", "a".repeat(246));
        let short = format!("a.example/b@{}", &digest[..70]);
        let capitals = format!("a.example/b@sha256:{}", "AB".repeat(32));
        let unknown = format!("a.example/b@md5:{}", "ab".repeat(16));
        let twice = format!("a.example/b@{digest}@{digest}");
        for (text, wrong) in [
            ("docker://a.example/b:c", "begins with docker://"),
            ("", "does not begin with a registry"),
            ("mail", "does not begin with a registry"),
            ("mail:stable", "does not begin with a registry"),
            ("library/mail:stable", "does not begin with a registry"),
            ("/mail", "does not begin with a registry"),
            ("a..example/b", "does not begin with a registry"),
            ("-a.example/b", "does not begin with a registry"),
            ("a_b.example/b", "does not begin with a registry"),
            ("a.example:/b", "does not begin with a registry"),
            ("a.example:0/b", "does not begin with a registry"),
            ("a.example:65536/b", "does not begin with a registry"),
            ("a.example:+80/b", "does not begin with a registry"),
            ("[::g]/b", "does not begin with a registry"),
            ("a.example /b", "does not begin with a registry"),
            ("a.example/", "has '' for a repository"),
            ("a.example/B", "has 'B' for a repository"),
            ("a.example/a//b", "has 'a//b' for a repository"),
            ("a.example/a/", "has 'a/' for a repository"),
            ("a.example/-a", "has '-a' for a repository"),
            ("a.example/a-", "has 'a-' for a repository"),
            ("a.example/a..b", "has 'a..b' for a repository"),
            ("a.example/a___b", "has 'a___b' for a repository"),
            ("a.example/a._b", "has 'a._b' for a repository"),
            ("a.example/a b", "has 'a b' for a repository"),
            ("a.example/ä", "has 'ä' for a repository"),
            ("a.example/b:", "has '' for a tag"),
            ("a.example/b:.c", "has '.c' for a tag"),
            ("a.example/b:-c", "has '-c' for a tag"),
            ("a.example/b:c:d", "has 'c:d' for a tag"),
            ("a.example/b:c/d", "has 'c/d' for a tag"),
            ("a.example/b:c%n", "has 'c%n' for a tag"),
            ("a.example/b:c\nd", "has 'c"),
            ("a.example/b@", "has '' for a digest"),
            (&long_tag, "for a tag"),
            (&long_name, "has more than 255 characters"),
            (&short, "for a digest"),
            (&capitals, "for a digest"),
            (&unknown, "for a digest"),
            (&twice, "for a digest"),
        ] {
            let error = render(&parse_reference(text).unwrap_err());
            assert!(error.contains(wrong), "{text}: {error}");
            assert!(error.contains("\nhint: "), "{text}: {error}");
        }
    }

    #[test]
    fn docker_hub_answers_under_another_name() {
        for (text, url, scope) in [
            (
                "docker.io/mail:1",
                "https://registry-1.docker.io/v2/library/mail",
                "repository:library/mail:pull",
            ),
            (
                "docker.io/team/mail:1",
                "https://registry-1.docker.io/v2/team/mail",
                "repository:team/mail:pull",
            ),
            (
                "r.example:5000/a/mail:1",
                "https://r.example:5000/v2/a/mail",
                "repository:a/mail:pull",
            ),
        ] {
            let reference = parse_reference(text).unwrap();
            assert_eq!(reference.repository_url("https"), url);
            assert_eq!(reference.scope("pull"), scope);
        }
    }

    #[test]
    fn a_reference_names_an_image_in_a_registry() {
        let reference = parse_oci_reference("oci://r.example:5000/a/mail:1").unwrap();
        assert_eq!(reference.to_string(), "r.example:5000/a/mail:1");
        for (text, wrong) in [
            ("r.example/mail:1", "does not begin with oci://"),
            ("docker://r.example/mail:1", "does not begin with oci://"),
            ("oci://r.example/mail", "it has no tag"),
            ("oci://mail:1", "does not begin with a registry"),
            ("oci://", "does not begin with a registry"),
        ] {
            let error = render(&parse_oci_reference(text).unwrap_err());
            assert!(
                error.contains(wrong) && error.contains("\nhint: "),
                "{error}"
            );
        }
    }
}
