//! `mailctl filter`: what mail must be like to get in, as a milter of Postfix.
//!
//! It removes results that strangers forged in our name, checks SPF, wants
//! exactly one From header, and holds users to their own addresses and to the
//! sending limit. It neither reads bodies nor changes anything else. In trouble
//! of its own it refuses for now: Postfix's `milter_default_action` does the
//! same when the filter is not there.

pub mod configuration;
pub mod from;
pub mod limit;
#[cfg(test)]
mod name_server;
pub mod protocol;
pub mod results;
pub mod senders;
pub mod session;
pub mod shared;
pub mod spf;
#[cfg(test)]
mod tests;

use super::machine::files::remove_file;
use super::machine::place::{self, Place};
use anyhow::Context;
use protocol::{Replies, parse_command, read_packet};
use sd_notify::NotifyState;
use session::{Session, Step};
use shared::Shared;
use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

pub use configuration::configure;

/// Unbound, the machine's only resolver.
const NAME_SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
/// Most sessions at once; the `default_process_limit` of Postfix is a fifth of it.
const MOST_SESSIONS: usize = 500;
/// Longest wait for Postfix to take an answer.
const SENDING: Duration = Duration::from_secs(30);
/// Pause when no connection can be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Buffers larger than this are given back after a packet.
const KEPT_BUFFER: usize = 8 << 10;

/// Serves Postfix until the process is stopped.
///
/// # Errors
/// A socket that cannot be made.
pub fn run_filter(place: &Place) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    LocalSet::new().block_on(&runtime, async {
        let path = place.path(place::FILTER_SOCKET);
        remove_file(&path)?;
        let listener = UnixListener::bind(&path)
            .and_then(|listener| {
                // The group's: Postfix is a member.
                std::fs::set_permissions(&path, Permissions::from_mode(0o660))?;
                Ok(listener)
            })
            .with_context(|| format!("listening on {}", path.display()))?;
        let shared = Rc::new(Shared::new(place, NAME_SERVER)?);
        sd_notify::notify(&[NotifyState::Ready])
            .context("telling systemd that the service is ready")?;
        serve(listener, shared).await;
        Ok("The filter has ended.".to_owned())
    })
}

async fn serve(listener: UnixListener, shared: Rc<Shared>) {
    let sessions = std::sync::Arc::new(Semaphore::new(MOST_SESSIONS));
    // The semaphore is never closed.
    while let Ok(permit) = sessions.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tell!("taking a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = converse(stream, shared).await {
                tell!("{error:#}");
            }
            drop(permit);
        });
    }
}

/// One connection, from its first packet to its last.
async fn converse(mut stream: UnixStream, shared: Rc<Shared>) -> anyhow::Result<()> {
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
            Ok(Step::Close) => return Ok(()),
            Err(error) if answered => {
                tell!("{error:#}");
                let mut replies = Replies::default();
                replies.tempfail();
                replies
            }
            Err(error) => return Err(error),
        };
        timeout(SENDING, stream.write_all(&replies.0))
            .await
            .context("waiting for Postfix")?
            .context("answering Postfix")?;
        packet.shrink_to(KEPT_BUFFER);
    }
    Ok(())
}
