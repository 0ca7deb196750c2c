//! Judging text records: DKIM, DMARC, MTA-STS, TLS-RPT.
//!
//! Texts are compared by what they mean: order, white space and how a text is
//! cut into strings do not count.

use super::super::authority::View;
use super::super::data::Data;
use super::super::expected::Expected;
use super::finding::Judged;

/// The texts of a view, each joined.
pub fn texts(view: &View) -> Vec<String> {
    view.records.iter().filter_map(Data::joined).collect()
}

/// What may be odd about the way a text is written, for when it is wrong.
pub fn oddities(view: &View) -> Vec<String> {
    let mut odd = Vec::new();
    for record in &view.records {
        if let Data::Txt(strings) = record
            && strings.len() > 1
            && strings.iter().any(|string| string.len() < 100)
        {
            odd.push(format!(
                "a text in several strings is joined without spaces between them: {}",
                strings.concat()
            ));
        }
        if record.joined().is_some_and(|text| text.starts_with('"')) {
            odd.push("the text begins with a quotation mark of its own: leave quotes out of the provider's form".to_owned());
        }
    }
    odd
}

/// Tags of a list such as `v=DKIM1; p=...` (RFC 6376 section 3.2).
pub fn tags(text: &str) -> Vec<(String, String)> {
    text.split(';')
        .filter_map(|tag| tag.split_once('='))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect()
}

fn tag(tags: &[(String, String)], name: &str) -> Option<String> {
    tags.iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.clone())
}

/// Whether a text begins with this version, as in `v=DMARC1`.
pub fn is_of_version(text: &str, wanted: &str) -> bool {
    let first = text.split(';').next().unwrap_or_default();
    let first: String = first.split_whitespace().collect();
    first.eq_ignore_ascii_case(wanted)
}

/// Whether a text is a signing key, be it one that was withdrawn.
pub fn is_key(text: &str) -> bool {
    tag(&tags(text), "p").is_some() && !is_of_version(text, "v=DMARC1")
}

/// Texts of one kind by the version that they begin with.
fn of_version(view: &View, wanted: &str) -> Vec<String> {
    texts(view)
        .into_iter()
        .filter(|text| is_of_version(text, wanted))
        .collect()
}

/// The only text of its kind, or what to say.
fn only(view: &View, wanted: &str, what: &str, advice: &str) -> Result<String, Judged> {
    let mut found = of_version(view, wanted);
    match found.len() {
        1 => Ok(found.remove(0)),
        0 if view.records.is_empty() => {
            Err(Judged::missing("is not published").advise(advice.to_owned()))
        }
        0 => Err(
            Judged::missing(format!("has text records, but none is {what}"))
                .advise(advice.to_owned()),
        ),
        count => Err(Judged::wrong(format!(
            "{count} records are {what}; with more than one, none counts"
        ))
        .advise("leave only one of them".to_owned())
        .advise(advice.to_owned())),
    }
}

fn publish(expected: &Expected) -> String {
    let texts: Vec<String> = expected.data.iter().map(Data::form_value).collect();
    format!(
        "publish this text as the TXT record of {}: {}",
        expected.name,
        texts.join(" ")
    )
}

/// DKIM: the very key.
pub fn judge_dkim(expected: &Expected, view: &View) -> Judged {
    let advice = publish(expected);
    let found: Vec<String> = texts(view)
        .into_iter()
        .filter(|text| is_key(text))
        .collect();
    let text = match found.as_slice() {
        [text] => text,
        [] if view.records.is_empty() => return Judged::missing("is not published").advise(advice),
        [] => return Judged::wrong("has a text record that holds no key").advise(advice),
        _ => {
            return Judged::wrong(format!(
                "{} records hold a key; verifiers take any one of them",
                found.len()
            ))
            .advise("leave only the one that is ours")
            .advise(advice);
        }
    };
    let published = tags(text);
    let ours = tags(
        &expected
            .data
            .first()
            .and_then(Data::joined)
            .unwrap_or_default(),
    );
    let key = |tags: &[(String, String)]| -> String {
        tag(tags, "p")
            .unwrap_or_default()
            .split_whitespace()
            .collect()
    };
    let wrong = if tag(&published, "v").is_some_and(|version| version != "DKIM1") {
        Some("names a version other than DKIM1".to_owned())
    } else if key(&published).is_empty() {
        Some("says that the key was withdrawn (p= is empty)".to_owned())
    } else if tag(&published, "k").is_some_and(|kind| !kind.eq_ignore_ascii_case("rsa")) {
        Some("names another kind of key than rsa".to_owned())
    } else if key(&published) != key(&ours) {
        Some("holds another key than the one that signs".to_owned())
    } else if tag(&published, "h").is_some_and(|hashes| {
        !hashes
            .split(':')
            .any(|hash| hash.trim().eq_ignore_ascii_case("sha256"))
    }) {
        Some("forbids sha256, with which we sign (h=)".to_owned())
    } else if tag(&published, "s").is_some_and(|services| {
        !services
            .split(':')
            .any(|service| matches!(service.trim(), "*" | "email"))
    }) {
        Some("is not for mail (s=)".to_owned())
    } else if tag(&published, "t")
        .is_some_and(|flags| flags.split(':').any(|flag| flag.trim() == "y"))
    {
        Some("says that the key is only being tested (t=y), so it counts for nothing".to_owned())
    } else {
        None
    };
    match wrong {
        Some(said) => Judged::wrong(said).advise(advice),
        None => Judged::good("holds our key"),
    }
}

/// DMARC: `p` and `sp` that do something, and reports.
pub fn judge_dmarc(expected: &Expected, view: &View) -> Judged {
    let advice = publish(expected);
    let text = match only(view, "v=DMARC1", "a DMARC policy", &advice) {
        Ok(text) => text,
        Err(judged) => return judged,
    };
    let tags = tags(&text);
    let mut wrong = Vec::new();
    for name in ["p", "sp"] {
        match tag(&tags, name).map(|value| value.to_ascii_lowercase()) {
            None => wrong.push(format!("{name} is missing")),
            Some(value) if value != "quarantine" && value != "reject" => {
                wrong.push(format!("{name} is {value}, neither quarantine nor reject"));
            }
            Some(_) => {}
        }
    }
    for (name, what) in [
        ("fo", "when to report a failure"),
        ("rua", "where summaries go"),
        ("ruf", "where reports of single failures go"),
    ] {
        match tag(&tags, name) {
            None => wrong.push(format!("{name} is missing ({what})")),
            Some(value) if name != "fo" && !value.to_ascii_lowercase().contains("mailto:") => {
                wrong.push(format!("{name} holds no mailto: address"));
            }
            Some(_) => {}
        }
    }
    if wrong.is_empty() {
        return Judged::good(format!(
            "says {} for the domain and {} for names below it",
            tag(&tags, "p").unwrap_or_default(),
            tag(&tags, "sp").unwrap_or_default()
        ));
    }
    Judged::wrong(wrong.join("; ")).advise(advice)
}

/// The permission to be sent reports about another domain.
pub fn judge_dmarc_reports(expected: &Expected, view: &View) -> Judged {
    if of_version(view, "v=DMARC1").is_empty() {
        return Judged::missing("is not published").advise(publish(expected));
    }
    Judged::good("allows reports")
}

/// MTA-STS: the id of the policy that we serve.
pub fn judge_sts(expected: &Expected, view: &View) -> Judged {
    let advice = publish(expected);
    let text = match only(view, "v=STSv1", "about MTA-STS", &advice) {
        Ok(text) => text,
        Err(judged) => return judged,
    };
    let ours = expected
        .data
        .first()
        .and_then(Data::joined)
        .unwrap_or_default();
    let (found, wanted) = (tag(&tags(&text), "id"), tag(&tags(&ours), "id"));
    if found == wanted {
        return Judged::good("has the id of our policy");
    }
    Judged::wrong(format!(
        "has id {}, but our policy has {}: others keep an old policy and do not look again",
        found.unwrap_or_else(|| "none".to_owned()),
        wanted.unwrap_or_default()
    ))
    .advise(advice)
}

/// TLS-RPT: somewhere to report to.
pub fn judge_tls_reports(expected: &Expected, view: &View) -> Judged {
    let advice = publish(expected);
    let text = match only(view, "v=TLSRPTv1", "about TLS reports", &advice) {
        Ok(text) => text,
        Err(judged) => return judged,
    };
    match tag(&tags(&text), "rua") {
        Some(address) if !address.is_empty() => Judged::good(format!("sends reports to {address}")),
        _ => Judged::wrong("names no address (rua=)").advise(advice),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::expected::{Need, Purpose};
    use super::super::finding::Verdict;
    use super::*;

    fn expected(text: &str) -> Expected {
        Expected {
            purpose: Purpose::Dkim,
            of: "a.example".to_owned(),
            name: "n.a.example".to_owned(),
            data: vec![Data::text(text)],
            need: Need::Required,
            why: String::new(),
        }
    }

    fn view(texts: &[&str]) -> View {
        View {
            servers: Vec::new(),
            exists: true,
            aliases: Vec::new(),
            renamed: false,
            records: texts.iter().map(|text| Data::text(text)).collect(),
        }
    }

    #[test]
    fn keys_are_compared_by_meaning() {
        let ours = expected("v=DKIM1; k=rsa; p=AAAB");
        for good in ["v=DKIM1;p=AA AB", "p=AAAB; k=RSA; s=email:x; h=sha1:sha256"] {
            assert_eq!(
                judge_dkim(&ours, &view(&[good])).verdict,
                Verdict::Ok,
                "{good}"
            );
        }
        for (bad, said) in [
            ("v=DKIM1; p=", "withdrawn"),
            ("v=DKIM1; p=AAAC", "another key"),
            ("v=DKIM2; p=AAAB", "version"),
            ("v=DKIM1; k=ed25519; p=AAAB", "another kind"),
            ("v=DKIM1; p=AAAB; t=y:s", "tested"),
            ("v=DKIM1; p=AAAB; h=sha1", "sha256"),
            ("v=DKIM1; p=AAAB; s=tlsrpt", "not for mail"),
            ("v=spf1 -all", "no key"),
        ] {
            let judged = judge_dkim(&ours, &view(&[bad]));
            assert_eq!(judged.verdict, Verdict::Wrong, "{bad}");
            assert!(judged.said.contains(said), "{bad}: {}", judged.said);
        }
        assert_eq!(judge_dkim(&ours, &view(&[])).verdict, Verdict::Missing);
        assert_eq!(
            judge_dkim(&ours, &view(&["p=AAAB", "p=AAAC"])).verdict,
            Verdict::Wrong
        );
    }

    #[test]
    fn policies_must_do_something_and_report() {
        let ours = expected("v=DMARC1; p=quarantine");
        let good = "V = DMARC1; p=Reject;sp=quarantine ;fo=1; rua=mailto:a@b; ruf=mailto:a@b";
        assert_eq!(judge_dmarc(&ours, &view(&[good, "x"])).verdict, Verdict::Ok);
        for (bad, said) in [
            (good.replace("p=Reject", "p=none"), "p is none"),
            (good.replace("sp=quarantine ;", ""), "sp is missing"),
            (good.replace("fo=1;", ""), "fo is missing"),
            (good.replace("rua=mailto:a@b;", ""), "rua is missing"),
            (good.replace("ruf=mailto:", "ruf="), "ruf holds no mailto:"),
        ] {
            let judged = judge_dmarc(&ours, &view(&[&bad]));
            assert!(judged.said.contains(said), "{bad}: {}", judged.said);
            assert_eq!(judged.verdict, Verdict::Wrong, "{bad}");
        }
        assert_eq!(
            judge_dmarc(&ours, &view(&["v=spf1"])).verdict,
            Verdict::Missing
        );
        assert_eq!(
            judge_dmarc(&ours, &view(&[good, good])).verdict,
            Verdict::Wrong
        );
    }
}
