//! `mailctl dns publish`: puts our records into the zones of one name server.
//!
//! It changes what the check would find fault with, and nothing else; so a
//! second run sends nothing, and a record that a person wrote differently but
//! well stays. All changes of a zone are one update. Zones that the server
//! does not have are left to people, and so are names that are aliases of
//! something else.

use super::amend::amend;
use super::check::{SpfJudge, Verdict, judge_view};
use super::data::{Data, plain_name};
use super::expected::{Expected, Purpose, expected_records};
use super::facts::Facts;
use super::name_servers::{NameServers, View, read_answer};
use super::policy::dmarc::Strictness;
use super::policy::tags::Tags;
use super::policy::text::{Found, Kind};
use super::update::{Change, Outcome, send_update};
use super::zone::{Resolver, SERVER_PATIENCE};
use super::zone_text::TIME_TO_LIVE;
use crate::appliance::wire::dns::exchange::ask;
use crate::appliance::wire::dns::message::Question;
use crate::error::{Hint, hinted};
use crate::settings::DnsUpdate;
use anyhow::{Context, Result, bail};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// When reading from the server ends.
const READING_LIMIT: Duration = Duration::from_secs(60);
/// How long the other name servers of a zone may take to follow.
const FOLLOW_LIMIT: Duration = Duration::from_secs(60);
/// How often they are asked.
const FOLLOW_POLL_PAUSE: Duration = Duration::from_secs(2);
/// How often a zone is read anew because somebody else changed it meanwhile.
const ZONE_TRIES: u32 = 4;

/// The server that takes updates.
struct Server<'a> {
    address: SocketAddr,
    update: &'a DnsUpdate,
    facts: &'a Facts,
    spf: SpfJudge,
    deadline: Instant,
}

/// Publishes, and returns what to say and whether all went well: a zone's failure is no error.
pub async fn publish_records(
    facts: &Facts,
    update: &DnsUpdate,
    resolver: SocketAddr,
    dry_run: bool,
) -> Result<(String, bool)> {
    let deadline = Instant::now() + READING_LIMIT;
    let server = Server {
        address: find_server(update, resolver, deadline).await?,
        update,
        facts,
        spf: SpfJudge::new(resolver, deadline)?,
        deadline,
    };
    let (zones, elsewhere) = server.find_zones().await?;
    let mut lines = Vec::new();
    let mut good = true;
    let mut changed = Vec::new();
    for (zone, records) in &zones {
        match server
            .publish_zone(zone, records, dry_run, &mut lines)
            .await
        {
            Ok(changes) => changed.extend(changes),
            // Addresses' zones are the provider's; that it keeps them is no failure.
            Err(error) if zone.ends_with(".arpa") => {
                lines.push(format!(
                    "{zone}: {error:#}; set the PTR record at your provider"
                ));
            }
            Err(error) => {
                good = false;
                lines.push(crate::error::render(
                    &error.context(format!("publishing in {zone}")),
                ));
            }
        }
    }
    for record in elsewhere {
        lines.push(format!(
            "{}: the server has no such zone; publish its {} by hand, mailctl dns records prints it",
            record.name,
            record.type_name()
        ));
    }
    if !dry_run && !changed.is_empty() {
        lines.push(await_followers(resolver, &changed).await);
    }
    if changed.is_empty() && good {
        lines.push("Nothing to change.".to_owned());
    }
    Ok((lines.join("\n"), good))
}

/// The address of `DNS_UPDATE_SERVER`.
async fn find_server(
    update: &DnsUpdate,
    resolver: SocketAddr,
    deadline: Instant,
) -> Result<SocketAddr> {
    if let Ok(address) = update.host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, update.port));
    }
    let resolver = Resolver {
        address: resolver,
        deadline,
    };
    let addresses = resolver.addresses(&update.host).await;
    let address = addresses
        .first()
        .with_context(|| format!("looking up {}: it has no address", update.host))
        .hint("DNS_UPDATE_SERVER takes an address, too")?;
    Ok(SocketAddr::new(*address, update.port))
}

type ByZone = Vec<(String, Vec<Expected>)>;

impl Server<'_> {
    async fn ask(&self, name: &str, kind: RecordType) -> Result<Message> {
        let question = Question {
            recursive: false,
            ..Question::new(name, kind)?
        };
        ask(self.address, &question, SERVER_PATIENCE, self.deadline)
            .await
            .map_err(|failure| {
                hinted(
                    format!("asking the name server {}: {failure}", self.address),
                    "see whether DNS_UPDATE_SERVER is right and reachable from here",
                )
            })
    }

    /// Groups the records by those zones that the server has; others come last.
    async fn find_zones(&self) -> Result<(ByZone, Vec<Expected>)> {
        let mut zones: ByZone = Vec::new();
        let mut elsewhere = Vec::new();
        for record in expected_records(self.facts) {
            match self.find_apex(&record.name).await? {
                Some(apex) => match zones.iter_mut().find(|(zone, _)| *zone == apex) {
                    Some((_, records)) => records.push(record),
                    None => zones.push((apex, vec![record])),
                },
                None => elsewhere.push(record),
            }
        }
        Ok((zones, elsewhere))
    }

    /// The server's zone of a name.
    async fn find_apex(&self, name: &str) -> Result<Option<String>> {
        let mut name = name;
        loop {
            let answer = self.ask(name, RecordType::SOA).await?;
            let known = matches!(
                answer.response_code,
                ResponseCode::NoError | ResponseCode::NXDomain
            );
            if !known || !answer.authoritative {
                return Ok(None);
            }
            let soa = answer
                .answers
                .iter()
                .chain(&answer.authorities)
                .filter(|record| matches!(record.data, RData::SOA(_)))
                .map(|record| plain_name(&record.name))
                .find(|apex| name == apex || name.ends_with(&format!(".{apex}")));
            match (soa, name.split_once('.')) {
                (Some(apex), _) => return Ok(Some(apex)),
                // An alias, whose answer speaks of another zone.
                (None, Some((_, parent))) => name = parent,
                (None, None) => return Ok(None),
            }
        }
    }

    async fn publish_zone(
        &self,
        zone: &str,
        records: &[Expected],
        dry_run: bool,
        lines: &mut Vec<String>,
    ) -> Result<Vec<Change>> {
        for _ in 0..ZONE_TRIES {
            let mut notes = Vec::new();
            let mut changes = Vec::new();
            for record in records {
                changes.extend(self.find_change(record, &mut notes).await?);
            }
            let outcome = if dry_run || changes.is_empty() {
                Outcome::Done
            } else {
                send_update(self.address, self.update, zone, &changes).await?
            };
            if outcome == Outcome::Done {
                for change in &changes {
                    lines.extend(words(zone, change, dry_run));
                }
                lines.append(&mut notes);
                return Ok(changes);
            }
        }
        bail!("the zone was changed by somebody else each time that it was read")
    }

    /// What has to be done about a record, if anything.
    async fn find_change(
        &self,
        record: &Expected,
        notes: &mut Vec<String>,
    ) -> Result<Option<Change>> {
        if matches!(record.purpose, Purpose::StsHost | Purpose::Autoconfig) {
            return self.find_alias_change(record, notes).await;
        }
        let kind = record
            .data
            .first()
            .map_or(RecordType::NULL, Data::record_type);
        let (view, live, time_to_live) = self.read(&record.name, kind).await?;
        if let Some(alias) = view.aliases.first() {
            notes.push(format!(
                "{}: is an alias of {alias}.; remove that CNAME record by hand, nothing can stand beside it",
                record.name
            ));
            return Ok(None);
        }
        notes.extend(left_alone(self.facts, record, &view.records));
        let judged = judge_view(self.facts, &self.spf, record, &view).await;
        // Keys that we had are harmless to a check, and still have to go.
        let exact = record.purpose == Purpose::Tlsa;
        if matches!(judged.verdict, Verdict::Ok | Verdict::CannotTell) && !exact {
            return Ok(None);
        }
        let change = Change {
            name: record.name.clone(),
            kind,
            wanted: amend(self.facts, record, &view.records, judged.joining),
            live,
            time_to_live,
        };
        Ok((!change.is_none()).then_some(change))
    }

    /// Names that may be somebody's own: only what is not there yet is made.
    async fn find_alias_change(
        &self,
        record: &Expected,
        notes: &mut Vec<String>,
    ) -> Result<Option<Change>> {
        let mut free = true;
        let mut good = true;
        for kind in [RecordType::A, RecordType::AAAA] {
            let (view, ..) = self.read(&record.name, kind).await?;
            if !view.aliases.is_empty() || !view.records.is_empty() {
                free = false;
                let judged = judge_view(self.facts, &self.spf, record, &view).await;
                good &= judged.verdict == Verdict::Ok;
            }
        }
        if !free {
            if !good {
                notes.push(format!(
                    "{}: leads elsewhere and is left alone; set it to {} by hand",
                    record.name, self.facts.hostname
                ));
            }
            return Ok(None);
        }
        Ok(Some(Change {
            name: record.name.clone(),
            kind: RecordType::CNAME,
            live: Vec::new(),
            time_to_live: TIME_TO_LIVE,
            wanted: record.data.clone(),
        }))
    }

    /// What the server has at a name, as a view, exactly, and for how long others keep it.
    async fn read(&self, name: &str, kind: RecordType) -> Result<(View, Vec<RData>, u32)> {
        let answer = self.ask(name, kind).await?;
        let view = read_answer(&answer, name, kind)
            .map_err(|words| anyhow::anyhow!("the server {words}"))
            .with_context(|| format!("reading {name}"))?;
        let mut time_to_live = TIME_TO_LIVE;
        let mut live = Vec::new();
        for record in &answer.answers {
            if plain_name(&record.name) == name && record.record_type() == kind {
                time_to_live = record.ttl;
                live.push(record.data.clone());
            }
        }
        Ok((view, live, time_to_live))
    }
}

/// What a person may want to change, and nobody else should.
fn left_alone(facts: &Facts, record: &Expected, live: &[Data]) -> Vec<String> {
    let name = &record.name;
    match record.purpose {
        Purpose::Dmarc => Found::among(Kind::Dmarc, live)
            .readings
            .iter()
            .map(|reading| Tags::parse(&reading.text))
            .filter(|tags| tags.get("p").is_some() && Strictness::of(tags, "p") == Strictness::None)
            .map(|tags| {
                format!(
                    "{name}: p is {} and stays so, that is its owner's choice; forged mail is \
                     delivered until you let it be quarantine or reject, by hand",
                    tags.get("p").unwrap_or_default()
                )
            })
            .collect(),
        Purpose::Tlsa => {
            let foreign = live.iter().filter(|data| {
                matches!(data, Data::Tlsa(3, 1, 1, digest)
                    if !facts.former_tls_keys.contains(digest) && !record.data.contains(data))
            });
            foreign
                .map(|data| {
                    format!(
                        "{name}: TLSA {data} names a key that this machine never had, and stays: \
                         it harms nobody beside ours; remove it by hand if its server is gone"
                    )
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

fn words(zone: &str, change: &Change, dry_run: bool) -> Vec<String> {
    let (add, remove) = if dry_run {
        ("would add", "would remove")
    } else {
        ("added", "removed")
    };
    let removed = change.removed().map(|data| (remove, Data::from_wire(data)));
    removed
        .chain(change.added().map(|data| (add, data.clone())))
        .map(|(verb, data)| {
            format!(
                "{zone}: {verb} {}. {} {data}",
                change.name,
                data.type_name()
            )
        })
        .collect()
}

/// Waits until every name server answers with what was sent.
async fn await_followers(resolver: SocketAddr, changes: &[Change]) -> String {
    let end = Instant::now() + FOLLOW_LIMIT;
    loop {
        let name_servers = NameServers::new(resolver, end);
        let mut late = Vec::new();
        for change in changes {
            let views = name_servers.look_up(&change.name, change.kind).await;
            let served = views.is_ok_and(|views| {
                views
                    .iter()
                    .all(|view| change.wanted.iter().all(|data| view.records.contains(data)))
            });
            if !served {
                late.push(change.name.clone());
            }
        }
        if late.is_empty() {
            return "All name servers have it.".to_owned();
        }
        if Instant::now() + FOLLOW_POLL_PAUSE > end {
            return format!(
                "Not all name servers have it yet: {}. mailctl dns check looks again.",
                late.join(", ")
            );
        }
        sleep(FOLLOW_POLL_PAUSE).await;
    }
}
