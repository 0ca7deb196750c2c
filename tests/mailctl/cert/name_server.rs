//! A name server that says what a test wants, RFC 1035 over UDP.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_proto::rr::rdata::{A, TLSA};
use hickory_proto::rr::{RData, Record, RecordType};

#[derive(Default)]
struct Zone {
    addresses: BTreeMap<String, Ipv4Addr>,
    tlsa: Option<(Vec<String>, u32)>,
    silent: bool,
}

/// A running name server.
pub struct NameServer {
    zone: Arc<Mutex<Zone>>,
    address: SocketAddr,
}

impl NameServer {
    /// One that knows nothing yet.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let known = Arc::clone(&zone);
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut packet) {
                let Ok(query) = Message::from_vec(&packet[..length]) else {
                    continue;
                };
                if let Some(answer) = answer(&query, &known.lock().unwrap()) {
                    let _ = socket.send_to(&answer.to_vec().unwrap(), peer);
                }
            }
        });
        Self { zone, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives a name an address.
    pub fn point(&self, name: &str, address: &str) {
        let address = address.parse().unwrap();
        let mut zone = self.zone.lock().unwrap();
        zone.addresses.insert(name.to_owned(), address);
    }

    /// Takes a name away.
    pub fn remove(&self, name: &str) {
        self.zone.lock().unwrap().addresses.remove(name);
    }

    /// Publishes TLSA records of mail.
    pub fn set_tlsa(&self, digests: &[String], ttl: u32) {
        self.zone.lock().unwrap().tlsa = Some((digests.to_vec(), ttl));
    }

    /// Fails whoever asks for TLSA records.
    pub fn fail_tlsa(&self, silent: bool) {
        self.zone.lock().unwrap().silent = silent;
    }
}

fn answer(query: &Message, zone: &Zone) -> Option<Message> {
    let question = query.queries.first()?;
    let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_query(question.clone());
    let name = question.name.to_utf8().to_lowercase();
    let name = name.trim_end_matches('.');
    let mut add = |ttl, data| {
        answer.add_answer(Record::from_rdata(question.name.clone(), ttl, data));
    };
    let mut code = ResponseCode::NoError;
    match (question.query_type, name.strip_prefix("_25._tcp.")) {
        (RecordType::TLSA, Some(_)) => match &zone.tlsa {
            _ if zone.silent => code = ResponseCode::ServFail,
            None => code = ResponseCode::NXDomain,
            Some((digests, ttl)) => {
                for digest in digests {
                    let digest = hex::decode(digest).unwrap();
                    let data =
                        TLSA::new(CertUsage::DaneEe, Selector::Spki, Matching::Sha256, digest);
                    add(*ttl, RData::TLSA(data));
                }
            }
        },
        (kind, _) => match zone.addresses.get(name) {
            Some(address) if kind == RecordType::A => add(60, RData::A(A(*address))),
            Some(_) => {}
            None => code = ResponseCode::NXDomain,
        },
    }
    answer.metadata.response_code = code;
    Some(answer)
}
