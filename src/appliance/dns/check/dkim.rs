//! Judging the records of signing keys (RFC 6376 section 3.6.1).

use super::super::data::Data;
use super::super::expected::Expected;
use super::super::facts::{Facts, KeyUse};
use super::super::name_servers::View;
use super::super::policy::dkim::{has_item, is_withdrawn, key};
use super::super::policy::tags::Tags;
use super::super::policy::text::Kind;
use super::finding::Judged;
use super::text::Case;

/// What helps when somebody else's key stands where ours should.
const OTHER_SIGNER: &str = "if another server still signs with the other key, leave its record, and give this machine a key under a name of its own: mailctl dkim rotate";

/// DKIM: the very key.
pub fn judge_dkim(facts: &Facts, expected: &Expected, view: &View) -> Judged {
    let case = Case::new(facts, expected, view, Kind::Key);
    let reading = match case.found.readings.as_slice() {
        [reading] => reading,
        [] if view.records.is_empty() => return case.mend(Judged::missing("is not published")),
        [] => return case.mend(Judged::wrong("has a text record that holds no key")),
        several => {
            return case
                .mend(
                    Judged::wrong(format!(
                        "{} records hold a key; verifiers take any one of them",
                        several.len()
                    ))
                    .advise("leave only the one that is ours"),
                )
                .advise(OTHER_SIGNER);
        }
    };
    let published = Tags::parse(&reading.text);
    let ours = expected.data.first().and_then(Data::joined);
    let ours = Tags::parse(&ours.unwrap_or_default());
    let (found, wanted) = (key(&published), key(&ours));
    let has = |name: &str, good: &dyn Fn(&str) -> bool| published.get(name).is_none_or(good);
    if is_withdrawn(&published) {
        return judge_withdrawn(facts, expected);
    }
    let wrong = if !has("v", &|version| version == "DKIM1") {
        "names a version other than DKIM1".to_owned()
    } else if !has("k", &|kind| kind.eq_ignore_ascii_case("rsa")) {
        "names another kind of key than rsa".to_owned()
    } else if found != wanted && wanted.starts_with(&found) {
        return case
            .mend(Judged::wrong(format!(
                "holds only the first {} of the {} characters of our key",
                found.len(),
                wanted.len()
            )))
            .advise("a form that takes no more than 255 characters wants the text in several strings; there must be none of it missing at the joins");
    } else if found != wanted {
        return case
            .mend(Judged::wrong("holds another key than the one that signs"))
            .advise(OTHER_SIGNER);
    } else if !has("h", &|hashes| has_item(hashes, &["sha256"])) {
        "forbids sha256, with which we sign (h=)".to_owned()
    } else if !has("s", &|services| has_item(services, &["*", "email"])) {
        "is not for mail (s=)".to_owned()
    } else if !reading.slips.is_empty() {
        "is not written as it was meant".to_owned()
    } else if !has("t", &|flags| !has_item(flags, &["y"])) {
        return case.mend(
            Judged::wrong(
                "holds our key, but says that it is only being tested (t=y): a signature counts for little",
            )
            .minor(),
        );
    } else {
        return Judged::good("holds our key");
    };
    case.mend(Judged::wrong(wrong))
}

/// A key that its owner withdrew stays so, whatever the reason was.
fn judge_withdrawn(facts: &Facts, expected: &Expected) -> Judged {
    let used = facts
        .keys
        .iter()
        .find(|key| key.name == expected.name)
        .map_or(KeyUse::Active, |key| key.used);
    let said = "says that the key was withdrawn (p= is empty)";
    match used {
        KeyUse::Retired => Judged::good(said),
        KeyUse::Active | KeyUse::Next => Judged::wrong(said).advise(format!(
            "if it was withdrawn because it is in wrong hands, make another one: mailctl dkim rotate {}",
            expected.of
        ))
        .advise(format!(
            "if that was a mistake, publish this text as the TXT record of {}: {}",
            expected.name,
            expected.data.first().map(Data::form_value).unwrap_or_default()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::expected::{Need, Purpose};
    use super::super::super::facts::{KeyRecord, KeyUse};
    use super::super::finding::Verdict;
    use super::super::text::tests::{expected, facts, view};
    use super::judge_dkim;

    const OURS: &str = "v=DKIM1; k=rsa; p=AAAB";

    #[test]
    fn keys_are_compared_by_meaning() {
        let ours = expected(Purpose::Dkim, OURS);
        let judge = |texts: &[&str]| judge_dkim(&facts(), &ours, &view(texts));
        for good in [
            "v=DKIM1;p=AA AB",
            "p=AAAB; k=RSA; s=email:x; h=sha1:sha256",
            "v=DKIM1; t=s; n=note; p=AAAB",
        ] {
            assert_eq!(judge(&[good]).verdict, Verdict::Ok, "{good}");
        }
        for (bad, said, text) in [
            ("v=DKIM1; p=AAAC", "another key", OURS),
            ("v=DKIM1; p=AAA", "first 3 of the 4", OURS),
            ("v=DKIM2; p=AAAB", "version", "v=DKIM1; p=AAAB"),
            ("v=DKIM1; k=ed25519; p=AAAB", "another kind", OURS),
            (
                "v=DKIM1; n=x; p=AAAB; h=sha1",
                "sha256",
                "v=DKIM1; n=x; p=AAAB; h=sha1:sha256",
            ),
            (
                "v=DKIM1; p=AAAB; s=tlsrpt",
                "not for mail",
                "v=DKIM1; p=AAAB; s=tlsrpt:email",
            ),
            ("v=spf1 -all", "no key", OURS),
            (
                "\"v=DKIM1; t=s; p=AA\" \"AB\"",
                "as it was meant",
                "v=DKIM1; t=s; p=AAAB",
            ),
        ] {
            let judged = judge(&[bad]);
            assert_eq!(
                (judged.verdict, judged.need),
                (Verdict::Wrong, None),
                "{bad}"
            );
            assert!(judged.said.contains(said), "{bad}: {}", judged.said);
            let text = format!("n.a.example: {text}");
            assert!(
                judged.advice.iter().any(|advice| advice.ends_with(&text)),
                "{bad}: {:?}",
                judged.advice
            );
        }
        let test = judge(&["v=DKIM1; p=AAAB; t=y:s"]);
        assert_eq!(test.need, Some(Need::Recommended));
        assert!(test.advice[0].ends_with(": v=DKIM1; p=AAAB; t=s"));
        assert_eq!(judge(&[]).verdict, Verdict::Missing);
        assert_eq!(judge(&["p=AAAB", "p=AAAC"]).verdict, Verdict::Wrong);
    }

    #[test]
    fn a_withdrawn_key_is_not_brought_back_blindly() {
        let ours = expected(Purpose::Dkim, OURS);
        let withdrawn = view(&["v=DKIM1; p="]);
        let mut facts = facts();
        let judged = judge_dkim(&facts, &ours, &withdrawn);
        assert!(judged.said.contains("withdrawn"));
        assert_eq!(judged.verdict, Verdict::Wrong);
        assert!(judged.advice[0].contains("mailctl dkim rotate a.example"));
        facts.keys.push(KeyRecord {
            domain: "a.example".to_owned(),
            name: "n.a.example".to_owned(),
            text: OURS.to_owned(),
            used: KeyUse::Retired,
        });
        assert_eq!(judge_dkim(&facts, &ours, &withdrawn).verdict, Verdict::Ok);
    }
}
