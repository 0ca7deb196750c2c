//! Publishing by dynamic update (RFC 2136) into a real Knot.

use anyhow::{Result, ensure};

use super::knot::{KEY, SECRET};
use super::site::{FORMER_KEY, ZONES, check, dns, empty_server, machine};
use crate::world::machine::Machine;
use crate::world::network::{self, OUTSIDE_DNS};

/// A key that the machine never had.
const FOREIGN_KEY: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

fn update_settings(key: &str, secret: &str) -> String {
    format!("DNS_UPDATE_SERVER={OUTSIDE_DNS}\nDNS_UPDATE_KEY={key}\nDNS_UPDATE_SECRET={secret}\n")
}

fn publish(machine: &Machine, words: &[&str]) -> Result<(i32, String, String)> {
    dns(machine, &[&["publish"], words].concat())
}

#[test]
fn an_empty_zone_ends_green_and_a_second_run_sends_nothing() -> Result<()> {
    network::inside(
        "publish::an_empty_zone_ends_green_and_a_second_run_sends_nothing",
        || {
            let machine = machine(&update_settings(KEY, SECRET))?;
            let knot = empty_server()?;
            let serials = || {
                ZONES
                    .iter()
                    .map(|zone| knot.serial(zone))
                    .collect::<Result<Vec<_>>>()
            };
            let before = serials()?;

            let (code, text, errors) = publish(&machine, &["--dry-run"])?;
            ensure!(code == 0 && text.contains("would add"), "{text}{errors}");
            ensure!(serials()? == before, "a dry run changed something");

            let (code, text, errors) = publish(&machine, &[])?;
            println!("{text}{errors}");
            ensure!(
                code == 0 && text.ends_with("All name servers have it.\n"),
                "{errors}"
            );
            let published = serials()?;
            ensure!(
                published.iter().zip(&before).all(|(new, old)| new != old),
                "{published:?}"
            );
            let checked = check(&machine)?;
            ensure!(
                checked.code == 0 && checked.bad().is_empty(),
                "{:?}",
                checked.bad()
            );

            let (code, text, errors) = publish(&machine, &[])?;
            ensure!(
                code == 0 && text == "Nothing to change.\n",
                "{text}{errors}"
            );
            ensure!(serials()? == published, "the second run changed something");

            // A new key of the first domain: only its record comes.
            machine.run(&["dkim", "rotate", "koala.example"]).success();
            let (code, text, _) = publish(&machine, &[])?;
            ensure!(code == 0 && text.matches(": added ").count() == 1, "{text}");
            ensure!(text.contains("_domainkey.koala.example. TXT"), "{text}");
            Ok(())
        },
    )
}

#[test]
fn what_is_not_ours_survives() -> Result<()> {
    network::inside("publish::what_is_not_ours_survives", || {
        let machine = machine(&update_settings(KEY, SECRET))?;
        let knot = empty_server()?;
        let foreign = [
            "@ TXT \"verification=1\"",
            "@ TXT \"v=spf1 include:lists.koala.example -all\"",
            "@ MX 20 backup.isp.example.",
            "@ A 198.18.0.80",
            "www A 198.18.0.80",
            "old._domainkey TXT \"v=DKIM1; p=AAAA\"",
            "mail CAA 0 iodef \"mailto:x@wombat.example\"",
            "mail CAA 0 issue \"other.example\"",
            "_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:reports@isp.example\"",
            "autoconfig A 198.18.0.80",
            "_25._tcp.mail TLSA 2 1 1 00000000000000000000000000000000000000000000000000000000000000ff",
        ];
        knot.replace("wombat.example.", &foreign.map(str::to_owned))?;
        knot.replace("koala.example.", &["lists TXT \"v=spf1 -all\"".to_owned()])?;

        let (code, text, errors) = publish(&machine, &[])?;
        println!("{text}{errors}");
        ensure!(code == 0, "{errors}");
        let zone = knot.dump("wombat.example.")?;
        for kept in [
            "wombat.example. 60 TXT \"verification=1\"",
            "TXT \"v=spf1 a:mail.wombat.example include:lists.koala.example -all\"",
            "MX 20 backup.isp.example.",
            "wombat.example. 60 A 198.18.0.80",
            "www.wombat.example. 60 A 198.18.0.80",
            "old._domainkey.wombat.example. 60 TXT \"v=DKIM1; p=AAAA\"",
            "CAA 0 iodef \"mailto:x@wombat.example\"",
            "CAA 0 issue \"other.example\"",
            "TXT \"v=DMARC1; p=reject; rua=mailto:reports@isp.example; fo=1; ruf=mailto:",
            "autoconfig.wombat.example. 60 A 198.18.0.80",
            "TLSA 2 1 1 00000000",
        ] {
            ensure!(zone.contains(kept), "{kept} is gone from\n{zone}");
        }
        ensure!(
            !zone.contains("\"v=spf1 include:lists.koala.example -all\""),
            "{zone}"
        );
        ensure!(
            text.contains("autoconfig.wombat.example: leads elsewhere and is left alone"),
            "{text}"
        );
        // What it left alone, a person has to look at; the rest is good.
        let checked = check(&machine)?;
        ensure!(checked.code == 0, "{:?}", checked.bad());
        ensure!(
            checked.bad() == ["autoconfig autoconfig.wombat.example wrong recommended"],
            "{:?}",
            checked.bad()
        );
        Ok(())
    })
}

#[test]
fn what_owners_decided_stays() -> Result<()> {
    network::inside("publish::what_owners_decided_stays", || {
        let machine = machine(&update_settings(KEY, SECRET))?;
        let knot = empty_server()?;
        let ten = "a:www.wombat.example ".repeat(10);
        let decided = [
            "www A 198.18.0.80".to_owned(),
            // Another way of proof and another account, for others.
            "mail CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\"".to_owned(),
            // No lookup is left for ours.
            format!("@ TXT \"v=spf1 {ten}~all\""),
            "_dmarc TXT \"\\\"v=DMARC1; p=reject; rua=mailto:a@isp.example; own=1\\\"\"".to_owned(),
            "_imap._tcp SRV 0 0 0 .".to_owned(),
            "mailserver._domainkey TXT \"v=DKIM1; n=lost; p=\"".to_owned(),
            format!("_25._tcp.mail TLSA 3 1 1 {FOREIGN_KEY}"),
            format!("_25._tcp.mail TLSA 3 1 1 {FORMER_KEY}"),
        ];
        knot.replace("wombat.example.", &decided)?;
        let watching = "_dmarc TXT \"v=DMARC1; p=none; rua=mailto:a@isp.example\"".to_owned();
        knot.replace("koala.example.", &[watching])?;
        let (code, text, errors) = publish(&machine, &[])?;
        println!("{text}{errors}");
        ensure!(code == 0, "{errors}");
        let zone = knot.dump("wombat.example.")?;
        for kept in [
            "CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\"",
            "CAA 0 issue \"letsencrypt.org; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/1\"",
            &format!("\"v=spf1 ip4:198.18.0.30 ip6:2001:2::30 {ten}~all\""),
            "\"v=DMARC1; p=reject; rua=mailto:a@isp.example; own=1; fo=1; ruf=mailto:",
            "SRV 0 0 0 .",
            "\"v=DKIM1; n=lost; p=\"",
        ] {
            ensure!(zone.contains(kept), "{kept} is not in\n{zone}");
        }
        let lower = zone.to_ascii_lowercase();
        ensure!(
            lower.contains(FOREIGN_KEY) && !lower.contains(FORMER_KEY),
            "{zone}"
        );
        let other = knot.dump("koala.example.")?;
        ensure!(
            other.contains("\"v=DMARC1; p=none; rua=mailto:a@isp.example; fo=1; ruf=mailto:"),
            "{other}"
        );
        let told = [
            "_dmarc.koala.example: p is none and stays so, that is its owner's choice".to_owned(),
            format!(
                "_25._tcp.mail.wombat.example: TLSA 3 1 1 {FOREIGN_KEY} names a key that this machine never had, and stays"
            ),
        ];
        for note in &told {
            ensure!(text.contains(note), "no '{note}' in\n{text}");
        }
        // Only a person can say why the key was withdrawn, and why nothing is asked for.
        let mut bad = check(&machine)?.bad();
        bad.sort();
        ensure!(
            bad == [
                "dkim mailserver._domainkey.wombat.example wrong required",
                "dmarc _dmarc.koala.example wrong required",
            ],
            "{bad:?}"
        );
        let before = knot.serial("wombat.example.")?;
        let (code, text, errors) = publish(&machine, &[])?;
        ensure!(
            code == 0 && text.ends_with("Nothing to change.\n") && text.lines().count() == 3,
            "{text}{errors}"
        );
        ensure!(told.iter().all(|note| text.contains(note)), "{text}");
        ensure!(knot.serial("wombat.example.")? == before);
        Ok(())
    })
}

#[test]
fn refusals_are_clear() -> Result<()> {
    network::inside("publish::refusals_are_clear", || {
        let knot = empty_server()?;
        let before = knot.serial("wombat.example.")?;
        for (key, secret, words) in [
            (
                KEY,
                "d3Jvbmc=",
                "the server has another secret for the key 'mailimg-key'",
            ),
            (
                "other-key",
                SECRET,
                "the server does not know the key 'other-key' with hmac-sha256",
            ),
        ] {
            let machine = machine(&update_settings(key, secret))?;
            let (code, text, errors) = publish(&machine, &[])?;
            ensure!(
                code == 1 && text.contains(words) && text.contains("hint: "),
                "{text}{errors}"
            );
        }
        ensure!(
            knot.serial("wombat.example.")? == before,
            "something was changed"
        );
        let machine = machine("")?;
        let (code, _, errors) = publish(&machine, &[])?;
        ensure!(
            code == 1 && errors.contains("the settings name no server that takes updates"),
            "{errors}"
        );
        Ok(())
    })
}
