//! A server of metadata on loopback, and a machine that asks it.

use crate::world::machine::Machine;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the machine is to get.
pub const SETTINGS: &str = "DOMAIN=wombat.example\nHOSTNAME=mail.wombat.example\n\
                        ADMIN_USER_INITIAL_PASSWORD=correct-horse\n";
/// Where metadata comes from must not hold up anything for longer.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn read(stream: &TcpStream) -> Option<Self> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next()?.ok()?;
        let mut words = first.split(' ');
        let mut request = Self {
            method: words.next()?.to_owned(),
            path: words.next()?.to_owned(),
            headers: Vec::new(),
        };
        for line in lines {
            let line = line.ok()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            request
                .headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(request)
    }

    pub fn has(&self, name: &str, value: &str) -> bool {
        self.headers
            .iter()
            .any(|(other, found)| other == name && found == value)
    }
}

/// A status and a body.
pub type Answer = (u16, Vec<u8>);
pub type Handler = Box<dyn Fn(&Request, &mut TcpStream) + Send + Sync>;

/// A server on loopback, and what it was asked.
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let log = log.clone();
                let handler = handler.clone();
                std::thread::spawn(move || {
                    let Some(request) = Request::read(&stream) else {
                        return;
                    };
                    let line = format!("{} {}", request.method, request.path);
                    log.lock().unwrap().push(line);
                    handler(&request, &mut stream);
                });
            }
        });
        Self { address, seen }
    }

    /// A server that answers with whole bodies.
    pub fn answering(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(Box::new(move |request, stream| {
            let (status, body) = answer(request);
            let head = format!(
                "HTTP/1.1 {status} Whatever\r\nContent-Type: text/plain\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }))
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

pub fn found(body: &str) -> Answer {
    (200, body.as_bytes().to_vec())
}

pub const NOTHING: Answer = (404, Vec::new());

/// Asks a server as a provider, and returns what was said.
pub fn import(machine: &Machine, provider: &str, server: &Server, more: &[&str]) -> String {
    let base = server.base();
    let mut arguments = vec!["cloud", "--provider", provider, "--base", &base];
    arguments.extend(more);
    let assert = machine.run(&arguments).success();
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}
