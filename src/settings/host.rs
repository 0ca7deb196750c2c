//! Host names by RFC 1123 section 2.1 (<https://www.rfc-editor.org/rfc/rfc1123#section-2.1>).
//!
//! Names of machines and mail domains alike: at least two labels, lower-cased,
//! ASCII only. Internationalised names are asked for as A-labels; converting
//! them here would hide which name DNS must carry.

/// Checks and lower-cases a full host name. The error says what is wrong, and what is expected.
pub fn parse_host_name(text: &str) -> Result<String, (String, &'static str)> {
    const EXPECTED: &str = "a full name such as mail.example.org";
    // RFC 1035 section 2.3.4: 255 octets on the wire are 253 characters.
    const LONGEST_NAME: usize = 253;
    const LONGEST_LABEL: usize = 63;
    if !text.is_ascii() {
        return Err((
            format!("'{text}' is not ASCII"),
            "its A-label (xn--...), as your registrar shows it",
        ));
    }
    let name = text.to_ascii_lowercase();
    if name.len() > LONGEST_NAME {
        return Err((format!("has more than {LONGEST_NAME} characters"), EXPECTED));
    }
    if name.ends_with('.') {
        return Err((format!("'{name}' ends with a dot"), EXPECTED));
    }
    let labels: Vec<&str> = name.split('.').collect();
    for label in &labels {
        let good = !label.is_empty()
            && label.len() <= LONGEST_LABEL
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-');
        if !good {
            return Err((
                format!("'{}' is no host name", name.escape_default()),
                EXPECTED,
            ));
        }
    }
    if labels.len() < 2 {
        return Err((format!("'{name}' has only one label"), EXPECTED));
    }
    // A last label of digits would read as an address (RFC 1123 section 2.1).
    if labels
        .last()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Err((format!("'{name}' reads as an address"), EXPECTED));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::parse_host_name;

    #[test]
    fn names_are_lower_cased() {
        assert_eq!(
            parse_host_name("Mail.Example.ORG").unwrap(),
            "mail.example.org"
        );
        assert_eq!(
            parse_host_name("xn--bcher-kva.example").unwrap(),
            "xn--bcher-kva.example"
        );
        assert_eq!(parse_host_name("1.2.3.example").unwrap(), "1.2.3.example");
    }

    #[test]
    fn others_are_refused() {
        let label = "a".repeat(64);
        let name = format!("{}.org", ["abcdefgh"; 30].join("."));
        for bad in [
            "",
            "mail",
            "mail.",
            ".org",
            "a..b",
            "-a.b",
            "a-.b",
            "a_b.c",
            "192.0.2.1",
            "a b.c",
            "a/b.c",
            "a.b;c",
            "bücher.example",
            &format!("{label}.org"),
            &name,
        ] {
            assert!(parse_host_name(bad).is_err(), "{bad}");
        }
        let (_, expected) = parse_host_name("bücher.example").unwrap_err();
        assert!(expected.contains("A-label"));
    }
}
