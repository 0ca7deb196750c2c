//! The milter protocol, version 6, as bytes.
//!
//! There is no RFC. The definition in use is `include/libmilter/mfdef.h` of
//! Sendmail 8.18 and the description in Postfix's
//! <https://www.postfix.org/MILTER_README.html>; Postfix 3.10 is the only peer.
//! A packet is a length of four bytes in network order, a command byte and
//! data. Left out is what this filter never asks for: changes of sender,
//! recipients and body, quarantine.

use std::io::{Error, ErrorKind};
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// The protocol version spoken.
pub const VERSION: u32 = 6;
/// The largest piece of a body (`MILTER_CHUNK_SIZE`).
pub const BODY_PIECE_BYTES_MAX: usize = 65_535;
/// Longest packet taken; Postfix cuts a header at 100 KiB (`header_size_limit`).
const LONGEST_PACKET: u32 = 256 << 10;
/// Longest wait for the rest of a packet that has begun.
const REST_OF_PACKET: Duration = Duration::from_secs(30);
/// Longest text of a refusal; an SMTP line ends at 512 bytes.
const LONGEST_TEXT: usize = 400;

/// Actions of a filter, `SMFIF_*`.
pub mod actions {
    /// Adds headers.
    pub const ADD_HEADERS: u32 = 1 << 0;
    /// Changes and deletes headers.
    pub const CHANGE_HEADERS: u32 = 1 << 4;
    /// Write the body anew.
    pub const CHANGE_BODY: u32 = 1 << 1;
    /// Changes the sender of the envelope.
    pub const CHANGE_SENDER: u32 = 1 << 6;
    /// Chooses the macros it is sent.
    pub const CHOOSE_MACROS: u32 = 1 << 8;
}

/// Steps that the server leaves out or does not wait for, `SMFIP_*`.
pub mod steps {
    /// No recipients.
    pub const NO_RECIPIENT: u32 = 1 << 3;
    /// No end of headers.
    pub const NO_END_OF_HEADERS: u32 = 1 << 6;
    /// A header is not answered.
    pub const SILENT_HEADER: u32 = 1 << 7;
    /// No unknown SMTP commands.
    pub const NO_UNKNOWN: u32 = 1 << 8;
    /// A connection is not answered.
    pub const SILENT_CONNECT: u32 = 1 << 12;
    /// HELO is not answered.
    pub const SILENT_HELO: u32 = 1 << 13;
    /// DATA is not answered.
    pub const SILENT_DATA: u32 = 1 << 16;
    /// A piece of the body is not answered.
    pub const SILENT_BODY: u32 = 1 << 19;
    /// Values of headers begin right after the colon, in both directions.
    pub const LEADING_SPACE: u32 = 1 << 20;
}

/// Stages that macros may be chosen for, `SMFIM_*`.
pub mod stages {
    /// A client connects.
    pub const CONNECT: u32 = 0;
    /// MAIL FROM.
    pub const MAIL: u32 = 2;
}

/// What the mail server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Offers actions and steps.
    Negotiate {
        version: u32,
        actions: u32,
        steps: u32,
    },
    /// Names and values, for the command that follows.
    Macros {
        command: u8,
        pairs: Vec<(&'a [u8], &'a [u8])>,
    },
    /// A client; no address when it is not an IP address.
    Connect { address: Option<IpAddr> },
    /// HELO or EHLO.
    Helo(&'a [u8]),
    /// MAIL FROM with its angle brackets.
    Mail(&'a [u8]),
    /// RCPT TO.
    Recipient,
    /// DATA or BDAT.
    Data,
    /// One header, as received.
    Header { name: &'a [u8], value: &'a [u8] },
    /// A piece of the body.
    Body(&'a [u8]),
    /// The message is complete.
    EndOfMessage,
    /// This message comes to nothing, the session goes on.
    Abort,
    /// The session is over.
    Quit,
    /// The session is over, another one follows on the same connection.
    NextSession,
}

impl Command<'_> {
    /// Whether the server waits for an answer within a session.
    pub fn is_answered(&self) -> bool {
        matches!(self, Self::Mail(_) | Self::Recipient | Self::EndOfMessage)
    }
}

/// A packet that no Postfix sends.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    #[error("command {0:#04x} is unknown or was not asked for")]
    Unknown(u8),
    #[error("the data of command {0:#04x} is damaged")]
    Data(u8),
    #[error("the packet is empty")]
    Empty,
}

/// Takes values off the front of a packet.
struct Data<'a> {
    command: u8,
    rest: &'a [u8],
}

impl<'a> Data<'a> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Malformed::Data(self.command))?;
        self.rest = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        self.bytes().map(u32::from_be_bytes)
    }

    fn text(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(Malformed::Data(self.command))?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Data(self.command))
        }
    }

    fn address(&mut self) -> Result<Option<IpAddr>, Malformed> {
        let [family] = self.bytes()?;
        if family == b'U' {
            return Ok(None);
        }
        let _port: [u8; 2] = self.bytes()?;
        let text = self.text()?;
        if family == b'L' {
            return Ok(None);
        }
        let text = std::str::from_utf8(text).map_err(|_| Malformed::Data(self.command))?;
        // Sendmail puts the prefix of address literals in front.
        text.strip_prefix("IPv6:")
            .unwrap_or(text)
            .parse()
            .map(Some)
            .map_err(|_| Malformed::Data(self.command))
    }
}

/// Reads one packet without its length.
pub fn parse_command(packet: &[u8]) -> Result<Command<'_>, Malformed> {
    let (command, rest) = packet.split_first().ok_or(Malformed::Empty)?;
    let mut data = Data {
        command: *command,
        rest,
    };
    let parsed = match command {
        b'O' => Command::Negotiate {
            version: data.number()?,
            actions: data.number()?,
            steps: data.number()?,
        },
        b'D' => {
            let [command] = data.bytes()?;
            let mut pairs = Vec::new();
            while !data.rest.is_empty() {
                pairs.push((data.text()?, data.text()?));
            }
            Command::Macros { command, pairs }
        }
        b'C' => {
            data.text()?;
            Command::Connect {
                address: data.address()?,
            }
        }
        b'H' => Command::Helo(data.text()?),
        b'M' | b'R' => {
            let address = data.text()?;
            while !data.rest.is_empty() {
                // ESMTP parameters.
                data.text()?;
            }
            if *command == b'M' {
                Command::Mail(address)
            } else {
                Command::Recipient
            }
        }
        b'T' => Command::Data,
        b'L' => Command::Header {
            name: data.text()?,
            value: data.text()?,
        },
        b'B' => Command::Body(std::mem::take(&mut data.rest)),
        b'E' => Command::EndOfMessage,
        b'A' => Command::Abort,
        b'Q' => Command::Quit,
        b'K' => Command::NextSession,
        other => return Err(Malformed::Unknown(*other)),
    };
    data.end()?;
    Ok(parsed)
}

/// Reads the next packet into the buffer; `false` when the peer has closed between two.
pub async fn read_packet(
    reader: &mut (impl AsyncRead + Unpin),
    packet: &mut Vec<u8>,
) -> std::io::Result<bool> {
    packet.clear();
    // Between two packets a mail client may take its time; Postfix watches that.
    let first = match reader.read_u8().await {
        Ok(first) => first,
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    let rest = async {
        let mut length = [first, 0, 0, 0];
        reader.read_exact(&mut length[1..]).await?;
        let length = u32::from_be_bytes(length);
        if length == 0 || length > LONGEST_PACKET {
            let text = format!("a packet of {length} bytes");
            return Err(Error::new(ErrorKind::InvalidData, text));
        }
        // Grows with what arrives, not with what is announced.
        let read = reader.take(length.into()).read_to_end(packet).await?;
        if read < length as usize {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(true)
    };
    timeout(REST_OF_PACKET, rest)
        .await
        .map_err(|_| Error::from(ErrorKind::TimedOut))?
}

/// What the filter says, as bytes to send.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replies(pub Vec<u8>);

impl Replies {
    fn push(&mut self, command: u8, parts: &[&[u8]]) -> &mut Self {
        let length: usize = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        self.0
            .extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        self.0.push(command);
        for part in parts {
            self.0.extend_from_slice(part);
        }
        self
    }

    /// Answers the offer, and asks for these macros at these stages.
    pub fn negotiate(&mut self, actions: u32, steps: u32, macros: &[(u32, &str)]) -> &mut Self {
        let mut text = Vec::new();
        for (stage, names) in macros {
            text.extend_from_slice(&stage.to_be_bytes());
            text.extend_from_slice(names.as_bytes());
            text.push(0);
        }
        self.push(
            b'O',
            &[
                &VERSION.to_be_bytes(),
                &actions.to_be_bytes(),
                &steps.to_be_bytes(),
                &text,
            ],
        )
    }

    /// Goes on.
    pub fn go_on(&mut self) -> &mut Self {
        self.push(b'c', &[])
    }

    /// Refuses for now, in the server's own words: trouble of ours.
    pub fn tempfail(&mut self) -> &mut Self {
        self.push(b't', &[])
    }

    /// Refuses with a reply of SMTP: code, enhanced code (RFC 3463) and text.
    pub fn refuse(&mut self, reply: &str) -> &mut Self {
        let text: String = reply
            .chars()
            .map(|character| match character {
                ' '..='~' => character,
                _ => '?',
            })
            .take(LONGEST_TEXT)
            .collect();
        // A format string to Sendmail, and undone by Postfix.
        self.push(b'y', &[text.replace('%', "%%").as_bytes(), b"\0"])
    }

    /// Deletes the header that is the index-th of its name, from 1.
    pub fn delete_header(&mut self, index: u32, name: &str) -> &mut Self {
        self.push(b'm', &[&index.to_be_bytes(), name.as_bytes(), b"\0\0"])
    }

    /// Empties the sender of the envelope: nothing comes back.
    pub fn empty_sender(&mut self) -> &mut Self {
        self.push(b'e', &[b"<>\0"])
    }

    /// A piece of the body that takes the place of the one that came.
    pub fn replace_body(&mut self, piece: &[u8]) -> &mut Self {
        self.push(b'b', &[piece])
    }

    /// Inserts a header before all but so many.
    pub fn insert_header(&mut self, index: u32, name: &str, value: &str) -> &mut Self {
        self.push(
            b'i',
            &[
                &index.to_be_bytes(),
                name.as_bytes(),
                b"\0",
                value.as_bytes(),
                b"\0",
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, Malformed, Replies, parse_command, read_packet};

    #[test]
    fn packets_of_postfix() {
        let offer = b"O\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";
        assert_eq!(
            parse_command(offer),
            Ok(Command::Negotiate {
                version: 6,
                actions: 0x1ff,
                steps: 0x1f_ffff
            })
        );
        assert_eq!(
            parse_command(b"Cmail.example\x004\x9c\x40192.0.2.7\0"),
            Ok(Command::Connect {
                address: Some("192.0.2.7".parse().unwrap())
            })
        );
        assert_eq!(
            parse_command(b"C[2001:db8::1]\x006\0\x19IPv6:2001:db8::1\0"),
            Ok(Command::Connect {
                address: Some("2001:db8::1".parse().unwrap())
            })
        );
        assert_eq!(
            parse_command(b"Clocalhost\0U"),
            Ok(Command::Connect { address: None })
        );
        assert_eq!(
            parse_command(b"M<a@b.example>\0SIZE=100\0"),
            Ok(Command::Mail(b"<a@b.example>"))
        );
        assert_eq!(
            parse_command(b"DM{auth_authen}\0a@b.example\0"),
            Ok(Command::Macros {
                command: b'M',
                pairs: vec![(b"{auth_authen}", b"a@b.example")]
            })
        );
        assert_eq!(
            parse_command(b"LSubject\0 hello\0"),
            Ok(Command::Header {
                name: b"Subject",
                value: b" hello"
            })
        );
        assert_eq!(parse_command(b"Ba\0\r\n"), Ok(Command::Body(b"a\0\r\n")));
        assert_eq!(parse_command(b"E"), Ok(Command::EndOfMessage));
    }

    #[test]
    fn damaged_packets() {
        for packet in [
            &b"O\0\0\0\x06\0\0"[..],
            b"O\0\0\0\x06\0\0\0\0\0\0\0\0\0",
            b"Hno end",
            b"DMname\0",
            b"Chost\x004\0\x19not an address\0",
            b"Chost\x004\0",
            b"Lname\0",
            b"Exyz",
        ] {
            assert_eq!(parse_command(packet), Err(Malformed::Data(packet[0])));
        }
        assert_eq!(parse_command(b"Fx"), Err(Malformed::Unknown(b'F')));
        assert_eq!(parse_command(b""), Err(Malformed::Empty));
    }

    #[test]
    fn replies_as_bytes() {
        let mut replies = Replies::default();
        replies
            .delete_header(2, "Received-SPF")
            .insert_header(1, "X", "y")
            .refuse("550 5.7.1 100% no\r\n")
            .tempfail()
            .go_on();
        assert_eq!(
            replies.0,
            b"\0\0\0\x13m\0\0\0\x02Received-SPF\0\0\
              \0\0\0\x09i\0\0\0\x01X\0y\0\
              \0\0\0\x16y550 5.7.1 100%% no??\0\
              \0\0\0\x01t\0\0\0\x01c"
        );
        let mut offer = Replies::default();
        offer.negotiate(0x111, 0x10, &[(0, "{a} {b}"), (2, "{auth_authen}")]);
        assert_eq!(
            offer.0,
            b"\0\0\0\x2bO\0\0\0\x06\0\0\x01\x11\0\0\0\x10\
              \0\0\0\0{a} {b}\0\0\0\0\x02{auth_authen}\0"
        );
    }

    #[tokio::test]
    async fn lengths_are_limited() {
        let mut packet = Vec::new();
        for (bytes, ends) in [
            (&b"\0\0\0\0"[..], false),
            (b"\xff\xff\xff\xff", false),
            (b"\0\0\0\x05ab", false),
            (b"\0\0", false),
            (b"", true),
        ] {
            let read = read_packet(&mut &bytes[..], &mut packet).await;
            assert_eq!(read.is_ok_and(|more| !more), ends, "{bytes:?}");
        }
        let mut two = &b"\0\0\0\x01E\0\0\0\x01Q"[..];
        assert!(read_packet(&mut two, &mut packet).await.unwrap());
        assert_eq!(packet, b"E");
        assert!(read_packet(&mut two, &mut packet).await.unwrap());
        assert_eq!(packet, b"Q");
    }
}
