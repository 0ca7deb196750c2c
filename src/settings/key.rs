//! Every key of settings.env with its default and a line of explanation.
//!
//! This table is the only list of keys: parser, template, reference and
//! `mailctl settings show` are made from it.

/// One key that a person may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The name left of `=`.
    pub name: &'static str,
    /// The value when the key is absent or empty; may hold `${KEY}`.
    pub default: &'static str,
    /// Whether a machine without it stays unprovisioned.
    pub required: bool,
    /// Whether the value is taken verbatim, never shown and blanked after import.
    pub secret: bool,
    /// What it does, for the template.
    pub about: &'static str,
}

const fn plain(name: &'static str, default: &'static str, about: &'static str) -> Key {
    Key {
        name,
        default,
        required: false,
        secret: false,
        about,
    }
}

const fn required(name: &'static str, about: &'static str) -> Key {
    Key {
        name,
        default: "",
        required: true,
        secret: false,
        about,
    }
}

const fn secret(name: &'static str, about: &'static str) -> Key {
    Key {
        name,
        default: "",
        required: false,
        secret: true,
        about,
    }
}

/// All keys, in the order of the template.
pub const KEYS: &[Key] = &[
    required(
        "DOMAIN",
        "The mail domain: addresses are NAME@DOMAIN. Required.",
    ),
    required(
        "HOSTNAME",
        "The machine's full name in DNS, as in mail.example.org. Required; need not lie inside DOMAIN.",
    ),
    plain(
        "ADDITIONAL_DOMAINS",
        "",
        "More mail domains, separated by commas.",
    ),
    plain(
        "ADMIN_USER",
        "postmaster",
        "The mail account made at first boot: ADMIN_USER@DOMAIN.",
    ),
    secret(
        "ADMIN_USER_INITIAL_PASSWORD",
        "Its first password; generated and shown on the first console when empty.",
    ),
    plain(
        "ADMIN_EMAIL",
        "${ADMIN_USER}@${DOMAIN}",
        "Where the certificate authority and DMARC reports write to.",
    ),
    plain(
        "DKIM_KEY_SELECTOR",
        "mailserver",
        "Selector of the DKIM keys: SELECTOR._domainkey.DOMAIN.",
    ),
    plain(
        "METRICS",
        "true",
        "Monitoring on or off (true, false): figures of the machine, kept for 60 days.",
    ),
    plain(
        "GF_SECURITY_ADMIN_USER",
        "mail",
        "User name of the monitoring pages.",
    ),
    secret(
        "GF_SECURITY_ADMIN_PASSWORD",
        "Password of the monitoring pages; empty: nobody can log in.",
    ),
    plain(
        "GF_SERVER_ROOT_URL",
        "https://${HOSTNAME}/monitoring/",
        "Address of the monitoring pages.",
    ),
    plain(
        "HTTP_PORT",
        "80",
        "Port of the web server; another one when it stands behind yours.",
    ),
    plain("HTTPS_PORT", "443", "The same for HTTPS."),
    plain(
        "AUTH_ON_PORT_25",
        "no",
        "Let users log in on port 25 too, after STARTTLS only (yes, no).",
    ),
    plain(
        "MESSAGE_SIZE_LIMIT",
        "50M",
        "Largest message in bytes, attachments as they travel (K, M, G).",
    ),
    plain(
        "MAILBOX_QUOTA",
        "none",
        "Storage of each mailbox (as in 5G), none for no limit; mailctl user quota sets one account's.",
    ),
    plain(
        "SENDING_LIMIT",
        "500",
        "Recipients that one account may send to within an hour, none for no limit.",
    ),
    plain(
        "TRUSTED_SEALERS",
        "",
        "Domains of mailing lists and forwarders whose ARC seals are believed, separated by commas.",
    ),
    plain(
        "SSH_AUTHORIZED_KEYS",
        "",
        "Public keys that may log in as root, separated by commas; empty: no ssh at all.",
    ),
    plain(
        "SSH_ALLOW_FROM",
        "",
        "Addresses or networks that may use ssh, separated by commas; empty: all.",
    ),
    plain(
        "ACME_DIRECTORY_URL",
        "https://acme-v02.api.letsencrypt.org/directory",
        "Directory of the certificate authority (RFC 8555).",
    ),
    plain(
        "ACME_CA_FILE",
        "",
        "File beside this one with the root certificate of a private authority.",
    ),
    plain(
        "ACME_EAB_KID",
        "",
        "Key identifier of an external account, if the authority wants one.",
    ),
    secret("ACME_EAB_HMAC", "Its key."),
    plain(
        "MTA_STS",
        "enforce",
        "Policy that other mail servers are told (enforce, testing, none).",
    ),
    plain(
        "PUBLIC_IPV4",
        "",
        "The machine's address on the internet when it stands behind NAT; empty: found out.",
    ),
    plain("PUBLIC_IPV6", "", "The same for IPv6."),
    plain(
        "DNS_UPDATE_SERVER",
        "",
        "Name server that takes our records by dynamic update (RFC 2136): name or address, and :port; empty: publish by hand.",
    ),
    plain("DNS_UPDATE_KEY", "", "Name of its TSIG key (RFC 8945)."),
    plain(
        "DNS_UPDATE_ALGORITHM",
        "hmac-sha256",
        "The key's algorithm (hmac-sha256, hmac-sha384, hmac-sha512).",
    ),
    secret("DNS_UPDATE_SECRET", "The key in base64."),
    plain(
        "UPDATE_SOURCE",
        "",
        "Where signed updates are, for mailctl upgrade: https://HOST/FOLDER/ or oci://REGISTRY/IMAGE:TAG.",
    ),
    plain(
        "UPDATE_SCHEDULE",
        "",
        "When to take them by itself and restart (daily, weekly, Sun 03:00, Mon..Fri 02:30, *-*-01 04:00), in UTC; empty: never.",
    ),
    plain(
        "UPDATE_WINDOW",
        "2h",
        "How long from then on it may begin and restart (30min to 23h); when within is left to chance.",
    ),
    plain(
        "DH_PARAMS",
        "ffdhe4096",
        "Diffie-Hellman group of RFC 7919 (ffdhe2048, ffdhe3072, ffdhe4096), or generate:BITS.",
    ),
    plain(
        "RELAYHOST",
        "",
        "Send all mail through this host (name, name:port, [name]:port).",
    ),
    plain("RELAYHOST_USER", "", "User name at the relay host."),
    secret("RELAYHOST_PASSWORD", "Password at the relay host."),
    plain(
        "DNSSEC",
        "yes",
        "no when the only resolvers in reach strip signatures; DANE is then off (yes, no).",
    ),
    plain(
        "DNS_SERVERS",
        "",
        "Addresses of resolvers, separated by commas; empty: from DHCP or the root servers.",
    ),
    plain(
        "IPV4_ADDRESS",
        "",
        "Static address with prefix length, as in 192.0.2.10/24; empty: DHCP.",
    ),
    plain("IPV4_GATEWAY", "", "Its gateway; may lie off-link."),
    plain(
        "IPV6_ADDRESS",
        "",
        "Static address with prefix length, as in 2001:db8::10/64; empty: router advertisements.",
    ),
    plain("IPV6_GATEWAY", "", "Its gateway; may be link-local."),
];

/// Finds a key by its exact name.
#[must_use]
pub fn find_key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known key nearest to a mistyped one, if it is near enough to be meant.
#[must_use]
pub(super) fn nearest_key(name: &str) -> Option<&'static str> {
    // Two slips of the finger; more would guess.
    const DISTANCE_MAX: usize = 2;
    let upper = name.to_ascii_uppercase();
    KEYS.iter()
        .map(|key| (edit_distance(&upper, key.name), key.name))
        .min()
        .filter(|(distance, _)| *distance <= DISTANCE_MAX)
        .map(|(_, name)| name)
}

fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in right.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest_key;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        assert_eq!(nearest_key("HOSTNAM"), Some("HOSTNAME"));
        assert_eq!(nearest_key("domain"), Some("DOMAIN"));
        assert_eq!(nearest_key("SOMETHING_ELSE"), None);
    }
}
