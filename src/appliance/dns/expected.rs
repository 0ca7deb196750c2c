//! The records that this machine wants to see in DNS, and why.
//!
//! One list serves printing, checking and publishing. An entry is one purpose
//! at one name, so that a finding about it is one line.

use super::address::reverse_name;
use super::data::Data;
use super::facts::{Facts, KeyUse};
use serde::Serialize;
use std::net::IpAddr;

/// How much depends on a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Mail is lost or refused without it.
    Required,
    /// Something works better with it.
    Recommended,
}

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// HOSTNAME's IPv4 address.
    Ipv4,
    /// HOSTNAME's IPv6 address.
    Ipv6,
    /// The name of one of our addresses.
    Reverse,
    /// Where a domain's mail goes.
    MailServer,
    /// Who may send for a name (RFC 7208).
    Spf,
    /// A signing key (RFC 6376).
    Dkim,
    /// What to do with unsigned mail (RFC 7489).
    Dmarc,
    /// That we want reports about another domain (RFC 7489 section 7.1).
    DmarcReports,
    /// That there is an MTA-STS policy (RFC 8461).
    StsPolicy,
    /// Where it lies.
    StsHost,
    /// Where reports about TLS go (RFC 8460).
    TlsReports,
    /// The keys of the mail server (RFC 7672).
    Tlsa,
    /// Who may issue its certificates (RFC 8659).
    Issuer,
    /// Where mail programs find their settings.
    Autoconfig,
    /// Where a service is (RFC 6186).
    Service,
}

/// Records of one purpose at one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What they are for.
    pub purpose: Purpose,
    /// HOSTNAME or the mail domain that they serve.
    pub of: String,
    /// Their name.
    pub name: String,
    /// Their data, at least one.
    pub data: Vec<Data>,
    /// How much depends on them.
    pub need: Need,
    /// What they are good for, a sentence.
    pub why: String,
}

impl Expected {
    /// Name of their type.
    pub fn type_name(&self) -> &'static str {
        self.data.first().map_or("?", Data::type_name)
    }
}

/// Ports of mail programs' services: name of the service, port, what it is.
const SERVICES: [(&str, u16, &str); 6] = [
    ("_submissions._tcp", 465, "sending mail over TLS"),
    ("_submission._tcp", 587, "sending mail with STARTTLS"),
    ("_imaps._tcp", 993, "reading mail over TLS"),
    ("_imap._tcp", 143, "reading mail with STARTTLS"),
    ("_sieve._tcp", 4190, "editing mail filters"),
    (
        "_autodiscover._tcp",
        443,
        "finding all of this, for Outlook",
    ),
];

/// Where the mail server's keys are looked up.
pub fn tlsa_name(hostname: &str) -> String {
    format!("_25._tcp.{hostname}")
}

/// What SPF says of us: the addresses of HOSTNAME, whatever they are.
pub fn spf_mechanism(facts: &Facts) -> String {
    format!("a:{}", facts.hostname)
}

/// Everything that should be published.
pub fn expected_records(facts: &Facts) -> Vec<Expected> {
    let mut records = host_records(facts);
    for domain in &facts.domains {
        records.extend(domain_records(facts, domain));
    }
    records
}

fn host_records(facts: &Facts) -> Vec<Expected> {
    let host = &facts.hostname;
    let mut records = Vec::new();
    let mut add = |purpose, name: String, data: Vec<Data>, need, why: String| {
        records.push(Expected {
            purpose,
            of: host.clone(),
            name,
            data,
            need,
            why,
        });
    };
    for address in facts.addresses.all() {
        let (purpose, data) = match address {
            IpAddr::V4(address) => (Purpose::Ipv4, Data::A(address)),
            IpAddr::V6(address) => (Purpose::Ipv6, Data::Aaaa(address)),
        };
        add(
            purpose,
            host.clone(),
            vec![data],
            Need::Required,
            "Leads everybody to this machine: other mail servers, mail programs, the certificate authority.".to_owned(),
        );
    }
    for address in facts.addresses.all() {
        add(
            Purpose::Reverse,
            reverse_name(address),
            vec![Data::Ptr(host.clone())],
            Need::Required,
            format!(
                "Other mail servers refuse mail from {address} unless its name leads back to it. Set it at your provider, in the panel of the machine or its address (\"reverse DNS\")."
            ),
        );
    }
    if !facts.domains.contains(host) {
        add(
            Purpose::Spf,
            host.clone(),
            vec![Data::text("v=spf1 a -all")],
            Need::Recommended,
            "Delivery reports have no sender; receivers then look at the name of the machine itself.".to_owned(),
        );
    }
    let keys: Vec<Data> = [&facts.tls_key, &facts.next_tls_key]
        .into_iter()
        .flatten()
        .map(|digest| Data::Tlsa(3, 1, 1, digest.clone()))
        .collect();
    // Without the served key the record would say that our own key is wrong.
    if facts.tls_key.is_some() {
        let mut data = keys;
        data.dedup();
        add(
            Purpose::Tlsa,
            tlsa_name(host),
            data,
            Need::Recommended,
            "Lets other mail servers insist on our TLS key, this one and the one that comes after it. Counts only in a zone that is signed with DNSSEC.".to_owned(),
        );
    }
    if let Some(issuer) = &facts.issuer {
        let value = match &issuer.account {
            Some(account) => format!("{}; accounturi={account}", issuer.domain),
            None => issuer.domain.clone(),
        };
        add(
            Purpose::Issuer,
            host.clone(),
            vec![Data::Caa(0, "issue".to_owned(), value)],
            Need::Recommended,
            "Nobody but our certificate authority, for our account, may issue certificates of this name.".to_owned(),
        );
    }
    records
}

fn domain_records(facts: &Facts, domain: &str) -> Vec<Expected> {
    let host = &facts.hostname;
    let mut records = Vec::new();
    let mut add = |purpose, name: String, data: Data, need, why: String| {
        records.push(Expected {
            purpose,
            of: domain.to_owned(),
            name,
            data: vec![data],
            need,
            why,
        });
    };
    let (required, recommended) = (Need::Required, Need::Recommended);
    add(
        Purpose::MailServer,
        domain.to_owned(),
        Data::Mx(10, host.clone()),
        required,
        format!("Mail for {domain} goes to this machine."),
    );
    let relay = if facts.relayed {
        " RELAYHOST sends our mail: add what its operator documents for SPF, an include: as a rule, before '-all'."
    } else {
        ""
    };
    add(
        Purpose::Spf,
        domain.to_owned(),
        Data::text(&format!("v=spf1 {} -all", spf_mechanism(facts))),
        required,
        format!(
            "Says that this machine may send mail of {domain}, and nobody else. If there is such a record already, add {} to it: there must be only one.{relay}",
            spf_mechanism(facts)
        ),
    );
    for key in facts.keys.iter().filter(|key| key.domain == domain) {
        let (need, why) = match key.used {
            KeyUse::Active => (
                required,
                "The public half of the key that signs outgoing mail.".to_owned(),
            ),
            KeyUse::Next => (
                recommended,
                format!(
                    "The next signing key; once this is published, run mailctl dkim rotate --activate {domain}."
                ),
            ),
            KeyUse::Retired => (
                recommended,
                "An earlier signing key: mail that it signed is still under way.".to_owned(),
            ),
        };
        add(
            Purpose::Dkim,
            key.name.clone(),
            Data::text(&key.text),
            need,
            why,
        );
    }
    let (user, reports_domain) = &facts.reports_to;
    let reports_to = format!("{user}@{reports_domain}");
    add(
        Purpose::Dmarc,
        format!("_dmarc.{domain}"),
        Data::text(&format!(
            "v=DMARC1; p=quarantine; sp=quarantine; adkim=r; aspf=r; fo=1; rua=mailto:{reports_to}; ruf=mailto:{reports_to}"
        )),
        required,
        format!(
            "Mail that claims to be from {domain} and is not signed goes to the junk folder, and reports about it to {reports_to}."
        ),
    );
    if !is_same_organization(domain, reports_domain) {
        let whose = if facts.domains.contains(reports_domain) {
            String::new()
        } else {
            format!(" Whoever runs {reports_domain} has to publish it.")
        };
        add(
            Purpose::DmarcReports,
            format!("{domain}._report._dmarc.{reports_domain}"),
            Data::text("v=DMARC1"),
            recommended,
            format!(
                "Without it nobody sends reports about {domain} to an address of {reports_domain}.{whose}"
            ),
        );
    }
    if let Some(id) = &facts.sts_id {
        add(
            Purpose::StsPolicy,
            format!("_mta-sts.{domain}"),
            Data::text(&format!("v=STSv1; id={id}")),
            recommended,
            "Tells other mail servers that there is a policy to deliver over verified TLS only; the id changes with the policy.".to_owned(),
        );
        add(
            Purpose::StsHost,
            format!("mta-sts.{domain}"),
            Data::Cname(host.clone()),
            recommended,
            "Where they fetch that policy.".to_owned(),
        );
    }
    add(
        Purpose::TlsReports,
        format!("_smtp._tls.{domain}"),
        Data::text(&format!("v=TLSRPTv1; rua=mailto:{reports_to}")),
        recommended,
        "Other mail servers report trouble with our TLS there.".to_owned(),
    );
    for (name, who) in [("autoconfig", "Thunderbird"), ("autodiscover", "Outlook")] {
        add(
            Purpose::Autoconfig,
            format!("{name}.{domain}"),
            Data::Cname(host.clone()),
            recommended,
            format!(
                "{who} finds its settings there, so that people type only address and password."
            ),
        );
    }
    for (service, port, what) in SERVICES {
        add(
            Purpose::Service,
            format!("{service}.{domain}"),
            Data::Srv(0, 1, port, host.clone()),
            recommended,
            format!("Mail programs look here for {what}."),
        );
    }
    records
}

/// Whether reports need no permission; without a list of public suffixes, only
/// a domain and those below it certainly belong together.
fn is_same_organization(one: &str, other: &str) -> bool {
    let below = |inner: &str, outer: &str| {
        inner == outer
            || inner
                .strip_suffix(outer)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    below(one, other) || below(other, one)
}

#[cfg(test)]
mod tests {
    use super::is_same_organization;

    #[test]
    fn domains_that_belong_together() {
        assert!(is_same_organization("a.example", "a.example"));
        assert!(is_same_organization("b.a.example", "a.example"));
        assert!(is_same_organization("a.example", "b.a.example"));
        assert!(!is_same_organization("ba.example", "a.example"));
    }
}
