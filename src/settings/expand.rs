//! `${KEY}` in values that hold no secret: any order, no cycles.
//!
//! A `$` that no `{` follows is an ordinary character, and there is no escape:
//! the only values that need a literal `${` are secrets, which are verbatim.

use super::key::find_key;
use super::written::{MAXIMUM_BYTES, Written};

/// Expands the value of a key, or its default; the error is a text for the key's line.
pub(super) fn expand_key(written: &Written, key: &str) -> Result<String, String> {
    expand(written, key, &mut Vec::new())
}

fn expand(written: &Written, key: &str, path: &mut Vec<String>) -> Result<String, String> {
    if path.iter().any(|seen| seen == key) {
        path.push(key.to_owned());
        return Err(format!("refers to itself: {}", path.join(" -> ")));
    }
    let known = find_key(key);
    let raw = match (written.value(key), known) {
        (Some(value), _) => value.trim(),
        (None, Some(known)) => known.default,
        (None, None) if written.entry(key).is_some() => "",
        (None, None) => return Err(format!("${{{key}}} is no key")),
    };
    path.push(key.to_owned());
    let mut result = String::new();
    let mut rest = raw;
    while let Some(start) = rest.find("${") {
        result.push_str(&rest[..start]);
        let inside = &rest[start + 2..];
        let Some(end) = inside.find('}') else {
            return Err("has '${' without '}'".to_owned());
        };
        let name = &inside[..end];
        if find_key(name).is_some_and(|key| key.secret) {
            return Err(format!("${{{name}}} is a secret, which is never expanded"));
        }
        result.push_str(&expand(written, name, path)?);
        // Short keys that name each other often could otherwise grow without end.
        if result.len() > MAXIMUM_BYTES {
            return Err(format!("expands to more than {MAXIMUM_BYTES} bytes"));
        }
        rest = &inside[end + 1..];
    }
    result.push_str(rest);
    path.pop();
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::expand_key;
    use crate::settings::parse_settings;

    fn expanded(text: &str, key: &str) -> Result<String, String> {
        expand_key(&parse_settings(text.as_bytes()).unwrap(), key)
    }

    #[test]
    fn any_order_and_defaults() {
        let text = "ADMIN_EMAIL=${ADMIN_USER}+x@${HOSTNAME}\nHOSTNAME=mail.${DOMAIN}\nDOMAIN=example.org\n";
        assert_eq!(
            expanded(text, "ADMIN_EMAIL").unwrap(),
            "postmaster+x@mail.example.org"
        );
        assert_eq!(
            expanded("DOMAIN=a.b", "ADMIN_EMAIL").unwrap(),
            "postmaster@a.b"
        );
        assert_eq!(expanded("DOMAIN=a$b$", "DOMAIN").unwrap(), "a$b$");
        assert_eq!(expanded("MY=x\nDOMAIN=${MY}.y", "DOMAIN").unwrap(), "x.y");
    }

    #[test]
    fn refusals() {
        assert_eq!(
            expanded("DOMAIN=${HOSTNAME}\nHOSTNAME=${DOMAIN}", "DOMAIN").unwrap_err(),
            "refers to itself: DOMAIN -> HOSTNAME -> DOMAIN"
        );
        assert_eq!(
            expanded("DOMAIN=${NONE}", "DOMAIN").unwrap_err(),
            "${NONE} is no key"
        );
        assert_eq!(
            expanded("DOMAIN=${X", "DOMAIN").unwrap_err(),
            "has '${' without '}'"
        );
        assert_eq!(
            expanded("DOMAIN=${RELAYHOST_PASSWORD}", "DOMAIN").unwrap_err(),
            "${RELAYHOST_PASSWORD} is a secret, which is never expanded"
        );
        let mut bomb = String::from("A0=0123456789abcdef\n");
        for level in 1..30 {
            bomb.push_str(&format!(
                "A{level}={}\n",
                format!("${{A{}}}", level - 1).repeat(8)
            ));
        }
        assert_eq!(
            expanded(&bomb, "A29").unwrap_err(),
            "expands to more than 65536 bytes"
        );
    }
}
