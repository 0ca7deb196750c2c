//! Dynamic updates: RFC 2136 (<https://www.rfc-editor.org/rfc/rfc2136>),
//! signed by TSIG (RFC 8945, <https://www.rfc-editor.org/rfc/rfc8945>), over TCP.
//!
//! Every change of a record set says what the set was when it was read; if
//! somebody changed it meanwhile, the server refuses and nothing is changed.

use super::data::Data;
use crate::appliance::wire::dns::exchange::over_tcp;
use crate::appliance::wire::dns::message::wire_name;
use crate::error::hinted;
use crate::settings::DnsUpdate;
use anyhow::{Context, Result, bail};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode, UpdateMessage};
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType, TSigner};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;

/// How long the server may take; it may have to sign the zone.
const UPDATE_LIMIT: Duration = Duration::from_secs(15);
/// How far clocks may differ, in seconds (RFC 8945 section 10).
const FUDGE: u16 = 300;

/// A change of one record set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Name of the set.
    pub name: String,
    /// Its type.
    pub kind: RecordType,
    /// What it is, exactly.
    pub live: Vec<RData>,
    /// How long others may keep it; one time counts for all of a set (RFC 2181 section 5.2).
    pub time_to_live: u32,
    /// What it is to be.
    pub wanted: Vec<Data>,
}

impl Change {
    /// Whether there is anything to do.
    pub fn is_none(&self) -> bool {
        self.removed().next().is_none() && self.added().next().is_none()
    }

    /// What goes.
    pub fn removed(&self) -> impl Iterator<Item = &RData> {
        self.live
            .iter()
            .filter(|data| !self.wanted.contains(&Data::from_wire(data)))
    }

    /// What comes.
    pub fn added(&self) -> impl Iterator<Item = &Data> {
        self.wanted
            .iter()
            .filter(|data| !self.live.iter().any(|live| Data::from_wire(live) == **data))
    }
}

/// How the server took an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// Something had been changed since it was read.
    Overtaken,
}

/// Sends all changes of one zone in one step.
pub async fn send_update(
    server: SocketAddr,
    update: &DnsUpdate,
    zone: &str,
    changes: &[Change],
) -> Result<Outcome> {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Update);
    message.add_zone(Query::query(wire_name(zone)?, RecordType::SOA));
    for change in changes {
        add_change(&mut message, change)?;
    }
    let signer = TSigner::new(
        update.secret.clone(),
        algorithm(&update.algorithm),
        wire_name(&update.key)?,
        FUDGE,
    )
    .context("preparing the key")?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("reading the clock")?
        .as_secs();
    let verifier = message
        .finalize(&signer, now)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("signing the update")?;
    let bytes = message
        .to_vec()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("writing the update")?;
    let reply = timeout(UPDATE_LIMIT, over_tcp(server, &bytes))
        .await
        .map_err(|_| anyhow::anyhow!("no answer within {} s", UPDATE_LIMIT.as_secs()))??;
    let answer = Message::from_vec(&reply)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("reading the answer")?;
    if answer.id != message.id || answer.op_code != OpCode::Update {
        bail!("the answer belongs to another question");
    }
    // Refusals of a key cannot be signed with it, so they are read first.
    refuse_key(&answer, update)?;
    let mut verifier = verifier.context("signing the update")?;
    verifier
        .verify(&reply)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("the answer is not signed with our key")?;
    match answer.response_code {
        ResponseCode::NoError => Ok(Outcome::Done),
        ResponseCode::NXRRSet
        | ResponseCode::YXRRSet
        | ResponseCode::NXDomain
        | ResponseCode::YXDomain => Ok(Outcome::Overtaken),
        ResponseCode::Refused => Err(hinted(
            format!("the key '{}' may not change this zone", update.key),
            "let the name server's configuration allow updates of it with this key (Knot: acl with action update; BIND: update-policy)",
        )),
        ResponseCode::NotAuth | ResponseCode::NotZone => {
            bail!("the server is not responsible for this zone")
        }
        ResponseCode::NotImp => bail!("the server takes no updates of this zone"),
        code => bail!("the server refuses: {code}"),
    }
}

/// Says what is wrong with the key.
fn refuse_key(answer: &Message, update: &DnsUpdate) -> Result<()> {
    let error = answer.signature().and_then(|record| record.data.error);
    let (wrong, hint) = match error {
        Some(TsigError::BadKey) => (
            format!(
                "the server does not know the key '{}' with {}",
                update.key, update.algorithm
            ),
            "compare DNS_UPDATE_KEY and DNS_UPDATE_ALGORITHM with the key in the server's configuration",
        ),
        Some(TsigError::BadSig) => (
            format!("the server has another secret for the key '{}'", update.key),
            "set DNS_UPDATE_SECRET to the secret in the server's configuration",
        ),
        Some(TsigError::BadTime) => (
            "the server's clock and ours differ by more than five minutes".to_owned(),
            "see which one is wrong: timedatectl shows ours",
        ),
        Some(other) => (
            format!("the server does not accept our signature: {other:?}"),
            "compare DNS_UPDATE_* with the key in the server's configuration",
        ),
        // Knot says no more about a key that it does not know.
        None if answer.signature().is_none() && answer.response_code != ResponseCode::NoError => (
            format!(
                "the server does not know the key '{}' with {}, or not for this zone ({})",
                update.key, update.algorithm, answer.response_code
            ),
            "compare DNS_UPDATE_KEY and DNS_UPDATE_ALGORITHM with the key in the server's configuration",
        ),
        None => return Ok(()),
    };
    Err(hinted(wrong, hint))
}

fn algorithm(name: &str) -> TsigAlgorithm {
    match name {
        "hmac-sha512" => TsigAlgorithm::HmacSha512,
        "hmac-sha384" => TsigAlgorithm::HmacSha384,
        _ => TsigAlgorithm::HmacSha256,
    }
}

fn add_change(message: &mut Message, change: &Change) -> Result<()> {
    let name = wire_name(&change.name)?;
    if change.live.is_empty() {
        // Section 2.4.3: there is no such set.
        let mut record = Record::update0(name.clone(), 0, change.kind);
        record.dns_class = DNSClass::NONE;
        message.add_pre_requisite(record);
    }
    for data in &change.live {
        // Section 2.4.2: the set is exactly this one.
        message.add_pre_requisite(Record::from_rdata(name.clone(), 0, data.clone()));
    }
    for data in change.removed() {
        // Section 2.5.4: one record of the set.
        let mut record = Record::from_rdata(name.clone(), 0, data.clone());
        record.dns_class = DNSClass::NONE;
        message.add_update(record);
    }
    for data in change.added() {
        let record = Record::from_rdata(name.clone(), change.time_to_live, data.to_wire()?);
        message.add_update(record);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Change;
    use crate::appliance::dns::data::Data;
    use hickory_proto::rr::RecordType;

    #[test]
    fn only_differences_are_sent() {
        let text = |text: &str| Data::text(text);
        let change = Change {
            name: "a.example".to_owned(),
            kind: RecordType::TXT,
            time_to_live: 60,
            live: vec![
                text("one").to_wire().unwrap(),
                text("two").to_wire().unwrap(),
            ],
            wanted: vec![text("two"), text("three")],
        };
        assert_eq!(change.added().collect::<Vec<_>>(), [&text("three")]);
        assert_eq!(
            change.removed().map(Data::from_wire).collect::<Vec<_>>(),
            [text("one")]
        );
        assert!(!change.is_none());
    }
}
