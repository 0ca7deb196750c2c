//! Whether a client's address has a name that leads back to it: `iprev`, RFC 8601 section 2.7.3.
//!
//! Postfix asked the DNS when the client connected, and tells what it found as macros
//! (<https://www.postfix.org/MILTER_README.html#macros>): nothing is asked here. Nothing follows
//! from it either; readers of the header, such as filters against spam, weigh it.

use super::lookup::is_domain;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

/// The client's name, if it leads back to the client.
const NAME_MACRO: &str = "{client_name}";
/// What came of it.
const OUTCOME_MACRO: &str = "{client_resolve}";

/// The macros as they are asked for.
pub fn wanted_macros() -> String {
    format!("{NAME_MACRO} {OUTCOME_MACRO}")
}

/// What was found about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// Its name has other addresses, or none.
    Fail,
    /// A name server failed.
    TempError,
    /// It has no name.
    PermError,
}

/// An address and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iprev {
    address: IpAddr,
    verdict: Verdict,
    /// Of an address that passes.
    name: Option<String>,
}

impl Iprev {
    /// Reads what the mail server says; `None` when it says nothing.
    pub fn read(address: IpAddr, macros: &[(String, Vec<u8>)]) -> Option<Self> {
        let value = |wanted: &str| {
            let found = macros.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_slice())
        };
        let verdict = match value(OUTCOME_MACRO)? {
            b"OK" => Verdict::Pass,
            b"FORGED" => Verdict::Fail,
            b"TEMP" => Verdict::TempError,
            b"FAIL" => Verdict::PermError,
            _ => return None,
        };
        let name = value(NAME_MACRO).and_then(|name| std::str::from_utf8(name).ok());
        let name = name.filter(|name| verdict == Verdict::Pass && is_domain(name));
        Some(Self {
            address,
            verdict,
            name: name.map(str::to_owned),
        })
    }
}

/// As it stands in the header.
impl Display for Iprev {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::TempError => "temperror",
            Verdict::PermError => "permerror",
        };
        write!(formatter, "iprev={word}")?;
        if let Some(name) = &self.name {
            write!(formatter, " ({name})")?;
        }
        match self.address {
            IpAddr::V4(address) => write!(formatter, " policy.iprev={address}"),
            // Colons stand in no bare value (RFC 2045 section 5.1).
            IpAddr::V6(address) => write!(formatter, " policy.iprev=\"{address}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Iprev;

    fn said(address: &str, macros: &[(&str, &str)]) -> Option<String> {
        let macros: Vec<(String, Vec<u8>)> = macros
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect();
        let found = Iprev::read(address.parse().unwrap(), &macros);
        found.map(|found| found.to_string())
    }

    #[test]
    fn what_postfix_says() {
        for (outcome, name, expected) in [
            (
                "OK",
                "a.example",
                "iprev=pass (a.example) policy.iprev=192.0.2.1",
            ),
            ("OK", "a) example", "iprev=pass policy.iprev=192.0.2.1"),
            ("FORGED", "unknown", "iprev=fail policy.iprev=192.0.2.1"),
            ("TEMP", "unknown", "iprev=temperror policy.iprev=192.0.2.1"),
            ("FAIL", "unknown", "iprev=permerror policy.iprev=192.0.2.1"),
        ] {
            let macros = [("{client_name}", name), ("{client_resolve}", outcome)];
            assert_eq!(said("192.0.2.1", &macros).as_deref(), Some(expected));
        }
        let macros = [("{client_resolve}", "OK")];
        let expected = "iprev=pass policy.iprev=\"2001:db8::1\"";
        assert_eq!(said("2001:db8::1", &macros).as_deref(), Some(expected));
        for macros in [
            &[][..],
            &[("{client_resolve}", "?")],
            &[("{client_name}", "a.example")],
        ] {
            assert_eq!(said("192.0.2.1", macros), None);
        }
    }
}
