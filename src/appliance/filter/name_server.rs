//! A name server for tests: TXT records over UDP, RFC 1035
//! (<https://www.rfc-editor.org/rfc/rfc1035>) section 4.

use std::net::SocketAddr;
use tokio::net::UdpSocket;

/// Names below this one are answered with SERVFAIL.
const FAILING: &str = "fails.example";

/// Serves these records on a loopback port until the test ends.
pub async fn start(records: &[(&str, &str)]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let records: Vec<(String, String)> = records
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    tokio::spawn(async move {
        let mut packet = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
            let answer = answer(&packet[..length], &records);
            socket.send_to(&answer, peer).await.unwrap();
        }
    });
    address
}

fn answer(query: &[u8], records: &[(String, String)]) -> Vec<u8> {
    let (name, end) = read_name(&query[12..]);
    let question = &query[12..12 + end + 4];
    let is_txt = question[end..end + 2] == [0, 16];
    let known = records.iter().find(|(known, _)| *known == name);
    let code = match known {
        Some(_) => 0,
        None if name.ends_with(FAILING) => 2,
        None => 3,
    };
    let text = known.map(|(_, text)| text).filter(|_| is_txt);
    let mut answer = query[..2].to_vec();
    answer.extend([
        0x81,
        0x80 | code,
        0,
        1,
        0,
        u8::from(text.is_some()),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(question);
    if let Some(text) = text {
        let length = u8::try_from(text.len()).unwrap();
        // The name by reference, TXT, IN, a TTL, and one string.
        answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, length + 1, length]);
        answer.extend(text.as_bytes());
    }
    answer
}

fn read_name(bytes: &[u8]) -> (String, usize) {
    let mut labels = Vec::new();
    let mut position = 0;
    while bytes[position] != 0 {
        let length = usize::from(bytes[position]);
        let label = &bytes[position + 1..=position + length];
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        position += length + 1;
    }
    (labels.join("."), position + 1)
}
