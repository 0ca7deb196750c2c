//! The command line of `mailctl dns`.

use crate::appliance::dkim::chosen_domains;
use crate::appliance::dns::address::find_addresses;
use crate::appliance::dns::check::{Style, check_records};
use crate::appliance::dns::configuration::load_configuration;
use crate::appliance::dns::expected::{Expected, expected_records};
use crate::appliance::dns::facts::{Facts, gather_facts};
use crate::appliance::dns::name_servers::NameServers;
use crate::appliance::dns::publish::publish_records;
use crate::appliance::dns::zone_text::Zones;
use crate::appliance::machine::place::Place;
use crate::appliance::machine::settings::load_stored;
use crate::appliance::wire::dns::RESOLVER;
use crate::appliance::wire::serve::{BLOCKING_THREADS, start_runtime};
use crate::error::hinted;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long printing may wait for DNS, which it can do without.
const APEX_LIMIT: Duration = Duration::from_secs(5);

/// What can be said of our records.
#[derive(Debug, Subcommand)]
pub enum DnsVerb {
    /// Print the records to publish, of one domain or of all.
    Records {
        /// Only this domain's.
        domain: Option<String>,
        /// Print zone files instead of a list for a provider's form.
        #[arg(long)]
        zone: bool,
        /// Print JSON.
        #[arg(long, conflicts_with = "zone")]
        json: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Compare them with what is published; fails when a required one is wrong.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Publish them by dynamic update, as DNS_UPDATE_* of the settings say.
    Publish {
        /// Say what would be changed, and change nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        common: Common,
    },
}

/// What all of them know.
#[derive(Debug, Default, Args)]
pub struct Common {
    /// The machine's address on the internet instead of the one found; one for each family.
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// Ask this page for it, which answers with nothing but the address; nobody is asked otherwise.
    #[arg(long, value_name = "URL", conflicts_with = "addresses")]
    ask: Option<String>,
    /// Ask this resolver instead of the machine's own.
    #[arg(long, hide = true, env = "MAILCTL_RESOLVER")]
    resolver: Option<SocketAddr>,
}

impl Common {
    /// Nobody is asked on behalf of a test folder, unless by name.
    fn resolver(&self, place: &Place) -> Option<SocketAddr> {
        self.resolver.or(place.is_machine().then_some(RESOLVER))
    }
}

/// Does what was asked; the flag says whether all is good.
pub fn run_verb(place: &Place, verb: &DnsVerb) -> Result<(String, bool)> {
    let runtime = start_runtime(BLOCKING_THREADS)?;
    match verb {
        DnsVerb::Records {
            domain,
            zone,
            json,
            common,
        } => {
            let facts = load_facts(place, common)?;
            let settings = load_stored(place)?.settings;
            let chosen = chosen_domains(&settings, domain.as_deref())?;
            let records = expected_records(&facts);
            let records = if domain.is_some() {
                only_of(records, &facts, &chosen)
            } else {
                records
            };
            let apexes = match common.resolver(place) {
                Some(resolver) => runtime.block_on(find_apexes(resolver, &records)),
                None => BTreeMap::new(),
            };
            let zones = Zones::group(&records, &apexes, &facts.domains);
            let mut said = if *json {
                zones.json()?
            } else if *zone {
                zones.zone_text()
            } else {
                zones.form_text()
            };
            if facts.addresses.all().next().is_none() && !*json {
                let sign = if *zone { ";" } else { "#" };
                said.insert_str(
                    0,
                    &format!(
                        "{sign} The public address of this machine is not known, so A, AAAA and PTR records are left out:\n{sign} set PUBLIC_IPV4 or PUBLIC_IPV6 in the settings, or say it with --address.\n\n"
                    ),
                );
            }
            Ok((said, true))
        }
        DnsVerb::Check { json, common } => {
            let facts = load_facts(place, common)?;
            let resolver = common.resolver(place).ok_or_else(no_resolver)?;
            let report = runtime.block_on(check_records(facts, resolver))?;
            let said = if *json {
                report.json()?
            } else {
                report.text(style())
            };
            Ok((said, report.ok))
        }
        DnsVerb::Publish { dry_run, common } => {
            let settings = load_configuration(place)?;
            let update = settings
                .dns_update
                .as_ref()
                .context("reading DNS_UPDATE_* of the settings")?;
            let addresses =
                find_addresses(place, &settings, &common.addresses, common.ask.as_deref())?;
            if addresses.all().next().is_none() {
                return Err(hinted(
                    "the public address of this machine is not known",
                    "set PUBLIC_IPV4 or PUBLIC_IPV6 in the settings, or say it with --address",
                ));
            }
            let facts = gather_facts(place, &settings, addresses)?;
            let resolver = common.resolver(place).ok_or_else(no_resolver)?;
            runtime.block_on(publish_records(&facts, update, resolver, *dry_run))
        }
    }
}

/// Records and checks of all domains, as a value.
pub fn facts(place: &Place) -> Result<serde_json::Value> {
    let common = Common::default();
    let resolver = std::env::var("MAILCTL_RESOLVER").ok();
    let resolver = resolver
        .and_then(|text| text.parse().ok())
        .or(common.resolver(place))
        .ok_or_else(no_resolver)?;
    let facts = load_facts(place, &common)?;
    let runtime = start_runtime(BLOCKING_THREADS)?;
    let records = expected_records(&facts);
    let domains = facts.domains.clone();
    let (apexes, report) = runtime.block_on(async {
        let apexes = find_apexes(resolver, &records);
        let (apexes, report) = tokio::join!(apexes, check_records(facts, resolver));
        anyhow::Ok((apexes, report?))
    })?;
    let zones = Zones::group(&records, &apexes, &domains);
    let records: serde_json::Value = serde_json::from_str(&zones.json()?)?;
    Ok(serde_json::json!({"report": report, "records": records}))
}

fn load_facts(place: &Place, common: &Common) -> Result<Facts> {
    let settings = load_stored(place)?.settings;
    let addresses = find_addresses(place, &settings, &common.addresses, common.ask.as_deref())?;
    gather_facts(place, &settings, addresses)
}

fn no_resolver() -> anyhow::Error {
    hinted(
        "a folder has no resolver",
        "--resolver ADDRESS:PORT names one",
    )
}

fn style() -> Style {
    // https://no-color.org
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stdout().is_terminal() && !refused {
        Style::Coloured
    } else {
        Style::Plain
    }
}

/// The records of a domain and those that lie in it for another one's sake; HOSTNAME's,
/// if it lies in it or belongs to the first one.
fn only_of(records: Vec<Expected>, facts: &Facts, chosen: &[String]) -> Vec<Expected> {
    let host = &facts.hostname;
    records
        .into_iter()
        .filter(|record| {
            chosen.iter().any(|domain| {
                record.of == *domain
                    || record.name.ends_with(&format!(".{domain}"))
                    || record.of == *host
                        && (host.ends_with(&format!(".{domain}"))
                            || facts.domains.first() == Some(domain))
            })
        })
        .collect()
}

/// The zone of each name, as far as the resolver tells in time.
async fn find_apexes(resolver: SocketAddr, records: &[Expected]) -> BTreeMap<String, String> {
    let name_servers = NameServers::new(resolver, Instant::now() + APEX_LIMIT);
    let mut tasks = JoinSet::new();
    for record in records {
        let (name_servers, name) = (name_servers.clone(), record.name.clone());
        tasks.spawn(async move { name_servers.apex(&name).await.ok().map(|apex| (name, apex)) });
    }
    let mut apexes = BTreeMap::new();
    while let Some(joined) = tasks.join_next().await {
        if let Ok(Some((name, apex))) = joined {
            // A domain that is not registered yet lies in its parent's zone.
            if apex.contains('.') {
                apexes.insert(name, apex);
            }
        }
    }
    apexes
}
