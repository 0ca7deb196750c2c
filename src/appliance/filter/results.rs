//! Whose an Authentication-Results header claims to be.
//!
//! RFC 8601 (<https://www.rfc-editor.org/rfc/rfc8601>) section 2.2: the header
//! begins with the identity of the server that wrote it, an authserv-id, and
//! section 5 wants a border server to remove what strangers wrote in its name.
//! Only that beginning is read.

/// Name of the header.
pub const RESULTS: &str = "Authentication-Results";

/// Whether the header speaks in the name of this host.
///
/// What cannot be read counts as ours when our name stands in it anywhere:
/// some reader behind us may see more in it than we do.
pub fn names_host(value: &[u8], host: &str) -> bool {
    match authserv_id(value) {
        Some(id) => {
            let id = id.strip_suffix(b".").unwrap_or(&id);
            id.eq_ignore_ascii_case(host.as_bytes())
        }
        None => value
            .windows(host.len().max(1))
            .any(|part| part.eq_ignore_ascii_case(host.as_bytes())),
    }
}

/// The identity, `None` when there is none that ends as it should.
fn authserv_id(value: &[u8]) -> Option<Vec<u8>> {
    let rest = skip_comments(value)?;
    let (id, rest) = match rest.split_first()? {
        (b'"', quoted) => quoted_string(quoted)?,
        _ => {
            let end = rest
                .iter()
                .position(|byte| byte.is_ascii_whitespace() || b"();\"".contains(byte))
                .unwrap_or(rest.len());
            (rest[..end].to_vec(), &rest[end..])
        }
    };
    let rest = skip_comments(rest)?;
    // The version number of RFC 8601.
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = skip_comments(&rest[digits..])?;
    let ends = rest.first().is_none_or(|byte| *byte == b';');
    (ends && !id.is_empty()).then_some(id)
}

fn quoted_string(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut inner = Vec::new();
    let mut rest = text.iter();
    loop {
        match rest.next()? {
            b'"' => return Some((inner, rest.as_slice())),
            b'\\' => inner.push(*rest.next()?),
            other => inner.push(*other),
        }
    }
}

/// Skips CFWS of RFC 5322; `None` when a comment does not end.
fn skip_comments(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.trim_ascii_start();
    while let Some(comment) = rest.strip_prefix(b"(") {
        let mut bytes = comment.iter();
        let mut depth = 1;
        while depth > 0 {
            match bytes.next()? {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => {
                    bytes.next()?;
                }
                _ => {}
            }
        }
        rest = bytes.as_slice().trim_ascii_start();
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::names_host;

    #[test]
    fn ours_in_any_spelling() {
        for value in [
            "mail.example.org; dkim=pass",
            " MAIL.Example.ORG 1; dkim=pass",
            "mail.example.org",
            "mail.example.org.; none",
            "\r\n\t(c(o\\)m)) \"mail\\.example.org\" (x) 1 ; spf=pass",
            // Unreadable, but it names us.
            "(open mail.example.org; spf=pass",
            "mail.example.org spf=pass",
        ] {
            assert!(names_host(value.as_bytes(), "mail.example.org"), "{value}");
        }
    }

    #[test]
    fn others() {
        for value in [
            "mx.example.net; spf=pass smtp.mailfrom=mail.example.org",
            "xmail.example.org; none",
            "mail.example.org.evil.example; none",
            "mx.example.net (mail.example.org); none",
            "",
            "(never ends",
        ] {
            assert!(!names_host(value.as_bytes(), "mail.example.org"), "{value}");
        }
    }
}
