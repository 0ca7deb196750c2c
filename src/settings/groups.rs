//! The groups of keys that belong together, each with what must fit together in it.

use super::checked::{Acme, Network, Relay, Ssh, Updates, Web};
use super::monitoring::Monitoring;
use super::name::{
    DnsUpdate, parse_file_name, parse_https_url, parse_key_name, parse_name_server,
    parse_relayhost, parse_tsig_algorithm, parse_update_source, parse_word,
};
use super::problem::Problem;
use super::reader::Reader;
use super::schedule::{parse_schedule, parse_window};
use super::value::{
    Interface, Wrong, check_family, parse_interface, parse_ip, parse_network, parse_port,
    parse_ssh_key, parse_switch,
};
use base64::Engine;

impl Reader<'_> {
    /// A name and its secret, which need each other.
    fn login(&mut self, user: &str, password: &str) -> Option<(String, String)> {
        let name = self.parsed(user, parse_word);
        let secret = self.secret(password);
        match (name, secret) {
            (Some(name), Some(secret)) => Some((name, secret)),
            (Some(_), None) => {
                let wrong = format!("is set without {password}");
                self.wrong(user, (wrong, "both, or neither"));
                None
            }
            (None, Some(_)) if self.written.value(user).is_none() => {
                let wrong = format!("is set without {user}");
                self.wrong(password, (wrong, "both, or neither"));
                None
            }
            _ => None,
        }
    }

    pub fn acme(&mut self) -> Acme {
        Acme {
            external_account: self.login("ACME_EAB_KID", "ACME_EAB_HMAC"),
            directory_url: self
                .parsed("ACME_DIRECTORY_URL", parse_https_url)
                .unwrap_or_default(),
            ca_file: self.parsed("ACME_CA_FILE", parse_file_name),
        }
    }

    pub fn relay(&mut self) -> Relay {
        Relay {
            login: self.login("RELAYHOST_USER", "RELAYHOST_PASSWORD"),
            host: self.parsed("RELAYHOST", parse_relayhost),
        }
    }

    pub fn monitoring(&mut self) -> Monitoring {
        Monitoring {
            enabled: self.parsed("METRICS", parse_switch).unwrap_or_default(),
            user: self
                .parsed("GF_SECURITY_ADMIN_USER", parse_word)
                .unwrap_or_default(),
            password: self.secret("GF_SECURITY_ADMIN_PASSWORD"),
            url: self
                .parsed("GF_SERVER_ROOT_URL", parse_https_url)
                .unwrap_or_default(),
        }
    }

    pub fn web(&mut self) -> Web {
        Web {
            http_port: self.parsed("HTTP_PORT", parse_port).unwrap_or_default(),
            https_port: self.parsed("HTTPS_PORT", parse_port).unwrap_or_default(),
        }
    }

    pub fn ssh(&mut self) -> Ssh {
        Ssh {
            keys: self.items("SSH_AUTHORIZED_KEYS", parse_ssh_key),
            allow_from: self.items("SSH_ALLOW_FROM", parse_network),
        }
    }

    pub fn network(&mut self) -> Network {
        Network {
            ipv4: self.interface("IPV4_ADDRESS", "IPV4_GATEWAY", true),
            ipv6: self.interface("IPV6_ADDRESS", "IPV6_GATEWAY", false),
            public_ipv4: self.parsed("PUBLIC_IPV4", parse_address),
            public_ipv6: self.parsed("PUBLIC_IPV6", parse_address),
            dns_servers: self.items("DNS_SERVERS", parse_ip),
            dnssec: self.parsed("DNSSEC", parse_switch).unwrap_or_default(),
        }
    }

    pub fn updates(&mut self) -> Updates {
        let updates = Updates {
            source: self.parsed("UPDATE_SOURCE", parse_update_source),
            schedule: self.parsed("UPDATE_SCHEDULE", parse_schedule),
            window: self
                .parsed("UPDATE_WINDOW", parse_window)
                .unwrap_or_default(),
        };
        if updates.schedule.is_some() && self.written.value("UPDATE_SOURCE").is_none() {
            let wrong = "is set without UPDATE_SOURCE".to_owned();
            self.wrong("UPDATE_SCHEDULE", (wrong, "both, or neither"));
        }
        updates
    }

    pub fn dns_update(&mut self) -> Option<DnsUpdate> {
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
