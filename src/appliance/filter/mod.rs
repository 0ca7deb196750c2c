//! `mailctl filter`: what mail must be like to get in, as a milter of Postfix.
//!
//! It judges what comes in by SPF, DKIM, ARC and DMARC, removes results that
//! strangers forged in our name and adds its own, wants exactly one From header,
//! holds users to their own addresses and to the sending limit, and takes out a
//! Sender header that names somebody else. Lines of theirs that other servers
//! would break are written anew; it changes nothing else. In trouble of its own
//! it refuses for now: Postfix's `milter_default_action` does the same when the
//! filter is not there.

pub mod configuration;
pub mod encoded;
pub mod from;
pub mod iprev;
pub mod limit;
pub mod lines;
pub mod lookup;
#[cfg(test)]
pub mod name_server;
pub mod outgoing;
pub mod protocol;
pub mod results;
pub mod senders;
pub mod session;
pub mod shared;
pub mod spf;
#[cfg(test)]
pub mod tests;
pub mod token;
pub mod verify;

use super::machine::place::{self, Place};
use super::wire::dns::RESOLVER;
use super::wire::serve::{
    BLOCKING_THREADS, bind_socket, serve_connections, start_runtime, tell_ready,
};
use anyhow::{Context, Result};
use protocol::{BODY_PIECE_BYTES_MAX, Replies, parse_command, read_packet};
use session::{Session, Step};
use shared::Shared;
use std::io::Read;
use std::rc::Rc;
use std::time::Duration;
use tempfile::SpooledTempFile;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::LocalSet;
use tokio::time::timeout;

pub use configuration::configure;

/// Most sessions at once; the `default_process_limit` of Postfix is a fifth of it.
const MOST_SESSIONS: usize = 500;
/// Longest wait for Postfix to take an answer.
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// Buffers larger than this are given back after a packet.
const KEPT_BUFFER: usize = 8 << 10;

/// Serves Postfix until the process is stopped.
pub fn run_filter(place: &Place) -> Result<String> {
    let runtime = start_runtime(BLOCKING_THREADS)?;
    LocalSet::new().block_on(&runtime, async {
        // The group's: Postfix is a member.
        let path = place.path(place::FILTER_SOCKET);
        let listener = bind_socket(&path, 0o660, |path| UnixListener::bind(path))?;
        let shared = Rc::new(Shared::new(place, RESOLVER)?);
        tell_ready()?;
        serve(listener, shared).await;
        Ok("The filter has ended.".to_owned())
    })
}

async fn serve(listener: UnixListener, shared: Rc<Shared>) {
    serve_connections(listener, MOST_SESSIONS, |stream| {
        converse(stream, shared.clone())
    })
    .await;
}

/// One connection, from its first packet to its last.
async fn converse(mut stream: UnixStream, shared: Rc<Shared>) -> Result<()> {
    let mut session = Session::new(shared)?;
    let mut packet = Vec::new();
    while read_packet(&mut stream, &mut packet)
        .await
        .context("reading from Postfix")?
    {
        let command = parse_command(&packet).context("reading from Postfix")?;
        let answered = command.is_answered();
        let replies = match session.take(command).await {
            Ok(Step::Silent) => Replies::default(),
            Ok(Step::Answer(replies)) => replies,
            Ok(Step::Rewrite(body, replies)) => {
                send_body(&mut stream, body).await?;
                replies
            }
            Ok(Step::Close) => return Ok(()),
            Err(error) if answered => {
                tell!("{error:#}");
                let mut replies = Replies::default();
                replies.tempfail();
                replies
            }
            Err(error) => return Err(error),
        };
        send(&mut stream, &replies).await?;
        packet.shrink_to(KEPT_BUFFER);
    }
    Ok(())
}

/// Sends a body piece by piece: many at once must fit into memory.
async fn send_body(stream: &mut UnixStream, mut body: SpooledTempFile) -> Result<()> {
    let mut piece = vec![0; BODY_PIECE_BYTES_MAX];
    loop {
        let length = body.read(&mut piece).context("reading a body back")?;
        if length == 0 {
            return Ok(());
        }
        let mut replies = Replies::default();
        replies.replace_body(&piece[..length]);
        send(stream, &replies).await?;
    }
}

async fn send(stream: &mut UnixStream, replies: &Replies) -> Result<()> {
    timeout(SEND_LIMIT, stream.write_all(&replies.0))
        .await
        .context("waiting for Postfix")?
        .context("answering Postfix")
}
