//! Records of signing keys (RFC 6376 section 3.6.1, <https://www.rfc-editor.org/rfc/rfc6376#section-3.6.1>).

use super::tags::Tags;

/// The key itself, without the white space that may stand in it.
pub fn key(tags: &Tags) -> String {
    tags.get("p")
        .unwrap_or_default()
        .split_whitespace()
        .collect()
}

/// Whether a record withdraws its key.
pub fn is_withdrawn(tags: &Tags) -> bool {
    key(tags).is_empty()
}

/// Items of a list between colons.
pub fn has_item(list: &str, wanted: &[&str]) -> bool {
    list.split(':').any(|item| {
        wanted
            .iter()
            .any(|wanted| item.trim().eq_ignore_ascii_case(wanted))
    })
}

/// Our key, with what its record says besides; a key that was withdrawn stays withdrawn.
pub fn completed(ours: &str, theirs: &[&str]) -> String {
    let our_tags = Tags::parse(ours);
    let published: Vec<Tags> = theirs.iter().map(|text| Tags::parse(text)).collect();
    if let [one] = published.as_slice()
        && is_withdrawn(one)
    {
        return theirs[0].to_owned();
    }
    let Some(at) = published
        .iter()
        .position(|tags| key(tags) == key(&our_tags))
    else {
        return ours.to_owned();
    };
    let mut tags = published[at].clone();
    for name in ["v", "k"] {
        if let (Some(_), Some(value)) = (tags.get(name), our_tags.get(name)) {
            tags.set(name, value);
        }
    }
    for (name, wanted, ours) in [
        ("h", &["sha256"][..], "sha256"),
        ("s", &["*", "email"][..], "email"),
    ] {
        let list = tags.get(name).map(str::to_owned);
        if let Some(list) = list.filter(|list| !has_item(list, wanted)) {
            tags.set(name, format!("{list}:{ours}"));
        }
    }
    if let Some(flags) = tags.get("t").map(str::to_owned) {
        let kept: Vec<&str> = flags
            .split(':')
            .map(str::trim)
            .filter(|flag| !flag.eq_ignore_ascii_case("y"))
            .collect();
        if kept.is_empty() {
            tags.remove("t");
        } else {
            tags.set("t", kept.join(":"));
        }
    }
    tags.text(Some(theirs[at]))
}

#[cfg(test)]
mod tests {
    use super::completed;

    #[test]
    fn what_stands_beside_our_key_stays() {
        let ours = "v=DKIM1; k=rsa; p=AAAB";
        for (theirs, text) in [
            ("p=AAAB; t=y:s; n=note", "p=AAAB; t=s; n=note"),
            ("v=DKIM1; t=y; p=AA AB", "v=DKIM1; p=AA AB"),
            (
                "v=DKIM2; k=ed25519; h=sha1; s=tlsrpt; p=AAAB",
                "v=DKIM1; k=rsa; h=sha1:sha256; s=tlsrpt:email; p=AAAB",
            ),
            ("v=DKIM1; p=", "v=DKIM1; p="),
            ("v=DKIM1; n=note; p=AAAC", ours),
        ] {
            assert_eq!(completed(ours, &[theirs]), text, "{theirs}");
        }
        assert_eq!(completed(ours, &[]), ours);
        assert_eq!(completed(ours, &["p=AAAC", "p=AAAB; n=x"]), "p=AAAB; n=x");
    }
}
