//! `mailctl metadata`: what each cloud serves at the metadata address, and where.
//!
//! | provider | documentation |
//! |---|---|
//! | Akamai | <https://techdocs.akamai.com/cloud-computing/docs/metadata-service-api> |
//! | Amazon | <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html> |
//! | DigitalOcean | <https://docs.digitalocean.com/reference/api/metadata/> |
//! | Hetzner | <https://docs.hetzner.cloud/reference/cloud#server-metadata> |
//! | OpenStack | <https://docs.openstack.org/nova/latest/user/metadata.html> |
//! | Vultr | <https://www.vultr.com/metadata/> |
//!
//! Whatever else they tell (keys, host names, networks) is left alone:
//! settings.env is the one place for it.

use super::client::{Client, METADATA_URL, TIME_BUDGET};
use super::provider::{Provider, find_provider};
use crate::appliance::machine::files::{SECRET, write_file};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::network::public_address::{CloudAddresses, has_public_ipv4};
use crate::settings::MAXIMUM_BYTES;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest description of a machine; some repeat the user-data in it.
const DESCRIPTION_BYTES: usize = 4 * MAXIMUM_BYTES;
/// Longest single value.
const VALUE_BYTES: usize = 256;

/// What the metadata said.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Metadata {
    /// The user-data, Base64.
    user_data: Option<String>,
    /// Name of the provider, and the public addresses.
    pub addresses: CloudAddresses,
    /// Whether an address was among the answers.
    pub answered: bool,
    /// What went wrong, in words.
    pub problem: Option<String>,
}

impl Metadata {
    /// What there is to say when nothing could be fetched.
    pub fn failed(problem: String) -> Self {
        Self {
            problem: Some(problem),
            ..Self::default()
        }
    }

    /// The user-data, if there is any.
    pub fn user_data(&self) -> Option<Vec<u8>> {
        STANDARD
            .decode(self.user_data.as_ref()?)
            .ok()
            .filter(|bytes| !bytes.trim_ascii().is_empty())
    }
}

/// Addresses as they were found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
}

/// Fetches the metadata and leaves it in a file.
pub fn leave_metadata(place: &Place) -> Result<String> {
    let Some(provider) = find_provider(place) else {
        return Ok("This machine runs in no cloud that is known.".to_owned());
    };
    let settled = place.path(place::CONFIGURED).exists() && has_public_ipv4(place);
    if settled {
        return Ok("There is nothing to ask: this machine has its public address.".to_owned());
    }
    let metadata = fetch_metadata(provider, &Client::new(METADATA_URL, TIME_BUDGET));
    let text = serde_json::to_vec(&metadata).context("writing JSON")?;
    write_file(&place.path(place::CLOUD_ANSWER), &text, SECRET, None)?;
    Ok(match metadata.problem {
        None => format!("Fetched the metadata of {provider}."),
        Some(problem) => format!("Fetching the metadata of {provider}: {problem}"),
    })
}

/// Asks a provider, and notes what went wrong instead of failing.
pub fn fetch_metadata(provider: Provider, client: &Client) -> Metadata {
    let mut metadata = Metadata {
        addresses: CloudAddresses {
            provider: provider.to_string(),
            ..CloudAddresses::default()
        },
        ..Metadata::default()
    };
    let result = (|| {
        let session = Session::open(provider, client)?;
        // First: it is what the machine waits for.
        metadata.user_data = session.user_data()?.map(|bytes| STANDARD.encode(bytes));
        let found = session.addresses()?;
        metadata.addresses.ipv4 = found.ipv4;
        metadata.addresses.ipv6 = found.ipv6;
        metadata.answered = true;
        anyhow::Ok(())
    })();
    metadata.problem = result.err().map(|error| format!("{error:#}"));
    metadata
}

/// A provider with the token that it wants to see.
struct Session<'a> {
    provider: Provider,
    client: &'a Client,
    token: Option<(&'static str, String)>,
}

impl<'a> Session<'a> {
    fn open(provider: Provider, client: &'a Client) -> Result<Self> {
        let token = match provider {
            Provider::Akamai => {
                let wanted = ("Metadata-Token-Expiry-Seconds", "300");
                let token = client.put_for_token("/v1/token", wanted)?;
                Some(("Metadata-Token", token))
            }
            Provider::Amazon => {
                let wanted = ("X-aws-ec2-metadata-token-ttl-seconds", "300");
                let token = client.put_for_token("/latest/api/token", wanted)?;
                Some(("X-aws-ec2-metadata-token", token))
            }
            _ => None,
        };
        Ok(Self {
            provider,
            client,
            token,
        })
    }

    fn get(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        let mut headers = Vec::new();
        if let Some((name, value)) = &self.token {
            headers.push((*name, value.as_str()));
        }
        if self.provider == Provider::Akamai && path == "/v1/network" {
            headers.push(("Accept", "application/json"));
        }
        self.client.get(path, &headers, limit)
    }

    fn user_data(&self) -> Result<Option<Vec<u8>>> {
        let (path, limit) = match self.provider {
            // Base64, which is a third longer.
            Provider::Akamai => ("/v1/user-data", 2 * MAXIMUM_BYTES),
            Provider::Amazon | Provider::Vultr => ("/latest/user-data", MAXIMUM_BYTES),
            Provider::DigitalOcean => ("/metadata/v1/user-data", MAXIMUM_BYTES),
            Provider::Hetzner => ("/hetzner/v1/userdata", MAXIMUM_BYTES),
            Provider::OpenStack => ("/openstack/latest/user_data", MAXIMUM_BYTES),
        };
        self.get(path, limit)
    }

    fn addresses(&self) -> Result<Addresses> {
        let json = |path: &str| -> Result<Value> {
            let bytes = self.get(path, DESCRIPTION_BYTES)?.unwrap_or_default();
            // What cannot be read holds no addresses; settings matter more.
            Ok(serde_json::from_slice(&bytes).unwrap_or_default())
        };
        let value = |path: &str| -> Result<String> {
            let bytes = self.get(path, VALUE_BYTES)?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        Ok(match self.provider {
            Provider::Akamai => parse_akamai(&json("/v1/network")?),
            Provider::Amazon => Addresses {
                ipv4: value("/latest/meta-data/public-ipv4")?.parse().ok(),
                ipv6: value("/latest/meta-data/ipv6")?.parse().ok(),
            },
            Provider::DigitalOcean => parse_digitalocean(&json("/metadata/v1.json")?),
            Provider::Hetzner => {
                let bytes = self
                    .get("/hetzner/v1/metadata", DESCRIPTION_BYTES)?
                    .unwrap_or_default();
                parse_hetzner(&String::from_utf8_lossy(&bytes))
            }
            // A floating address is known to nova's imitation of EC2 alone.
            Provider::OpenStack => Addresses {
                ipv4: value("/latest/meta-data/public-ipv4")?.parse().ok(),
                ipv6: parse_openstack(&json("/openstack/latest/network_data.json")?),
            },
            Provider::Vultr => parse_vultr(&json("/v1.json")?),
        })
    }
}

/// An address with or without its prefix length.
fn parse_address<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.split('/').next()?.trim().parse().ok()
}

fn address_at<T: std::str::FromStr>(value: &Value, pointer: &str) -> Option<T> {
    parse_address(value.pointer(pointer)?.as_str()?)
}

pub fn parse_akamai(network: &Value) -> Addresses {
    Addresses {
        ipv4: address_at(network, "/ipv4/public/0"),
        ipv6: address_at(network, "/ipv6/slaac"),
    }
}

pub fn parse_digitalocean(machine: &Value) -> Addresses {
    Addresses {
        ipv4: address_at(machine, "/interfaces/public/0/ipv4/ip_address"),
        ipv6: address_at(machine, "/interfaces/public/0/ipv6/ip_address"),
    }
}

pub fn parse_vultr(machine: &Value) -> Addresses {
    let interfaces = machine.get("interfaces").and_then(Value::as_array);
    let public = interfaces.and_then(|interfaces| {
        interfaces
            .iter()
            .find(|interface| interface["network-type"] == "public")
    });
    public.map_or_else(Addresses::default, |public| Addresses {
        ipv4: address_at(public, "/ipv4/address"),
        ipv6: address_at(public, "/ipv6/address"),
    })
}

pub fn parse_openstack(network: &Value) -> Option<Ipv6Addr> {
    network
        .get("networks")?
        .as_array()?
        .iter()
        .find_map(|network| {
            let kind = network.get("type")?.as_str()?;
            if !kind.starts_with("ipv6") {
                return None;
            }
            address_at(network, "/ip_address")
        })
}

/// YAML, of which two lines are looked for.
pub fn parse_hetzner(text: &str) -> Addresses {
    let mut found = Addresses::default();
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches("- ");
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim().trim_matches(['\'', '"']);
        match key {
            "public-ipv4" => found.ipv4 = parse_address(value),
            // Of the network's configuration; its IPv4 comes by DHCP.
            "address" if found.ipv6.is_none() => {
                if let Some(IpAddr::V6(address)) = parse_address(value) {
                    found.ipv6 = Some(address);
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{
        Addresses, parse_akamai, parse_digitalocean, parse_hetzner, parse_openstack, parse_vultr,
    };
    use serde_json::{Value, json};

    fn addresses(ipv4: &str, ipv6: &str) -> Addresses {
        Addresses {
            ipv4: ipv4.parse().ok(),
            ipv6: ipv6.parse().ok(),
        }
    }

    #[test]
    fn descriptions_as_the_providers_document_them() {
        let text = "instance-id: 42\nhostname: wombat\npublic-ipv4: 5.9.1.2\nnetwork-config:\n  \
                    config:\n  - mac_address: 96:00:00:08:19:da\n    name: eth0\n    subnets:\n    \
                    - ipv4: true\n      type: dhcp\n    - address: 2a01:4f8:1:2::1/64\n      \
                    gateway: fe80::1\n      type: static\n";
        assert_eq!(parse_hetzner(text), addresses("5.9.1.2", "2a01:4f8:1:2::1"));
        let network = json!({
            "ipv4": {"public": ["5.9.1.3/32"], "private": ["192.168.1.1/32"], "shared": []},
            "ipv6": {"slaac": "2600:3c06::f03c:94ff:fecb:c10b/128", "ranges": []},
        });
        assert_eq!(
            parse_akamai(&network),
            addresses("5.9.1.3", "2600:3c06::f03c:94ff:fecb:c10b")
        );
        let machine = json!({"interfaces": {
            "private": [{"ipv4": {"ip_address": "10.132.6.205"}}],
            "public": [{
                "ipv4": {"ip_address": "5.9.1.4", "netmask": "255.255.240.0"},
                "ipv6": {"ip_address": "2604:A880:0800::1", "cidr": 64},
                "anchor_ipv4": {"ip_address": "10.0.0.5"},
            }],
        }});
        assert_eq!(
            parse_digitalocean(&machine),
            addresses("5.9.1.4", "2604:a880:800::1")
        );
        let machine = json!({"interfaces": [
            {"network-type": "private", "ipv4": {"address": "10.1.96.3"}},
            {"network-type": "public", "ipv4": {"address": "5.9.1.5"},
             "ipv6": {"address": "2001:19f0:5:56c2:5400:3ff:fe15:c465", "prefix": "64"}},
        ]});
        assert_eq!(
            parse_vultr(&machine),
            addresses("5.9.1.5", "2001:19f0:5:56c2:5400:3ff:fe15:c465")
        );
        let network = json!({"networks": [
            {"type": "ipv4", "ip_address": "10.0.0.3"},
            {"type": "ipv6_dhcp"},
            {"type": "ipv6", "ip_address": "2a01:1::5"},
        ]});
        assert_eq!(parse_openstack(&network), "2a01:1::5".parse().ok());
    }

    #[test]
    fn other_things_hold_no_address() {
        for value in [
            Value::Null,
            json!([]),
            json!("x"),
            json!({"interfaces": 1, "networks": "x", "ipv4": {"public": [7]}}),
            json!({"interfaces": [{"network-type": "public", "ipv4": []}], "networks": [1]}),
        ] {
            assert_eq!(parse_akamai(&value), Addresses::default());
            assert_eq!(parse_digitalocean(&value), Addresses::default());
            assert_eq!(parse_vultr(&value), Addresses::default());
            assert_eq!(parse_openstack(&value), None);
        }
        assert_eq!(
            parse_hetzner("\0\u{fffd}:::\n- - address"),
            Addresses::default()
        );
    }
}
