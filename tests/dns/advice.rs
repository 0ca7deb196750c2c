//! What the check says of a mistake: where it comes from, and advice that makes nothing worse.

use anyhow::{Result, ensure};

use super::faults::load;
use super::site::{changed, check, empty_server, machine, machine_of, printed_zones};
use crate::world::network;

const WOMBAT: &str = "wombat.example.";
const KOALA: &str = "koala.example.";
const HOST: &str = "mail.wombat.example.";
const DMARC: &str = "_dmarc.koala.example.";

/// A change of a zone, and what is said about it.
struct Case {
    /// The zone.
    zone: &'static str,
    /// Names and types of records that go.
    without: &'static [(&'static str, &'static str)],
    /// Records that come.
    with: &'static [&'static str],
    /// Check and name of the record.
    about: (&'static str, &'static str),
    /// What stands in the words.
    says: &'static [&'static str],
    /// What must not stand there.
    never: &'static [&'static str],
}

const fn case(
    zone: &'static str,
    without: &'static [(&'static str, &'static str)],
    with: &'static [&'static str],
    about: (&'static str, &'static str),
    says: &'static [&'static str],
    never: &'static [&'static str],
) -> Case {
    Case {
        zone,
        without,
        with,
        about,
        says,
        never,
    }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Wildcards.
    case(KOALA, &[("_smtp._tls.koala.example.", "TXT")], &["* TXT \"hello\""], ("tls-rpt", "_smtp._tls.koala.example"),
        &["a wildcard record *.koala.example answers for every name below koala.example"], &["*._tls", "is published as"]),
    case(KOALA, &[("_smtp._tls.koala.example.", "TXT")], &["* TXT \"hello\"", "*._tls TXT \"other\""], ("tls-rpt", "_smtp._tls.koala.example"),
        &["a wildcard record *._tls.koala.example answers"], &["*.koala"]),
    case(KOALA, &[("mta-sts.koala.example.", "CNAME")], &["* A 198.18.0.99"], ("mta-sts-host", "mta-sts.koala.example"),
        &["a wildcard record *.koala.example answers"], &["is published as"]),
    case(KOALA, &[(DMARC, "TXT")], &["* TXT \"v=DMARC1; p=none\""], ("dmarc", "_dmarc.koala.example"),
        &["p is none", "a wildcard record *.koala.example answers"], &["is published as"]),
    // It has records of its own, and no wildcard answers for it.
    case(KOALA, &[(KOALA, "MX")], &["* MX 10 mail.wombat.example."], ("mx", "koala.example"), &["has no MX record"], &["wildcard"]),
    case(WOMBAT, &[(HOST, "CAA")], &["* CAA 0 issue \"letsencrypt.org\""], ("caa", "mail.wombat.example"), &["is not published"], &["wildcard", "is published as"]),

    // Names that a form doubled.
    case(KOALA, &[(DMARC, "TXT")], &["_dmarc.koala.example TXT \"v=DMARC1; p=reject\""], ("dmarc", "_dmarc.koala.example"),
        &["it is published as _dmarc.koala.example.koala.example.: the provider's form adds koala.example by itself: enter only _dmarc as its name", ": v=DMARC1; p=reject; fo=1;"], &["wildcard", " p=quarantine"]),
    case(KOALA, &[("mailserver._domainkey.koala.example.", "TXT")], &["mailserver._domainkey.koala.example TXT \"v=DKIM1; p=MIIB\""], ("dkim", "mailserver._domainkey.koala.example"),
        &["it is published as mailserver._domainkey.koala.example.koala.example.", "enter only mailserver._domainkey"], &[]),
    case(KOALA, &[("mailserver._domainkey.koala.example.", "TXT")], &["mailserver._domainkey._domainkey TXT \"v=DKIM1; p=MIIB\""], ("dkim", "mailserver._domainkey.koala.example"),
        &["it is published as mailserver._domainkey._domainkey.koala.example.: the provider's form adds _domainkey by itself"], &[]),
    case(WOMBAT, &[(HOST, "A")], &["mail.wombat.example A 198.18.0.30"], ("a", "mail.wombat.example"),
        &["it is published as mail.wombat.example.wombat.example.", "enter only mail as its name"], &[]),
    case(KOALA, &[(KOALA, "MX")], &["koala.example MX 10 mail.wombat.example."], ("mx", "koala.example"),
        &["it is published as koala.example.koala.example.", "enter nothing, or @,"], &[]),
    case(KOALA, &[("autoconfig.koala.example.", "CNAME")], &["autoconfig.koala.example CNAME mail.wombat.example."], ("autoconfig", "autoconfig.koala.example"),
        &["it is published as autoconfig.koala.example.koala.example."], &[]),
    case(KOALA, &[("_imaps._tcp.koala.example.", "SRV")], &["_imaps._tcp._imaps._tcp SRV 0 1 993 mail.wombat.example."], ("srv", "_imaps._tcp.koala.example"),
        &["it is published as _imaps._tcp._imaps._tcp.koala.example."], &[]),
    case(WOMBAT, &[(HOST, "CAA")], &["mail.wombat.example CAA 0 issue \"letsencrypt.org\""], ("caa", "mail.wombat.example"),
        &["it is published as mail.wombat.example.wombat.example."], &[]),
    // Other names that are none of theirs.
    case(KOALA, &[(DMARC, "TXT")], &["@ TXT \"v=DMARC1; p=reject\""], ("dmarc", "_dmarc.koala.example"),
        &["it is published as koala.example.: it has to stand at _dmarc.koala.example: enter _dmarc"], &[]),
    case(KOALA, &[("_mta-sts.koala.example.", "TXT")], &["mta-sts._dmarc TXT \"x\"", "_mta-sts TXT \"x\""], ("mta-sts", "_mta-sts.koala.example"), &["none is about MTA-STS"], &["is published as"]),
    case(KOALA, &[(DMARC, "TXT")], &["dmarc TXT \"v=DMARC1; p=reject\""], ("dmarc", "_dmarc.koala.example"), &["it is published as dmarc.koala.example.: underscores are missing"], &[]),

    // Names in values.
    case(KOALA, &[(KOALA, "MX")], &["@ MX 10 mail.wombat.example"], ("mx", "koala.example"),
        &["mail.wombat.example.koala.example. is mail.wombat.example with koala.example behind it once more: enter mail.wombat.example. with the dot at its end"], &["or only"]),
    case(KOALA, &[(KOALA, "MX")], &["@ MX 10 198.18.0.30"], ("mx", "koala.example"), &["198.18.0.30 is an address, and only a name may stand here"], &[]),
    case(KOALA, &[(KOALA, "MX")], &["@ MX 10 mail."], ("mx", "koala.example"), &["mail. is only the beginning of a name"], &[]),
    case(KOALA, &[(KOALA, "MX")], &["@ MX 10 10\\032mail.wombat.example."], ("mx", "koala.example"), &["holds a space"], &[]),
    case(KOALA, &[("autoconfig.koala.example.", "CNAME")], &["autoconfig CNAME mail.wombat.example"], ("autoconfig", "autoconfig.koala.example"), &["once more"], &[]),
    case(KOALA, &[("_imaps._tcp.koala.example.", "SRV")], &["_imaps._tcp SRV 0 1 993 mail.wombat.example"], ("srv", "_imaps._tcp.koala.example"), &["once more"], &[]),

    // Texts that were spoilt on their way.
    case(KOALA, &[(DMARC, "TXT")], &["_dmarc TXT \"_dmarc IN TXT \\\"v=DMARC1; p=reject; rua=mailto:x@isp.example\\\"\""], ("dmarc", "_dmarc.koala.example"),
        &["a whole line of a zone file", ": v=DMARC1; p=reject; rua=mailto:x@isp.example; fo=1;"], &[" p=quarantine"]),
    case(KOALA, &[("mailserver._domainkey.koala.example.", "TXT")], &["mailserver._domainkey TXT \"\\\"v=DKIM1; p=MIIB\\\"\""], ("dkim", "mailserver._domainkey.koala.example"), &["quotation marks of its own"], &[]),
    case(KOALA, &[(KOALA, "TXT")], &["@ TXT \"v=spf1\" \"mx ~all\""], ("spf", "koala.example"), &["without spaces between them, as v=spf1mx ~all", ": v=spf1 a:mail.wombat.example mx ~all"], &[]),
    case(KOALA, &[(KOALA, "TXT")], &["@ TXT \"v=spf1 mx, ipv4:198.18.0.77, \\226\\128\\147all\""], ("spf", "koala.example"), &["a word processor", ": v=spf1 a:mail.wombat.example mx ip4:198.18.0.77 -all"], &["is left out"]),
    case(KOALA, &[], &["@ TXT \"v=spf1 ip4:198.18.0.77 ~all\""], ("spf", "koala.example"), &["there are 2 records", ": v=spf1 a:mail.wombat.example ip4:198.18.0.77 -all"], &[]),

    // What others wrote stays, and gets no weaker.
    case(KOALA, &[(DMARC, "TXT")], &["_dmarc TXT \"v=DMARC1; p=reject; adkim=s; rua=mailto:x@isp.example; own=1\""], ("dmarc", "_dmarc.koala.example"),
        &["says reject for the domain", ": v=DMARC1; p=reject; adkim=s; rua=mailto:x@isp.example; own=1; fo=1; ruf=mailto:"], &["quarantine"]),
    case(KOALA, &[(DMARC, "TXT")], &["_dmarc TXT \"v=DMARC1; p=none; sp=reject; rua=mailto:x@isp.example\""], ("dmarc", "_dmarc.koala.example"),
        &["it only watches", "read the reports", "sp=reject; rua=mailto:x@isp.example"], &[]),
    case(KOALA, &[("_smtp._tls.koala.example.", "TXT")], &["_smtp._tls TXT \"v=TLSRPTv1; rua=x@isp.example\""], ("tls-rpt", "_smtp._tls.koala.example"), &[": v=TLSRPTv1; rua=mailto:x@isp.example"], &["postmaster"]),
    case(KOALA, &[("mailserver._domainkey.koala.example.", "TXT")], &["mailserver._domainkey TXT \"v=DKIM1; p=\""], ("dkim", "mailserver._domainkey.koala.example"), &["if it was withdrawn because it is in wrong hands"], &[]),
    case(WOMBAT, &[(HOST, "CAA")], &["mail CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\""], ("caa", "mail.wombat.example"),
        &["letsencrypt.org may issue certificates at mail.wombat.example only by dns-01", "by http-01 or tls-alpn-01", "add this CAA record", "0 issue \"letsencrypt.org; validationmethods=dns-01\""], &["remove"]),
    case(WOMBAT, &[("_25._tcp.mail.wombat.example.", "TLSA")], &["_25._tcp.mail TLSA 3 1 1 00000000000000000000000000000000000000000000000000000000000000ff"], ("tlsa", "_25._tcp.mail.wombat.example"),
        &["add to the TLSA records", "3 1 1 00000000000000000000000000000000000000000000000000000000000000ff"], &["set the TLSA"]),

    // Lookups of SPF.
    case(WOMBAT, &[(WOMBAT, "TXT")], &["www A 198.18.0.80", "lists TXT \"v=spf1 a:www.wombat.example -all\"",
        "@ TXT \"v=spf1 a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example include:lists.wombat.example mx ~all\""],
        ("spf", "wombat.example"),
        &["a:www.wombat.example (reached by include:lists.wombat.example) is its eleventh DNS lookup", ": v=spf1 ip4:198.18.0.30 ip6:2001:2::30 a:www.wombat.example", "include:lists.wombat.example mx ~all", "it takes 12 DNS lookups (a:www.wombat.example 9, include:lists.wombat.example 2, mx 1)"],
        &["no valid SPF record"]),
    // With a lookup of ours the tenth of theirs would be the eleventh.
    case(WOMBAT, &[(WOMBAT, "TXT")], &["www A 198.18.0.80",
        "@ TXT \"v=spf1 a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example ~all\""],
        ("spf", "wombat.example"), &["does not cover our address", ": v=spf1 ip4:198.18.0.30 ip6:2001:2::30 a:www"], &["a:mail.wombat.example", "DNS lookups"]),
    case(WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"v=spf1 a:x.wombat.example a:y.wombat.example mx:z.wombat.example mx -all\""], ("spf", "wombat.example"),
        &["mx:z.wombat.example is its third DNS lookup that finds nothing", "a:x.wombat.example, a:y.wombat.example, mx:z.wombat.example", ": v=spf1 a:mail.wombat.example a:x.wombat.example"], &[]),
    case(WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"v=spf1 include:wombat.example mx -all\""], ("spf", "wombat.example"), &["include:wombat.example leads back to where it came from", ": v=spf1 a:mail.wombat.example include:wombat.example mx -all"], &[]),
    case(WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"v=spf1 ip4:198.18.0.300 include:lists.wombat.example mx -all\"", "lists TXT \"v=spf1 -all\""], ("spf", "wombat.example"), &["'ip4:198.18.0.300'", ": v=spf1 a:mail.wombat.example include:lists.wombat.example mx -all"], &[]),
];

#[test]
fn advice_names_the_cause_and_keeps_what_is_there() -> Result<()> {
    network::inside(
        "advice::advice_names_the_cause_and_keeps_what_is_there",
        || {
            let machine = machine("")?;
            let knot = empty_server()?;
            let zones = printed_zones(&machine)?;
            load(&knot, &zones)?;
            let mut failed = Vec::new();
            for case in CASES {
                let records = &zones[case.zone];
                knot.replace(case.zone, &changed(records, case.without, case.with))?;
                let (kind, name) = case.about;
                let words = check(&machine)?.words(kind, name);
                for said in case.says {
                    if !words.contains(said) {
                        failed.push(format!("{:?}: no '{said}' in\n{words}\n", case.with));
                    }
                }
                for said in case.never {
                    if words.contains(said) {
                        failed.push(format!("{:?}: '{said}' in\n{words}\n", case.with));
                    }
                }
                knot.replace(case.zone, records)?;
            }
            ensure!(failed.is_empty(), "{}", failed.join("\n"));
            Ok(())
        },
    )
}

/// A zone, records of it that go, and records that come.
type Change = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

#[rustfmt::skip]
const GOOD: &[Change] = &[
    (WOMBAT, &[("_dmarc.wombat.example.", "TXT")], &["_dmarc TXT \"v=DMARC1; p=reject; fo=d; rua=mailto:a@isp.example; ruf=mailto:b@isp.example\""]),
    (WOMBAT, &[("_dmarc.wombat.example.", "TXT")], &["_dmarc TXT \"v=DMARC1;p=quarantine;sp=reject;np=reject;adkim=s;aspf=s;fo=1;rua=mailto:a@isp.example!10m;ruf=mailto:b@isp.example;\""]),
    (WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"v=spf1 mx ~all\""]),
    (WOMBAT, &[(WOMBAT, "TXT")], &["www A 198.18.0.80", "@ TXT \"v=spf1 mx a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example -all\""]),
    (WOMBAT, &[("_imap._tcp.wombat.example.", "SRV")], &["_imap._tcp SRV 0 0 0 ."]),
    (WOMBAT, &[(HOST, "CAA")], &["mail CAA 0 issue \"ca.example\"", "mail CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\"", "mail CAA 0 issue \"letsencrypt.org; validationmethods=tls-alpn-01,http-01; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/1\"", "mail CAA 0 issuewild \";\""]),
    (WOMBAT, &[], &["_25._tcp.mail TLSA 3 1 1 00000000000000000000000000000000000000000000000000000000000000ff", "_25._tcp.mail TLSA 2 1 1 00000000000000000000000000000000000000000000000000000000000000ff"]),
    (KOALA, &[("_smtp._tls.koala.example.", "TXT")], &["_smtp._tls TXT \"v=TLSRPTv1;rua=https://isp.example/tls,mailto:a@isp.example\""]),
    (KOALA, &[("_mta-sts.koala.example.", "TXT")], &["_mta-sts CNAME sts", "sts CNAME _mta-sts.wombat.example."]),
];

#[test]
fn stricter_and_more_is_good() -> Result<()> {
    network::inside("advice::stricter_and_more_is_good", || {
        let machine = machine("")?;
        let knot = empty_server()?;
        let zones = printed_zones(&machine)?;
        load(&knot, &zones)?;
        for (zone, without, with) in GOOD {
            knot.replace(zone, &changed(&zones[*zone], without, with))?;
            let bad = check(&machine)?.bad();
            ensure!(bad.is_empty(), "{with:?}: {bad:?}");
            knot.replace(zone, &zones[*zone])?;
        }
        Ok(())
    })
}

/// A policy of its own would take the place of a stricter one.
#[test]
fn a_policy_above_counts_for_a_domain_below() -> Result<()> {
    const NAME: &str = "advice::a_policy_above_counts_for_a_domain_below";
    const BELOW: &str = "_dmarc.news.koala.example.";
    network::inside(NAME, || {
        let machine = machine_of("koala.example,news.koala.example", "")?;
        let knot = empty_server()?;
        let zones = printed_zones(&machine)?;
        load(&knot, &zones)?;
        let with = |policy: &str| -> Result<Vec<String>> {
            let reports = "fo=1; rua=mailto:a@isp.example; ruf=mailto:a@isp.example";
            let record = format!("_dmarc TXT \"v=DMARC1; {policy}; {reports}\"");
            let without = [(DMARC, "TXT"), (BELOW, "TXT")];
            knot.replace(KOALA, &changed(&zones[KOALA], &without, &[&record]))?;
            Ok(check(&machine)?.bad())
        };
        for good in ["p=reject", "p=none; sp=quarantine"] {
            let bad = with(good)?;
            ensure!(
                !bad.iter().any(|bad| bad.contains("news")),
                "{good}: {bad:?}"
            );
        }
        for weak in ["p=reject; sp=none", "p=none"] {
            let bad = with(weak)?;
            let missing = "dmarc _dmarc.news.koala.example missing required".to_owned();
            ensure!(bad.contains(&missing), "{weak}: {bad:?}");
        }
        Ok(())
    })
}
