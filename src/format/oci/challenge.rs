//! What a registry asks of who it does not know: `WWW-Authenticate`.
//!
//! Specification: RFC 9110 section 11.6.1
//! (<https://www.rfc-editor.org/rfc/rfc9110.html#section-11.6.1>); the parameters of `Bearer`
//! are those of <https://distribution.github.io/distribution/spec/auth/token/>. Left out: all
//! schemes but these two.

/// One way to say who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password.
    Basic,
    /// A token, which another server gives out.
    Bearer {
        /// Where.
        realm: String,
        /// For whom.
        service: Option<String>,
    },
}

/// Reads the challenges of one header that are known.
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for part in split(header) {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (part, None),
        };
        // A scheme and its first parameter stand without a comma between them.
        let name = match name.rsplit_once(' ') {
            Some((scheme, name)) if value.is_some() => {
                challenges.push((scheme.trim().to_owned(), Vec::new()));
                name
            }
            _ => name,
        };
        let Some(value) = value else {
            challenges.push((name.to_owned(), Vec::new()));
            continue;
        };
        if let Some((_, parameters)) = challenges.last_mut() {
            parameters.push((name.to_ascii_lowercase(), unquoted(value)));
        }
    }
    let known = challenges.into_iter().filter_map(|(scheme, parameters)| {
        let of = |wanted: &str| {
            let mut found = parameters.iter().filter(|(name, _)| name == wanted);
            found.next().map(|(_, value)| value.clone())
        };
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => Some(Challenge::Bearer {
                realm: of("realm")?,
                service: of("service"),
            }),
            _ => None,
        }
    });
    known.collect()
}

/// The parts between commas that stand in no quotes.
fn split(header: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, character) in header.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(header[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(header[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn unquoted(value: &str) -> String {
    let inside = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    inside.map_or_else(|| value.to_owned(), |inside| inside.replace('\\', ""))
}

#[cfg(test)]
mod tests {
    use super::{Challenge, parse_challenges};

    #[test]
    fn challenges_are_read_whatever_stands_in_quotes() {
        let bearer = |realm: &str, service: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        };
        for (header, expected) in [
            ("Basic realm=\"a, b\"", vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                "Bearer realm=\"https://a.example/token\",service=\"r.example\",\
                 scope=\"repository:a/b:pull,push\"",
                vec![bearer("https://a.example/token", Some("r.example"))],
            ),
            (
                "Negotiate, Bearer  realm=https://a.example, Basic realm=\"x\"",
                vec![bearer("https://a.example", None), Challenge::Basic],
            ),
            ("Bearer service=\"x\"", vec![]),
            ("realm=\"x\"", vec![]),
            ("", vec![]),
            ("\"", vec![]),
        ] {
            assert_eq!(parse_challenges(header), expected, "{header}");
        }
    }
}
