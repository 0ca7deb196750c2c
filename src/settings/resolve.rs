//! From the written text to the values the machine acts on.

use super::address::{MailAddress, parse_local_part, parse_mail_address};
use super::checked::{Resolved, Settings};
use super::expand::expand_key;
use super::host::parse_host_name;
use super::key::{KEYS, find_key};
use super::name::{
    DnsUpdate, StsMode, parse_file_name, parse_https_url, parse_key_name, parse_name_server,
    parse_relayhost, parse_selector, parse_sts_mode, parse_tsig_algorithm, parse_word,
};
use super::problem::{Problem, Problems};
use super::value::{
    DhParameters, Interface, Wrong, check_family, parse_dh, parse_interface, parse_ip, parse_items,
    parse_limit, parse_message_size, parse_network, parse_port, parse_quota, parse_ssh_key,
    parse_switch,
};
use super::warning::{unknown_keys, warnings};
use super::written::{KEPT_SECRET, Written};
use base64::Engine;

/// Reads one key after the other and keeps what went wrong.
struct Reader<'a> {
    written: &'a Written,
    problems: Problems,
}

impl Reader<'_> {
    fn wrong(&mut self, key: &str, (wrong, expected): (String, &str)) {
        // A default is right by itself: what is wrong with it stands in a key it leans on.
        let required = find_key(key).is_some_and(|key| key.required);
        if self.written.value(key).is_none() && !required {
            return;
        }
        self.problems.0.push(Problem {
            line: self.written.entry(key).map(|entry| entry.line),
            key: Some(key.to_owned()),
            wrong,
            expected: expected.to_owned(),
        });
    }

    /// `None` when unset or wrong; what is wrong is noted once.
    fn parsed<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<T> {
        let text = match expand_key(self.written, key) {
            Ok(text) if text.is_empty() => return None,
            Ok(text) => text,
            Err(wrong) => {
                self.wrong(key, (wrong, ""));
                return None;
            }
        };
        parse(&text).map_err(|wrong| self.wrong(key, wrong)).ok()
    }

    fn items<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Vec<T> {
        self.parsed(key, |text| parse_items(text, &parse))
            .unwrap_or_default()
    }

    fn secret(&mut self, key: &str) -> Option<String> {
        let value = self.written.value(key)?.to_owned();
        if value == KEPT_SECRET {
            self.wrong(
                key,
                (
                    format!("'{KEPT_SECRET}' stands for a stored value and none is stored"),
                    "the value itself, or nothing",
                ),
            );
        }
        Some(value)
    }

    fn dns_update(&mut self) -> Option<DnsUpdate> {
        const SECRET: &str = "DNS_UPDATE_SECRET";
        let server = self.parsed("DNS_UPDATE_SERVER", parse_name_server);
        let key = self.parsed("DNS_UPDATE_KEY", parse_key_name);
        let algorithm = self.parsed("DNS_UPDATE_ALGORITHM", parse_tsig_algorithm);
        let secret = self.secret(SECRET).and_then(|text| {
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|_| self.wrong(SECRET, ("is no base64".to_owned(), "the key in base64")))
                .ok()
        });
        // Updates without a key would be anybody's.
        let names = ["DNS_UPDATE_SERVER", "DNS_UPDATE_KEY", SECRET];
        let written = names.map(|name| self.written.value(name).is_some());
        if written.contains(&true) {
            for (name, is_written) in names.iter().zip(written) {
                if !is_written {
                    self.missing_beside(name, "DNS_UPDATE_");
                }
            }
        }
        let (host, port) = server?;
        Some(DnsUpdate {
            host,
            port,
            key: key?,
            algorithm: algorithm?,
            secret: secret?,
        })
    }

    fn missing_beside(&mut self, key: &str, others: &str) {
        self.problems.0.push(Problem {
            line: None,
            key: Some(key.to_owned()),
            wrong: format!("is missing beside other keys of {others}"),
            expected: "all of them, or none".to_owned(),
        });
    }

    fn interface(&mut self, key: &str, gateway_key: &str, v4: bool) -> Option<Interface> {
        let gateway = self.parsed(gateway_key, |text| {
            let address = parse_ip(text)?;
            check_family(address, v4).map(|()| address)
        });
        let address = self.parsed(key, |text| parse_interface(text, v4));
        if address.is_none() && gateway.is_some() && self.written.value(key).is_none() {
            self.wrong(
                gateway_key,
                (format!("is set without {key}"), "both, or neither"),
            );
        }
        let (address, prefix) = address?;
        Some(Interface {
            address,
            prefix,
            gateway,
        })
    }
}

fn parse_address<T: std::str::FromStr>(text: &str) -> Result<T, Wrong> {
    text.parse().map_err(|_| {
        (
            format!("'{text}' is no address of this kind"),
            "an address without prefix length",
        )
    })
}

/// Checks every key and fills in defaults.
///
/// # Errors
/// All findings at once: missing required keys, bad values, broken references.
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
    let external = |reader: &mut Reader<'_>, user: &str, password: &str| {
        let name = reader.parsed(user, parse_word);
        let secret = reader.secret(password);
        match (name, secret) {
            (Some(name), Some(secret)) => Some((name, secret)),
            (Some(_), None) => {
                reader.wrong(
                    user,
                    (format!("is set without {password}"), "both, or neither"),
                );
                None
            }
            (None, Some(_)) if written.value(user).is_none() => {
                reader.wrong(
                    password,
                    (format!("is set without {user}"), "both, or neither"),
                );
                None
            }
            _ => None,
        }
    };
    let relayhost_login = external(&mut reader, "RELAYHOST_USER", "RELAYHOST_PASSWORD");
    let acme_external_account = external(&mut reader, "ACME_EAB_KID", "ACME_EAB_HMAC");
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
        metrics: reader.parsed("METRICS", parse_switch).unwrap_or_default(),
        monitoring_user: reader
            .parsed("GF_SECURITY_ADMIN_USER", parse_word)
            .unwrap_or_default(),
        monitoring_password: reader.secret("GF_SECURITY_ADMIN_PASSWORD"),
        monitoring_url: reader
            .parsed("GF_SERVER_ROOT_URL", parse_https_url)
            .unwrap_or_default(),
        http_port: reader.parsed("HTTP_PORT", parse_port).unwrap_or_default(),
        https_port: reader.parsed("HTTPS_PORT", parse_port).unwrap_or_default(),
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
        ssh_keys: reader.items("SSH_AUTHORIZED_KEYS", parse_ssh_key),
        ssh_allow_from: reader.items("SSH_ALLOW_FROM", parse_network),
        acme_directory_url: reader
            .parsed("ACME_DIRECTORY_URL", parse_https_url)
            .unwrap_or_default(),
        acme_ca_file: reader.parsed("ACME_CA_FILE", parse_file_name),
        acme_external_account,
        sts_mode: reader
            .parsed("MTA_STS", parse_sts_mode)
            .unwrap_or(StsMode::Enforce),
        public_ipv4: reader.parsed("PUBLIC_IPV4", parse_address),
        public_ipv6: reader.parsed("PUBLIC_IPV6", parse_address),
        dns_update: reader.dns_update(),
        dh_parameters: reader
            .parsed("DH_PARAMS", parse_dh)
            .unwrap_or(DhParameters::Named(4096)),
        relayhost: reader.parsed("RELAYHOST", parse_relayhost),
        relayhost_login,
        dnssec: reader.parsed("DNSSEC", parse_switch).unwrap_or_default(),
        dns_servers: reader.items("DNS_SERVERS", parse_ip),
        ipv4: reader.interface("IPV4_ADDRESS", "IPV4_GATEWAY", true),
        ipv6: reader.interface("IPV6_ADDRESS", "IPV6_GATEWAY", false),
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
            settings.monitoring_url,
            "https://mail.Example.org/monitoring/"
        );
        assert_eq!((settings.http_port, settings.https_port), (80, 443));
        assert!(settings.dnssec && settings.metrics && !settings.auth_on_port_25);
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
            Some(" ${DOMAIN}'x ")
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
