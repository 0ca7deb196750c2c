//! Both ways of asking, by one table of servers on loopback.

use super::course::{Failure, Patience};
use super::message::{Question, accept, text_of};
use super::{blocking, exchange};
use crate::appliance::wire::serve::start_runtime;
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};
use tokio::time::Instant as Deadline;

const NAME: &str = "host.example";
const ADDRESS: &str = "192.0.2.1";
/// For answers that come: long enough for any machine under load.
const LONG: Patience = Patience {
    one_answer: Duration::from_secs(30),
    tries: 2,
};
/// For answers that do not, or not at once.
const SHORT: Patience = Patience {
    one_answer: Duration::from_millis(700),
    tries: 2,
};
/// Between the whole of the short patience and one try of the long one.
const SOON: Duration = Duration::from_secs(15);
/// Between two signs of life of a server that never comes to an end.
const TRICKLE: Duration = Duration::from_millis(100);
const SILENT: &str = "it does not answer";

/// Says what a server sends for a datagram, and how many came before it.
type Datagrams = fn(&Message, usize, &mut dyn FnMut(Vec<u8>));
/// The same over TCP; without, nobody listens there.
type Connection = Option<fn(&Message, TcpStream)>;

struct Case {
    name: &'static str,
    datagrams: Datagrams,
    connection: Connection,
    patience: Patience,
    /// What the answer, or the failure, begins with.
    told: &'static str,
}

const fn case(
    name: &'static str,
    datagrams: Datagrams,
    connection: Connection,
    patience: Patience,
    told: &'static str,
) -> Case {
    Case {
        name,
        datagrams,
        connection,
        patience,
        told,
    }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    case("an answer", |query, _, send| send(bytes(&good(query))), None, LONG, ADDRESS),
    case("the name in other letters", |query, _, send| send(bytes(&renamed(query, "HOST.Example."))), None, LONG, ADDRESS),
    case("strays before the answer", strays, None, LONG, ADDRESS),
    case("a flood of strays", |_, _, send| (0..40).for_each(|_| send(b"x".to_vec())), None, LONG, "its answers cannot be read"),
    case("strays without end", |_, _, send| loop { send(b"x".to_vec()); thread::sleep(TRICKLE) }, None, SHORT, SILENT),
    case("another identifier", |query, _, send| send(bytes(&misnumbered(query))), None, SHORT, SILENT),
    case("another question", |query, _, send| send(bytes(&renamed(query, "other.example."))), None, SHORT, SILENT),
    case("no question, and yet an answer", |query, _, send| send(bytes(&unasked(query, ResponseCode::NoError))), None, SHORT, SILENT),
    case("no question in a refusal", |query, _, send| send(bytes(&unasked(query, ResponseCode::ServFail))), None, LONG, "the resolver says Server Failure"),
    case("silence", |_, _, _| {}, None, SHORT, SILENT),
    case("the first packet is lost", |query, before, send| if before > 0 { send(bytes(&good(query))) }, None, SHORT, ADDRESS),
    case("EDNS is refused", without_edns, None, LONG, ADDRESS),
    case("too long for UDP", |query, _, send| send(bytes(&cut(query))), Some(|query, stream| write(stream, &good(query))), LONG, ADDRESS),
    case("too long, and no TCP", |query, _, send| send(bytes(&cut(query))), None, LONG, "its answer does not fit UDP, and over TCP there is none: connecting to 127.0.0.1"),
    case("too long, and TCP ends", |query, _, send| send(bytes(&cut(query))), Some(|_, _| {}), LONG, "its answer does not fit UDP, and over TCP there is none: reading the answer"),
    case("too long, and TCP trickles", |query, _, send| send(bytes(&cut(query))), Some(|_, stream| trickle(stream)), SHORT, "its answer does not fit UDP, and it does not answer over TCP"),
    case("too long, and TCP answers another question", |query, _, send| send(bytes(&cut(query))), Some(|query, stream| write(stream, &misnumbered(query))), LONG, "its answer cannot be read"),
];

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

/// The answer without its record.
fn unasked(query: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.response_code = code;
    answer
}

fn good(query: &Message) -> Message {
    renamed(query, "host.example.")
}

/// The answer to a question for this name.
fn renamed(query: &Message, name: &str) -> Message {
    let mut answer = unasked(query, ResponseCode::NoError);
    let name = Name::from_ascii(name).unwrap();
    answer.add_query(Query::query(name.clone(), RecordType::A));
    let data = RData::A(A(ADDRESS.parse().unwrap()));
    answer.add_answer(Record::from_rdata(name, 60, data));
    answer
}

fn misnumbered(query: &Message) -> Message {
    let mut answer = good(query);
    answer.metadata.id ^= 1;
    answer
}

fn cut(query: &Message) -> Message {
    let mut answer = good(query);
    answer.answers.clear();
    answer.metadata.truncation = true;
    answer
}

/// Everything that is not the answer, and then the answer.
fn strays(query: &Message, _: usize, send: &mut dyn FnMut(Vec<u8>)) {
    let mut mirrored = good(query);
    mirrored.metadata.message_type = MessageType::Query;
    let mut of_another_type = unasked(query, ResponseCode::NoError);
    let name = Name::from_ascii("host.example.").unwrap();
    of_another_type.add_query(Query::query(name, RecordType::AAAA));
    let mut two = good(query);
    two.add_query(query.queries[0].clone());
    send(b"x".to_vec());
    send(bytes(&mirrored));
    send(bytes(&misnumbered(query)));
    send(bytes(&renamed(query, "other.example.")));
    send(bytes(&of_another_type));
    send(bytes(&two));
    send(bytes(&good(query)));
}

fn without_edns(query: &Message, _: usize, send: &mut dyn FnMut(Vec<u8>)) {
    if query.edns.is_some() {
        send(bytes(&unasked(query, ResponseCode::FormErr)));
    } else {
        send(bytes(&good(query)));
    }
}

fn write(mut stream: TcpStream, answer: &Message) {
    let framed = super::message::framed(&bytes(answer)).unwrap();
    stream.write_all(&framed).unwrap();
}

/// A length, and then one byte after the other.
fn trickle(mut stream: TcpStream) {
    let mut next: &[u8] = &[0xff, 0xff];
    while stream.write_all(next).is_ok() {
        thread::sleep(TRICKLE);
        next = &[0];
    }
}

/// Starts the server of a case, which runs until the test ends.
fn start(case: &'static Case) -> SocketAddr {
    let (socket, listener) = loop {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // The number may be taken there.
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()) {
            break (socket, listener);
        }
    };
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut room = [0; 1500];
        for before in 0.. {
            let (length, peer) = socket.recv_from(&mut room).unwrap();
            let query = Message::from_vec(&room[..length]).unwrap();
            // Whoever has heard enough is gone.
            (case.datagrams)(&query, before, &mut |bytes| {
                let _ = socket.send_to(&bytes, peer);
            });
        }
    });
    if let Some(connection) = case.connection {
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).unwrap();
                connection(&Message::from_vec(&query).unwrap(), stream);
            }
        });
    }
    address
}

type Ask = fn(SocketAddr, &Question, Patience) -> Result<Message, Failure>;

fn ask_meanwhile(
    server: SocketAddr,
    question: &Question,
    patience: Patience,
) -> Result<Message, Failure> {
    let deadline = Deadline::now() + patience.whole();
    let runtime = start_runtime(1).unwrap();
    runtime.block_on(exchange::ask(server, question, patience, deadline))
}

/// The address, or what is wrong.
fn told(answer: Result<Message, Failure>) -> String {
    let record = match answer.map(accept) {
        Ok(Ok(answer)) => answer.answers.into_iter().next(),
        Ok(Err(error)) => return error.to_string(),
        Err(failure) => return failure.to_string(),
    };
    let address = record.and_then(|record| record.data.ip_addr());
    address.map_or_else(String::new, |address| address.to_string())
}

#[test]
fn both_ways_find_the_same() {
    let question = &Question::new(NAME, RecordType::A).unwrap();
    let ways: [(&str, Ask); 2] = [("blocking", blocking::ask), ("exchange", ask_meanwhile)];
    thread::scope(|scope| {
        for case in CASES {
            for (way, ask) in ways {
                scope.spawn(move || {
                    let server = start(case);
                    let began = Instant::now();
                    let told = told(ask(server, question, case.patience));
                    assert!(told.starts_with(case.told), "{way}, {}: {told}", case.name);
                    let took = began.elapsed();
                    assert!(took < SOON, "{way}, {}: it took {took:?}", case.name);
                });
            }
        }
    });
}

#[test]
fn where_nobody_listens_nothing_is_waited_for() {
    let question = Question::new(NAME, RecordType::A).unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = socket.local_addr().unwrap();
    drop(socket);
    for ask in [blocking::ask, ask_meanwhile] {
        let began = Instant::now();
        assert_eq!(told(ask(server, &question, LONG)), SILENT);
        assert!(began.elapsed() < SOON);
    }
}

#[test]
fn deadlines_come_before_patience() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = silent.local_addr().unwrap();
    let question = Question::new(NAME, RecordType::A).unwrap();
    let began = Instant::now();
    let failure = start_runtime(1).unwrap().block_on(exchange::ask(
        server,
        &question,
        LONG,
        Deadline::now() + TRICKLE,
    ));
    assert_eq!(failure.unwrap_err(), Failure::Silent);
    assert!(began.elapsed() < SOON);
}

#[test]
fn strings_of_a_text_are_joined() {
    let text = hickory_proto::rr::rdata::TXT::new(vec!["a b".to_owned(), "c".to_owned()]);
    assert_eq!(text_of(&RData::TXT(text)).as_deref(), Some("a bc"));
}
