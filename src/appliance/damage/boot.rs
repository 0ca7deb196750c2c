//! What a cloud hands over: user-data, metadata, and the gateway's word.

use super::{Target, texts, try_all};
use crate::appliance::boot::cloud::metadata::{
    parse_akamai, parse_digitalocean, parse_hetzner, parse_openstack, parse_vultr,
};
use crate::appliance::boot::cloud::user_data::{UserData, examine};
use crate::appliance::network::port_mapping::{parse_nat_pmp, parse_pcp};
use crate::settings::{blank_secrets, parse_settings, resolve_settings, restore_secrets};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const SETTINGS: &str = "DOMAIN=wombat.example\nHOSTNAME=mail.wombat.example\n\
    ADDITIONAL_DOMAINS=koala.example,b\u{fc}cher.example\nADMIN_USER_INITIAL_PASSWORD='a b'\n\
    ADMIN_EMAIL=p@wombat.example\nRELAYHOST=[mx.example]:587\nRELAYHOST_USER=u\nRELAYHOST_PASSWORD=p\n\
    SSH_AUTHORIZED_KEYS=\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB a@b\"\nMAILBOX_QUOTA=5G\n\
    NETWORK=static\nADDRESS=192.0.2.10/24\nGATEWAY=192.0.2.1\nDNS_SERVERS=192.0.2.53\n\
    UPDATE_SCHEDULE=Mon..Fri 03:00\nUPDATE_WINDOW=2h\nMTA_STS=testing\nDH_PARAMS=generate:2048\n";

const TARGETS: &[Target] = &[
    Target {
        name: "user-data and settings",
        seeds: || {
            let wrapped = STANDARD.encode(SETTINGS);
            texts(&[
                SETTINGS,
                &wrapped,
                "#cloud-config\nDOMAIN=a.example\n",
                "\u{feff}DOMAIN=a.example\r\n",
            ])
        },
        words: &[
            "=",
            "\"",
            "'",
            "\\",
            "$",
            "#",
            "\n",
            "\r\n",
            "DOMAIN=",
            "HOSTNAME=",
            "PASSWORD=",
            "\u{fc}",
            "..",
        ],
        start: || Box::new(read_user_data),
    },
    Target {
        name: "metadata",
        seeds: || {
            texts(&[
                "instance-id: 42\npublic-ipv4: 5.9.1.2\nnetwork-config:\n  config:\n    - address: 2a01:4f8:1:2::1/64\n",
                r#"{"ipv4": {"public": ["5.9.1.3/32"]}, "ipv6": {"slaac": "2600:3c06::1/128", "ranges": []}}"#,
                r#"{"interfaces": {"public": [{"ipv4": {"ip_address": "5.9.1.4"}, "ipv6": {"ip_address": "2604:A880::1", "cidr": 64}}]}}"#,
                r#"{"interfaces": [{"network-type": "public", "ipv4": {"address": "5.9.1.5"}, "ipv6": {"address": "2001:19f0::1"}}]}"#,
                r#"{"networks": [{"type": "ipv4"}, {"type": "ipv6", "ip_address": "2a01:1::5"}]}"#,
            ])
        },
        words: &["{", "[", "null", "\"", ":", "- ", "address", "/"],
        start: || Box::new(read_metadata),
    },
    Target {
        name: "what a gateway answers",
        seeds: || {
            let pcp = [&[2, 0x81, 0, 0, 0, 0, 0, 30][..], &[0; 52]].concat();
            vec![vec![0, 128, 0, 0, 0, 0, 0, 1, 5, 9, 1, 2], pcp]
        },
        words: &[],
        start: || {
            Box::new(|input: &[u8]| {
                let _ = (parse_nat_pmp(input), parse_pcp(input, &[0; 12]));
            })
        },
    },
];

#[test]
fn clouds_of_strangers() {
    try_all(TARGETS);
}

fn read_user_data(input: &[u8]) {
    let _ = blank_secrets(input);
    if let UserData::Settings(bytes) = examine(input) {
        match parse_settings(&bytes) {
            Ok(written) => {
                let _ = restore_secrets(&bytes, &written);
                if let Err(problems) = resolve_settings(&written) {
                    let _ = problems.to_string();
                }
            }
            Err(problems) => {
                let _ = problems.to_string();
            }
        }
    }
}

fn read_metadata(input: &[u8]) {
    let _ = parse_hetzner(&String::from_utf8_lossy(input));
    let value = serde_json::from_slice(input).unwrap_or_default();
    let _ = (parse_akamai(&value), parse_digitalocean(&value));
    let _ = (parse_vultr(&value), parse_openstack(&value));
}
