//! Other domains, as the machine sees them: a validating resolver, and a web
//! server for each policy with a certificate of a root of its own.

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_proto::rr::rdata::{A, MX, TLSA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a name server says of a name and kind.
#[derive(Clone)]
pub struct Answer {
    records: Vec<RData>,
    secure: bool,
    fails: bool,
}

type Records = Arc<Mutex<BTreeMap<(String, RecordType), Answer>>>;

/// A resolver whose word about DNSSEC is what a test says.
pub struct Resolver {
    pub address: SocketAddr,
    records: Records,
}

impl Resolver {
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let records = Records::default();
        let known = records.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let _ = socket.send_to(&respond(&question, &known), peer);
            }
        });
        Self { address, records }
    }

    fn put(&self, name: &str, kind: RecordType, answer: Answer) {
        let key = (format!("{name}."), kind);
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.insert(key, answer);
    }

    pub fn texts(&self, name: &str, texts: &[&str]) {
        let records = texts
            .iter()
            .map(|text| {
                // Split where nobody expects it: the pieces count as one.
                let (one, other) = text.split_at(text.len() / 2);
                RData::TXT(TXT::new(vec![one.to_owned(), other.to_owned()]))
            })
            .collect();
        self.put(name, RecordType::TXT, answer(records, false));
    }

    pub fn mail_servers(&self, domain: &str, hosts: &[&str], secure: bool) {
        let records = hosts
            .iter()
            .map(|host| RData::MX(MX::new(10, Name::from_ascii(format!("{host}.")).unwrap())))
            .collect();
        self.put(domain, RecordType::MX, answer(records, secure));
        for host in hosts {
            self.address(host, secure);
        }
    }

    pub fn address(&self, host: &str, secure: bool) {
        let record = RData::A(A(Ipv4Addr::LOCALHOST));
        self.put(host, RecordType::A, answer(vec![record], secure));
    }

    pub fn tlsa(&self, host: &str, usage: CertUsage, secure: bool) {
        let record = TLSA::new(usage, Selector::Spki, Matching::Sha256, vec![7; 32]);
        let name = format!("_25._tcp.{host}");
        self.put(
            &name,
            RecordType::TLSA,
            answer(vec![RData::TLSA(record)], secure),
        );
    }

    pub fn failure(&self, name: &str, kind: RecordType) {
        let mut failure = answer(Vec::new(), false);
        failure.fails = true;
        self.put(name, kind, failure);
    }

    pub fn forget_all(&self) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.clear();
    }
}

fn answer(records: Vec<RData>, secure: bool) -> Answer {
    Answer {
        records,
        secure,
        fails: false,
    }
}

fn respond(question: &Message, known: &Records) -> Vec<u8> {
    let query = &question.queries[0];
    let key = (query.name().to_ascii().to_lowercase(), query.query_type());
    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.get(&key);
    let mut response = Message::response(question.metadata.id, question.metadata.op_code);
    response.metadata.message_type = MessageType::Response;
    response.add_query(query.clone());
    match found {
        None => response.metadata.response_code = ResponseCode::NXDomain,
        Some(answer) if answer.fails => {
            response.metadata.response_code = ResponseCode::ServFail;
        }
        Some(answer) => {
            response.metadata.authentic_data = answer.secure;
            for data in &answer.records {
                let record = Record::from_rdata(query.name().clone(), 60, data.clone());
                response.add_answer(record);
            }
        }
    }
    response.to_vec().unwrap()
}

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(parameters, key),
            pem,
        }
    }

    fn issue(&self, name: &str) -> CertifiedKey {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        CertifiedKey::new(
            vec![CertificateDer::from(certificate.der().to_vec())],
            rustls::crypto::ring::sign::any_ecdsa_type(&der.into()).unwrap(),
        )
    }
}

/// What a web server sends, whole.
#[derive(Clone)]
pub enum Page {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A page that never ends, a byte now and then.
    Trickle,
}

/// A 200 with a body of a kind.
pub fn page(kind: &str, body: &str) -> Page {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    Page::Bytes(format!("{head}{body}").into_bytes())
}

type Pages = Arc<Mutex<BTreeMap<String, Page>>>;

/// A web server for any number of names, one certificate for each.
pub struct WebServer {
    pub port: u16,
    pages: Pages,
    certificates: Arc<Mutex<BTreeMap<String, Arc<CertifiedKey>>>>,
    /// What was asked of it: host and whole request.
    pub requests: Arc<Mutex<Vec<(String, String)>>>,
}

#[derive(Debug)]
struct Certificates(Arc<Mutex<BTreeMap<String, Arc<CertifiedKey>>>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hello.server_name()?).cloned()
    }
}

impl WebServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            pages: Pages::default(),
            certificates: Arc::default(),
            requests: Arc::default(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let configuration = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Certificates(server.certificates.clone())));
        let configuration = Arc::new(configuration);
        let (pages, requests) = (server.pages.clone(), server.requests.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (configuration, pages) = (configuration.clone(), pages.clone());
                let requests = requests.clone();
                std::thread::spawn(move || serve(stream, configuration, &pages, &requests));
            }
        });
        server
    }

    /// Serves a page under a name, with a certificate that an authority gave for another.
    pub fn put(&self, host: &str, page: Page, authority: &Authority, certificate: &str) {
        let key = Arc::new(authority.issue(certificate));
        let mut known = self.certificates.lock().unwrap();
        known.insert(host.to_owned(), key);
        self.pages.lock().unwrap().insert(host.to_owned(), page);
    }

    pub fn count(&self, host: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|(asked, _)| asked == host).count()
    }
}

fn serve(
    stream: TcpStream,
    configuration: Arc<ServerConfig>,
    pages: &Pages,
    requests: &Mutex<Vec<(String, String)>>,
) -> Option<()> {
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .ok()?;
    let connection = ServerConnection::new(configuration).ok()?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        request.extend(&buffer[..length]);
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|length| length.parse::<usize>().ok())
        .unwrap_or(0);
    while request.len() < end + length {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        request.extend(&buffer[..length]);
    }
    let host = stream.conn.server_name()?.to_owned();
    // One character for each byte, so that a body comes back whole.
    let text: String = request.iter().map(|byte| char::from(*byte)).collect();
    requests.lock().unwrap().push((host.clone(), text));
    let page = pages.lock().unwrap().get(&host)?.clone();
    match page {
        Page::Bytes(bytes) => {
            stream.write_all(&bytes).ok()?;
            stream.conn.send_close_notify();
            stream.flush().ok()
        }
        Page::Trickle => {
            let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nx: ";
            stream.write_all(begin.as_bytes()).ok()?;
            loop {
                stream.write_all(b"y").ok()?;
                stream.flush().ok()?;
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }
}
