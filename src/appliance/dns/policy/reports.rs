//! Lists of addresses that reports go to, `rua` and `ruf`.

/// Whether a list holds an address that reports can be mailed to.
pub fn is_mailed(list: &str) -> bool {
    addresses(list).any(|address| starts_with(address, "mailto:"))
}

/// Whether a list holds an address that reports can be posted to (RFC 8460 section 3).
pub fn is_posted(list: &str) -> bool {
    addresses(list).any(|address| starts_with(address, "https:"))
}

fn addresses(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|address| !address.is_empty())
}

fn starts_with(text: &str, start: &str) -> bool {
    text.get(..start.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(start))
}

/// The list with `mailto:` where it was forgotten; nobody's address is lost.
pub fn mended(list: &str) -> String {
    let mended: Vec<String> = addresses(list)
        .map(|address| {
            let scheme = address.split('@').next().unwrap_or_default();
            if address.contains('@') && !scheme.contains(':') {
                format!("mailto:{address}")
            } else {
                address.to_owned()
            }
        })
        .collect();
    mended.join(",")
}

/// Both lists, each address once.
pub fn united(one: &str, other: &str) -> String {
    let mut list: Vec<&str> = Vec::new();
    for address in addresses(one).chain(addresses(other)) {
        if !list.iter().any(|known| known.eq_ignore_ascii_case(address)) {
            list.push(address);
        }
    }
    list.join(",")
}

/// The list as it can be used: ours are added where it leads nowhere.
pub fn completed(list: &str, ours: &str, posted: bool) -> String {
    if is_mailed(list) || posted && is_posted(list) {
        return list.to_owned();
    }
    let list = mended(list);
    if is_mailed(&list) {
        return list;
    }
    united(&list, ours)
}

#[cfg(test)]
mod tests {
    use super::{completed, is_mailed, united};

    #[test]
    fn addresses_of_owners_stay() {
        let ours = "mailto:us@a.example";
        for (theirs, list) in [
            ("mailto:x@b.example!10m", "mailto:x@b.example!10m"),
            ("MAILTO:x@b.example, y", "MAILTO:x@b.example, y"),
            (
                "x@b.example,y@c.example",
                "mailto:x@b.example,mailto:y@c.example",
            ),
            ("", "mailto:us@a.example"),
            (
                "https://b.example/r",
                "https://b.example/r,mailto:us@a.example",
            ),
        ] {
            assert_eq!(completed(theirs, ours, false), list);
        }
        assert_eq!(
            completed("https://b.example/r", ours, true),
            "https://b.example/r"
        );
        assert!(!is_mailed("x@b.example") && is_mailed("x, Mailto:y@b.example"));
        assert_eq!(
            united("mailto:a@b, mailto:c@d", "mailto:A@b"),
            "mailto:a@b,mailto:c@d"
        );
    }
}
