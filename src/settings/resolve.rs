//! From the written text to the values the machine acts on.

use super::address::{MailAddress, parse_local_part, parse_mail_address};
use super::checked::{Resolved, Settings};
use super::host::parse_host_name;
use super::key::KEYS;
use super::name::{StsMode, parse_selector, parse_sts_mode};
use super::problem::Problems;
use super::reader::Reader;
use super::value::{
    DhParameters, parse_dh, parse_limit, parse_message_size, parse_quota, parse_switch,
};
use super::warning::{unknown_keys, warnings};
use super::written::Written;

/// Checks every key and fills in defaults; the error has all findings at once.
pub fn resolve_settings(written: &Written) -> Result<Resolved, Problems> {
    let mut reader = Reader {
        written,
        problems: Problems(Vec::new()),
    };
    for key in KEYS.iter().filter(|key| key.required) {
        if written.value(key.name).is_none() {
            reader.wrong(
                key.name,
                (
                    "is missing".to_owned(),
                    "a full name such as mail.example.org",
                ),
            );
        }
    }
    let domain = reader.parsed("DOMAIN", parse_host_name).unwrap_or_default();
    let hostname = reader
        .parsed("HOSTNAME", parse_host_name)
        .unwrap_or_default();
    let mut additional_domains: Vec<String> = Vec::new();
    for name in reader.items("ADDITIONAL_DOMAINS", parse_host_name) {
        if name != domain && !additional_domains.contains(&name) {
            additional_domains.push(name);
        }
    }
    let admin = MailAddress {
        local: reader
            .parsed("ADMIN_USER", parse_local_part)
            .unwrap_or_default(),
        domain: domain.clone(),
    };
    let admin_email = reader.parsed("ADMIN_EMAIL", parse_mail_address);
    let settings = Settings {
        admin_email: admin_email.unwrap_or_else(|| admin.clone()),
        domain,
        hostname,
        additional_domains,
        admin,
        admin_password: reader.secret("ADMIN_USER_INITIAL_PASSWORD"),
        dkim_selector: reader
            .parsed("DKIM_KEY_SELECTOR", parse_selector)
            .unwrap_or_default(),
        auth_on_port_25: reader
            .parsed("AUTH_ON_PORT_25", parse_switch)
            .unwrap_or_default(),
        message_size: reader
            .parsed("MESSAGE_SIZE_LIMIT", parse_message_size)
            .unwrap_or_default(),
        mailbox_quota: reader
            .parsed("MAILBOX_QUOTA", parse_quota)
            .unwrap_or_default(),
        sending_limit: reader
            .parsed("SENDING_LIMIT", parse_limit)
            .unwrap_or_default(),
        trusted_sealers: reader.items("TRUSTED_SEALERS", parse_host_name),
        sts_mode: reader
            .parsed("MTA_STS", parse_sts_mode)
            .unwrap_or(StsMode::Enforce),
        dns_update: reader.dns_update(),
        dh_parameters: reader
            .parsed("DH_PARAMS", parse_dh)
            .unwrap_or(DhParameters::Named(4096)),
        acme: reader.acme(),
        relay: reader.relay(),
        monitoring: reader.monitoring(),
        web: reader.web(),
        ssh: reader.ssh(),
        network: reader.network(),
        updates: reader.updates(),
    };
    if !reader.problems.0.is_empty() {
        // A misspelt key is often why another one is missing.
        reader.problems.0.extend(unknown_keys(&written.entries));
    }
    reader.problems.into_result()?;
    let warnings = warnings(written, &settings);
    Ok(Resolved { settings, warnings })
}

#[cfg(test)]
mod tests {
    use super::resolve_settings;
    use crate::settings::parse_settings;

    fn problems(text: &str) -> String {
        let written = parse_settings(text.as_bytes()).unwrap();
        resolve_settings(&written).unwrap_err().to_string()
    }

    #[test]
    fn two_keys_are_enough() {
        let written = parse_settings(b"DOMAIN=Example.org\nHOSTNAME=mail.${DOMAIN}\n").unwrap();
        let resolved = resolve_settings(&written).unwrap();
        let settings = resolved.settings;
        assert_eq!(settings.hostname, "mail.example.org");
        assert_eq!(settings.admin.to_string(), "postmaster@example.org");
        assert_eq!(settings.admin_email.to_string(), "postmaster@example.org");
        assert_eq!(
            settings.monitoring.url,
            "https://mail.Example.org/monitoring/"
        );
        assert_eq!((settings.web.http_port, settings.web.https_port), (80, 443));
        assert!(
            settings.network.dnssec && settings.monitoring.enabled && !settings.auth_on_port_25
        );
        assert_eq!(
            resolved.warnings[0].to_string(),
            "SSH_AUTHORIZED_KEYS: is empty: ssh stays off, and only the console is left, which shows messages and takes no login"
        );
    }

    #[test]
    fn missing_keys_are_named_once() {
        assert_eq!(
            problems("METRICS=true\n"),
            "2 problems\n  \
             DOMAIN: is missing; expected a full name such as mail.example.org\n  \
             HOSTNAME: is missing; expected a full name such as mail.example.org"
        );
    }

    #[test]
    fn unknown_keys_are_named_whatever_else_is_wrong() {
        assert_eq!(
            problems("DOMAIN=a.example\nHOSTNAM=mail.a.example\n"),
            "2 problems\n  \
             line 2: HOSTNAM: is no known key and is ignored; expected HOSTNAME\n  \
             HOSTNAME: is missing; expected a full name such as mail.example.org"
        );
        let error = parse_settings(b"DOMAIN=a.example\nHOSTNAM=mail.a.example\nMETRICS\n");
        assert_eq!(
            error.unwrap_err().to_string(),
            "2 problems\n  \
             line 2: HOSTNAM: is no known key and is ignored; expected HOSTNAME\n  \
             line 3: has no '='; expected KEY=value, or '#' before a comment"
        );
    }

    #[test]
    fn bad_values_carry_line_key_and_expectation() {
        assert_eq!(
            problems(
                "DOMAIN=bücher.example\nHOSTNAME=mail\nADDITIONAL_DOMAINS=a.example, b\n\
                 ADMIN_USER=a b\nMETRICS=maybe\nHTTP_PORT=0\nDH_PARAMS=dh1024\n\
                 RELAYHOST=smtp example\nRELAYHOST_PASSWORD=x\nIPV4_ADDRESS=2001:db8::1/64\n\
                 IPV6_GATEWAY=fe80::1\nDNS_SERVERS=one\nACME_DIRECTORY_URL=http://ca.example\n"
            ),
            "13 problems\n  \
             line 1: DOMAIN: 'bücher.example' is not ASCII; expected its A-label (xn--...), as your registrar shows it\n  \
             line 2: HOSTNAME: 'mail' has only one label; expected a full name such as mail.example.org\n  \
             line 3: ADDITIONAL_DOMAINS: 'b' has only one label; expected a full name such as mail.example.org\n  \
             line 4: ADMIN_USER: 'a b' is no user name; expected letters, digits and any of . _ - between them\n  \
             line 5: METRICS: 'maybe' is neither yes nor no; expected yes or no\n  \
             line 6: HTTP_PORT: '0' is no port; expected a number from 1 to 65535\n  \
             line 7: DH_PARAMS: 'dh1024' names no group; expected ffdhe2048, ffdhe3072, ffdhe4096 or generate:BITS with 2048 to 8192 bits\n  \
             line 8: RELAYHOST: 'smtp example' is no relay host; expected name, name:port, [name]:port or [address]:port\n  \
             line 9: RELAYHOST_PASSWORD: is set without RELAYHOST_USER; expected both, or neither\n  \
             line 10: IPV4_ADDRESS: '2001:db8::1' is not IPv4; expected an IPv4 address\n  \
             line 11: IPV6_GATEWAY: is set without IPV6_ADDRESS; expected both, or neither\n  \
             line 12: DNS_SERVERS: 'one' is no address; expected an IPv4 or IPv6 address\n  \
             line 13: ACME_DIRECTORY_URL: 'http://ca.example' is no address; expected one that starts with https://"
        );
    }

    #[test]
    fn secrets_are_verbatim_and_odd_things_warned_of() {
        let written = parse_settings(
            b"DOMAIN=a.example\nHOSTNAME=a.example\nADMIN_USER_INITIAL_PASSWORD= ${DOMAIN}'x \n\
              ADDITIONAL_DOMAINS=a.example,B.example,b.example\nADMIN_USR=x\nRELAYHOST=[192.0.2.1]:587\n",
        )
        .unwrap();
        let resolved = resolve_settings(&written).unwrap();
        assert_eq!(
            resolved.settings.admin_password.as_deref(),
            Some(" ${DOMAIN}'x")
        );
        assert_eq!(resolved.settings.additional_domains, ["b.example"]);
        let warnings: Vec<String> = resolved.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "line 5: ADMIN_USR: is no known key and is ignored; expected ADMIN_USER",
                "SSH_AUTHORIZED_KEYS: is empty: ssh stays off, and only the console is left, which shows messages and takes no login",
                "line 2: HOSTNAME: is a mail domain too: its MX record points to itself, which works and is unusual",
            ]
        );
    }
}
