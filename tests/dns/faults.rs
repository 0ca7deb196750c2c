//! Each mistake in a zone is one finding, about that very record.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::knot::{Knot, empty_zones, first};
use super::site::{
    ZONES, Zones, changed, check, check_by, dns, dns_by, empty_server, machine, printed_zones,
};
use super::unbound::Unbound;
use crate::world::wait::until;
use crate::world::{network, query};

/// How long a resolver may go on with what it has.
const LIMIT: Duration = Duration::from_secs(20);
const WOMBAT: &str = "wombat.example.";
const KOALA: &str = "koala.example.";
const REVERSE: &str = "18.198.in-addr.arpa.";
const REVERSE6: &str = "2.0.0.0.1.0.0.2.ip6.arpa.";
const HOST: &str = "mail.wombat.example.";
const PTR: &str = "30.0.18.198.in-addr.arpa.";
const PTR6: &str = "0.3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.2.ip6.arpa.";

/// A mistake.
struct Fault {
    /// What it is.
    name: &'static str,
    /// The zone that has it.
    zone: &'static str,
    /// Names and types of records that go.
    without: &'static [(&'static str, &'static str)],
    /// Records that come.
    with: &'static [&'static str],
    /// The only check that is to be red: check, record, verdict and need.
    red: &'static str,
}

const fn fault(
    name: &'static str,
    zone: &'static str,
    without: &'static [(&'static str, &'static str)],
    with: &'static [&'static str],
    red: &'static str,
) -> Fault {
    Fault {
        name,
        zone,
        without,
        with,
        red,
    }
}

#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    fault("no A record", WOMBAT, &[(HOST, "A")], &[], "a mail.wombat.example missing required"),
    fault("A of another host", WOMBAT, &[(HOST, "A")], &["mail A 198.18.0.99"], "a mail.wombat.example wrong required"),
    fault("A of another host beside ours", WOMBAT, &[], &["mail A 198.18.0.99"], "a mail.wombat.example wrong required"),
    fault("no AAAA record", WOMBAT, &[(HOST, "AAAA")], &[], "aaaa mail.wombat.example missing required"),
    fault("AAAA of another host", WOMBAT, &[(HOST, "AAAA")], &["mail AAAA 2001:2::99"], "aaaa mail.wombat.example wrong required"),
    fault("AAAA of another host beside ours", WOMBAT, &[], &["mail AAAA 2001:2::99"], "aaaa mail.wombat.example wrong required"),
    fault("HOSTNAME is an alias", WOMBAT, &[(HOST, "A"), (HOST, "AAAA"), (HOST, "CAA"), (HOST, "TXT")],
        &["mail CNAME real", "real A 198.18.0.30", "real AAAA 2001:2::30", "real TXT \"v=spf1 a -all\"", "real CAA 0 issue \"letsencrypt.org\""],
        "alias mail.wombat.example wrong required"),
    fault("no PTR record", REVERSE, &[(PTR, "PTR")], &[], "ptr 30.0.18.198.in-addr.arpa missing required"),
    fault("a provider's PTR record", REVERSE, &[(PTR, "PTR")], &["30.0 PTR static-30.isp.example."], "ptr 30.0.18.198.in-addr.arpa wrong required"),
    fault("two PTR records", REVERSE, &[], &["30.0 PTR static-30.isp.example."], "ptr 30.0.18.198.in-addr.arpa wrong required"),
    fault("no PTR record of IPv6", REVERSE6, &[(PTR6, "PTR")], &[], "ptr 0.3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.2.ip6.arpa missing required"),
    fault("another PTR record of IPv6", REVERSE6, &[(PTR6, "PTR")], &["0.3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR x.isp.example."], "ptr 0.3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.2.ip6.arpa wrong required"),
    fault("no MX record", WOMBAT, &[(WOMBAT, "MX")], &[], "mx wombat.example missing required"),
    fault("MX to another host", KOALA, &[(KOALA, "MX")], &["@ MX 10 mx.isp.example."], "mx koala.example wrong required"),
    fault("MX that takes no mail", KOALA, &[(KOALA, "MX")], &["@ MX 0 ."], "mx koala.example wrong required"),
    fault("MX to an alias of ours", WOMBAT, &[(WOMBAT, "MX")], &["@ MX 10 smtp", "smtp CNAME mail"], "mx wombat.example wrong required"),
    fault("no SPF record", WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"site-verification=1\""], "spf wombat.example missing required"),
    fault("two SPF records", WOMBAT, &[], &["@ TXT \"v=spf1 mx -all\""], "spf wombat.example wrong required"),
    fault("SPF of somebody else", KOALA, &[(KOALA, "TXT")], &["@ TXT \"v=spf1 ip4:198.18.0.99 -all\""], "spf koala.example wrong required"),
    fault("SPF without IPv6", WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"v=spf1 ip4:198.18.0.30 -all\""], "spf wombat.example wrong required"),
    fault("SPF that lets anybody send", WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"v=spf1 mx +all\""], "spf wombat.example wrong required"),
    fault("SPF without an end", WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"v=spf1 mx\""], "spf wombat.example wrong required"),
    fault("SPF with an unknown mechanism", WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"v=spf1 ipv4:198.18.0.30 mx -all\""], "spf wombat.example wrong required"),
    fault("SPF of too many lookups before ours", WOMBAT, &[(WOMBAT, "TXT")], &["www A 198.18.0.80", "@ TXT \"v=spf1 a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example mx -all\""], "spf wombat.example wrong required"),
    fault("SPF of lookups that find nothing before ours", WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"v=spf1 a:x.wombat.example a:y.wombat.example a:z.wombat.example mx -all\""], "spf wombat.example wrong required"),
    fault("SPF split where a space is needed", WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"v=spf1\" \"mx -all\""], "spf wombat.example missing required"),
    fault("no DKIM record", WOMBAT, &[("mailserver._domainkey.wombat.example.", "TXT")], &[], "dkim mailserver._domainkey.wombat.example missing required"),
    fault("another DKIM key", KOALA, &[("mailserver._domainkey.koala.example.", "TXT")], &["mailserver._domainkey TXT \"v=DKIM1; k=rsa; p=MIIB\""], "dkim mailserver._domainkey.koala.example wrong required"),
    fault("a withdrawn DKIM key", WOMBAT, &[("mailserver._domainkey.wombat.example.", "TXT")], &["mailserver._domainkey TXT \"v=DKIM1; p=\""], "dkim mailserver._domainkey.wombat.example wrong required"),
    fault("two DKIM keys", WOMBAT, &[], &["mailserver._domainkey TXT \"v=DKIM1; p=MIIB\""], "dkim mailserver._domainkey.wombat.example wrong required"),
    fault("no DMARC record", KOALA, &[("_dmarc.koala.example.", "TXT")], &[], "dmarc _dmarc.koala.example missing required"),
    fault("a wildcard instead of DMARC", WOMBAT, &[("_dmarc.wombat.example.", "TXT")], &["* TXT \"hello\""], "dmarc _dmarc.wombat.example missing required"),
    fault("DMARC that does nothing", WOMBAT, &[("_dmarc.wombat.example.", "TXT")], &["_dmarc TXT \"v=DMARC1; p=none; sp=reject; fo=1; rua=mailto:a@wombat.example; ruf=mailto:a@wombat.example\""], "dmarc _dmarc.wombat.example wrong required"),
    fault("DMARC in quotes", WOMBAT, &[("_dmarc.wombat.example.", "TXT")], &["_dmarc TXT \"\\\"v=DMARC1; p=reject\\\"\""], "dmarc _dmarc.wombat.example missing required"),
    fault("DMARC in small letters", WOMBAT, &[("_dmarc.wombat.example.", "TXT")], &["_dmarc TXT \"v=dmarc1; p=reject\""], "dmarc _dmarc.wombat.example missing required"),
    fault("two DMARC records", WOMBAT, &[], &["_dmarc TXT \"v=DMARC1; p=reject\""], "dmarc _dmarc.wombat.example wrong required"),
    fault("TLSA of another key", WOMBAT, &[("_25._tcp.mail.wombat.example.", "TLSA")], &["_25._tcp.mail TLSA 3 1 1 00000000000000000000000000000000000000000000000000000000000000ff"], "tlsa _25._tcp.mail.wombat.example wrong required"),
    fault("CAA of another authority", WOMBAT, &[(HOST, "CAA")], &["mail CAA 0 issue \"ca.example\""], "caa mail.wombat.example wrong required"),
    fault("CAA of another authority above", WOMBAT, &[(HOST, "CAA")], &["@ CAA 0 issue \";\""], "caa mail.wombat.example wrong required"),
    fault("CAA for another account", WOMBAT, &[(HOST, "CAA")], &["mail CAA 0 issue \"letsencrypt.org; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/2\""], "caa mail.wombat.example wrong required"),
    fault("CAA for another way of proof", WOMBAT, &[(HOST, "CAA")], &["mail CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\""], "caa mail.wombat.example wrong required"),
    fault("CAA that cannot be read", WOMBAT, &[(HOST, "CAA")], &["mail CAA 0 issue \"letsencrypt.org validationmethods=http-01\""], "caa mail.wombat.example wrong required"),
    fault("CAA with an unknown critical tag", WOMBAT, &[], &["mail CAA 128 tbs \"x\""], "caa mail.wombat.example wrong required"),
    fault("a silent name server", WOMBAT, &[], &["@ NS b.nic.example."], "servers wombat.example wrong required"),
    // What is only recommended is told, and the exit code stays 0.
    fault("DMARC without fo", WOMBAT, &[("_dmarc.wombat.example.", "TXT")], &["_dmarc TXT \"v=DMARC1; p=reject; sp=reject; rua=mailto:a@wombat.example; ruf=mailto:a@wombat.example\""], "dmarc _dmarc.wombat.example missing recommended"),
    fault("DMARC without rua", WOMBAT, &[("_dmarc.wombat.example.", "TXT")], &["_dmarc TXT \"v=DMARC1; p=reject; sp=reject; fo=1; ruf=mailto:a@wombat.example\""], "dmarc _dmarc.wombat.example missing recommended"),
    fault("DMARC without ruf", WOMBAT, &[("_dmarc.wombat.example.", "TXT")], &["_dmarc TXT \"v=DMARC1; p=reject; sp=reject; fo=1; rua=mailto:a@wombat.example\""], "dmarc _dmarc.wombat.example missing recommended"),
    fault("SPF of too many lookups behind ours", WOMBAT, &[(WOMBAT, "TXT")], &["www A 198.18.0.80", "@ TXT \"v=spf1 mx a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example a:www.wombat.example -all\""], "spf wombat.example wrong recommended"),
    fault("SPF that includes nothing", WOMBAT, &[(WOMBAT, "TXT")], &["@ TXT \"v=spf1 mx include:gone.wombat.example -all\""], "spf wombat.example wrong recommended"),
    fault("DMARC that is a test", WOMBAT, &[("_dmarc.wombat.example.", "TXT")], &["_dmarc TXT \"v=DMARC1; p=reject; t=y; fo=1; rua=mailto:a@wombat.example; ruf=mailto:a@wombat.example\""], "dmarc _dmarc.wombat.example wrong recommended"),
    fault("DMARC that lets names below be forged", WOMBAT, &[("_dmarc.wombat.example.", "TXT")], &["_dmarc TXT \"v=DMARC1; p=reject; sp=none; fo=1; rua=mailto:a@wombat.example; ruf=mailto:a@wombat.example\""], "dmarc _dmarc.wombat.example wrong recommended"),
    fault("no TLSA", WOMBAT, &[("_25._tcp.mail.wombat.example.", "TLSA")], &[], "tlsa _25._tcp.mail.wombat.example missing recommended"),
    fault("no CAA", WOMBAT, &[(HOST, "CAA")], &[], "caa mail.wombat.example missing recommended"),
    fault("no SPF of HOSTNAME", WOMBAT, &[(HOST, "TXT")], &[], "spf mail.wombat.example missing recommended"),
    fault("no permission for reports", WOMBAT, &[("koala.example._report._dmarc.wombat.example.", "TXT")], &[], "dmarc-reports koala.example._report._dmarc.wombat.example missing recommended"),
    fault("an old MTA-STS id", KOALA, &[("_mta-sts.koala.example.", "TXT")], &["_mta-sts TXT \"v=STSv1; id=1\""], "mta-sts _mta-sts.koala.example wrong recommended"),
    fault("no MTA-STS host", KOALA, &[("mta-sts.koala.example.", "CNAME")], &[], "mta-sts-host mta-sts.koala.example missing recommended"),
    fault("a wildcard instead of the MTA-STS host", KOALA, &[("mta-sts.koala.example.", "CNAME")], &["* A 198.18.0.99"], "mta-sts-host mta-sts.koala.example wrong recommended"),
    fault("TLS-RPT without address", KOALA, &[("_smtp._tls.koala.example.", "TXT")], &["_smtp._tls TXT \"v=TLSRPTv1\""], "tls-rpt _smtp._tls.koala.example wrong recommended"),
    fault("autoconfig of somebody else", KOALA, &[("autoconfig.koala.example.", "CNAME")], &["autoconfig AAAA 2001:2::99"], "autoconfig autoconfig.koala.example wrong recommended"),
    fault("SRV with another port", KOALA, &[("_imaps._tcp.koala.example.", "SRV")], &["_imaps._tcp SRV 0 1 994 mail.wombat.example."], "srv _imaps._tcp.koala.example wrong recommended"),
];

#[test]
fn every_fault_is_found_and_nothing_else() -> Result<()> {
    network::inside("faults::every_fault_is_found_and_nothing_else", || {
        let machine = machine("")?;
        let knot = empty_server()?;
        let zones = printed_zones(&machine)?;
        load(&knot, &zones)?;
        let (code, text, errors) = dns(&machine, &["check"])?;
        println!("{text}{errors}");
        ensure!(
            code == 0 && text.ends_with("All checks are good.\n"),
            "the printed zone is not good"
        );
        let started = Instant::now();
        let mut failed = Vec::new();
        for fault in FAULTS {
            let records = &zones[fault.zone];
            knot.replace(fault.zone, &spoil(records, fault))?;
            let checked = check(&machine)?;
            let bad = checked.bad();
            let code = i32::from(fault.red.ends_with(" required"));
            if bad != [fault.red] || checked.code != code {
                failed.push(format!(
                    "{}: exit code {}, {bad:?}",
                    fault.name, checked.code
                ));
            }
            knot.replace(fault.zone, records)?;
        }
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        println!("{} faults in {:?}", FAULTS.len(), started.elapsed());
        let checked = check(&machine)?;
        ensure!(checked.code == 0, "not good again: {:?}", checked.bad());
        Ok(())
    })
}

/// The way a machine asks: by a resolver that validates.
#[test]
fn a_validating_resolver_finds_the_same_and_broken_signatures() -> Result<()> {
    const NAME: &str = "faults::a_validating_resolver_finds_the_same_and_broken_signatures";
    network::inside(NAME, || {
        let machine = machine("")?;
        let signed = [".", "example.", WOMBAT];
        let knot = Knot::start(&first(), &empty_zones(&ZONES), &signed)?;
        let _unbound = Unbound::start(&knot.keys[0])?;
        let (code, text, errors) = dns_by(&machine, Unbound::ADDRESS, &["records", "--zone"])?;
        ensure!(code == 0, "{errors}");
        ensure!(
            text == dns(&machine, &["records", "--zone"])?.1,
            "other zones by Unbound:\n{text}"
        );
        let zones = printed_zones(&machine)?;
        load(&knot, &zones)?;
        let (code, text, errors) = dns_by(&machine, Unbound::ADDRESS, &["check"])?;
        ensure!(
            code == 0 && text.ends_with("All checks are good.\n"),
            "{text}{errors}"
        );
        ensure!(
            text.contains("wombat.example is signed.")
                && text.contains("koala.example is not signed"),
            "{text}"
        );
        for fault in FAULTS.iter().step_by(3) {
            knot.replace(fault.zone, &spoil(&zones[fault.zone], fault))?;
            let bad = check_by(&machine, Unbound::ADDRESS)?.bad();
            ensure!(bad == [fault.red], "{}: {bad:?}", fault.name);
            knot.replace(fault.zone, &zones[fault.zone])?;
        }
        // The parent lists a key that the zone does not have.
        knot.break_chain(WOMBAT)?;
        // Even without a cache Unbound gives the same answer until the second is over.
        until("the resolver to refuse the zone", LIMIT, || {
            let answer = query::soa_serial(Unbound::ADDRESS.ip(), WOMBAT);
            Ok((!matches!(answer, Ok(Some(_)))).then_some(()))
        })?;
        let checked = check_by(&machine, Unbound::ADDRESS)?;
        ensure!(
            checked.code == 1 && checked.bad() == ["servers wombat.example wrong required"],
            "{:?}",
            checked.bad()
        );
        ensure!(
            checked
                .json
                .to_string()
                .contains("refused by resolvers that validate")
        );
        Ok(())
    })
}

/// Loads printed zones.
pub fn load(knot: &Knot, zones: &Zones) -> Result<()> {
    for (zone, records) in zones {
        knot.replace(zone, records)?;
    }
    Ok(())
}

fn spoil(records: &[String], fault: &Fault) -> Vec<String> {
    changed(records, fault.without, fault.with)
}
